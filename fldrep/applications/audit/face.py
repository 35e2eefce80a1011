"""`fldrep.audit`: one update audited, from Python and behind the command."""

import time
import warnings
from collections.abc import Callable, Mapping
from typing import Any

from torch import nn

from fldrep.applications.audit.budget import RATE
from fldrep.applications.audit.case import Case, case_of
from fldrep.applications.audit.content import audit_with
from fldrep.applications.audit.evidence import evidence_of, require_images_told
from fldrep.applications.audit.plan import plan_of
from fldrep.applications.audit.progress import progress_of
from fldrep.applications.audit.result import Audit
from fldrep.applications.audit.work import Work
from fldrep.arguments import check_above_zero
from fldrep.machine.threads import one_thread
from fldrep.models.normalisation import Normalisation


def audit(
    model: nn.Module,
    update: Mapping[str, Any] | None = None,
    labels: Any = None,
    shape: tuple[int, int, int] | None = None,
    budget: float = 60,
    *,
    weights: Mapping[str, Any] | None = None,
    before: Mapping[str, Any] | None = None,
    after: Mapping[str, Any] | None = None,
    lr: float | None = None,
    images: int | None = None,
    clients: int = 1,
    epochs: int | None = None,
    batch_size: int | None = None,
    originals: Any = None,
    normalisation: str | Normalisation | None = None,
    seed: int = 0,
    progress: Callable | None = None,
) -> Audit:
    """What a server could learn of the images behind one update.

    Args: model: any network whose last layer is an `nn.Linear`, with the weights that the client began from; it stays
    as it is; update: {parameter: (*shape) or (1, *shape)}, tensors or arrays; or else before and after, the weights as
    the client got and sent them, with its step size lr; weights: a state dict for the model; labels: class numbers, one
    an image, where they are known; shape: (C, H, W) of an image; budget: seconds, by the plan's fixed rate; images:
    behind the update, of each of clients whose mean it is; epochs, batch_size: of the client's local steps; originals:
    the client's own images, to judge by; normalisation: as for `reconstruct`; progress: `tqdm.tqdm`, or like it.
    Computed by one thread on the CPU. Errors: `ConfigError` naming the argument.
    """
    budget = check_above_zero("budget", budget)
    given = {"weights": weights, "before": before, "after": after, "lr": lr, "epochs": epochs, "batch_size": batch_size}
    case = case_of(
        model,
        update,
        **given,
        labels=labels,
        shape=shape,
        images=images,
        clients=clients,
        originals=originals,
        normalisation=normalisation,
        seed=seed,
    )
    with one_thread(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that layers have no rules is noted
        return audit_of(case, budget, progress)


def audit_of(case: Case, budget: float, progress: Callable | None = None) -> Audit:
    """Audit a case. Args: budget: seconds at the fixed rate; progress: as for `audit`. Errors: `ConfigError`."""
    began = time.perf_counter()
    evidence = evidence_of(case)
    require_images_told(case, evidence)
    if not evidence.nonzero:
        return audit_with(case, evidence, Work(budget), began)
    plan = plan_of(case, evidence, budget)
    work = Work(budget, plan)
    with progress_of(progress, plan.operations / RATE) as bar:
        work.run(case, evidence, bar)
    return audit_with(case, evidence, work, began)
