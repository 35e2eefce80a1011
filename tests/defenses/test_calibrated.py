"""Noise at a stated (epsilon, delta): against dp-accounting, and with the accounts of a run."""

import dp_accounting
import pytest
import torch

from fldrep.config.defenses import defense_settings
from fldrep.config.needs import Public
from fldrep.config.train import TrainSettings
from fldrep.defenses.defended import defense_of
from fldrep.defenses.face import defend
from fldrep.defenses.gaussian_dp import gaussian_multiplier
from fldrep.theory.accounting import accounting_rows, concentrated_epsilon, gaussian_epsilon

CASES = [(0.1, 1e-5), (1.0, 1e-5), (8.0, 1e-3), (50.0, 1e-6), (1.0, 0.4), (100.0, 1e-9)]


@pytest.mark.parametrize(("epsilon", "delta"), CASES)
def test_gaussian_noise_is_the_least_that_keeps_the_promise(epsilon, delta):
    multiplier = gaussian_multiplier(epsilon, delta)
    assert multiplier == pytest.approx(dp_accounting.get_sigma_gaussian(epsilon, delta), rel=1e-4)
    assert gaussian_epsilon(multiplier, 1, delta) <= epsilon * (1 + 1e-6)


@pytest.mark.parametrize(("epsilon", "delta"), CASES)
def test_laplace_noise_keeps_the_promise(epsilon, delta):
    defense = defense_of(defense_settings("laplace-dp", epsilon=epsilon, delta=delta, clip=0.5))
    scale = defense.std / 2**0.5
    rho = (2 * 0.5) ** 2 / (2 * scale**2)
    assert concentrated_epsilon(rho, delta) <= epsilon * (1 + 1e-9)
    assert rho + 2 * (rho * -torch.tensor(delta, dtype=torch.float64).log().item()) ** 0.5 == pytest.approx(epsilon)


@pytest.mark.parametrize("law", ["gaussian", "laplace"])
def test_noise_has_this_deviation_after_clipping(law):
    settings = {"epsilon": 2.0, "delta": 1e-5, "clip": 0.3}
    defense = defense_of(defense_settings(f"{law}-dp", **settings))
    update = {"a": torch.full((1, 200_000), 10.0, dtype=torch.float64)}
    sent = defend(update, f"{law}-dp", **settings)["a"]
    plain = defend(update, law, std=defense.std, clip=0.3)["a"]
    assert sent.std().item() == pytest.approx(defense.std, rel=0.02)
    assert plain.std().item() == pytest.approx(defense.std, rel=0.02)
    assert Public.of(defense.settings) == Public("none", True, True, False, False)


@pytest.mark.parametrize("law", ["gaussian", "laplace"])
def test_one_round_costs_at_most_what_was_stated(law):
    defense = defense_settings(f"{law}-dp", epsilon=3.0, delta=1e-3, clip=2.0)
    train = TrainSettings(rounds=1, checkpoints=[1], fraction=1.0)
    rows = accounting_rows(defense, train, clients=10, entries=100, buffers_sent=False, delta=1e-3)
    assert rows[0]["server"] == "each-update"
    assert rows[0]["epsilon"] <= 3.0 * (1 + 1e-6)
    if law == "gaussian":
        assert rows[0]["epsilon"] == pytest.approx(3.0, rel=1e-3)
