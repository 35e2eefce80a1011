"""The certificate: tight where it can be, and failing in the open where its premise does."""

import math

import pytest
import torch
from torch import nn

from fldrep.errors import ConfigError
from fldrep.models.building import build_model
from fldrep.models.model import Model
from fldrep.theory.certificate import certificate_rows


def model_of(*layers, features):
    body = nn.Sequential(nn.Flatten(), *layers)
    return Model(body, nn.Linear(features, 2), (1, 1, features)).double().eval()


def diagonal(*entries):
    """f(x) = diag(entries) x."""
    layer = nn.Linear(len(entries), len(entries), bias=False)
    with torch.no_grad():
        layer.weight.copy_(torch.diag(torch.tensor(entries)))
    return model_of(layer, features=len(entries))


def image(*pixels):
    return torch.tensor(pixels, dtype=torch.float64).view(1, 1, 1, -1)


def one_row(model, x, guess, kept, **options):
    (row,) = certificate_rows(model, x, guess.unsqueeze(1), torch.tensor([kept]), **options)
    return row


def test_the_bound_is_tight_for_a_linear_map_and_its_strongest_direction():
    """Pruning the feature of slope 3 leaves r' = f(X') with that pixel at 0: the distance is every bound."""
    row = one_row(diagonal(3.0, 2.0), image(0.7, 0.5), image(0.0, 0.5), [False, True])
    assert row["premise_holds"]
    assert row["premise_gap"] == pytest.approx(0, abs=1e-12)
    assert row["distance"] == pytest.approx(0.7)
    for name in ("local", "segment", "layers", "any"):
        assert row[f"bound_{name}"] == pytest.approx(0.7, rel=1e-9)
    for name in ("local", "segment", "layers"):
        assert row[f"norm_{name}"] == pytest.approx(3, rel=1e-9)


def test_another_direction_is_bounded_but_not_tightly():
    row = one_row(diagonal(3.0, 2.0), image(0.7, 0.5), image(0.7, 0.0), [True, False])
    assert row["premise_holds"]
    assert row["distance"] == pytest.approx(0.5)
    assert row["bound_local"] == pytest.approx(2 * 0.5 / 3)
    assert row["holds_local"]
    assert row["holds_any"]


def test_an_attacker_who_ignores_the_defense_breaks_the_premise():
    """X' = X: the bound is positive, the distance 0. Only what needs no premise still holds, and it says nothing."""
    row = one_row(diagonal(3.0, 2.0), image(0.7, 0.5), image(0.7, 0.5), [False, True])
    assert not row["premise_holds"]
    assert row["premise_gap"] == pytest.approx(row["representation_change"]) == pytest.approx(2.1)
    assert row["distance"] == 0
    assert not any(row[f"holds_{name}"] for name in ("local", "segment", "layers"))
    assert row["bound_any"] == pytest.approx(0, abs=1e-12)


def test_the_norm_at_the_image_is_no_bound_where_the_network_reacts_more_on_the_way():
    """tanh is flat at X = 3, steep at X' = 0 = r': the premise holds, the paper's bound is 100, the distance 3."""
    row = one_row(model_of(nn.Tanh(), features=1), image(3.0), image(0.0), [False])
    assert row["premise_holds"]
    assert row["bound_local"] == pytest.approx(math.tanh(3) * math.cosh(3) ** 2)
    assert row["distance"] == 3
    assert not row["holds_local"]
    assert row["norm_segment"] == pytest.approx(1)
    assert row["bound_segment"] == row["bound_layers"] == pytest.approx(math.tanh(3))
    assert row["holds_segment"]
    assert row["holds_layers"]


def test_more_points_find_at_least_as_much():
    """A bump of slope in the middle of the way, which the ends do not see: relu(x - 1) - relu(x - 1.3), scaled."""
    first, second = nn.Linear(1, 2), nn.Linear(2, 1, bias=False)
    with torch.no_grad():
        first.weight.copy_(torch.ones(2, 1))
        first.bias.copy_(torch.tensor([-1.0, -1.3]))
        second.weight.copy_(torch.tensor([[1.0, -1.0]]))
    model = model_of(first, nn.ReLU(), second, features=1)
    model.shape = (1, 1, 1)
    found = [one_row(model, image(2.0), image(0.0), [False], points=n)["norm_segment"] for n in (2, 3, 5, 9)]
    assert found == sorted(found)
    assert found[:2] == [0, 0]
    assert found[-1] == pytest.approx(1)


def test_where_nothing_reacts_no_distance_is_enough():
    row = one_row(diagonal(0.0, 0.0), image(1.0, 1.0), image(0.0, 0.0), [False, True])
    assert row["bound_local"] == 0  # r = 0 as well
    shifted = model_of(nn.ReLU(), nn.Linear(1, 1), features=1)
    with torch.no_grad():
        shifted.body[2].bias.fill_(1.0)
    row = one_row(shifted, image(-1.0), image(-2.0), [False])
    assert row["bound_local"] == math.inf
    assert not row["holds_local"]


def test_nothing_pruned_nothing_certified():
    row = one_row(diagonal(3.0, 2.0), image(0.7, 0.5), image(0.1, 0.5), [True, True])
    assert row["bound_local"] == row["bound_layers"] == row["bound_any"] == 0
    assert row["holds_layers"]


def test_a_diverged_reconstruction_has_no_distance():
    model, x = diagonal(3.0, 2.0), image(0.7, 0.5)
    found = torch.stack([image(0.0, 0.5)[0], torch.full((1, 1, 2), torch.nan)]).unsqueeze(0).double()
    good, bad = certificate_rows(model, x, found, torch.tensor([[False, True]]))
    assert good["distance"] == pytest.approx(0.7)
    assert {bad[key] for key in bad if key.startswith("holds_")} == {None}
    assert bad["distance"] is bad["premise_holds"] is bad["norm_segment"] is bad["bound_any"] is None
    assert bad["bound_local"] == pytest.approx(0.7)


def test_rows_of_a_network():
    generator = torch.Generator().manual_seed(0)
    model = build_model("lenet", (1, 8, 8), 3, init="uniform", dtype=torch.float64)
    x, found = (torch.randn(*s, 1, 8, 8, generator=generator, dtype=torch.float64) for s in ((3,), (3, 2)))
    kept = torch.rand(3, model.head.in_features, generator=generator) > 0.5
    rows = certificate_rows(model, x, found, kept, points=3)
    assert [(row["target"], row["restart"]) for row in rows] == [(t, r) for r in range(2) for t in range(3)]
    for row in rows:
        assert row["holds_any"]
        assert row["norm_local"] <= row["norm_segment"] <= row["norm_layers"]
        t, r = row["target"], row["restart"]
        features, guess = model.features(x[t : t + 1])[0].detach(), model.features(found[t : t + 1, r])[0].detach()
        assert row["representation_change"] == pytest.approx(float((features - features * kept[t]).norm()))
        assert row["premise_gap"] == pytest.approx(float((guess - features * kept[t]).norm()))
        assert row["distance"] == pytest.approx(float((x[t] - found[t, r]).norm()))
    assert rows[1] == certificate_rows(model, x, found, kept, points=3, constant=rows[0]["norm_layers"])[1]


def test_a_segment_has_two_points():
    with pytest.raises(ConfigError, match="points=1"):
        one_row(diagonal(1.0), image(1.0), image(0.0), [False], points=1)
