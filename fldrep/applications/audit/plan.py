"""The plan of an audit: which part gets which share of the budget, before anything is computed."""

from dataclasses import dataclass

from fldrep.applications.audit.attacks import Planned, planned
from fldrep.applications.audit.budget import DOUBLE, RATE, SPECTRA, Costs, in_words
from fldrep.applications.audit.case import Case
from fldrep.applications.audit.evidence import Evidence

THEORY, CHANGES = 1 / 3, 1 / 6  # most of a budget that identifiability takes, and attacks on a changed update
PRUNED_AT_LEAST, ATTACKED_AT_LEAST = 3, 4  # measures from which a change is looked for


@dataclass(frozen=True)
class Plan:
    """What an audit does: the spectrum of its update or not, the same under noise and under so many prunings, attacks.

    `against`: why the spectrum is not measured, empty where it is; `planned`: operations of each part.
    """

    costs: Costs
    budget: float
    attacks: list[Planned]
    against: str
    noise: bool
    prunings: int

    @property
    def measures(self) -> bool:
        """Whether rank and floor are measured."""
        return not self.against

    @property
    def theory(self) -> float:
        """Operations of identifiability, changes by it included."""
        if self.against:
            return 0.0
        return self.costs.spectrum * (1 + self.prunings) + self.noise * curve(self.costs)

    @property
    def operations(self) -> float:
        """All that is certain to be done."""
        return self.theory + sum(one.operations for one in self.attacks) + CHANGES * self.budget * RATE

    def runs(self, attack: Planned) -> int:
        """How many changed updates an attack may be run on."""
        return int(CHANGES * self.budget * RATE / attack.operations) if attack.operations else 0


def plan_of(case: Case, evidence: Evidence, budget: float) -> Plan:
    """The strongest that fits. Args: budget: seconds at the fixed rate."""
    costs = Costs.of(case, evidence)
    whole, room = budget * RATE, THEORY * budget * RATE
    against = _against(case, evidence, costs, room)
    left = 0.0 if against else room - costs.spectrum
    noise = not against and curve(costs) <= left
    prunings = int((left - noise * curve(costs)) / costs.spectrum) if left > 0 else 0
    prunings = min(prunings, 5) if prunings >= PRUNED_AT_LEAST else 0
    theory = 0.0 if against else costs.spectrum * (1 + prunings) + noise * curve(costs)
    attacks = planned(case, evidence, costs, whole * (1 - CHANGES) - theory)
    return Plan(costs, budget, attacks, against, noise, prunings)


def curve(costs: Costs) -> float:
    """The floor as a function of noise."""
    return DOUBLE * (2 * SPECTRA * costs.unknowns**3 + costs.entries * costs.unknowns**2)


def _against(case: Case, evidence: Evidence, costs: Costs, room: float) -> str:
    if case.clients > 1 and case.local is not None:
        return "the update is the mean of several clients' local steps, whose derivative is not modelled"
    if evidence.labels is None:
        return "the labels are not known, and the derivative of the update depends on them"
    if costs.spectrum > room:
        whole = in_words(costs.spectrum / THEORY)
        return f"measuring takes about {in_words(costs.spectrum)}, a third of a budget of {whole}, which would do"
    return ""
