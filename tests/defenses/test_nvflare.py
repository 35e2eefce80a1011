"""NVFlare's two filters, against its documented steps written out in NumPy."""

import numpy as np
import pytest
import torch

from fldrep.config.defenses import defense_settings
from fldrep.defenses.defended import defense_of
from fldrep.defenses.face import defend
from fldrep.defenses.svt import laplace


def draws(*shapes, seed=0, size=1e-2):
    random = torch.Generator().manual_seed(seed)
    return {f"t{n}": size * torch.randn(2, *s, generator=random).double() for n, s in enumerate(shapes)}


# Percentile ----------------------------------------------------------------------------------------------------------


def test_percentile_by_hand():
    update = {"a": torch.tensor([[0.001, -0.002, 0.003]]), "b": torch.tensor([[-0.5, 0.004]])}
    sent = defend(update, "percentile", percentile=50, gamma=0.0035)
    assert sent["a"].tolist() == [[0, 0, pytest.approx(0.003)]]
    assert sent["b"].tolist() == [[pytest.approx(-0.0035), pytest.approx(0.0035)]]


@pytest.mark.parametrize("percentile", [0, 10, 63.7, 100])
def test_percentile_is_one_of_all_tensors_of_a_client(percentile):
    update = draws((3, 4), (50,), seed=1)
    update["t1"] *= 100
    sent = defend(update, "percentile", percentile=percentile, gamma=0.5)
    for client in range(2):
        whole = np.concatenate([value[client].numpy().ravel() for value in update.values()])
        cutoff = np.percentile(np.abs(whole), percentile)
        for name, value in update.items():
            one = value[client].numpy()
            expected = np.clip(np.where((one > -cutoff) & (one < cutoff), 0, one), -0.5, 0.5)
            np.testing.assert_allclose(sent[name][client].numpy(), expected, rtol=1e-12)


def test_percentile_keeps_the_share_that_it_says():
    update = draws((1000,), seed=2)
    for percentile in (10, 50, 90):
        kept = defend(update, "percentile", percentile=percentile)["t0"].count_nonzero(dim=1)
        assert kept.tolist() == [1000 - round(percentile / 100 * 999 + 0.5)] * 2


def test_percentile_leaves_single_numbers_alone():
    update = {"a": torch.tensor([[0.5, -0.25]]), "scale": torch.tensor([7.0])}
    assert defend(update, "percentile", percentile=100, gamma=0.1)["scale"].tolist() == [7.0]


# SVT -----------------------------------------------------------------------------------------------------------------


def test_svt_sends_a_share_within_gamma_and_zeros():
    update = draws((30, 10), (200,))
    without = defend(update, "svt", replace=False, fraction=0.1)
    whole = torch.cat([value.flatten(1) for value in without.values()], 1)
    assert whole.count_nonzero(dim=1).tolist() == [50, 50]
    assert whole.abs().max() <= 1e-5 + 1e-12
    drawn = torch.cat([value.flatten(1) for value in defend(update, "svt", fraction=0.1).values()], 1)
    assert (drawn.count_nonzero(dim=1) < 50).all()
    assert (drawn.count_nonzero(dim=1) > 30).all()  # 50 draws of about 50 accepted: a share 1 - 1/e is distinct
    assert (without.defended, without.distorted) == ("all", True)


def test_svt_sends_all_where_all_are_wanted():
    sent = defend(draws((40,)), "svt", fraction=1.0, replace=False)["t0"]
    assert (sent != 0).all()


def test_svt_adds_laplace_noise_of_twice_gamma_over_noise_var():
    """With a large gamma nothing is limited, so the noise can be read off."""
    update = {"a": torch.zeros(1, 20_000, dtype=torch.float64)}
    sent = defend(update, "svt", fraction=1.0, replace=False, gamma=100.0, noise_var=200.0, epsilon=1e4, tau=0.0)["a"]
    scale = 2 * 100.0 / 200.0
    assert sent.abs().mean().item() == pytest.approx(scale, rel=0.05)  # the mean magnitude of Laplace noise
    assert sent.std().item() == pytest.approx(2**0.5 * scale, rel=0.05)


def test_svt_prefers_large_entries_where_comparisons_are_sharp():
    values = torch.zeros(1, 100, dtype=torch.float64)
    values[0, ::10] = 1.0
    settings = {"fraction": 0.1, "gamma": 1.0, "tau": 0.5, "epsilon": 1e6, "noise_var": 1e6, "replace": False}
    sent = defend({"a": values}, "svt", **settings)["a"]
    assert sent.nonzero()[:, 1].tolist() == list(range(0, 100, 10))
    torch.testing.assert_close(sent, values, atol=1e-4, rtol=0)


def test_svt_ends_where_no_entry_reaches_the_threshold():
    sent = defend({"a": torch.full((1, 50), 1e-6)}, "svt", tau=1.0, epsilon=1e6, replace=False, fraction=0.2)["a"]
    assert sent.count_nonzero() <= 10


def test_laplace_draws_have_their_moments():
    drawn = laplace(torch.zeros(200_000), 3.0, torch.Generator().manual_seed(0))
    assert drawn.mean().abs() < 0.1
    assert drawn.abs().mean().item() == pytest.approx(3.0, rel=0.02)
    assert drawn.std().item() == pytest.approx(3 * 2**0.5, rel=0.02)


def test_svt_promises_nothing_and_says_the_nominal_epsilon():
    defense = defense_of(defense_settings("svt"))
    assert defense.wanted(1001) == 101
    assert defense.nominal_epsilon(1001) == pytest.approx(0.1 + 0.1 * 202 ** (2 / 3) + 101 * 0.1)
    rows = defense.privacy({"entries": 1001})
    assert [row["server"] for row in rows] == ["each-update", "sum-only"]
    assert all("no guarantee" in row["guarantee"] and "nominally epsilon 13.64" in row["guarantee"] for row in rows)
