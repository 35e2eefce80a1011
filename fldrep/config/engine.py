"""How attacks are computed."""

from collections.abc import Callable
from typing import Annotated, Any, Literal

from pydantic import ValidationError, WrapValidator

from fldrep.config.section import Positive, Section, Threads, option


def _number_or_auto(value: Any, check: Callable[[Any], Any]) -> Any:
    try:
        return check(value)
    except ValidationError:
        raise ValueError(f"{value!r}: Input should be a whole number from 1, or auto") from None


Chunk = Annotated[Positive | Literal["auto"], WrapValidator(_number_or_auto)]


class EngineSettings(Section):
    """How attacks are computed."""

    device: Literal["auto", "cpu", "cuda"] = option("auto", "where tensors live; auto takes a GPU if there is one")
    threads: Threads = option(1, "torch threads a job", unit="threads")
    targets_per_job: Positive = option(
        8, "targets one attack job works on; a multiple of the images an update holds", unit="targets"
    )
    problems_at_once: Chunk = option(
        64,
        "updates x restarts worked at once; part of what makes a float32 result. auto: as many as fit into the memory"
        " free when a job begins; the table says how many, and that number gives the same result again",
        unit="problems",
    )
    tf32: bool = option(False, "allow TensorFloat-32 on a GPU")
