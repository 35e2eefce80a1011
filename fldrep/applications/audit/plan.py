"""The plan of an audit: which part gets which share of the budget, before anything is computed."""

from dataclasses import dataclass

from fldrep.applications.audit.attacks import Planned, planned
from fldrep.applications.audit.budget import RATE, SPECTRA, Costs, in_words
from fldrep.applications.audit.case import Case
from fldrep.applications.audit.evidence import Evidence

THEORY, CHANGES = 1 / 3, 1 / 6  # most of a budget that identifiability takes, and attacks on a changed update
PRUNED_AT_LEAST, MOST_PRUNED = 3, 5  # measures that a search among prunings takes
ATTACKED_AT_LEAST = 4  # runs that a search by attacks takes


@dataclass(frozen=True)
class Plan:
    """What an audit does, in operations.

    `theory`: of identifiability, changes by it included; `against`: why it is not measured, empty where it is;
    `noise`: whether its floor is found as a function of noise, `prunings`: at so many rates; `attacks` with theirs;
    `changes`: what attacks on a changed update may take.
    """

    costs: Costs
    attacks: list[Planned]
    against: str
    noise: bool
    prunings: int
    theory: float
    changes: float

    @property
    def measures(self) -> bool:
        """Whether rank and floor are measured."""
        return not self.against

    @property
    def operations(self) -> float:
        """All of it."""
        return self.theory + sum(one.operations for one in self.attacks) + self.changes

    def runs(self, attack: Planned) -> int:
        """How many changed updates an attack may be run on."""
        return int(self.changes / attack.operations) if attack.operations else 0


def plan_of(case: Case, evidence: Evidence, budget: float) -> Plan:
    """The strongest that fits. Args: budget: seconds at the fixed rate."""
    costs = Costs.of(case, evidence)
    whole, room = budget * RATE, THEORY * budget * RATE
    against = _against(case, evidence, costs, room)
    left = -1.0 if against else room - costs.spectrum
    noise = curve(costs) <= left
    prunings = max(0, int((left - noise * curve(costs)) / costs.spectrum))
    prunings = min(prunings, MOST_PRUNED) if prunings >= PRUNED_AT_LEAST else 0
    theory = 0.0 if against else costs.spectrum * (1 + prunings) + noise * curve(costs)
    plans = [
        Plan(costs, planned(case, evidence, costs, whole - theory - kept), against, noise, prunings, theory, kept)
        for kept in (CHANGES * whole, 0.0)
    ]
    able = any(one.goes_through and plans[0].runs(one) >= ATTACKED_AT_LEAST for one in plans[0].attacks)
    return plans[0] if able else plans[1]


def curve(costs: Costs) -> float:
    """The floor as a function of noise."""
    return 2 * SPECTRA * costs.unknowns**3 + costs.entries * costs.unknowns**2


def _against(case: Case, evidence: Evidence, costs: Costs, room: float) -> str:
    if case.clients > 1 and case.local is not None:
        return "the update is the mean of several clients' local steps, whose derivative is not modelled"
    if evidence.labels is None:
        return "the labels are not known, and the derivative of the update depends on them"
    if costs.spectrum > room:
        whole = in_words(costs.spectrum / THEORY)
        return f"measuring takes about {in_words(costs.spectrum)}, a third of a budget of {whole}, which would do"
    return ""
