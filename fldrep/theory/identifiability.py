"""What an update determines of the images behind it, without any attack.

Let J (M, P) be the Jacobian of the M entries that are sent by the P pixels, at the image. Its rank says in how many
directions an image can be moved without the update noticing: of P - rank, to first order. A public mask takes rows of J
away. The rank counts singular values above a threshold relative to the largest, so it is a statement on precision, too;
with noise of covariance N on the update, and a normal prior of covariance C on the image, the linearised problem has
the posterior covariance (J' N^-1 J + C^-1)^-1. Its trace over P is the `floor`: the mean squared error a pixel that is
left, in the units of the network's input. It is local, for known labels, and no bound on attackers who know more of
images than the prior says. A floor far below the error of what an attack found says that the attack is what is short.

Two priors: `white`, pixels are independent, and `spectral`, natural images have a spectrum of 1/f and weak colours.
Both have the same variance a pixel.

J's singular values come from J' J, in float64, which resolves them down to 1e-8 of the largest; what is below 1e-5 is
measured once more, in the directions found. For large networks J is sketched: its rows are mixed at random into a few
times P. The rank then is that of the mixture, and the floor is corrected for the mixture's spread by its expectation.

Sources: Hannun et al. 2021, arXiv:2102.11673 (Fisher information loss); Zhu and Blaschko 2021, arXiv:2010.07733 (rank
analysis); Dereziński et al. 2020, arXiv:2007.01327 (unbiased inverses from sketches).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor, nn

from fldrep.arguments import check_above_zero, refuse
from fldrep.config.theory import EXACT_BYTES, ROWS_BY_UNKNOWN
from fldrep.derivatives.layerwise import gradient_map
from fldrep.derivatives.network import Network
from fldrep.derivatives.trust import exact_copy
from fldrep.derivatives.update_jacobian import Exact, SentGradient, Sketch
from fldrep.models.face import clients_of, with_inner_names
from fldrep.models.model import Model
from fldrep.models.updates import LocalSteps, as_batches, client_update
from fldrep.theory.priors import spectral_basis

if TYPE_CHECKING:
    import pandas as pd

THRESHOLD = 1e-6  # of the largest singular value: what is above counts for the rank
RESOLVED = 1e-10  # of the largest eigenvalue of J' J: what is below is measured once more
LEAST_ROWS = 3400  # of a sketch
Method = Literal["auto", "exact", "sketch"]


@dataclass(frozen=True)
class Identifiability:
    """What N updates determine of the images behind them: tensors (N,), on the CPU.

    `rank` of J and `unknowns`, the pixels of an update (int64); `undetermined`: the share of them that J does not see;
    `sigma_min` and `sigma_median` of J's singular values, in gradient entries a unit of the network's input; `floor`,
    and `floor_spectral` with the other prior: mean squared error a pixel that the noise leaves; NaN without noise.
    `threshold` is relative to the largest singular value; `method` is `exact` or `sketch`.
    """

    rank: Tensor
    unknowns: Tensor
    undetermined: Tensor
    sigma_min: Tensor
    sigma_median: Tensor
    floor: Tensor
    floor_spectral: Tensor
    threshold: float
    method: str

    @classmethod
    def of(cls, each: list[Spectrum], method: str) -> Identifiability:
        """Those of several updates together."""
        counts = {name: torch.tensor([getattr(one, name) for one in each]) for name in ("rank", "unknowns")}
        values = {
            name: torch.tensor([getattr(one, name) for one in each], dtype=torch.float64)
            for name in ("undetermined", "sigma_min", "sigma_median", "floor", "floor_spectral")
        }
        return cls(**counts, **values, threshold=THRESHOLD, method=method)

    def to_frame(self) -> pd.DataFrame:
        """A row an update, columns by the names above."""
        import pandas as pd

        values = {one.name: getattr(self, one.name) for one in fields(self)}
        return pd.DataFrame({name: one.numpy() if isinstance(one, Tensor) else one for name, one in values.items()})


@dataclass(frozen=True)
class Spectrum:
    """What one update determines; see `Identifiability`."""

    rank: int
    unknowns: int
    sigma_min: float
    sigma_median: float
    floor: float
    floor_spectral: float
    method: str

    @property
    def undetermined(self) -> float:
        """The share of the unknowns beyond the rank."""
        return 1 - self.rank / self.unknowns


def identifiability(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    update: Mapping[str, Tensor] | None = None,
    noise_std: float | None = None,
    prior_std: float = 1.0,
    *,
    rounding: bool = False,
    method: Method = "auto",
) -> Identifiability:
    """What N updates determine of the images behind them, whatever an attack makes of it.

    Shapes: images (N, C, H, W), labels (N,): one update an image; images (N, B, C, H, W), labels (N, B): one a batch.
    Args: model: as for `client_update`; update: what is sent, {name: (N, *shape)}, whose zeros are the public mask;
    undefended if not given; noise_std: standard deviation of independent normal noise on each entry sent; prior_std:
    that of a pixel, in the network's input space, before anything is sent; rounding: count the update's own rounding as
    noise, too; method: `exact`, `sketch`, or `auto`, which sketches where the Jacobian takes more than 6 GiB.
    Errors: `ConfigError` naming the argument.
    """
    taken, images, labels = clients_of(model, images, labels)
    sent = client_update(taken, images, labels) if update is None else with_inner_names(taken, update)
    clients = len(next(iter(sent.values())))
    if clients != len(images):
        refuse("update", f"{clients} updates", f"one for each of the {len(images)} of images")
    noise_std = None if noise_std is None else check_above_zero("noise_std", noise_std)
    prior_std = check_above_zero("prior_std", prior_std)
    if method not in ("auto", "exact", "sketch"):
        refuse("method", method, "'auto', 'exact' or 'sketch'")
    images, labels = as_batches(images, labels)
    found = []
    for number in range(len(images)):
        own = {name: value[number] for name, value in sent.items()}
        kept = None if update is None else {name: value != 0 for name, value in own.items()}
        noise = noise_on(own, noise_std or 0.0, rounding)
        found.append(
            spectrum_of(taken, images[number], labels[number], kept, noise=noise, prior_std=prior_std, method=method)
        )
    methods = {one.method for one in found}
    return Identifiability.of(found, methods.pop() if len(methods) == 1 else "sketch")


def spectrum_of(
    model: Model,
    images: Tensor,
    labels: Tensor,
    kept: Mapping[str, Tensor] | None = None,
    *,
    noise: Mapping[str, float] | None = None,
    prior_std: float = 1.0,
    clip: float | None = None,
    local: LocalSteps | None = None,
    method: Method = "auto",
) -> Spectrum:
    """What one update determines. Shapes: images (B, C, H, W), labels (B,).

    Args: kept: {name: (*shape) bool}, the entries that are sent, all if not given; noise: the standard deviation of
    each tensor's entries; clip: the L2 norm that the update is scaled down to; local: several steps of SGD.
    """
    sent = sent_gradient(model, images, labels, kept, clip, local)
    return spectrum_in(jacobian_of(sent, weights_by(noise, sent.names), method), prior_std)


def sent_gradient(
    model: Model,
    images: Tensor,
    labels: Tensor,
    kept: Mapping[str, Tensor] | None = None,
    clip: float | None = None,
    local: LocalSteps | None = None,
) -> SentGradient:
    """What the Jacobian of one update is taken of, in float64; arguments as for `spectrum_of`."""
    network = exact_copy(Network.of(model))
    images = images.to(network.head.weight)
    soft = nn.functional.one_hot(labels, network.head.out_features).to(images)
    shapes = {name: value.shape for name, value in model.named_parameters()}
    gradients = gradient_map(network, tuple(images.shape[1:]), local)
    return SentGradient.of(gradients, images, soft, shapes, kept, clip)


def weights_by(noise: Mapping[str, float] | None, names: list[str]) -> Tensor:
    """Weighings of an update's tensors, (1 or 2, T): as they are, and by the noise on them, if any."""
    weights = torch.ones(1, len(names), dtype=torch.float64)
    if noise is None:
        return weights
    return torch.cat([weights, torch.tensor([[1 / noise[name] for name in names]]).to(weights)])


