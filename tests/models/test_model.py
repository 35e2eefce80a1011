"""The networks against plain twins written from their published shapes."""

import sys

import pytest
import torch
from torch import nn

import fldrep
from fldrep import registry
from fldrep.config.models import model_settings
from fldrep.errors import ConfigError, UnknownName
from fldrep.models.building import build_model

SHAPES = [(1, 28, 28), (3, 32, 32), (3, 45, 37)]


def plain_lenet(shape, features):
    return nn.Sequential(
        nn.Conv2d(shape[0], 12, 5, 2, 2),
        nn.Sigmoid(),
        nn.Conv2d(12, 12, 5, 2, 2),
        nn.Sigmoid(),
        nn.Conv2d(12, 12, 5, 1, 2),
        nn.Sigmoid(),
        nn.Conv2d(12, 12, 5, 1, 2),
        nn.Sigmoid(),
        nn.Flatten(),
        nn.Linear(features, 10),
    )


def plain_convnet(shape, features, width=8):
    def block(incoming, outgoing):
        return [nn.Conv2d(incoming, outgoing, 3, padding=1), nn.BatchNorm2d(outgoing), nn.ReLU()]

    return nn.Sequential(
        *block(shape[0], width),
        *block(width, 2 * width),
        *block(2 * width, 2 * width),
        *block(2 * width, 4 * width),
        *block(4 * width, 4 * width),
        *block(4 * width, 4 * width),
        nn.MaxPool2d(3),
        *block(4 * width, 4 * width),
        *block(4 * width, 4 * width),
        nn.MaxPool2d(3),
        nn.Flatten(),
        nn.Linear(features, 10),
    )


def plain_softmax(shape, features):
    return nn.Sequential(nn.Flatten(), nn.Linear(features, 10))


TWINS = {"lenet": plain_lenet, "convnet": plain_convnet, "softmax": plain_softmax}
WIDTH = {"lenet": None, "convnet": 8, "softmax": None}
FEATURES = {
    "lenet": {(1, 28, 28): 588, (3, 32, 32): 768, (3, 45, 37): 12 * 12 * 10},
    "convnet": {(1, 28, 28): 32 * 9, (3, 32, 32): 32 * 9, (3, 45, 37): 32 * 5 * 4},
    "softmax": {(1, 28, 28): 784, (3, 32, 32): 3072, (3, 45, 37): 4995},
}


