"""A learned attacker: no trial image is moved, a network answers with the image when it is shown the update.

Source: Wu et al. 2023, "Learning to Invert", arXiv:2210.10880: public images, updates of them under the client's own
defense, and a perceptron from updates, hashed to a fixed size, to images, by the mean squared error. What differs: two
hidden layers of 1,024 units and 4,096 hashed entries, so that training takes minutes of a CPU; entries are put to mean
0 and deviation 1; only updates of one image; 5,000 public images where they have whole training sets.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fldrep.config.section import Positive, Section, option
from fldrep.registry import optimiser

if TYPE_CHECKING:
    from fldrep.attack.problem import Outcome, Problems, Progress
    from fldrep.attack.regression import Regression
    from fldrep.config.attacks import AttackSettings


@optimiser("learned", learns=True, needs=["one-image", "public-images"], knows=["mechanism", "public-images"])
class Learned:
    """Train on public images, `iterations` times over all, and answer. Restarts find the same."""

    class Settings(Section):
        """What is trained, and how."""

        hashed: Positive = option(4096, "entries that an update is hashed to")
        width: Positive = option(1024, "units of each hidden layer")
        lr: float = option(1e-3, "step size of the optimiser", gt=0)
        batch_size: Positive = option(100, "public images a step")

    def __init__(self):
        self.regression: Regression | None = None  # trained once, for the problems of all chunks

    def solve(self, problems: Problems, settings: AttackSettings, progress: Progress) -> Outcome:
        """Answer each problem. Nothing is moved from a start, so the initial distance is that of the answer."""
        import torch

        from fldrep.attack.problem import Outcome, finite

        observation = problems.observation
        if self.regression is None:
            self.regression = _trained_on(observation, settings, progress)
        else:
            progress.advance(settings.iterations)
        update = observation.rows(list(range(len(problems.images))))
        images = observation.normalisation.to_input(self.regression.answer(update))[:, None].to(problems.images)
        distance, _, _ = problems.match(images, problems.soft_labels)
        steps = torch.full_like(distance, settings.iterations, dtype=torch.long)
        return Outcome(images, problems.labels, distance, distance, finite(distance), steps)


def _trained_on(observation, settings: AttackSettings, progress: Progress) -> Regression:
    import torch

    from fldrep.attack.regression import AT_ONCE, Sketch, trained
    from fldrep.seeds import generator

    surrogate, like = observation.surrogate, observation.model.head.weight
    entries = sum(value.numel() for value in observation.model.parameters())
    sketch = Sketch.of(entries, settings.hashed, generator("learned attacker's hashes"), like.device)
    names = [name for name, _ in observation.model.named_parameters()]
    sketches = []
    for some, labels in zip(surrogate.images.split(AT_ONCE), surrogate.labels.split(AT_ONCE), strict=True):
        sent = surrogate.send(some.to(like), labels.to(like.device))
        sketches.append(sketch({name: sent[name].to(like) for name in names}))
    return trained(
        torch.cat(sketches),
        sketch,
        observation.normalisation.to_pixels(surrogate.images.to(like)),
        width=settings.width,
        epochs=settings.iterations,
        lr=settings.lr,
        batch_size=settings.batch_size,
        drawn=generator("learned attacker"),
        advance=progress.advance,
    )