def spectrum_in(jacobian: Exact | Sketch, prior_std: float) -> Spectrum:
    """What a Jacobian with the weighings of `weights_by` says."""
    plain, *weighed = jacobian.grams()
    sigma = singular_values(jacobian, 0, plain)
    floors = floors_of(jacobian, weighed[0], prior_std) if weighed else (math.nan, math.nan)
    rank = int((sigma > THRESHOLD * sigma.max()).sum())
    return Spectrum(rank, len(sigma), float(sigma.min()), float(sigma.median()), *floors, jacobian.method)


def jacobian_of(sent: SentGradient, weights: Tensor, method: Method) -> Exact | Sketch:
    """J as it is, or a sketch of it where it is too large."""
    rows = max(LEAST_ROWS, ROWS_BY_UNKNOWN * sent.unknowns)
    large = 8 * sent.entries * sent.unknowns > EXACT_BYTES
    if method == "sketch" or (method == "auto" and large):
        return Sketch.of(sent, weights, rows, torch.Generator().manual_seed(0))
    return Exact(sent, weights)


def singular_values(jacobian: Exact | Sketch, which: int, gram: Tensor) -> Tensor:
    """Singular values of a weighing of J, ascending. Shape: (P, P) -> (P,)."""
    values = torch.linalg.eigvalsh(gram)
    return values.sqrt() if is_resolved(values) else decomposition(jacobian, which, gram)[0].sort().values


def is_resolved(values: Tensor) -> bool:
    """Whether all eigenvalues (P,), ascending, stand out from the rounding of the largest."""
    return bool(values[0] > RESOLVED * values[-1])


