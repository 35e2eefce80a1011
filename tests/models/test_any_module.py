"""Networks of torch as they come, against autograd on the network itself: its update, Soteria's mask, steps of GS."""

import copy
from types import SimpleNamespace

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torchvision.models import VisionTransformer, mobilenet_v3_small, resnet18

import fldrep
from fldrep.errors import ConfigError
from fldrep.models.face import clients_of, with_inner_names, with_own_names
from fldrep.models.model import Model
from fldrep.models.updates import HEAD_BIAS, HEAD_WEIGHT, LocalSteps, cosine_distance

SIZE, CLASSES = 16, 5


class Plain(nn.Module):
    """Batch norm, an activation in place, and a last layer of another name."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, stride=2)
        self.norm = nn.BatchNorm2d(4)
        self.fc = nn.Linear(4 * 7 * 7, CLASSES)

    def forward(self, x):
        return self.fc(F.silu(self.norm(self.conv(x)), inplace=True).flatten(1))


class Transformer(nn.Module):
    """PyTorch's own encoder, which takes a fast path in evaluation mode; its head has no bias."""

    def __init__(self):
        super().__init__()
        self.patches = nn.Conv2d(3, 16, 4, 4)
        self.encoder = nn.TransformerEncoder(nn.TransformerEncoderLayer(16, 2, 32, batch_first=True), 2)
        self.out = nn.Linear(16, CLASSES, bias=False)

    def forward(self, x):
        return self.out(self.encoder(self.patches(x).flatten(2).mT).mean(1))


class ChangesItsInput(Plain):
    def forward(self, x):
        return super().forward(x.sub_(0.5).mul_(2))


class Probabilities(Plain):
    def forward(self, x):
        return F.log_softmax(super().forward(x), -1)


class Record(Plain):
    def forward(self, x):
        return {"logits": super().forward(x), "images": x}


class TwoVectors(nn.Module):
    """A layer called twice, in front of the head and behind it."""

    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(SIZE, SIZE)

    def forward(self, x):
        return self.fc(self.fc(x[:, 0, 0]).tanh())


class Spatial(nn.Module):
    """A last layer on each pixel."""

    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(3, CLASSES)

    def forward(self, x):
        return self.fc(x.flatten(2).mT)


class Tied(nn.Module):
    """A last layer whose weight another layer uses."""

    def __init__(self):
        super().__init__()
        self.first, self.fc = nn.Linear(SIZE, SIZE), nn.Linear(SIZE, SIZE)
        self.fc.weight = self.first.weight

    def forward(self, x):
        return self.fc(self.first(x[:, 0, 0]).tanh())


class Unlisted(nn.Module):
    """Layers that are found by a list as well as by their names."""

    def __init__(self):
        super().__init__()
        self.first, self.fc = nn.Linear(SIZE, 8), nn.Linear(8, CLASSES)
        self.layers = [self.first, self.fc]

    def forward(self, x):
        return self.layers[1](self.layers[0](x[:, 0, 0]).tanh())


def doubled():
    """A hook that changes what the last layer is given."""
    made = Plain()
    made.fc.register_forward_pre_hook(lambda module, given: (2 * given[0],))
    return made


def small_transformer():
    made = VisionTransformer(SIZE, 8, num_layers=2, num_heads=2, hidden_dim=8, mlp_dim=16, num_classes=CLASSES)
    nn.init.normal_(made.heads.head.weight, generator=torch.Generator().manual_seed(0))  # zeros as it comes
    return made


# How each is made, the side of its images, its last layer, and the precision it is tried in.
NETWORKS = {
    "plain": (Plain, SIZE, "fc", torch.float64),
    "transformer": (Transformer, SIZE, "out", torch.float64),
    "changes-its-input": (ChangesItsInput, SIZE, "fc", torch.float64),
    "vision-transformer": (small_transformer, SIZE, "heads.head", torch.float64),
    "resnet18": (lambda: resnet18(num_classes=CLASSES), 32, "fc", torch.float32),
    "mobilenet": (lambda: mobilenet_v3_small(num_classes=CLASSES), 32, "classifier.3", torch.float32),
}
SMALL = [name for name, (*_, dtype) in NETWORKS.items() if dtype == torch.float64]
CLOSE = {torch.float64: {"rtol": 1e-6, "atol": 1e-10}, torch.float32: {"rtol": 1e-3, "atol": 1e-4}}


