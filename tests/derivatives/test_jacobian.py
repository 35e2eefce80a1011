import pytest
import torch
from torch import nn
from torchvision.models.resnet import BasicBlock

from fldrep.derivatives.jacobian import feature_norms, features_and_norms, full_jacobian, live_features
from fldrep.derivatives.layer import NoRule, layer_of
from fldrep.derivatives.layerwise import layerwise
from fldrep.derivatives.phases import phase_kernels
from fldrep.derivatives.rows import windowed_rows
from fldrep.errors import ConfigError, UnknownName
from fldrep.models.building import build_model
from fldrep.models.model import Model

pytestmark = pytest.mark.filterwarnings("ignore:network .* no rule for")

# Bodies that are pulled back through windows: every stride, padding, kernel and pool that moves a window's corner.
WINDOWED = {
    "flatten": [nn.Flatten()],
    "one-conv": [nn.Conv2d(3, 5, 3), nn.Flatten()],
    "sigmoid-stride-2": [nn.Conv2d(3, 4, 5, 2, 2), nn.Sigmoid(), nn.Conv2d(4, 6, 5, 1, 2), nn.Sigmoid(), nn.Flatten()],
    "stride-2-no-padding": [nn.Conv2d(3, 4, 3, 2), nn.Tanh(), nn.Conv2d(4, 4, 2), nn.Flatten()],
    "stride-3-kernel-4": [nn.Conv2d(3, 4, 4, 3, 1), nn.LeakyReLU(0.1), nn.Conv2d(4, 6, 3, 2, 1), nn.Flatten()],
    "stride-over-kernel": [nn.Conv2d(3, 4, 2, 3), nn.Tanh(), nn.Conv2d(4, 6, 3, 1, 1), nn.Flatten()],
    "kernel-1-by-3": [nn.Conv2d(3, 4, (1, 3), padding=(0, 1)), nn.Sigmoid(), nn.Conv2d(4, 5, (3, 1)), nn.Flatten()],
    "wide-padding": [nn.Conv2d(3, 4, 3, 2, 3), nn.Tanh(), nn.Conv2d(4, 5, 3, 1, 2), nn.Flatten()],
    "pool-floor": [nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6), nn.ReLU(), nn.MaxPool2d(3), nn.Flatten()],
    "pool-overlap": [
        nn.Conv2d(3, 6, 3, 1, 1),
        nn.Tanh(),
        nn.MaxPool2d(3, 2, 1),
        nn.Conv2d(6, 4, 3),
        nn.MaxPool2d(2, 1),
        nn.Flatten(),
    ],
    "pool-ceil": [
        nn.Conv2d(3, 4, 3, 1, 1),
        nn.Tanh(),
        nn.MaxPool2d(2, ceil_mode=True),
        nn.Conv2d(4, 5, 2),
        nn.Flatten(),
    ],
    "pool-inside": [
        *(nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(3)),
        *(nn.Conv2d(4, 8, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten()),
    ],
    "nested": [nn.Sequential(nn.Conv2d(3, 4, 3), nn.Identity()), nn.Sequential(nn.ReLU(), nn.Flatten())],
    "linear": [nn.Flatten(), nn.Linear(243, 20), nn.ReLU(), nn.Linear(20, 9)],
    "linear-behind-maps": [nn.Conv2d(3, 4, 3, 2), nn.Sigmoid(), nn.Flatten(), nn.Linear(64, 9), nn.Tanh()],
    "average": [
        nn.Conv2d(3, 6, 3),
        nn.ReLU(),
        nn.AvgPool2d(2),
        nn.Conv2d(6, 7, 3),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
    ],
    "average-overlap": [nn.Conv2d(3, 4, 3), nn.Tanh(), nn.AvgPool2d(3, 2), nn.Conv2d(4, 5, 2), nn.Tanh(), nn.Flatten()],
    "residual": [BasicBlock(3, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten()],
    "residual-stride": [
        nn.Conv2d(3, 4, 3),
        BasicBlock(4, 6, 2, nn.Sequential(nn.Conv2d(4, 6, 1, 2), nn.BatchNorm2d(6))),
        nn.Flatten(),
    ],
}
# Bodies left to automatic differentiation.
OTHER = {
    "grouped": [nn.Conv2d(3, 6, 3, groups=3), nn.ReLU(), nn.Flatten()],
    "dilated": [nn.Conv2d(3, 4, 3, dilation=2), nn.ReLU(), nn.Flatten()],
    "uneven-stride": [nn.Conv2d(3, 4, 3, (1, 2)), nn.Flatten()],
    "uneven-average": [nn.Conv2d(3, 4, 3), nn.Tanh(), nn.AdaptiveAvgPool2d(4), nn.Flatten()],
    "group-norm": [nn.Conv2d(3, 4, 3), nn.GroupNorm(2, 4), nn.GELU(), nn.Flatten()],
}
BODIES = WINDOWED | OTHER


@pytest.fixture(params=list(BODIES))
def any_network(request, make_network):
    return make_network(*BODIES[request.param])


def test_bodies_take_the_path_they_are_listed_under(make_network):
    def is_windowed(layers) -> bool:
        try:
            return bool(layer_of(make_network(*layers).body).rows(torch.zeros(1, 3, 9, 9).double()))
        except NoRule:
            return False

    assert {name for name, layers in BODIES.items() if is_windowed(layers)} == set(WINDOWED)


def test_exact_norms_equal_a_backward_pass_a_feature(any_network, draw_images, backward_norms):
    images = draw_images()
    torch.testing.assert_close(feature_norms(any_network, images), backward_norms(any_network, images))


def test_jacobian_equals_autograds(any_network, draw_images):
    image = draw_images(1)[0]
    expected = torch.autograd.functional.jacobian(lambda x: any_network.features(x[None])[0], image).flatten(1)
    torch.testing.assert_close(full_jacobian(any_network, image), expected)


def test_jacobian_equals_finite_differences(make_network, draw_images):
    model, image = make_network(*BODIES["sigmoid-stride-2"]), draw_images(1)[0]
    direction, step = draw_images(1, seed=2)[0], 1e-5
    with torch.no_grad():
        ahead, behind = (model.features((image + sign * step * direction)[None])[0] for sign in (1, -1))
    found = full_jacobian(model, image) @ direction.flatten()
    torch.testing.assert_close(found, (ahead - behind) / (2 * step), rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("name", ["lenet", "convnet"])
def test_exact_norms_of_the_projects_networks(name, backward_norms):
    size = {"lenet": 16, "convnet": 18}[name]
    model = build_model(name, (3, size, size), width=4 if name == "convnet" else None, dtype=torch.float64).eval()
    images = torch.randn(1, 3, size, size, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    torch.testing.assert_close(feature_norms(model, images), backward_norms(model, images))


@pytest.mark.parametrize("name", ["pool-inside", "sigmoid-stride-2", "average"])
def test_an_image_does_not_depend_on_its_neighbours_nor_on_the_chunk(name, make_network, draw_images):
    model, images = make_network(*BODIES[name]), draw_images(3)
    together = feature_norms(model, images)
    torch.testing.assert_close(together, torch.cat([feature_norms(model, one[None]) for one in images]))
    torch.testing.assert_close(together, feature_norms(model, images, chunk=3))


@pytest.mark.parametrize("cell", [1, 2, 3, 100])
def test_windows_shared_by_neighbours_change_nothing(cell, make_network, draw_images, backward_norms, monkeypatch):
    monkeypatch.setattr("fldrep.derivatives.rows._cell", lambda *_: cell)
    model, images = make_network(*BODIES["pool-inside"]), draw_images()
    torch.testing.assert_close(feature_norms(model, images), backward_norms(model, images))


def test_rows_of_dead_features_are_not_computed(make_network, draw_images):
    model, images = make_network(*BODIES["nested"]), draw_images()
    features, rows = windowed_rows(layer_of(model.body), images)
    computed = torch.zeros_like(features, dtype=torch.bool)
    for image, feature, _ in rows:
        computed[image, feature] = True
    assert 0.2 < (features == 0).double().mean() < 0.8
    assert torch.equal(computed, features > 0)


@pytest.mark.parametrize(("stride", "kernel"), [(1, 3), (2, 5), (2, 2), (3, 4), (3, 2)])
def test_phase_kernels_compute_the_input_gradient(stride, kernel):
    draw = torch.Generator().manual_seed(0)
    weight = torch.randn(4, 3, kernel, kernel, generator=draw, dtype=torch.float64)
    cotangent = torch.randn(2, 4, 5, 5, generator=draw, dtype=torch.float64)
    expected = nn.functional.conv_transpose2d(cotangent, weight, stride=stride)
    phases = phase_kernels(weight, stride)
    found = nn.functional.conv2d(cotangent, phases, padding=phases.shape[-1] - 1)
    found = nn.functional.pixel_shuffle(found, stride)[:, :, : expected.shape[2], : expected.shape[3]]
    torch.testing.assert_close(found, expected[:, :, : found.shape[2], : found.shape[3]])
    assert not expected[:, :, found.shape[2] :].any()


def test_live_is_what_has_a_norm(any_network, draw_images):
    images = draw_images(3)
    assert torch.equal(live_features(any_network, images), feature_norms(any_network, images) > 0)


@pytest.mark.parametrize("how", ["exact", "jvp", "variance"])
def test_features_come_with_the_norms_and_batch_norm_is_left_alone(how, make_network, draw_images):
    model, images = make_network(*BODIES["pool-inside"]), draw_images()
    expected = model.features(images)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    model.train()
    features, norms = features_and_norms(model, images, how)
    torch.testing.assert_close(features, expected)
    assert all(module.training for module in model.modules())
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert not features.requires_grad
    assert not norms.requires_grad
    assert norms.shape == features.shape


def test_unknown_estimator_is_refused_by_name(make_network, draw_images):
    with pytest.raises(UnknownName, match=r"'fisher'.*exact, jvp, variance"):
        feature_norms(make_network(*BODIES["one-conv"]), draw_images(), "fisher")


# The sketch -----------------------------------------------------------------------------------------------------------


def test_sketch_of_many_directions_approaches_the_norms(make_network, draw_images):
    model, images = make_network(*BODIES["sigmoid-stride-2"]), draw_images()
    exact, sketch = feature_norms(model, images), feature_norms(model, images, "jvp", directions=2000, chunk=500)
    error = (sketch / exact - 1).square().mean().sqrt()
    assert 0.7 < error * (2 * 2000) ** 0.5 < 1.4  # the standard deviation that the docstring names


def test_sketch_is_the_root_mean_square_of_products_with_the_jacobian(make_network, draw_images):
    model, image = make_network(*BODIES["pool-inside"]), draw_images(1)
    drawn = torch.randn(2, 3, 9, 9, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    expected = (full_jacobian(model, image[0]) @ drawn.flatten(1).T).square().mean(1).sqrt()
    found = feature_norms(model, image, "jvp", directions=2, generator=torch.Generator().manual_seed(5))
    torch.testing.assert_close(found[0], expected)


def test_sketch_is_seeded_and_does_not_depend_on_neighbours_nor_on_the_chunk(make_network, draw_images):
    model, images = make_network(*BODIES["pool-inside"]), draw_images(3)
    drawn = [feature_norms(model, images, "jvp", generator=torch.Generator().manual_seed(seed)) for seed in (0, 0, 1)]
    assert torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0], drawn[2])
    torch.testing.assert_close(drawn[0], feature_norms(model, images, "jvp", chunk=5))
    torch.testing.assert_close(drawn[0][2:], feature_norms(model, images[2:], "jvp"))


# Variance propagation -------------------------------------------------------------------------------------------------


def test_variances_of_a_residual_blocks_branches_add(make_network, draw_images):
    skip = nn.Sequential(nn.Conv2d(3, 4, 1, 2), nn.BatchNorm2d(4))
    block = make_network(BasicBlock(3, 4, 2, skip), nn.Flatten(), seed=1).body[0]
    image = draw_images(3)
    values, found = layer_of(block).variance(image, torch.ones_like(image))
    branch = nn.Sequential(block.conv1, block.bn1, block.relu, block.conv2, block.bn2)
    parts = [layer_of(part).variance(image, torch.ones_like(image))[1] for part in (branch, block.downsample)]
    assert 0.1 < (values > 0).double().mean() < 0.9
    torch.testing.assert_close(values, block(image))
    torch.testing.assert_close(found, (parts[0] + parts[1]) * (values > 0))


def test_variance_is_exact_behind_one_linear_layer(make_network, draw_images):
    model, images = make_network(*BODIES["pool-floor"]), draw_images()
    torch.testing.assert_close(feature_norms(model, images, "variance"), feature_norms(model, images))


@pytest.mark.parametrize(
    "module",
    [
        nn.Softplus(),
        nn.AvgPool2d(2, padding=1),
        nn.AdaptiveAvgPool2d(5),
        nn.Conv2d(3, 3, 3, padding=1, padding_mode="reflect"),
    ],
)
def test_variance_is_the_sketch_where_a_module_has_no_rule_and_says_so_once(module, make_network, draw_images):
    model, images = make_network(module, nn.Flatten()), draw_images()
    with pytest.warns(UserWarning, match=f"Model: no rule for .*{type(module).__name__}.*by `jvp` instead") as said:
        found = [feature_norms(model, images, "variance") for _ in range(2)]
    assert len(said) == 1
    assert torch.equal(found[0], feature_norms(model, images, "jvp"))


def test_batch_norm_that_mixes_the_images_of_a_batch_is_refused(make_network, draw_images):
    body = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4, track_running_stats=False), nn.Flatten())
    model = Model(body, nn.Linear(196, 4)).double()
    for how in ("exact", "jvp", "variance"):
        with pytest.raises(ConfigError, match=r"batch norm 'body\.1' has no running statistics"):
            feature_norms(model, draw_images(), how)


