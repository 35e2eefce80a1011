"""What is public of a defense: which tensors or columns it pruned, since they arrive as zeros."""

from collections.abc import Mapping

from torch import Tensor

from fldrep.attack.objectives import Aim, Comparison, cosine, keep, keep_all
from fldrep.attack.pullback import Gradient
from fldrep.errors import AttackRefused, named
from fldrep.models.updates import HEAD_BIAS, HEAD_WEIGHT, Update


def defended_part(seen: Mapping[str, Tensor], defended: str | None = None) -> str:
    """What is known to be pruned: `none`, `head` or `all`, as told, as the update says, or by the evidence of zeros.

    The evidence: some column of the last weight is zero in all its rows, which an undefended gradient has only where
    a feature is exactly 0.
    """
    if defended is not None:
        return named("defended part", defended, {part: part for part in ("none", "head", "all")})
    if isinstance(seen, Update):
        return seen.defended
    return "head" if bool((seen[HEAD_WEIGHT] == 0).all(1).any()) else "none"


def public_mask(preset: str, seen: Mapping[str, Tensor], defended: str | None = None) -> str:
    """What is pruned, as `defended_part` has it. Errors: `AttackRefused`, naming the preset, where nothing is."""
    where = defended_part(seen, defended)
    if where == "none":
        naive = preset.removesuffix("-masked")
        raise AttackRefused(
            f"attack {preset!r} compares what a public mask leaves, but nothing is masked; use {naive!r}"
        )
    return where


def what_survives(where: str) -> Comparison:
    """The cosine over the entries that survive the public mask. Args: where: as `defended_part` has it."""
    return Comparison({"none": keep_all, "head": masked_columns, "all": masked_entries}[where], cosine)


def masked_columns(seen: Gradient) -> Aim:
    """Compare all but the columns of the last weight that are zero in what was seen."""
    return keep(seen, {HEAD_WEIGHT: (seen[HEAD_WEIGHT] != 0).any(1, keepdim=True)})


def masked_entries(seen: Gradient) -> Aim:
    """Compare the entries that are not zero in what was seen."""
    return keep(seen, {name: value != 0 for name, value in seen.items()})


def without_head(seen: Gradient) -> Aim:
    """Compare all tensors but the last layer's, weight and bias."""
    return keep_all({name: value for name, value in seen.items() if name not in (HEAD_WEIGHT, HEAD_BIAS)})
