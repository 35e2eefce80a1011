"""What the gradient of the last layer tells about a batch: its classes, and what the network made of each of them.

For one image with logits z = W r + b, dL/dW[c] = delta_c r and dL/db[c] = delta_c with delta = softmax(z) - onehot. So
each row of dL/dW over its entry of dL/db is the representation r, exactly. For a batch of B images it is a weighted
mean of all B representations,

    dL/dW[c] / dL/db[c] = sum_j delta_jc r_j / sum_j delta_jc,

where images of class c weigh delta = -(1 - p), and all others +p: a mean of the class only as far as the network gives
it no probability on other images. The more classes a batch mixes and the flatter the softmax, the more the others show
through with the opposite sign; where both sides cancel (dL/db[c] near 0) the quotient explodes. A class that is absent
gets a mean of all images, which tells nothing about it, so only present classes are scored.

A high correlation alone proves little: representations share a large common part (features of a sigmoid or ReLU network
are all positive, and some are large for every image). So each row also says what an attacker reaches without any
gradient, with the mean representation of public images in the place of the inferred one, and what remains of the
correlation after that common mean is taken off both sides.

Source: Sun et al. 2021, arXiv:2012.06043, section on representation leakage.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product

import torch
from torch import Tensor

from fldrep.config.defenses import DefenseSettings
from fldrep.defenses.client import Client
from fldrep.defenses.defended import defended_update, defense_of
from fldrep.errors import ConfigError
from fldrep.models.model import Model
from fldrep.models.normalisation import Normalisation
from fldrep.models.updates import HEAD_BIAS, HEAD_WEIGHT

# Positions of the images of (batch number, batch size); the generator of the client's noise for them.
Draw = Callable[[int, int], Tensor]
Noise = Callable[[int, int], torch.Generator]


def leakage_rows(
    model: Model,
    images: Tensor,
    labels: Tensor,
    defense: DefenseSettings,
    *,
    public: tuple[Tensor, Tensor],
    batch_sizes: list[int],
    batches: int,
    draw: Draw,
    noise: Noise,
    normalisation: Normalisation,
    progress: Callable[[Sequence], Iterable] = iter,
) -> list[dict]:
    """One row a batch: how well its class-wise representations and its labels can be read from the update it sends.

    Shapes: images (M, C, H, W), the network's input, and labels (M,).
    Args: public: images (P, C, H, W) and labels (P,) that the attacker holds, every class among them; draw: positions
    in `images` of a batch; noise: what the defense draws from; both by (batch number, batch size); normalisation: of
    the images; progress: gives the batches back, and may tell of each.
    Errors: `ConfigError` where `draw` gives another number of images than asked for.
    """
    classes = model.head.out_features
    common, habits = features_of(model, public[0]).mean(0), habits_of(model, *public)
    rows = []
    for size, batch in progress([*product(batch_sizes, range(batches))]):
        chosen = draw(batch, size)
        if len(chosen) != size:
            raise ConfigError(f"batch_size={size}: batch {batch} was given {len(chosen)} images")
        client = Client(model, images[chosen], labels[chosen], noise(batch, size), normalisation=normalisation)
        sent = defended_update(defense_of(defense), client)
        truth = class_means(features_of(model, images[chosen]), labels[chosen], classes)
        scores = representation_scores(inferred_representations(sent)[0], truth, common, sent)
        counts = torch.bincount(labels[chosen], minlength=classes)
        rows.append(
            {"batch_size": size, "batch": batch, "classes_present": int((counts > 0).sum())}
            | scores
            | label_scores(sent, counts, habits)
        )
    return rows


def features_of(model: Model, images: Tensor, chunk: int = 256) -> Tensor:
    """Representations, without recording gradients. Shape: (N, C, H, W) -> (N, F)."""
    with torch.no_grad():
        return torch.cat([model.features(part) for part in images.split(chunk)])


# Representations -----------------------------------------------------------------------------------------------------


def inferred_representations(update: Mapping[str, Tensor]) -> Tensor:
    """Row c of dL/dW over dL/db[c] of the last layer; NaN where dL/db[c] is 0.

    Shapes: {name: (N, *)} -> (N, classes, F). Errors: `ConfigError` where the last layer has no bias.

    >>> update = {"head.weight": torch.tensor([[[-2.0, -4.0], [2.0, 4.0]]]), "head.bias": torch.tensor([[-2.0, 2.0]])}
    >>> inferred_representations(update)
    tensor([[[1., 2.],
             [1., 2.]]])
    """
    if HEAD_BIAS not in update:
        raise ConfigError(
            f"representations are read off {HEAD_WEIGHT} over {HEAD_BIAS}, and the update has no such bias"
        )
    scale = update[HEAD_BIAS].unsqueeze(-1)
    return torch.where(scale != 0, update[HEAD_WEIGHT] / scale, torch.nan)


def class_means(features: Tensor, labels: Tensor, classes: int) -> Tensor:
    """Mean representation of each class; NaN for an absent one. Shapes: (B, F), (B,) -> (classes, F).

    >>> class_means(torch.tensor([[1.0, 2.0], [3.0, 4.0]]), torch.tensor([1, 1]), 2)
    tensor([[nan, nan],
            [2., 3.]])
    """
    members = torch.nn.functional.one_hot(labels, classes).to(features.dtype)
    return (members.T @ features) / members.sum(0).unsqueeze(1)


def representation_scores(inferred: Tensor, truth: Tensor, common: Tensor, sent: Mapping[str, Tensor]) -> dict:
    """Correlations of inferred and true class means, each a mean over the classes where it is defined, None if nowhere.

    `correlation` over all features; `correlation_kept` over those whose column of dL/dW was not pruned in every class;
    `correlation_public`: the common mean instead of the inferred one, so what no gradient is needed for;
    `correlation_centred`: with the common mean taken off both sides.
    Shapes: inferred and truth (classes, F), common (F,), sent {name: (1, *shape)}.
    """
    present = ~truth.isnan().any(1)
    guess, truth = inferred[present], truth[present]
    kept = (sent[HEAD_WEIGHT][0] != 0).any(0)
    return {
        "correlation": mean_defined(correlation(guess, truth)),
        "correlation_kept": mean_defined(correlation(guess[:, kept], truth[:, kept])),
        "correlation_centred": mean_defined(correlation(guess - common, truth - common)),
        "correlation_public": mean_defined(correlation(common.expand_as(truth), truth)),
    }


def correlation(first: Tensor, second: Tensor) -> Tensor:
    """Pearson's correlation of pairs of rows; NaN where a row is constant or not finite. Shape: (N, F) twice -> (N,).

    >>> correlation(torch.tensor([[1.0, 2.0, 3.0], [1.0, 1.0, 1.0]]), torch.tensor([[6.0, 4.0, 2.0], [1.0, 2.0, 3.0]]))
    tensor([-1., nan])
    """
    first, second = (rows.double() - rows.double().mean(1, keepdim=True) for rows in (first, second))
    norms = torch.linalg.vector_norm(first, dim=1) * torch.linalg.vector_norm(second, dim=1)
    return ((first * second).sum(1) / norms).to(torch.get_default_dtype())


def mean_defined(values: Tensor) -> float | None:
    """Mean over the finite values, None if there is none."""
    finite = values[values.isfinite()]
    return float(finite.mean()) if len(finite) else None


# Labels --------------------------------------------------------------------------------------------------------------


def evenly_spread_counts(update: Mapping[str, Tensor], batch: int) -> Tensor:
    """How many images of each class a batch holds, read from dL/db of the last layer alone.

    (Another estimate, from weight and bias, is the attacks' `attack.labels.inferred_counts`.)

    Shape: {name: (N, *)} -> (N, classes).

    dL/db[c] is the mean softmax of class c less the class's share of the batch, so a negative one proves that the
    class is present; for one image the smallest is the label (Zhao et al. 2020, arXiv:2001.02610). How many there are
    is read as if every image missed its class by the same a and spread that evenly over the others:

        dL/db[c] = a / (classes - 1) - share_c * a * classes / (classes - 1),

    with the a for which only classes of negative gradient are present, if those k are, so that their gradients sum to
    -a (classes - k) / (classes - 1). (Wainakh et al. 2022, arXiv:2105.09369, first read numbers from these magnitudes.)
    """
    seen = update[HEAD_BIAS].double()
    classes = seen.shape[1]
    negative = seen.lt(0)
    total = -(seen * negative).sum(1, keepdim=True).clamp_max(-torch.finfo(seen.dtype).tiny)
    shares = (1 - seen * (classes - negative.sum(1, keepdim=True)) / total) / classes
    return _rounded(shares, seen, batch)


def label_scores(sent: Mapping[str, Tensor], counts: Tensor, habits: "Habits") -> dict:
    """Share of the labels found: from the gradient, with public labelled images, and by an even guess.

    Shapes: sent {name: (1, *shape)}, counts (classes,), the true ones.
    """
    batch, classes = int(counts.sum()), len(counts)
    return {
        "label_accuracy": count_accuracy(evenly_spread_counts(sent, batch)[0], counts),
        "label_accuracy_public": count_accuracy(estimated_counts(sent, batch, habits)[0], counts),
        "label_accuracy_even": count_accuracy(even_counts(batch, classes), counts),
    }


@dataclass(frozen=True)
class Habits:
    """What the network says of images of each class, measured on public labelled images.

    Shapes: means (classes, classes): row k is the mean softmax of images of class k; spread (classes, classes): the
    covariance of the softmax within a class, averaged over the classes.
    """

    means: Tensor
    spread: Tensor


def habits_of(model: Model, images: Tensor, labels: Tensor) -> Habits:
    """Measured in float64. Shapes: (P, C, H, W), (P,). Errors: `ConfigError` naming a class without an image."""
    with torch.no_grad():
        softmax = model.head(features_of(model, images)).double().softmax(1)
    classes = softmax.shape[1]
    absent = (torch.bincount(labels, minlength=classes) == 0).nonzero().flatten().tolist()
    if absent:
        raise ConfigError(f"public images: none of class {absent[0]}; the attacker's habits need every class")
    means = class_means(softmax, labels, classes)
    inside = [(softmax[labels == c] - means[c]) for c in range(classes)]
    return Habits(means, sum(rows.T @ rows / len(rows) for rows in inside) / classes)


def estimated_counts(update: Mapping[str, Tensor], batch: int, habits: Habits) -> Tensor:
    """As `evenly_spread_counts`, by an attacker who holds labelled public images.

    Shape: {name: (N, *)} -> (N, classes). The shares of the classes of least variance, rounded to whole images.
    """
    seen = update[HEAD_BIAS].double()
    return _rounded(estimated_shares(seen, batch, habits), seen, batch)


def estimated_shares(seen: Tensor, batch: int, habits: Habits) -> Tensor:
    """The linear estimate of least variance of the classes' shares s from dL/db = (means - I)^T s + the images' spread.

    Shape: (N, classes) -> same. The spread is that of a mean over the batch, and the prior is `prior_of_shares`.
    """
    classes = seen.shape[1]
    expected = (habits.means - torch.eye(classes, dtype=seen.dtype)).T
    even, prior = seen.new_full((classes,), 1 / classes), prior_of_shares(batch, classes).to(seen)
    explained = expected @ prior @ expected.T + habits.spread / batch
    # directions in which neither classes nor images differ, such as the sum over the classes, carry nothing
    gain = prior @ expected.T @ torch.linalg.pinv(explained, rtol=1e-9, hermitian=True)
    return even + (seen - expected @ even) @ gain.T


def prior_of_shares(batch: int, classes: int) -> Tensor:
    """Covariance of the classes' shares of a batch, every mixture of classes being equally likely (Dirichlet of ones).

    Shape: (classes, classes), float64.
    """
    one_image = torch.eye(classes, dtype=torch.float64) / classes - 1 / classes**2
    return one_image * (1 / batch + (1 - 1 / batch) / (classes + 1))


def even_counts(batch: int, classes: int) -> Tensor:
    """What an attacker guesses who sees nothing: equally many of each class, one more of the first. Shape: (classes,).

    >>> even_counts(5, 3)
    tensor([2, 2, 1])
    """
    return torch.full((classes,), batch // classes) + (torch.arange(classes) < batch % classes)


def _rounded(shares: Tensor, seen: Tensor, batch: int) -> Tensor:
    """Whole images: one for each class of negative gradient, the rest where most of the shares is left. Shapes: (N,
    classes).
    """
    counts = (seen.lt(0) & (seen.argsort(1).argsort(1) < batch)).long()
    rows = torch.arange(len(counts))
    for _ in range(int((batch - counts.sum(1)).max())):
        counts[rows, (shares * batch - counts).argmax(1)] += counts.sum(1) < batch
    return counts


def count_accuracy(found: Tensor, true: Tensor) -> float:
    """Share of the batch whose labels are found, as multisets. Shape: (classes,) twice, of equal sum.

    >>> count_accuracy(torch.tensor([2, 0, 2]), torch.tensor([1, 1, 2]))
    0.75
    """
    return float(torch.minimum(found, true).sum() / true.sum())
