"""Networks of linear layers, and a small vision transformer: trained, attacked and refused as any other."""

import pytest
import torch
from torch.nn import functional as F

import fldrep
from fldrep.errors import ConfigError
from fldrep.models.transformer import Block

SHAPE = (1, 8, 8)


def drawn(*shape):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


def test_a_perceptron_is_as_wide_and_deep_as_told():
    model = fldrep.build_model("perceptron", SHAPE, 5, width=7, depth=3)
    assert [tuple(one.shape) for one in model.parameters() if one.ndim == 2] == [(7, 64), (7, 7), (7, 7), (5, 7)]
    whole = fldrep.build_model("perceptron", (1, 28, 28), 10)
    assert sum(one.numel() for one in whole.parameters()) == 199_210  # as McMahan et al. count their 2NN


def test_a_perceptron_gives_its_image_away():
    model = fldrep.build_model("perceptron", SHAPE, 5, dtype=torch.float64).eval()
    images = 0.5 + 0.1 * drawn(3, *SHAPE)
    update = fldrep.client_update(model, images, torch.tensor([0, 1, 2]))
    found = fldrep.reconstruct(model, update, attack="closed-form-below", normalisation="none")
    torch.testing.assert_close(found.images, images)
    assert found.certified.all()


def test_attention_is_that_of_torch():
    torch.manual_seed(0)
    block, tokens = Block(8, 2).double(), drawn(3, 5, 8)
    query, key, value = (
        one.unflatten(-1, (2, 4)).transpose(1, 2) for one in block.asked(tokens).chunk(3, -1)
    )  # (N, heads, T, W / heads)
    expected = F.scaled_dot_product_attention(query, key, value).transpose(1, 2).flatten(2)
    torch.testing.assert_close(block._attended(tokens), expected)


def test_updates_of_a_transformer_are_gradients_and_can_be_attacked():
    model = fldrep.build_model("vit", SHAPE, 4, patch=4, width=8, depth=1, heads=2, dtype=torch.float64).eval()
    images, labels = drawn(2, *SHAPE), torch.tensor([1, 3])
    update = fldrep.client_update(model, images, labels)
    loss = F.cross_entropy(model(images[:1]), labels[:1])
    parameters = dict(model.named_parameters())
    expected = dict(zip(parameters, torch.autograd.grad(loss, list(parameters.values())), strict=True))
    for own, name in model.own_names().items():
        torch.testing.assert_close(update[own][0], expected[name], msg=own)
    found = fldrep.reconstruct(model, update, labels, "gs-spectral", iterations=20, normalisation="none")
    assert (found.final_distance < found.initial_distance).all()


def test_a_transformer_draws_its_weights_by_the_seed():
    one, same, other = (fldrep.build_model("vit", SHAPE, 4, width=8, depth=1, seed=seed) for seed in (0, 0, 1))
    states = [model.state_dict() for model in (one, same, other)]
    assert all(torch.equal(value, states[1][name]) for name, value in states[0].items())
    place = next(name for name in states[0] if name.endswith("places"))
    assert not torch.equal(states[0][place], states[2][place])


@pytest.mark.parametrize(("keys", "told"), [({"patch": 3}, "patch: 3"), ({"width": 6, "heads": 4}, "heads: 4")])
def test_sizes_that_do_not_fit_are_named(keys, told):
    with pytest.raises(ConfigError, match=told):
        fldrep.build_model("vit", SHAPE, 4, **keys)
