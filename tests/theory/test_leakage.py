"""What the last layer's gradient tells: exact for one image, a weighted mean for a batch."""

import numpy as np
import pytest
import torch
from torch import nn

from fldrep.config.defenses import defense_settings
from fldrep.errors import ConfigError
from fldrep.models.building import build_model
from fldrep.models.model import Model
from fldrep.models.normalisation import Normalisation
from fldrep.models.updates import client_update
from fldrep.theory import leakage

CLASSES = 4


def drawn(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.fixture
def lenet():
    return build_model("lenet", (1, 8, 8), CLASSES, init="uniform", dtype=torch.float64).eval()


@pytest.fixture
def batch():
    return drawn(12, 1, 8, 8), torch.arange(12) % CLASSES


def linear_model(weight, bias=None):
    """r is the image itself."""
    classes, features = weight.shape
    model = Model(nn.Flatten(), nn.Linear(features, classes).double(), (1, 1, features))
    with torch.no_grad():
        model.head.weight.copy_(weight)
        model.head.bias.copy_(torch.zeros(classes) if bias is None else bias)
    return model


def rows_of(model, images, labels, defense=None, sizes=(1, 4), **changed):
    given = {
        "public": (images, labels),
        "batch_sizes": list(sizes),
        "batches": 3,
        "draw": lambda batch, size: torch.arange(batch, batch + size),
        "noise": lambda batch, size: torch.Generator().manual_seed(batch),
        "normalisation": Normalisation((0.4,), (0.3,)),
    }
    return leakage.leakage_rows(model, images, labels, defense or defense_settings(), **{**given, **changed})


# Representations


@pytest.mark.parametrize("name", ["lenet", "convnet"])
def test_one_image_is_inferred_exactly_from_every_row(name):
    options = {"width": 2} if name == "convnet" else {}
    model = build_model(name, (1, 9, 9), CLASSES, dtype=torch.float64, **options).eval()
    images = drawn(3, 1, 9, 9)
    inferred = leakage.inferred_representations(client_update(model, images, torch.tensor([0, 1, 3])))
    expected = model.features(images).detach().unsqueeze(1).expand_as(inferred)
    torch.testing.assert_close(inferred, expected, rtol=1e-10, atol=1e-12)


def test_mixed_classes_by_hand():
    """Three classes, weights zero, p = 1/3: row 0 is (-2/3 r0 + 1/3 r1) / (-1/3) = 2 r0 - r1. The other shows."""
    model = linear_model(torch.zeros(3, 2))
    images = torch.tensor([[2.0, 0.0], [0.0, 4.0]], dtype=torch.float64).view(1, 2, 1, 1, 2)
    inferred = leakage.inferred_representations(client_update(model, images, torch.tensor([[0, 1]])))[0]
    expected = torch.tensor([[4.0, -4.0], [-2.0, 8.0], [1.0, 2.0]], dtype=torch.float64)  # class 2 is absent: the mean
    torch.testing.assert_close(inferred, expected)


def test_images_of_one_class_give_their_mean_where_the_softmax_is_the_same():
    model = linear_model(torch.zeros(3, 2))
    images = drawn(1, 5, 1, 1, 2)
    inferred = leakage.inferred_representations(client_update(model, images, torch.tensor([[1] * 5])))[0, 1]
    torch.testing.assert_close(inferred, images.view(5, 2).mean(0))


def test_a_batch_is_the_weighted_mean_of_its_representations(lenet, batch):
    images, labels = batch[0][:5], torch.tensor([0, 0, 1, 3, 1])
    inferred = leakage.inferred_representations(client_update(lenet, images[None], labels[None]))[0]
    with torch.no_grad():
        features, logits = lenet.features(images).numpy(), lenet(images).numpy()
    for c in range(CLASSES):
        above = below = 0
        for r, z, label in zip(features, logits, labels.tolist(), strict=True):
            delta = np.exp(z[c]) / np.exp(z).sum() - (label == c)
            above, below = above + delta * r, below + delta
        np.testing.assert_allclose(inferred[c], above / below, rtol=1e-9)


def test_where_both_sides_cancel_nothing_is_inferred():
    """Two classes, one image each, p = 1/2: dL/db is 0."""
    images, labels = drawn(2, 1, 1, 2), torch.tensor([0, 1])
    model = linear_model(torch.zeros(2, 2))
    assert leakage.inferred_representations(client_update(model, images[None], labels[None])).isnan().all()
    (row,) = rows_of(model, images, labels, sizes=[2], batches=1)
    assert row["correlation"] is None
    assert row["correlation_centred"] is None
    assert row["correlation_public"] is not None


def test_a_last_layer_without_a_bias_is_refused():
    with pytest.raises(ConfigError, match=r"head\.bias"):
        leakage.inferred_representations({"head.weight": torch.ones(1, 2, 3)})


def test_class_means_against_a_loop():
    features, labels = drawn(6, 3), torch.tensor([0, 2, 2, 0, 0, 2])
    means = leakage.class_means(features, labels, 3)
    assert means[1].isnan().all()
    for c in (0, 2):
        torch.testing.assert_close(means[c], sum(features[i] for i in range(6) if labels[i] == c) / 3)


def test_correlation_against_numpy():
    first, second = drawn(4, 7), drawn(4, 7, seed=1)
    expected = [np.corrcoef(a, b)[0, 1] for a, b in zip(first, second, strict=True)]
    np.testing.assert_allclose(leakage.correlation(first, second), expected, rtol=1e-6)


def test_scores_of_known_vectors():
    truth = torch.tensor([[1.0, 2.0, 3.0, 5.0], [torch.nan] * 4])
    inferred = torch.tensor([[0.0, 2.5, 3.0, 5.0], [9.0, 9.0, 1.0, 9.0]])
    common = torch.tensor([1.0, 1.0, 3.0, 2.0])
    sent = {"head.weight": torch.tensor([[[0.0, 1.0, 1.0, 1.0], [0.0, 0.0, 1.0, 1.0]]])}
    scores = leakage.representation_scores(inferred, truth, common, sent)
    assert scores["correlation"] == pytest.approx(np.corrcoef([0, 2.5, 3, 5], [1, 2, 3, 5])[0, 1], abs=1e-6)
    assert scores["correlation_kept"] == pytest.approx(np.corrcoef([2.5, 3, 5], [2, 3, 5])[0, 1], abs=1e-6)
    assert scores["correlation_public"] == pytest.approx(np.corrcoef([1, 1, 3, 2], [1, 2, 3, 5])[0, 1], abs=1e-6)
    assert scores["correlation_centred"] == pytest.approx(np.corrcoef([-1, 1.5, 0, 3], [0, 1, 0, 3])[0, 1], abs=1e-6)


def test_soteria_leaves_the_kept_columns_exact(lenet, batch):
    soteria = defense_settings(method="soteria", rate=0.5)
    plain, masked = (rows_of(lenet, *batch, defense, sizes=[1]) for defense in (defense_settings(), soteria))
    for before, after in zip(plain, masked, strict=True):
        assert before["correlation"] == pytest.approx(1, abs=1e-6)
        assert after["correlation_kept"] == pytest.approx(1, abs=1e-6)
        assert after["correlation"] < 0.9
        assert after["label_accuracy"] == before["label_accuracy"] == 1


# Labels


@pytest.mark.parametrize("counts", [[1, 0, 0, 0], [2, 1, 0, 0], [5, 5, 0, 6], [0, 12, 0, 20]])
def test_counts_are_read_where_the_softmax_is_even(counts):
    """And every class present has more than its even share, so that its gradient is negative."""
    true, batch = torch.tensor(counts), sum(counts)
    seen = {"head.bias": (0.25 - true / batch).unsqueeze(0)}
    assert leakage.evenly_spread_counts(seen, batch).tolist() == [counts]


def test_the_label_of_one_image_is_the_smallest_gradient():
    seen = {"head.bias": torch.tensor([[0.2, -0.5, 0.3], [-0.1, 0.05, 0.05]])}
    assert leakage.evenly_spread_counts(seen, 1).tolist() == [[0, 1, 0], [1, 0, 0]]


def test_counts_need_no_neighbours():
    seen = torch.tensor([[0.1, -0.3, 0.2], [-0.2, -0.1, 0.3]])
    together = leakage.evenly_spread_counts({"head.bias": seen}, 5)
    assert together.tolist() == [leakage.evenly_spread_counts({"head.bias": row[None]}, 5)[0].tolist() for row in seen]
    assert together.sum(1).tolist() == [5, 5]


@pytest.mark.parametrize("counts", [[1, 0, 0], [3, 4, 1], [0, 30, 2]])
def test_counts_are_exact_where_images_of_a_class_look_alike(counts):
    """Softmax rows as measured, no spread within a class; two classes are hard to tell apart."""
    means = torch.tensor([[0.5, 0.4, 0.1], [0.4, 0.5, 0.1], [0.2, 0.2, 0.6]], dtype=torch.float64)
    habits = leakage.Habits(means, torch.zeros(3, 3, dtype=torch.float64))
    true, batch = torch.tensor(counts), sum(counts)
    seen = {"head.bias": (true.double() @ means / batch - true / batch).unsqueeze(0)}
    assert leakage.estimated_counts(seen, batch, habits).tolist() == [counts]


def test_a_class_with_a_negative_gradient_is_counted():
    means = torch.full((3, 3), 1 / 3, dtype=torch.float64)
    habits = leakage.Habits(means, 100 * torch.eye(3, dtype=torch.float64))  # nothing to be learnt from the gradient
    seen = {"head.bias": torch.tensor([[0.5, 0.1, -0.6]], dtype=torch.float64)}
    assert leakage.estimated_counts(seen, 1, habits).tolist() == [[0, 0, 1]]


def test_more_negative_gradients_than_images_count_the_most_negative():
    seen = {"head.bias": torch.tensor([[-0.1, -0.2, -0.3, 0.6]])}
    assert leakage.evenly_spread_counts(seen, 2).tolist() == [[0, 1, 1, 0]]


def test_shares_against_the_other_form_of_the_estimate():
    """Precisions instead of gains, in coordinates that leave the sum of the shares at 1."""
    batch, means = 7, drawn(3, 3).softmax(1)
    spread = 0.05 * torch.stack([torch.cov(rows.T) for rows in drawn(3, 9, 3, seed=1).softmax(2)]).mean(0)
    seen = 0.3 * drawn(2, 3, seed=2)
    seen -= seen.mean(1, keepdim=True)
    free = torch.linalg.qr(torch.eye(3, dtype=torch.float64)[:, :2] - 1 / 3).Q  # directions that sum to 0
    expected = free.T @ (means - torch.eye(3)).T @ free
    precision = torch.linalg.inv(free.T @ (spread / batch) @ free)
    prior = torch.linalg.inv(free.T @ leakage.prior_of_shares(batch, 3) @ free)
    even = torch.full((3,), 1 / 3, dtype=torch.float64)
    left = (seen - (means - torch.eye(3)).T @ even) @ free
    shares = even + left @ precision @ expected @ torch.linalg.inv(expected.T @ precision @ expected + prior) @ free.T
    torch.testing.assert_close(leakage.estimated_shares(seen, batch, leakage.Habits(means, spread)), shares)


@pytest.mark.parametrize("batch", [1, 5])
def test_the_prior_by_simulation(batch):
    draws = np.random.default_rng(0)
    shares = [draws.multinomial(batch, mixture) / batch for mixture in draws.dirichlet([1, 1, 1], 40_000)]
    np.testing.assert_allclose(leakage.prior_of_shares(batch, 3), np.cov(np.array(shares).T), atol=0.004)


def test_habits_against_numpy(lenet, batch):
    images, labels = batch
    habits = leakage.habits_of(lenet, images, labels)
    with torch.no_grad():
        softmax = lenet(images).softmax(1).numpy()
    members = [softmax[labels.numpy() == c] for c in range(CLASSES)]
    np.testing.assert_allclose(habits.means, [rows.mean(0) for rows in members])
    np.testing.assert_allclose(habits.spread, np.mean([np.cov(rows.T, bias=True) for rows in members], axis=0))


def test_public_images_must_show_every_class(lenet, batch):
    with pytest.raises(ConfigError, match="none of class 3"):
        leakage.habits_of(lenet, batch[0][:3], batch[1][:3])


# Rows


def test_rows(lenet, batch):
    rows = rows_of(lenet, *batch, sizes=[1, 4])
    assert [(row["batch_size"], row["batch"]) for row in rows] == [(s, b) for s in (1, 4) for b in range(3)]
    assert [row["classes_present"] for row in rows] == [1, 1, 1, 4, 4, 4]
    assert rows[0]["label_accuracy_even"] == 1  # an even guess of one label is class 0
    assert rows[1]["label_accuracy_even"] == 0
    assert rows == rows_of(lenet, *batch, sizes=[1, 4])


def test_noise_is_drawn_for_the_batch(lenet, batch):
    noisy = defense_settings(method="gaussian", std=0.1)
    assert rows_of(lenet, *batch, noisy) == rows_of(lenet, *batch, noisy)
    other = rows_of(lenet, *batch, noisy, noise=lambda batch, size: torch.Generator().manual_seed(99))
    assert rows_of(lenet, *batch, noisy) != other


def test_a_defense_that_works_on_pixels_is_told_the_constants(lenet, batch):
    plain, changed = (rows_of(lenet, *batch, defense=defense_settings(one)) for one in ("none", "ats"))
    assert [row["classes_present"] for row in changed] == [row["classes_present"] for row in plain]
    assert changed != plain


def test_a_batch_must_have_its_size(lenet, batch):
    with pytest.raises(ConfigError, match="batch_size=4: batch 0 was given 2 images"):
        rows_of(lenet, *batch, sizes=[4], draw=lambda batch, size: torch.arange(2))
