"""How strongly each feature depends on the image: ||dr_i/dX||_2, exactly or estimated.

Three estimators of the same (N, F) numbers: `exact` differentiates every feature, `jvp` is a random sketch, `variance`
one pass that ignores correlations. Batch norm uses its running statistics throughout, so images do not mix. The
README in this folder says what each costs and how well it agrees with the exact one.
"""

import copy
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.func import jvp, vjp, vmap

from fldrep.defenses.rows import Patches, Row, layers_of, windowed_rows
from fldrep.defenses.variance import features_and_variances
from fldrep.errors import named
from fldrep.models.model import Model


@contextmanager
def fixed_statistics(model: nn.Module) -> Iterator[None]:
    """Batch norm uses its running statistics inside the block, and is left as it was."""
    training = [m for m in model.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm) and m.training]
    for module in training:
        module.eval()
    try:
        yield
    finally:
        for module in training:
            module.train()


def feature_norms(model: Model, images: Tensor, how: str = "exact", **options) -> Tensor:
    """||dr_i/dX||_2 of every feature of every image. Shape: (N, C, H, W) -> (N, F).

    Args: how: `exact` (option `chunk`), `jvp` (options `directions`, `generator`, `chunk`), or `variance`.
    Errors: `UnknownName` for another `how`; `ConfigError` where `variance` meets a module it has no rule for.
    """
    return features_and_norms(model, images, how, **options)[1]


def features_and_norms(model: Model, images: Tensor, how: str = "exact", **options) -> tuple[Tensor, Tensor]:
    """r and `feature_norms` in one pass, without recording gradients. Shape: (N, C, H, W) -> (N, F) twice."""
    with torch.no_grad(), fixed_statistics(model):
        return named("estimator", how, ESTIMATORS)(model, images, **options)


def live_features(model: Model, images: Tensor) -> Tensor:
    """Whether ||dr_i/dX|| > 0, from one random direction. Shape: (N, C, H, W) -> (N, F) bool."""
    with torch.no_grad(), fixed_statistics(model):
        return _pushed(model, images, _directions(images, 1, None))[1][0] != 0


def full_jacobian(model: Model, image: Tensor, chunk: int | None = None) -> Tensor:
    """dr/dX of one image in float64. Shape: (C, H, W) -> (F, C*H*W)."""
    exact, image = copy.deepcopy(model).double(), image.double()
    with torch.no_grad(), fixed_statistics(exact):
        features, rows = _rows(exact, image.unsqueeze(0), chunk)
        jacobian = image.new_zeros(features.shape[1], *image.shape)
        for _, feature, part in rows:
            height, width = part.values.shape[2:]
            jacobian[feature, :, part.top : part.top + height, part.left : part.left + width] = part.values
    return jacobian.flatten(1)


# Estimators: (model, images, options) -> r and ||dr_i/dX||, (N, F) each ----------------------------------------------


def _exact(model: Model, images: Tensor, chunk: int | None = None) -> tuple[Tensor, Tensor]:
    """One vector-Jacobian product a feature, `chunk` of them at once (as many as fit the cache if not given)."""
    features, rows = _rows(model, images, chunk)
    norms = torch.zeros_like(features)
    for image, feature, part in rows:
        norms[image, feature] = torch.linalg.vector_norm(part.values, dim=(1, 2, 3))
    return features, norms


def _sketched(
    model: Model, images: Tensor, directions: int = 32, generator: torch.Generator | None = None, chunk: int = 16
) -> tuple[Tensor, Tensor]:
    """Root mean square of J v over random directions v ~ N(0, I), because E[(J v)_i^2] = ||J_i||^2.

    The relative standard deviation of a norm is about 1 / sqrt(2 directions). All images share the directions, so that
    an estimate does not depend on an image's neighbours; without a generator they are those of seed 0.
    """
    drawn = _directions(images, directions, generator)
    parts = [_pushed(model, images, part) for part in drawn.split(chunk)]
    return parts[0][0], (sum(changes.square().sum(0) for _, changes in parts) / directions).sqrt()


def _propagated(model: Model, images: Tensor) -> tuple[Tensor, Tensor]:
    """A variance of 1 on every pixel, pushed through the network."""
    features, variances = features_and_variances(model.body, images)
    return features, variances.sqrt()


ESTIMATORS: dict[str, Callable[..., tuple[Tensor, Tensor]]] = {
    "exact": _exact,
    "jvp": _sketched,
    "variance": _propagated,
}

# Rows and products of the Jacobian -----------------------------------------------------------------------------------


def _rows(model: Model, images: Tensor, chunk: int | None) -> tuple[Tensor, Iterator[Row]]:
    layers = layers_of(model.body)
    if layers is None:
        return _rows_by_autodiff(model, images, chunk or 64)
    return windowed_rows(layers, images, chunk)


def _rows_by_autodiff(model: Model, images: Tensor, chunk: int) -> tuple[Tensor, Iterator[Row]]:
    """Rows of any network, image by image; those of dead features are left out."""

    def rows() -> Iterator[Row]:
        live = live_features(model, images)
        for number, image in enumerate(images):
            one, pull = vjp(lambda x: model.features(x.unsqueeze(0)).squeeze(0), image)
            for wanted in live[number].nonzero().squeeze(1).split(chunk):
                one_hot = nn.functional.one_hot(wanted, len(one)).to(one.dtype)
                yield torch.full_like(wanted, number), wanted, Patches(vmap(pull)(one_hot)[0], 0, 0, wanted)

    return model.features(images), rows()


def _directions(images: Tensor, count: int, generator: torch.Generator | None) -> Tensor:
    """Draws from N(0, I), made on the CPU and moved. Shape: (count, C, H, W)."""
    generator = generator or torch.Generator().manual_seed(0)
    return torch.randn(count, *images.shape[1:], generator=generator, dtype=images.dtype).to(images.device)


def _pushed(model: Model, images: Tensor, directions: Tensor) -> tuple[Tensor, Tensor]:
    """r and how it changes along each direction. Shapes: (N, C, H, W), (K, C, H, W) -> (N, F), (K, N, F)."""

    def push(direction: Tensor) -> tuple[Tensor, Tensor]:
        return jvp(model.features, (images,), (direction.expand_as(images),))

    with warnings.catch_warnings():  # torch's forward mode scripts its own rules when first used
        warnings.filterwarnings("ignore", "`torch.jit.script` is deprecated", FutureWarning)
        features, changes = vmap(push, out_dims=(None, 0))(directions)
    return features, changes
