import math

import pytest
import torch

from fldrep.defenses.face import defend
from fldrep.defenses.qsgd import rounded


def test_a_vector_that_lies_on_its_levels_stays():
    update = {"a": torch.tensor([[3.0, -4.0, 0.0]]), "zero": torch.zeros(1, 5)}
    sent = defend(update, "qsgd", levels=5)
    torch.testing.assert_close(sent["a"], update["a"])
    assert not sent["zero"].any()
    assert torch.equal(defend(update, "qsgd", levels=1, norm="max")["a"][0, 1:], update["a"][0, 1:])


@pytest.mark.parametrize(("levels", "norm"), [(1, "l2"), (4, "l2"), (3, "max")])
def test_entries_are_neighbouring_levels_drawn_without_bias(levels, norm):
    values = torch.tensor([0.7, -0.1, 0.02, -1.3, 0.0], dtype=torch.float64)
    copies = 20_000
    sent = defend({"a": values.expand(1, 5)}, "qsgd", levels=levels, norm=norm, seed=1)["a"]
    size = values.norm() if norm == "l2" else values.abs().max()
    place = values.abs() / size * levels
    level = sent[0].abs() / size * levels
    torch.testing.assert_close(level, level.round(), atol=1e-9, rtol=0)
    assert ((level - place).abs() < 1 + 1e-9).all()
    many = rounded(values.expand(copies, 5), size.expand(copies) / levels, torch.Generator().manual_seed(0))
    slack = 5 * size / levels / 2 / math.sqrt(copies)
    assert ((many.mean(0) - values).abs() <= slack).all()
    assert ((many == 0) | (many.sign() == values.sign())).all()


def test_the_variance_is_within_the_papers_bound():
    values = torch.randn(400, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    for levels in (1, 4, 64):
        copies = values.expand(300, 400)
        step = values.norm().expand(300) / levels
        apart = (rounded(copies, step, torch.Generator().manual_seed(1)) - values).square().sum(1).mean()
        bound = min(400 / levels**2, 20 / levels) * values.square().sum()
        assert apart <= 1.05 * bound


def test_a_slow_twin_from_the_same_draws():
    update = {"a": torch.randn(2, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)}
    found = rounded(update["a"], update["a"].norm(dim=1) / 2, torch.Generator().manual_seed(5))
    drawn = torch.empty(2, 3, dtype=torch.float64).uniform_(generator=torch.Generator().manual_seed(5))
    for row in range(2):
        size = update["a"][row].norm()
        for column in range(3):
            value = update["a"][row, column]
            place = float(value.abs() / size * 2)
            below, chance = math.floor(place), place - math.floor(place)
            up = float(drawn[row, column]) >= 1 - chance if value > 0 else float(drawn[row, column]) < chance
            assert float(found[row, column]) == pytest.approx(float((below + up) / 2 * size * value.sign()))
