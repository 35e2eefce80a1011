"""Clipping and noise of the size that a stated (epsilon, delta) asks for, for one update.

Level and sensitivity are those of `theory/accounting.py`: a client's whole data is replaced by another's, which moves
an update that is clipped to an L2 norm by at most twice that norm. What a client spends over a run is accounted there.
"""

from __future__ import annotations

from fldrep.config.section import Section, option
from fldrep.defenses.noise import Noise


class Calibrated(Noise):
    """Noise whose standard deviation follows from epsilon, delta and the clip."""

    class Settings(Section):
        """What each update guarantees, and what is scaled before."""

        epsilon: float = option(..., "epsilon of one update, a client's whole data being replaced", gt=0, le=100)
        delta: float = option(1e-5, "chance, at most, that epsilon of one update does not hold", gt=0, lt=1)
        clip: float = option(..., "L2 norm to which an update is scaled down before noise is added", gt=0)

    def multiplier(self, epsilon: float, delta: float) -> float:
        """The standard deviation on each entry over the L2 sensitivity."""
        raise NotImplementedError

    @property
    def std(self) -> float:
        """The standard deviation of the noise on every entry."""
        return 2 * self.settings.clip * self.multiplier(self.settings.epsilon, self.settings.delta)
