"""How strongly each feature depends on the image: ||dr_i/dX||_2, exactly or estimated.

Three estimators of the same (N, F) numbers: `exact` differentiates every feature, `jvp` is a random sketch, `variance`
one pass that ignores correlations. Batch norm uses its running statistics throughout, so images do not mix. The
README in this folder says what each costs and how well it agrees with the exact one.
"""

from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn
from torch.func import vjp, vmap

from fldrep.derivatives.autodiff import pushed
from fldrep.derivatives.layer import NoRule
from fldrep.derivatives.network import Network, fixed_statistics
from fldrep.derivatives.rows import Patches, Row, windowed_rows
from fldrep.derivatives.trust import exact_copy, rules_of, tell_once
from fldrep.derivatives.variance import features_and_variances
from fldrep.errors import named
from fldrep.functional import differentiable


def feature_norms(model, images: Tensor, how: str = "exact", **options) -> Tensor:
    """||dr_i/dX||_2 of every feature of every image. Shape: (N, C, H, W) -> (N, F).

    Args: how: `exact` (option `chunk`), `jvp` (options `directions`, `generator`, `chunk`), or `variance`, which is
    `jvp` for a network that holds a layer it has no rule for, and says so once.
    Errors: `UnknownName` for another `how`; `ConfigError` for batch norm without running statistics.
    """
    return features_and_norms(model, images, how, **options)[1]


def features_and_norms(model, images: Tensor, how: str = "exact", **options) -> tuple[Tensor, Tensor]:
    """r and `feature_norms` in one pass, without recording gradients. Shape: (N, C, H, W) -> (N, F) twice."""
    with torch.no_grad(), fixed_statistics(model):
        return named("estimator", how, ESTIMATORS)(Network.of(model), images, **options)


def live_features(model, images: Tensor) -> Tensor:
    """Whether ||dr_i/dX|| > 0, from one random direction. Shape: (N, C, H, W) -> (N, F) bool."""
    with torch.no_grad(), fixed_statistics(model):
        return _pushed(Network.of(model), images, _directions(images, 1, None))[1][0] != 0


def full_jacobian(model, image: Tensor, chunk: int | None = None) -> Tensor:
    """dr/dX of one image in float64. Shape: (C, H, W) -> (F, C*H*W)."""
    exact, image = exact_copy(Network.of(model)), image.double()
    with torch.no_grad(), fixed_statistics(exact):
        features, rows = _rows(exact, image.unsqueeze(0), chunk)
        jacobian = image.new_zeros(features.shape[1], *image.shape)
        for _, feature, part in rows:
            height, width = part.values.shape[2:]
            jacobian[feature, :, part.top : part.top + height, part.left : part.left + width] = part.values
    return jacobian.flatten(1)


# Estimators: (network, images, options) -> r and ||dr_i/dX||, (N, F) each -------------------------------------------


def _exact(network: Network, images: Tensor, chunk: int | None = None) -> tuple[Tensor, Tensor]:
    """One vector-Jacobian product a feature, `chunk` of them at once (as many as fit the cache if not given)."""
    features, rows = _rows(network, images, chunk)
    norms = torch.zeros_like(features)
    for image, feature, part in rows:
        norms[image, feature] = torch.linalg.vector_norm(part.values, dim=(1, 2, 3))
    return features, norms


def _sketched(
    network: Network, images: Tensor, directions: int = 32, generator: torch.Generator | None = None, chunk: int = 16
) -> tuple[Tensor, Tensor]:
    """Root mean square of J v over random directions v ~ N(0, I), because E[(J v)_i^2] = ||J_i||^2.

    The relative standard deviation of a norm is about 1 / sqrt(2 directions). All images share the directions, so that
    an estimate does not depend on an image's neighbours; without a generator they are those of seed 0.
    """
    drawn = _directions(images, directions, generator)
    parts = [_pushed(network, images, part) for part in drawn.split(chunk)]
    return parts[0][0], (sum(changes.square().sum(0) for _, changes in parts) / directions).sqrt()


def _propagated(network: Network, images: Tensor) -> tuple[Tensor, Tensor]:
    """A variance of 1 on every pixel, pushed through the network."""
    try:
        features, variances = features_and_variances(network, images)
    except NoRule as reason:
        tell_once(network, reason, "norms are estimated by `jvp` instead of `variance`")
        return _sketched(network, images)
    return features, variances.sqrt()


ESTIMATORS: dict[str, Callable[..., tuple[Tensor, Tensor]]] = {
    "exact": _exact,
    "jvp": _sketched,
    "variance": _propagated,
}

# Rows and products of the Jacobian -----------------------------------------------------------------------------------


def _rows(network: Network, images: Tensor, chunk: int | None) -> tuple[Tensor, Iterator[Row]]:
    try:
        return windowed_rows(rules_of(network, images.shape[1:]), images, chunk)
    except NoRule as reason:
        tell_once(network, reason)
        return _rows_by_autodiff(network, images, chunk or 64)


def _rows_by_autodiff(network: Network, images: Tensor, chunk: int) -> tuple[Tensor, Iterator[Row]]:
    """Rows of any network, image by image; those of dead features are left out."""

    def rows() -> Iterator[Row]:
        live = live_features(network, images)
        for number, image in enumerate(images):
            with differentiable():
                one, pull = vjp(lambda x: network.represent(x.unsqueeze(0)).squeeze(0), image)
            for wanted in live[number].nonzero().squeeze(1).split(chunk):
                one_hot = nn.functional.one_hot(wanted, len(one)).to(one.dtype)
                yield torch.full_like(wanted, number), wanted, Patches(vmap(pull)(one_hot)[0], 0, 0, wanted)

    return network.represent(images), rows()


def _directions(images: Tensor, count: int, generator: torch.Generator | None) -> Tensor:
    """Draws from N(0, I), made on the CPU and moved. Shape: (count, C, H, W)."""
    generator = generator or torch.Generator().manual_seed(0)
    return torch.randn(count, *images.shape[1:], generator=generator, dtype=images.dtype).to(images.device)


def _pushed(network: Network, images: Tensor, directions: Tensor) -> tuple[Tensor, Tensor]:
    """r and how it changes along each direction. Shapes: (N, C, H, W), (K, C, H, W) -> (N, F), (K, N, F)."""

    def push(direction: Tensor) -> tuple[Tensor, Tensor]:
        return pushed(network.represent, (images,), (direction.expand_as(images),))

    return vmap(push, out_dims=(None, 0))(directions)
