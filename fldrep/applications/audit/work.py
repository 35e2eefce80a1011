"""The parts of one audit, in the order in which they are done."""

import math
from collections.abc import Callable

from torch import Tensor

from fldrep.applications.audit import changes
from fldrep.applications.audit.attacks import Found, Planned, attacked
from fldrep.applications.audit.budget import OVERRUN, RATE, Deadline, Overrun, in_words, seconds
from fldrep.applications.audit.case import Case
from fldrep.applications.audit.changes import Change
from fldrep.applications.audit.determined import Determined, counted, jacobian_at, measured, place_of
from fldrep.applications.audit.evidence import Evidence
from fldrep.applications.audit.judging import RECOVERED, has_ssim, likeness
from fldrep.applications.audit.plan import ATTACKED_AT_LEAST, CHANGES, Plan
from fldrep.applications.audit.progress import Bar
from fldrep.errors import AttackRefused

CUT = "cut: the plan overran its budget twofold"
CHANGED = "attacks on a changed update"
MOST_RUNS = 6  # of an attack on a changed update, half of them pruned, half noisy


class Work:
    """The parts of one audit in the order in which they are done, and what came of them.

    `found` attacks; `determined`, None where nothing was to be attacked; `changes`; `not_tried` [(what, why)];
    `cut`: the plan overran, and what was left of it was not done.
    """

    def __init__(self, budget: float, plan: Plan | None = None):
        self.budget, self.plan = budget, plan
        self.found: list[Found] = []
        self.determined: Determined | None = None
        self.changes: list[Change] = []
        self.not_tried: list[tuple[str, str]] = []
        self.cut = False

    def run(self, case: Case, evidence: Evidence, bar: Bar) -> None:
        """Attacks, what the update determines, and what would change the verdict."""
        deadline = Deadline(OVERRUN * self.budget)
        for one in self.plan.attacks:
            with bar.until_done(seconds(one.operations)):
                self._part(one.settings.title, deadline, lambda one=one: self._attack(case, evidence, one, bar))
        if self.plan.measures:
            with bar.until_done(seconds(self.plan.theory)):
                self._part("identifiability", deadline, lambda: self._determine(case, evidence, bar))
        if self.determined is None:
            self.determined = counted(case, evidence, self.plan.against or CUT)
            self.changes += changes.by_counting(case, evidence.entries, evidence.nonzero)
        self._part(CHANGED, deadline, lambda: self._change(case, evidence, bar))
        bar.reach(self.plan.operations / RATE)

    def _part(self, what: str, deadline: Deadline, part: Callable[[], None]) -> None:
        if deadline.over:
            self.cut = True
            self.not_tried.append((what, CUT))
            return
        try:
            with deadline:
                part()
        except Overrun:
            self.cut = True
            self.not_tried.append((what, CUT))

    def _attack(self, case: Case, evidence: Evidence, one: Planned, bar: Bar) -> None:
        title = one.settings.title
        sure = next((known.attack for known in self.found if known.certified), None)
        # one that goes through noise and pruning is wanted all the same, to see what these would change
        wanted = one.goes_through and not any(self._planned(known).goes_through for known in self.found)
        why = one.why_not or (f"{sure} has certified the image already" if sure and not wanted else "")
        if why:
            self.not_tried.append((title, why))
            return
        try:
            self.found.append(attacked(case, evidence, one.settings, bar(seconds(one.operations))))
        except AttackRefused as error:
            self.not_tried.append((title, str(error)))

    def _determine(self, case: Case, evidence: Evidence, bar: Bar) -> None:
        bar.say("what the update determines")
        at = place_of(case, evidence, self.found)
        jacobian = jacobian_at(case, evidence, at)
        self.determined = measured(case, jacobian, at.what)
        if self.determined.hides:
            return
        bar.say("what would have to be changed")
        if self.plan.noise:
            self.changes += changes.by_noise(case, jacobian, changes.size_of(case.update))
        if self.plan.prunings:
            self.changes += changes.by_pruning(case, evidence, at, self.plan.prunings)

    def _change(self, case: Case, evidence: Evidence, bar: Bar) -> None:
        """The best attack that goes through pruning and noise, on the update as it would be."""
        truth = self._truth(case)
        if truth is None or not has_ssim(case):
            self.not_tried.append(
                (CHANGED, "no image that SSIM can be taken of is known to be right, to judge them by")
            )
            return

        def ssim(images: Tensor) -> float:
            found = likeness(case, images, truth).ssim
            return found if math.isfinite(found) else 0.0

        able = [one for one in self.found if self._planned(one).goes_through and ssim(one.images) >= RECOVERED]
        if not able:
            self.not_tried.append((CHANGED, "no attack that goes through pruning or noise recovered the image"))
            return
        fits = [one for one in able if self.plan.runs(self._planned(one)) >= ATTACKED_AT_LEAST]
        if not fits:
            least = min((self._planned(one) for one in able), key=lambda attack: attack.operations)
            needed = in_words(ATTACKED_AT_LEAST * least.operations / CHANGES)
            self.not_tried.append(
                (CHANGED, f"{ATTACKED_AT_LEAST} runs of {least.settings.title} need a budget of {needed}")
            )
            return
        attack = self._planned(max(fits, key=lambda one: ssim(one.images)))
        runs, part = min(self.plan.runs(attack), MOST_RUNS), bar(seconds(attack.operations))
        self.changes += changes.by_attacks(case, evidence, attack, ssim, runs, part)

    def _planned(self, found: Found) -> Planned:
        return next(one for one in self.plan.attacks if one.settings.title == found.attack)

    def _truth(self, case: Case) -> Tensor | None:
        """Images (b, C, H, W) that are right: the originals, or certified ones."""
        if case.originals is not None:
            return case.originals
        return next((one.images for one in self.found if one.certified), None)
