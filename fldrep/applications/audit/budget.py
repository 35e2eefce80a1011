"""What an audit costs, in counted operations, and what of it fits into a budget.

A plan is made before anything is computed, from counts and one fixed rate, so that the same call does the same work on
any machine. The clock only stops a plan that overruns twofold. Constants were measured on one core with AVX-512, on
LeNet and ConvNet with CIFAR-10 and MNIST: parts took 0.3 to 0.8 of what was planned there.
"""

import time
from dataclasses import dataclass

import torch
from torch.overrides import TorchFunctionMode
from torch.utils.flop_counter import FlopCounterMode

from fldrep.applications.audit.case import Case
from fldrep.applications.audit.evidence import Evidence
from fldrep.attack.optimisers.levenberg_marquardt import DENSE_BYTES
from fldrep.attack.way_down import OverlapChain, way_down
from fldrep.config.attacks import AttackSettings, evaluations_of
from fldrep.config.parts import words
from fldrep.config.theory import EXACT_BYTES, ROWS_BY_UNKNOWN
from fldrep.derivatives.layer import NoRule
from fldrep.derivatives.layerwise import layerwise
from fldrep.derivatives.update_jacobian import PUSHED_AT_ONCE

RATE = 6e10  # operations a second that a plan counts on
OVERRUN = 2.0  # times the budget after which what is left is cut
CALL = 4e8  # operations that one evaluation of the gradient costs besides its arithmetic
ENTRY = 1e3  # operations that each parameter costs it, what memory takes: ResNet-18 is bound by that
AUTOGRAD = 1.5  # times that, where autograd differentiates
PASSES = 4  # forward passes that a gradient and its pullback take
PUSH = 16  # forward passes in float32 that one push in float64 takes
SPECTRA = 14  # times unknowns^3: what floors and rank take of a Gram matrix
POOLED = 800  # forward passes that the closed form takes through max-pools: 50 s of ConvNet-64, where 16 took 20 to 64


@dataclass(frozen=True)
class Costs:
    """Operations of the parts of one audit: `forward` of all images, `call`, `entries` not zero, `unknowns`.

    `call`: what one evaluation of the gradient costs besides its arithmetic; more where the layers have no rules.
    """

    forward: float
    call: float
    entries: int
    unknowns: int
    pools: bool

    @classmethod
    def of(cls, case: Case, evidence: Evidence) -> "Costs":
        """Counted by one forward pass."""
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            case.model(torch.zeros(1, *case.shape, dtype=case.model.head.weight.dtype))
        forward = max(counter.get_total_flops(), 1) * case.total * case.steps
        try:
            pools = isinstance(way_down(case.model, case.shape), OverlapChain)
        except NoRule:
            pools = False
        slow = case.local is not None or layerwise(case.model, case.shape) is None
        call = (CALL + ENTRY * evidence.entries) * case.steps * (AUTOGRAD if slow else 1)
        return cls(forward, call, max(1, evidence.nonzero), case.unknowns, pools)

    @property
    def evaluation(self) -> float:
        """One distance and its derivative by the images."""
        return PASSES * self.forward + self.call

    @property
    def pushes(self) -> float:
        """The derivative along each unknown."""
        return PUSH * self.forward * self.unknowns + self.call * self.unknowns / PUSHED_AT_ONCE / 2

    @property
    def jacobian(self) -> float:
        """The Jacobian of the update by the images, J'J, and one factorisation."""
        algebra = 2 * self.entries * self.unknowns**2 + 2 * self.unknowns**3
        return self.pushes + algebra

    @property
    def spectrum(self) -> float:
        """Rank and floors of one update."""
        held = 8 * self.entries * self.unknowns <= EXACT_BYTES
        rows = self.entries if held else ROWS_BY_UNKNOWN * self.unknowns
        mixed = 0 if held else 4 * self.entries * self.unknowns
        algebra = rows * self.unknowns**2 + SPECTRA * self.unknowns**3 + mixed
        return self.pushes + algebra

    def fixed(self, settings: AttackSettings) -> float:
        """What an attack costs without a step."""
        if words("optimiser", settings.optimiser).get("whole"):
            return POOLED * self.forward if self.pools else 2 * self.jacobian
        return self.jacobian if words("optimiser", settings.optimiser).get("least_squares") else self.evaluation

    def step(self, settings: AttackSettings) -> float:
        """What one of its steps costs; 0 where it takes none of its own."""
        known = words("optimiser", settings.optimiser)
        if known.get("whole"):
            return 0.0
        if known.get("least_squares") and 8 * self.entries * self.unknowns <= DENSE_BYTES:
            return self.jacobian
        return self.evaluation * evaluations_of(settings)


def evaluations(settings: AttackSettings, steps: int) -> int:
    """How often an attack evaluates the gradient in so many of its steps."""
    return steps * evaluations_of(settings)


def seconds(operations: float) -> float:
    """What operations take at the fixed rate."""
    return operations / RATE


def in_words(operations: float) -> str:
    """The same for a reader, in seconds, to two digits.

    >>> in_words(RATE * 1234), in_words(RATE / 8)
    ('1200 s', '0.12 s')
    """
    return f"{float(f'{seconds(operations):.2g}'):g} s"


class Overrun(Exception):
    """The time of a plan is over twofold."""


class Deadline(TorchFunctionMode):
    """Raises `Overrun` at the first operation of torch after so many seconds of this process on the processor."""

    def __init__(self, seconds: float):
        super().__init__()
        self.end = time.process_time() + seconds

    @property
    def over(self) -> bool:
        """Whether the time is over."""
        return time.process_time() > self.end

    def __torch_function__(self, func, types, args=(), kwargs=None):  # noqa: D105
        if self.over:
            raise Overrun
        return func(*args, **(kwargs or {}))