def images_of(shape, count=3):
    return torch.rand(count, *shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def twin_of(name, shape, model):
    """The plain network with the model's weights, in eval mode."""
    twin = TWINS[name](shape, FEATURES[name][shape]).double().eval()
    twin.load_state_dict(dict(zip(twin.state_dict(), model.state_dict().values(), strict=True)))
    return twin


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("name", TWINS)
def test_features_and_logits_are_those_of_a_plain_network(name, shape):
    model = build_model(name, shape, width=WIDTH[name], seed=3, dtype=torch.float64).eval()
    twin, images = twin_of(name, shape, model), images_of(shape)
    assert model.features(images).shape == (3, FEATURES[name][shape])
    torch.testing.assert_close(model.features(images), twin[:-1](images), rtol=0, atol=0)
    torch.testing.assert_close(model(images), twin(images), rtol=0, atol=0)
    assert isinstance(model.head, nn.Linear)
    torch.testing.assert_close(model(images), model.features(images) @ model.head.weight.T + model.head.bias)


def test_batch_norm_uses_its_running_statistics_in_eval_and_the_batch_in_training():
    model = build_model("convnet", width=4, seed=0, dtype=torch.float64)
    images = images_of((3, 32, 32), 6)
    assert model.training
    together, alone = model(images), torch.cat([model(image[None]) for image in images])
    assert not torch.allclose(together, alone)
    model.eval()
    torch.testing.assert_close(model(images), torch.cat([model(image[None]) for image in images]))


def test_published_sizes():
    lenet, convnet = build_model("lenet"), build_model("convnet")
    assert lenet.head.in_features == 768
    assert convnet.head.in_features == 2304
    assert [layer.out_channels for layer in convnet.body if isinstance(layer, nn.Conv2d)] == [
        64,
        128,
        128,
        256,
        256,
        256,
        256,
        256,
    ]
    assert sum(value.numel() for value in lenet.parameters()) == 3 * 300 + 12 + 3 * (12 * 300 + 12) + 7690


@pytest.mark.parametrize("shape", SHAPES[:2])
@pytest.mark.parametrize("name", TWINS)
def test_default_initialisation_is_pytorchs_own(name, shape):
    """Same seed, same order of draws: building the plain network under `manual_seed` gives the same weights."""
    model = build_model(name, shape, width=WIDTH[name], seed=11)
    with torch.random.fork_rng():
        torch.manual_seed(11)
        twin = TWINS[name](shape, FEATURES[name][shape])
    for found, expected in zip(model.state_dict().values(), twin.state_dict().values(), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-8)


def test_uniform_initialisation_fills_plus_minus_a_half():
    model = build_model("lenet", init="uniform", seed=0).requires_grad_(False)
    for value in model.parameters():
        assert value.abs().max() <= 0.5
    every = torch.cat([value.flatten() for value in model.parameters()])
    assert every.max() > 0.499
    assert every.min() < -0.499
    assert every.mean().abs() < 0.01
    assert every.std() == pytest.approx(12**-0.5, abs=0.005)
    biases = torch.cat([layer.bias for layer in model.modules() if isinstance(layer, (nn.Conv2d, nn.Linear))])
    assert biases.std() > 0.2


@pytest.mark.parametrize("init", ["default", "uniform"])
def test_weights_depend_on_the_arguments_alone(init):
    torch.manual_seed(1)
    first = build_model("lenet", init=init, seed=4).state_dict()
    expected = torch.rand(1)
    torch.manual_seed(2)
    torch.rand(100)
    second = build_model("lenet", init=init, seed=4).state_dict()
    assert all(torch.equal(first[name], second[name]) for name in first)
    torch.manual_seed(1)
    build_model("convnet", width=2, init=init, seed=4)
    assert torch.equal(torch.rand(1), expected), "the global random state was moved"
    other = build_model("lenet", init=init, seed=5).state_dict()
    assert not any(torch.equal(first[name], other[name]) for name in first)


def test_dtype_and_shape_are_those_asked_for():
    model = build_model("lenet", (1, 28, 28), classes=4, dtype=torch.float64)
    assert {value.dtype for value in model.state_dict().values()} == {torch.float64}
    assert model.shape == (1, 28, 28)
    assert model(torch.zeros(2, 1, 28, 28, dtype=torch.float64)).shape == (2, 4)


@pytest.mark.parametrize(
    ("arguments", "kind", "told"),
    [
        ({"name": "vgg"}, UnknownName, "unknown model 'vgg'; known: convnet, lenet"),
        ({"name": "lenet", "init": "xavier"}, UnknownName, "unknown initialisation 'xavier'; known: default, own, un"),
        ({"name": "lenet", "width": 8}, ConfigError, "width: no setting of model 'lenet', which takes none"),
        ({"name": "convnet", "widht": 8}, ConfigError, "widht: no setting of model 'convnet', which takes width"),
        ({"name": "convnet", "width": 0}, ConfigError, "width: 0: .*greater than or equal to 1"),
        ({"name": "convnet", "width": "8"}, ConfigError, "width: '8': .*integer"),
        ({"name": "convnet", "normalisation": "none"}, ConfigError, "normalisation: no setting"),
        ({"name": 3}, ConfigError, "name: 3: expected a name"),
        ({"name": "lenet", "shape": (3, 32)}, ConfigError, r"shape: \(3, 32\): expected \(C, H, W\)"),
        ({"name": "lenet", "shape": (3, 32, 0)}, ConfigError, r"shape: \(3, 32, 0\)"),
        ({"name": "lenet", "classes": 0}, ConfigError, "classes: 0: expected a whole number of at least 1"),
        ({"name": "lenet", "classes": 2.0}, ConfigError, "classes: 2.0"),
        ({"name": "lenet", "seed": -1}, ConfigError, r"seed: -1: expected a whole number in \[0, 2\*\*63\)"),
        ({"name": "lenet", "dtype": torch.int64}, ConfigError, "dtype: torch.int64: expected a floating-point dtype"),
        ({"name": "convnet", "shape": (3, 8, 8)}, ConfigError, r"'convnet' does not take images of shape \(3, 8, 8\)"),
    ],
)
def test_a_network_that_cannot_be_is_refused_by_name(arguments, kind, told):
    with pytest.raises(kind, match=told):
        build_model(**arguments)


# ---- a network from one file

MLP = '''
import fldrep
from torch import nn

@fldrep.model("mlp")
def mlp(shape, classes, *, width: int = 64, gain: float = 1.0) -> nn.Module:
    """One hidden layer."""
    inside = nn.Linear(shape[0] * shape[1] * shape[2], width)
    nn.init.normal_(inside.weight, std=gain)
    return nn.Sequential(nn.Flatten(), inside, nn.LayerNorm(width), nn.Tanh(), nn.Linear(width, classes))
'''


@pytest.fixture
def added(monkeypatch, tmp_path):
    """What adds the entries of a text to the registry, until the test ends."""
    for table in ("_ADDED", "_VALUES"):
        monkeypatch.setattr(registry, table, dict(getattr(registry, table)))

    def load(text):
        path = tmp_path / "plugin.py"
        path.write_text(text)
        return fldrep.load_plugins(path)

    before = set(sys.modules)
    yield load
    for name in set(sys.modules) - before:
        if name.startswith("fldrep_plugin_"):
            del sys.modules[name]


def test_a_network_of_a_strangers_is_built_attacked_and_drawn_by_seed(added):
    assert added(MLP) == ["mlp"]
    model, same, other = (build_model("mlp", (3, 8, 8), 4, width=8, seed=seed).eval() for seed in (3, 3, 4))
    assert all(torch.equal(one, two) for one, two in zip(model.parameters(), same.parameters(), strict=True))
    assert not torch.equal(model.head.weight, other.head.weight)
    images, labels = torch.randn(2, 3, 8, 8), torch.tensor([1, 3])
    assert model.features(images).shape == (2, 8)
    update = fldrep.client_update(model, images, labels)
    assert list(update) == ["1.weight", "1.bias", "2.weight", "2.bias", "4.weight", "4.bias"]
    assert fldrep.column_mask(model, images, 0.5).shape == (2, 8)
    assert fldrep.reconstruct(model, update, labels, "gs", 2, normalisation="none").images.shape == images.shape


def test_its_own_draws_are_seeded_too_and_are_kept_where_asked_for(added):
    added(MLP)
    torch.manual_seed(5)
    state = torch.get_rng_state()
    one, same, other = (build_model("mlp", (1, 8, 8), init="own", gain=3.0, seed=seed) for seed in (0, 0, 1))
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(one.body[1].weight, same.body[1].weight)
    assert not torch.equal(one.body[1].weight, other.body[1].weight)
    assert one.body[1].weight.std().item() == pytest.approx(3, rel=0.1)
    assert build_model("mlp", (1, 8, 8), gain=3.0).body[1].weight.abs().max() <= 1 / 8


def test_its_settings_are_those_of_the_config(added):
    with pytest.raises(UnknownName, match="unknown model 'mlp'"):
        model_settings("mlp")
    added(MLP)
    assert model_settings("mlp", width=8, init="uniform").own == {"width": 8, "gain": 1.0}
    for wrong, told in [({"widht": 8}, "widht: .*unknown key"), ({"width": 2.5}, "width: 2.5")]:
        with pytest.raises(ConfigError, match=told):
            model_settings("mlp", **wrong)
    with pytest.raises(ConfigError, match="widht: no setting of model 'mlp', which takes gain, width"):
        build_model("mlp", widht=8)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("return 3", "model 'odd': module: 3: expected a torch.nn.Module"),
        ("return nn.Conv2d(3, 4, 3)", "model 'odd': network Conv2d calls no nn.Linear"),
        ("return nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, 7))", "'odd' gives 7 logits where 10 classes"),
        ("return nn.Sequential(nn.Flatten(), nn.Linear(5, classes))", r"'odd': .* does not take images of shape"),
    ],
)
def test_a_function_that_makes_no_such_network_is_told(text, told, added):
    added(f"import fldrep\nfrom torch import nn\n@fldrep.model('odd')\ndef odd(shape, classes):\n    {text}\n")
    with pytest.raises(ConfigError, match=told):
        build_model("odd")


@pytest.mark.parametrize(
    ("keyword", "told"),
    [
        ("width", "odd: setting 'width' has no type"),
        ("init: str = 'own'", "model 'odd': every model has a setting 'init'; choose another name"),
    ],
)
def test_a_setting_without_a_type_or_of_a_taken_name_is_told(keyword, told, added):
    added(f"import fldrep\n@fldrep.model('odd')\ndef odd(shape, classes, *, {keyword}):\n    return None\n")
    with pytest.raises(ConfigError, match=told):
        build_model("odd")