def decomposition(jacobian: Exact | Sketch, which: int, gram: Tensor) -> tuple[Tensor, Tensor]:
    """Singular values, also small ones, and right singular vectors as columns. Shape: (P, P) -> (P,), (P, P).

    Squares are known to rounding of the largest one: the small ones are taken from J along their own directions.
    """
    values, vectors = torch.linalg.eigh(gram)
    small = values <= RESOLVED * values[-1]
    if small.any():
        again, turned = torch.linalg.eigh(jacobian.grams(vectors[:, small].T.contiguous(), [which])[0])
        values[small], vectors[:, small] = again, vectors[:, small] @ turned
    return values.clamp_min(0).sqrt(), vectors


# The floor -----------------------------------------------------------------------------------------------------------


def floors_of(jacobian: Exact | Sketch, gram: Tensor, prior_std: float) -> tuple[float, float]:
    """The floor under the white prior and under the spectral one, from weighing 1 of J, which is by the noise."""
    rows = jacobian.rows if isinstance(jacobian, Sketch) else None
    shape, values = jacobian.sent.images.shape, torch.linalg.eigvalsh(gram)
    one = spectral_basis(*shape[1:]).to(gram.device)
    basis = torch.block_diag(*[one] * shape[0])
    if is_resolved(values):
        factor = torch.linalg.cholesky(gram).mT
        return white_floor(values.sqrt(), prior_std, rows), spectral_floor(factor @ basis, basis, prior_std, rows)
    sigma, vectors = decomposition(jacobian, 1, gram)
    factor = sigma[:, None] * (vectors.T @ basis)
    return white_floor(sigma, prior_std, rows), spectral_floor(factor, basis, prior_std, rows)


def white_floor(sigma: Tensor, prior_std: float, rows: int | None = None) -> float:
    """Mean of 1 / (sigma^2 + 1 / s^2) over P pixels; sigma (P,) of J, or of a sketch of so many rows.

    >>> white_floor(torch.tensor([0.0, 1.0]), 1.0)
    0.75
    """
    share = share_kept(sigma, prior_std, rows)
    return float((share / (sigma.square() + share / prior_std**2)).mean())


def spectral_floor(factor: Tensor, basis: Tensor, prior_std: float, rows: int | None = None) -> float:
    """tr(T (F'F + I / s^2)^-1 T') / P with F = J T, by an orthogonal factorisation of F above I / s.

    Shapes: factor F (P, P) or any with the same F'F, basis T (P, P).
    """
    share = 1.0 if rows is None else share_kept(torch.linalg.svdvals(factor), prior_std, rows)
    prior = torch.eye(len(basis), dtype=factor.dtype, device=factor.device) * (math.sqrt(share) / prior_std)
    triangle = torch.linalg.qr(torch.cat([factor, prior]), mode="r").R
    spread = torch.linalg.solve_triangular(triangle, basis, upper=True, left=False)
    return share * float(spread.square().sum()) / len(basis)


def share_kept(sigma: Tensor, prior_std: float, rows: int | None) -> float:
    """What a sketch of n rows leaves of J' J beside a prior, on average: k = 1 - d / n, d the directions it resolves.

    The inverse of a sketched k J'J + k / s^2 is that of J'J + 1 / s^2 over k, in expectation; d follows from sigma (P,)
    of the sketch itself. 1 without a sketch.
    """
    if rows is None:
        return 1.0
    low, high = 0.0, 1.0
    for _ in range(60):
        share = (low + high) / 2
        resolved = float((sigma.square() / (sigma.square() + share / prior_std**2)).sum())
        low, high = (share, high) if share < 1 - resolved / rows else (low, share)
    return (low + high) / 2


# Noise ---------------------------------------------------------------------------------------------------------------


def noise_on(
    sent: Mapping[str, Tensor], std: float = 0.0, rounding: bool = False, law: str = "gaussian"
) -> dict[str, float] | None:
    """The standard deviation of what is added to each tensor's entries; None where that is nothing.

    Laplace noise counts as the normal noise of the same Fisher information, which has half its variance. Args: sent:
    {name: (*shape)}, whose entries' size decides their rounding.
    """
    drawn = std / math.sqrt(2) if law == "laplace" else std
    found = {name: math.hypot(drawn, rounding_of(value) if rounding else 0.0) for name, value in sent.items()}
    largest = max(found.values())  # also for a tensor of zeros, of which nothing is learned
    return {name: value or largest for name, value in found.items()} if largest else None


def rounding_of(values: Tensor) -> float:
    """Standard deviation of an entry's rounding: one unit in the last place of a tensor's root mean square.

    Measured on float32 gradients of LeNet and ConvNet against float64: 0.3 to 5 times that, the more the lower a layer.
    """
    arrived = values[values != 0].double()
    return torch.finfo(values.dtype).eps * float(arrived.square().mean().sqrt()) if len(arrived) else 0.0