def network_of(make, size=SIZE, dtype=torch.float64):
    """In evaluation mode, with batch norm's statistics those of random images, so that features are about 1."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        made = make().to(dtype)
        for module in made.modules():
            module.momentum = 1.0
        made(torch.randn(8, 3, size, size, dtype=dtype))
    return made.eval()


def scene_of(name):
    make, size, head, dtype = NETWORKS[name]
    images = torch.randn(2, 3, size, size, generator=torch.Generator().manual_seed(3), dtype=dtype)
    model, shape = network_of(make, size, dtype), (3, size, size)
    return SimpleNamespace(
        model=model, images=images, labels=torch.arange(2), head=head, shape=shape, close=CLOSE[dtype]
    )


@pytest.fixture(params=NETWORKS)
def scene(request):
    return scene_of(request.param)


@pytest.fixture
def plain():
    return scene_of("plain")


def gradient(model, images, labels):
    """By autograd, on the network as it is."""
    loss = F.cross_entropy(model(images.clone()), labels)
    return dict(zip(dict(model.named_parameters()), torch.autograd.grad(loss, list(model.parameters())), strict=True))


def features(model, head, images):
    """What the last layer is given."""
    kept = []
    hook = model.get_submodule(head).register_forward_pre_hook(lambda module, given: kept.append(given[0]))
    model(images.clone())
    hook.remove()
    return kept[0]


def everything_of(scene):
    """What a call must leave as it was: values, identities, modes and hooks."""
    parts = [(type(one), one.training, len(one._forward_hooks)) for one in scene.model.modules()]
    tensors = [*scene.model.state_dict().values(), scene.images, scene.labels]
    return [value.clone() for value in tensors], [id(value) for value in scene.model.parameters()], parts


def assert_as_it_was(scene, before):
    values, *others = everything_of(scene)
    assert others == list(before[1:])
    assert all(torch.equal(one, other) for one, other in zip(values, before[0], strict=True))
    copy.deepcopy(scene.model)


# ---- as they come


def test_an_update_has_the_networks_own_names_and_is_its_gradient(scene):
    before = everything_of(scene)
    update = fldrep.client_update(scene.model, scene.images, scene.labels)
    assert_as_it_was(scene, before)
    assert list(update) == [name for name, _ in scene.model.named_parameters()]
    for number in range(2):
        one = slice(number, number + 1)
        for name, expected in gradient(scene.model, scene.images[one], scene.labels[one]).items():
            torch.testing.assert_close(update[name][number], expected, **scene.close)


def score(scene, image, number):
    """|r_i| / ||dr_i/dX|| of one feature, by autograd; 0 for a dead one."""
    x = image.clone().requires_grad_()
    r = features(scene.model, scene.head, x)[0, number]
    (slope,) = torch.autograd.grad(r, x)
    return (r.abs() / slope.norm() if slope.any() else 0 * r).detach()


def test_the_mask_prunes_the_features_of_largest_score(scene):
    image = scene.images[:1]
    before = everything_of(scene)
    kept = fldrep.column_mask(scene.model, image, 0.4)
    assert_as_it_was(scene, before)
    assert kept.shape == features(scene.model, scene.head, image).shape
    assert 0 < (~kept).sum() <= round(0.4 * kept.numel())
    pruned, left = (one[0].nonzero().flatten()[::7][:4].tolist() for one in (~kept, kept))
    assert min(score(scene, image, one) for one in pruned) >= max(score(scene, image, one) for one in left)


@pytest.mark.parametrize("name", SMALL)
def test_scores_are_those_of_autograd(name):
    scene = scene_of(name)
    found = fldrep.feature_scores(scene.model, scene.images)
    for image, scores in zip(scene.images.split(1), found, strict=True):
        expected = torch.stack([score(scene, image, number) for number in range(len(scores))])
        torch.testing.assert_close(scores, expected, **scene.close)


def test_five_steps_of_gs_end_at_the_distance_they_say(scene):
    update = fldrep.client_update(scene.model, scene.images[:1], scene.labels[:1])
    sent = {name: value.clone() for name, value in update.items()}
    before = everything_of(scene)
    found = fldrep.reconstruct(scene.model, update, scene.labels[:1], "gs", 5, shape=scene.shape)
    assert_as_it_was(scene, before)
    assert all(torch.equal(update[name], sent[name]) for name in sent)
    assert found.iterations.item() == 5
    trial = {k: v.unsqueeze(0) for k, v in gradient(scene.model, found.images, scene.labels[:1]).items()}
    torch.testing.assert_close(found.distance, cosine_distance(trial, update), **scene.close)


@pytest.mark.parametrize("name", SMALL)
def test_steps_of_gs_descend(name):
    scene = scene_of(name)
    update = fldrep.client_update(scene.model, scene.images, scene.labels)
    found = fldrep.reconstruct(scene.model, update, scene.labels, "gs", 10, shape=scene.shape, lr=0.01)
    assert not found.diverged.any()
    assert (found.distance < found.initial_distance[:, 0]).all()


def test_half_a_networks_precision_is_enough(plain):
    """An update in another precision is taken, images as well."""
    update = fldrep.client_update(plain.model.float(), plain.images.half(), plain.labels)
    assert {value.dtype for value in update.values()} == {torch.float32}
    half = {name: value.half() for name, value in update.items()}
    assert fldrep.reconstruct(plain.model, half, plain.labels, "gs", 1, shape=plain.shape).images.dtype == torch.float32


def test_batches_and_local_steps(plain):
    images, labels = plain.images[None], plain.labels[None]
    update = fldrep.client_update(plain.model, images, labels)
    for name, expected in gradient(plain.model, plain.images, plain.labels).items():
        torch.testing.assert_close(update[name][0], expected)
    steps = fldrep.client_update(plain.model, images, labels, LocalSteps(1, 1, 0.1))
    moved = copy.deepcopy(plain.model)
    total = dict.fromkeys(update, 0)
    for image, label in zip(plain.images, plain.labels, strict=True):
        one = gradient(moved, image[None], label[None])
        with torch.no_grad():
            for name, value in moved.named_parameters():
                value -= 0.1 * one[name]
                total[name] = total[name] + one[name]
    for name, expected in total.items():
        torch.testing.assert_close(steps[name][0], expected)
    found = fldrep.reconstruct(plain.model, steps, labels, "gs", 1, shape=plain.shape, local=LocalSteps(1, 1, 0.1))
    assert found.images.shape == images.shape


@pytest.mark.parametrize("attack", ["dlg", "idlg", "gs-masked", "gs-drop", "r-matching"])
def test_other_attacks_take_it_too(attack, plain):
    update = fldrep.client_update(plain.model, plain.images, plain.labels)
    update = {**update, "fc.weight": update["fc.weight"] * (torch.arange(196) % 2)}
    known = None if attack == "dlg" else plain.labels
    found = fldrep.reconstruct(plain.model, update, known, attack, 1, shape=plain.shape)
    assert found.images.isfinite().all()
    if attack == "idlg":
        assert found.labels_found[:, 0].tolist() == plain.labels.tolist()


@pytest.mark.parametrize("prune", ["gradient", "representation"])
def test_a_defense_behind_the_face_sees_the_names_that_all_networks_have(prune, plain):
    taken, *_ = clients_of(plain.model, plain.images, plain.labels)
    update = fldrep.client_update(plain.model, plain.images, plain.labels)
    inside = with_inner_names(taken, update)
    assert list(inside)[-2:] == [HEAD_WEIGHT, HEAD_BIAS]
    assert list(with_own_names(taken, inside)) == list(update)
    client = {"model": plain.model, "images": plain.images, "labels": plain.labels}
    shared = fldrep.defend(update, "soteria", rate=0.5, prune=prune, **client)
    assert list(shared) == list(update)
    assert shared.defended == "head"
    kept = fldrep.column_mask(plain.model, plain.images, 0.5)
    assert torch.equal((shared["fc.weight"] != 0).any(1), kept & (update["fc.weight"] != 0).any(1))
    assert torch.equal(shared["conv.weight"], update["conv.weight"]) == (prune == "gradient")


# ---- a chain of layers


def test_a_chain_of_layers_is_what_the_built_in_network_is():
    built = fldrep.build_model("lenet", (3, 16, 16), CLASSES, init="uniform").eval()
    chain = nn.Sequential(*built.body, built.head).eval()
    images, labels = torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(0)), torch.tensor([1, 4])
    update, same = (fldrep.client_update(one, images, labels) for one in (chain, built))
    assert list(update) == [name for name, _ in chain.named_parameters()]
    assert all(torch.equal(one, other) for one, other in zip(update.values(), same.values(), strict=True))
    assert torch.equal(fldrep.column_mask(chain, images, 0.5), fldrep.column_mask(built, images, 0.5))
    one, other = (
        fldrep.reconstruct(*pair, labels, "gs", 3, shape=(3, 16, 16)) for pair in ((chain, update), (built, same))
    )
    assert torch.equal(one.images, other.images)
    assert type(fldrep.wrap(chain, (3, 16, 16)).body) is nn.Sequential


def test_a_chain_whose_layers_work_in_place_is_left_as_it_is():
    chain = nn.Sequential(nn.ReLU(inplace=True), nn.Conv2d(3, 4, 3), nn.ReLU(inplace=True), nn.Flatten())
    chain.append(nn.Linear(4 * 14 * 14, CLASSES))
    images = torch.randn(1, 3, 16, 16)
    before = images.clone()
    fldrep.column_mask(chain, images, 0.5)
    fldrep.client_update(chain, images, torch.tensor([0]))
    assert torch.equal(images, before)
    assert chain[0].inplace
    assert chain[2].inplace


# ---- what cannot be found out is said


@pytest.mark.parametrize("make", [Probabilities, Record])
def test_a_head_that_is_named_gives_the_logits_whatever_comes_after(make, plain):
    model = network_of(make)
    wrapped = fldrep.wrap(model, shape=(3, SIZE, SIZE), head="fc")
    update = fldrep.client_update(wrapped, plain.images, plain.labels)
    expected = fldrep.client_update(plain.model, plain.images, plain.labels)
    assert list(update) == list(expected)
    for name in expected:
        torch.testing.assert_close(update[name], expected[name])
    torch.testing.assert_close(wrapped(plain.images), plain.model(plain.images))
    assert fldrep.reconstruct(wrapped, update, plain.labels, "gs", 1).images.shape == plain.images.shape


def test_a_wrapped_network_is_taken_wherever_a_built_one_is(plain):
    wrapped = fldrep.wrap(plain.model, shape=plain.shape)
    assert wrapped.shape == plain.shape
    assert not wrapped.training
    assert wrapped.features(plain.images).shape == (2, 196)
    assert wrapped.head.in_features == 196
    update = fldrep.client_update(wrapped, plain.images, plain.labels)
    found = fldrep.reconstruct(wrapped, update, plain.labels, "gs", 2)
    again = fldrep.reconstruct(plain.model, update, plain.labels, "gs", 2, shape=plain.shape)
    assert torch.equal(found.images, again.images)
    assert torch.equal(fldrep.feature_scores(wrapped, plain.images), fldrep.feature_scores(plain.model, plain.images))
    assert fldrep.wrap(wrapped, plain.shape) is wrapped


def test_a_model_without_a_shape_gets_one_by_wrap():
    built = fldrep.build_model("lenet", (3, SIZE, SIZE), CLASSES)
    bare = Model(built.body, built.head)
    said = fldrep.wrap(bare, (3, SIZE, SIZE), head="head")
    assert said.shape == (3, SIZE, SIZE)
    assert bare.shape is None
    assert said.head is built.head
    with pytest.raises(ConfigError, match="head: 'fc': expected 'head'"):
        fldrep.wrap(bare, (3, SIZE, SIZE), head="fc")
    with pytest.raises(ConfigError, match=r"does not take images of shape \(3, 8, 8\), it was built for \(3, 16, 16\)"):
        fldrep.wrap(built, (3, 8, 8))


def test_a_wrapped_network_shares_the_weights_of_its_module(plain):
    wrapped = fldrep.wrap(plain.model, shape=plain.shape)
    before = fldrep.client_update(wrapped, plain.images, plain.labels)
    with torch.no_grad():
        plain.model.conv.weight.mul_(2)
    after = fldrep.client_update(wrapped, plain.images, plain.labels)
    assert not torch.equal(before["fc.weight"], after["fc.weight"])
    assert torch.equal(after["fc.weight"], fldrep.client_update(plain.model, plain.images, plain.labels)["fc.weight"])


NOT_FOUND = [
    (Probabilities, r"gives something else than the output of 'fc'.*fldrep\.wrap\(module, shape=.*, head='fc'\)"),
    (Record, r"gives a dict, not the output of 'fc'.*fldrep\.wrap\(module, shape=.*, head='fc'\)"),
    (TwoVectors, r"calls 'fc', its last nn.Linear, 2 times"),
    (Spatial, r"head 'fc' .* is given shape \(2, 256, 3\) for two images, expected \(2, F\)"),
    (Tied, "uses the weight of its last layer in another layer too"),
    (lambda: nn.Sequential(nn.Conv2d(3, CLASSES, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten()), r"calls no nn\.Linear"),
    (lambda: nn.Sequential(nn.Flatten()), "Sequential has no parameters"),
    (lambda: nn.Sequential(nn.Flatten(), nn.LazyLinear(CLASSES)), "'1.weight' has no shape yet"),
    (lambda: nn.Sequential(nn.Flatten(), nn.Linear(4, CLASSES)), r"does not take images of shape \(3, 16, 16\): mat1"),
    (doubled, "computes something else: by hooks"),
    (Unlisted, "computes something else: by hooks"),
]


@pytest.mark.parametrize(("make", "told"), NOT_FOUND)
def test_what_was_found_instead_of_a_head_is_said_in_one_line(make, told):
    images, labels = torch.randn(1, 3, SIZE, SIZE), torch.tensor([0])
    for call in (
        lambda model: fldrep.client_update(model, images, labels),
        lambda model: fldrep.column_mask(model, images, 0.5),
        lambda model: fldrep.wrap(model, (3, SIZE, SIZE)),
    ):
        with pytest.raises(ConfigError, match=told) as refused:
            call(make().eval())
        assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ({"shape": (3, SIZE, SIZE), "head": "fcc"}, "head: 'fcc': expected a layer nn.Linear that is called: fc"),
        ({"shape": (3, SIZE, SIZE), "head": "conv"}, "head: 'conv'"),
        ({"shape": (3, SIZE, SIZE), "head": 3}, "head: 3: expected a name"),
        ({"shape": (3, SIZE)}, r"shape: \(3, 16\): expected \(C, H, W\)"),
        ({"shape": (1, SIZE, SIZE)}, r"network Plain does not take images of shape \(1, 16, 16\)"),
    ],
)
def test_wrap_says_which_argument_is_wrong(arguments, told, plain):
    with pytest.raises(ConfigError, match=told):
        fldrep.wrap(plain.model, **arguments)
    with pytest.raises(ConfigError, match=r"module: 'resnet18': expected a torch\.nn\.Module"):
        fldrep.wrap("resnet18", shape=(3, 32, 32))
    with pytest.raises(ConfigError, match="2 times"):
        fldrep.wrap(TwoVectors(), shape=(3, SIZE, SIZE), head="fc")


def test_reconstruct_asks_for_the_shape_that_nothing_says(plain):
    update = fldrep.client_update(plain.model, plain.images, plain.labels)
    with pytest.raises(ConfigError, match=r"shape: .*give fldrep\.wrap\(model, shape=\(C, H, W\)\)"):
        fldrep.reconstruct(plain.model, update, plain.labels, "gs", 1)
    plain.model.shape = plain.shape
    assert fldrep.reconstruct(plain.model, update, plain.labels, "gs", 1).images.shape == plain.images.shape


# ---- modes


class FunctionalDropout(Plain):
    def forward(self, x):
        return super().forward(F.dropout(x, 0.5, self.training))


def spectral():
    made = nn.Sequential(nn.Flatten(), nn.utils.parametrizations.spectral_norm(nn.Linear(768, 8)), nn.Tanh())
    return made.append(nn.Linear(8, CLASSES))


def dropout(p):
    return nn.Sequential(nn.Flatten(), nn.Dropout(p), nn.Linear(768, CLASSES))


class NoStatistics(Plain):
    def __init__(self):
        super().__init__()
        self.norm = nn.BatchNorm2d(4, track_running_stats=False)


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (Plain, r"batch norm 'norm' is in training mode; call model\.eval\(\) first"),
        (lambda: dropout(0.5), "dropout '1' is in training mode"),
        (Transformer, "dropout 'encoder.layers.0.self_attn' is in training mode"),
        (lambda: FunctionalDropout().requires_grad_(False), "training mode"),
        (spectral, "in training mode it draws at random or changes its buffers"),
        (lambda: NoStatistics().eval(), "batch norm 'norm' has no running statistics"),
    ],
)
def test_what_mixes_images_or_draws_at_random_is_refused(make, told):
    model, images = make(), torch.randn(2, 3, SIZE, SIZE)
    state = copy.deepcopy(model.state_dict())
    for call in (
        lambda: fldrep.client_update(model, images, torch.tensor([0, 1])),
        lambda: fldrep.feature_scores(model, images),
        lambda: fldrep.column_mask(model, images, 0.5),
        lambda: fldrep.reconstruct(model, {}, shape=(3, SIZE, SIZE)),
    ):
        with pytest.raises(ConfigError, match=told):
            call()
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())


def test_training_mode_that_changes_nothing_is_fine():
    images, labels = torch.randn(2, 3, SIZE, SIZE), torch.tensor([0, 1])
    models = dropout(0.0), fldrep.build_model("lenet", (3, SIZE, SIZE)), spectral().eval()
    state = torch.get_rng_state()
    for model in models:
        assert len(next(iter(fldrep.client_update(model, images, labels).values()))) == 2
    assert torch.equal(torch.get_rng_state(), state)
