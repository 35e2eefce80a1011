"""Whether a network can be solved for the image, layer by layer, and by which way.

Nothing here solves: every attack asks this of a network, and depends on it.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from fldrep.attack.layer_by_layer import Part, chain_of, parts_of, require_inverse
from fldrep.attack.overlaps import require_overlaps
from fldrep.derivatives.layer import NoRule
from fldrep.derivatives.layers.convolution import Convolution
from fldrep.derivatives.layers.max_pool import MaxPool
from fldrep.derivatives.layers.relu import ReLU
from fldrep.derivatives.patches import Geometry
from fldrep.models.model import Model


@dataclass(frozen=True)
class OverlapChain:
    """Layers in front of the head, and where among them a convolution's gradient may give its input away.

    `convolutions`: places among the parts, the nearest to the image first.
    """

    parts: Sequence[Part]
    convolutions: Sequence[int]

    @classmethod
    def of(cls, parts: Sequence[Part]) -> "OverlapChain":
        """Errors: `NoRule` where no convolution is such, with the last one's numbers."""
        found, reason = [], NoRule("no Conv2d")
        for at, part in enumerate(parts):
            if not isinstance(part.layer, Convolution):
                continue
            try:
                module = part.layer.module
                require_overlaps(Geometry.of(module), module.out_channels, *part.shape[1:])
                found.append(at)
            except NoRule as one:
                reason = one
        if not found:
            raise reason
        return cls(parts, found)

    def solvable_from(self, at: int) -> int:
        """Where the layers begin, up to a convolution, whose inputs can be solved for one after the other."""
        while at and _is_gone_through(self.parts[at - 1]):
            at -= 1
        return at


def _is_gone_through(part: Part) -> bool:
    if isinstance(part.layer, ReLU):
        return True
    try:
        require_inverse(part)
    except NoRule:
        return False
    return True


def way_down(model: Model, shape: tuple[int, int, int]) -> list[Part] | OverlapChain:
    """How the image is solved for: by inverses of all layers, or else from a convolution whose patches overlap.

    Errors: `NoRule` naming a layer that cannot be gone through, with its numbers.
    """
    parts = parts_of(model, shape)
    if any(isinstance(part.layer, MaxPool | ReLU) for part in parts):
        return OverlapChain.of(parts)
    return chain_of(model, shape)
