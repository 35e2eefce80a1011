"""Privacy accounts against closed forms and integrals, and where there is none to give."""

import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from scipy.integrate import quad
from scipy.stats import norm

from fldrep.config.defenses import defense_settings
from fldrep.config.train import TrainSettings
from fldrep.errors import ConfigError
from fldrep.models.updates import Update, clipped
from fldrep.theory import accounting


def rows_of(method="gaussian", std=5.0, clip=1.0, rounds=20, fraction=0.1, **changed):
    defense = defense_settings(method=method, **({} if method == "none" else {"std": std, "clip": clip}))
    train = TrainSettings(rounds=rounds, fraction=fraction)
    given = {"clients": 100, "entries": 1000, "buffers_sent": False, "delta": 1e-4, **changed}
    rows = accounting.accounting_rows(defense, train, **given)
    assert [row["server"] for row in rows] == ["each-update", "sum-only"]
    return rows


def delta_of_gaussian(epsilon, ratio):
    """Balle and Wang 2018, theorem 8; ratio = sensitivity / standard deviation."""
    return norm.cdf(ratio / 2 - epsilon / ratio) - np.exp(epsilon) * norm.cdf(-ratio / 2 - epsilon / ratio)


@pytest.mark.parametrize(("std", "clip", "rounds"), [(5.0, 1.0, 20), (1.0, 0.1, 3), (8.0, 2.0, 1)])
def test_where_each_update_is_seen_gaussian_noise_is_accounted_exactly(std, clip, rounds):
    epsilon = rows_of(std=std, clip=clip, rounds=rounds)[0]["epsilon"]
    assert delta_of_gaussian(epsilon, 2 * clip * math.sqrt(rounds) / std) == pytest.approx(1e-4, rel=1e-6)


def test_clipped_updates_are_at_most_two_clips_apart():
    """The sensitivity the accounts stand on, and opposite updates reach it."""
    one = {"a": torch.tensor([[3.0, 4.0]]), "b": torch.tensor([[[12.0]]])}
    other = {name: -5 * value for name, value in one.items()}
    first, second = (clipped(Update(update), 0.7) for update in (one, other))
    apart = math.sqrt(sum(float((first[name] - second[name]).square().sum()) for name in one))
    assert apart == pytest.approx(2 * 0.7)


def test_a_sum_hides_more_than_an_update():
    alone, together = rows_of()
    assert together["noise_multiplier"] == pytest.approx(math.sqrt(10) * alone["noise_multiplier"])
    assert 0 < together["epsilon"] < alone["epsilon"] / 5


def test_without_sampling_the_sum_is_one_gaussian_with_the_noise_of_all():
    together = rows_of(fraction=1.0, std=2.0)[1]
    ratio = 2 * math.sqrt(20) / (2.0 * math.sqrt(100))
    assert delta_of_gaussian(together["epsilon"], ratio) == pytest.approx(1e-4, rel=1e-6)


def test_the_account_of_sampling_is_not_below_a_pair_of_inputs():
    """One round, 10 of 100 clients: where the client that differs is drawn, the sum is at +1/2 or -1/2, else at 0.

    The hockey stick divergence of this pair, integrated, is a lower limit of any right account.
    """
    multiplier, share, delta = 1.0, 0.1, 1e-4
    x, step = np.linspace(-12, 12, 20_001, retstep=True)
    here, there = ((1 - share) * norm.pdf(x, 0, multiplier) + share * norm.pdf(x, at, multiplier) for at in (0.5, -0.5))
    epsilons = np.linspace(0, 5, 501)
    deltas = [np.clip(here - np.exp(epsilon) * there, 0, None).sum() * step for epsilon in epsilons]
    least = epsilons[np.searchsorted(-np.array(deltas), -delta) - 1]
    found = accounting.sampled_epsilon(multiplier, 1, delta, 100, 10)
    assert 0.1 < least <= found < accounting.gaussian_epsilon(multiplier, 1, delta)


@pytest.mark.parametrize("shift", [0.01, 0.3, 1.0, 4.0])
@pytest.mark.parametrize("order", [1.5, 2.0, 10.0])
def test_one_entry_under_laplace_noise_is_concentrated(shift, order):
    """The Renyi divergence of a shift of Laplace noise of scale 1, integrated, is at most order * shift^2 / 2."""
    log_ratio = lambda x: -order * abs(x - shift) + (order - 1) * abs(x)  # noqa: E731
    cuts = [-60 - shift * order, 0, shift, 60 + shift * order]
    parts = [quad(lambda x: 0.5 * np.exp(log_ratio(x)), a, b, limit=200)[0] for a, b in pairwise(cuts)]
    divergence = np.log(sum(parts)) / (order - 1)
    assert divergence <= order * shift**2 / 2 + 1e-9
    if shift < 0.1:
        assert divergence == pytest.approx(order * shift**2 / 2, rel=0.05)


def test_laplace_noise_is_accounted_by_concentration_and_by_pure_epsilon():
    row, together = rows_of("laplace", std=10.0, clip=0.5, rounds=4)
    scale = 10.0 / math.sqrt(2)
    rho = 4 * (2 * 0.5) ** 2 / (2 * scale**2)
    simple = rho + 2 * math.sqrt(rho * math.log(1e4))
    assert rho < row["epsilon"] <= simple
    assert row["epsilon_pure"] == pytest.approx(4 * math.sqrt(1000) * 2 * 0.5 / scale)
    assert together["epsilon"] == row["epsilon"]


def test_pure_epsilon_grows_with_the_weights_and_the_other_does_not():
    few, many = (rows_of("laplace", entries=entries)[0] for entries in (100, 10_000))
    assert many["epsilon_pure"] == pytest.approx(10 * few["epsilon_pure"])
    assert many["epsilon"] == few["epsilon"]


def test_participations_are_rounds_unless_known():
    assert rows_of(participations=2)[0]["epsilon"] == rows_of(rounds=2)[0]["epsilon"]
    assert rows_of(participations=0)[0]["epsilon"] == 0
    assert rows_of()[0]["participations"] == 20


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"clip": None}, "no guarantee: without clipping"),
        ({"std": 0.0}, "no guarantee: nothing random"),
        ({"method": "none"}, "no guarantee: nothing random"),
        ({"buffers_sent": True}, "no guarantee: batch-norm buffers"),
    ],
)
def test_no_guarantee_in_so_many_words(changed, words):
    for row in rows_of(**changed):
        assert row["guarantee"].startswith(words)
        assert row["epsilon"] is row["epsilon_pure"] is row["noise_multiplier"] is None


def test_a_number_that_protects_nobody_says_so():
    assert rows_of(std=0.01)[0]["guarantee"].endswith("in effect none")
    assert not rows_of()[0]["guarantee"].endswith("in effect none")


def test_delta_must_be_smaller_than_one_client():
    with pytest.raises(ConfigError, match=r"delta=0\.01 is not between 0 and 1/clients"):
        rows_of(delta=0.01)
    assert rows_of(delta=None)[0]["delta"] == pytest.approx(100**-1.1)