def test_dropout_is_still_while_it_is_differentiated(make_network, draw_images):
    model = make_network(nn.Conv2d(3, 4, 3), nn.Dropout(0.9), nn.Flatten()).train()
    expected = feature_norms(make_network(nn.Conv2d(3, 4, 3), nn.Flatten()), draw_images())
    torch.testing.assert_close(feature_norms(model, draw_images()), expected)
    assert model.body[1].training
    assert layerwise(model, (3, 9, 9)) is None
    assert layerwise(model.eval(), (3, 9, 9))


@pytest.mark.parametrize(("name", "init"), [("lenet", "uniform"), ("convnet", "default")])
@pytest.mark.parametrize("rate", [0.4, 0.6, 0.8])
def test_fast_scores_prune_what_exact_ones_do_on_untrained_networks(name, init, rate):
    model = build_model(name, init=init, width=8 if name == "convnet" else None).eval()
    images = torch.rand(3, 3, 32, 32, generator=torch.Generator().manual_seed(0)) * 2 - 1
    features, exact = features_and_norms(model, images)
    fast = feature_norms(model, images, "variance")
    agreement = []
    for r, one, other in zip(features, exact, fast, strict=True):
        count = round(rate * int((one > 0).sum()))
        sets = [set(torch.where(n > 0, r.abs() / n, 0).topk(count).indices.tolist()) for n in (one, other)]
        agreement.append(len(sets[0] & sets[1]) / count)
    assert sum(agreement) / len(agreement) >= 0.95
