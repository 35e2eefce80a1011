import pytest
import torch

from fldrep.defenses.face import defend
from fldrep.models.updates import Update, clipped

METHODS = ("gaussian", "laplace")


@pytest.fixture
def zeros():
    return Update({"a": torch.zeros(2, 300, 1000, dtype=torch.float64), "b": torch.zeros(2, 5, dtype=torch.float64)})


@pytest.mark.parametrize(("method", "kurtosis"), [("gaussian", 3.0), ("laplace", 6.0)])
def test_moments(method, kurtosis, zeros):
    noise = defend(zeros, method, std=0.3)["a"]
    assert noise.mean().abs() < 5 * 0.3 / noise.numel() ** 0.5
    assert noise.std().item() == pytest.approx(0.3, rel=0.01)
    standard = noise / 0.3
    assert standard.pow(3).mean().abs() < 0.1
    assert standard.pow(4).mean().item() == pytest.approx(kurtosis, rel=0.05)
    correlation = torch.corrcoef(noise.flatten(1))[0, 1]
    assert correlation.abs() < 0.01


@pytest.mark.parametrize("method", METHODS)
def test_seeds_and_neighbours(method, zeros):
    first, again, other = (defend(zeros, method, std=1.0, seed=seed)["b"] for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert not torch.equal(first[0], first[1])
    alone = defend({name: value[:1] for name, value in zeros.items()}, method, std=1.0)
    assert torch.equal(alone["b"], first[:1])


@pytest.mark.parametrize("method", METHODS)
def test_noise_is_added_to_the_update_which_is_left_as_it_was(method):
    update = Update({"a": torch.full((1, 4), 7.0)})
    assert torch.equal(defend(update, method, std=0.0)["a"], update["a"])
    sent = defend(update, method, std=1e-3)
    assert ((sent["a"] - 7).abs() < 0.1).all()
    assert sent["a"].dtype == torch.float32
    assert update["a"].eq(7).all()
    assert sent.defended == "none"


def test_clipping_scales_each_client_as_a_whole():
    update = Update({"a": torch.tensor([[3.0], [0.3], [0.0]]), "b": torch.tensor([[0.0, 4.0], [0.0, 0.4], [0.0, 0.0]])})
    found = clipped(update, 1.0)
    torch.testing.assert_close(found["a"], torch.tensor([[0.6], [0.3], [0.0]]))
    torch.testing.assert_close(found["b"], torch.tensor([[0.0, 0.8], [0.0, 0.4], [0.0, 0.0]]))
    assert clipped(update, None) is update


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("size", [1e-4, 1.0, 300.0])
def test_half_precision_is_clipped_as_float32_is(dtype, size):
    values = (size * torch.randn(1, 500, generator=torch.Generator().manual_seed(0))).to(dtype)
    sent = defend(Update({"a": values}), "gaussian", std=0.0, clip=1e-3)["a"]
    assert sent.dtype == dtype
    torch.testing.assert_close(sent.float(), clipped({"a": values.float()}, 1e-3)["a"], rtol=1e-2, atol=1e-6)
    assert sent.float().norm().item() == pytest.approx(1e-3, rel=0.02)


def test_noise_comes_after_clipping():
    update = Update({"a": torch.full((1, 100_000), 10.0)})
    sent = defend(update, "gaussian", std=0.5, clip=1.0)["a"]
    assert sent.mean().item() == pytest.approx(1 / 100_000**0.5, abs=0.01)
    assert sent.std().item() == pytest.approx(0.5, rel=0.02)
