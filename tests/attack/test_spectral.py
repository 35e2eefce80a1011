"""Adam on the spectrum, against its formula written out for one image with autograd."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import fldrep
from fldrep.attack.adam import cosine_schedule
from fldrep.attack.observation import initial_point
from fldrep.attack.optimisers.adam_spectral import as_long_as, variation_slope
from fldrep.config.attacks import attack_settings
from fldrep.errors import AttackRefused
from fldrep.models.normalisation import normalisation_for
from fldrep.models.spectrum import Spectrum, amplitudes_of, cosine_matrix
from fldrep.models.updates import HEAD_WEIGHT, LocalSteps, Update
from fldrep.seeds import generator

GOLDEN = Path(__file__).parent.parent / "golden" / "lenet.npz"
PARTS = ["gs-spectral", "gs-spectral-masked", "gs-spectral-drop", "r-matching-spectral"]


def masked(update, defended="head"):
    shared = Update({name: value.clone() for name, value in update.items()}, defended)
    shared[HEAD_WEIGHT][:, :, ::3] = 0
    return shared


# ---- the transform


@pytest.mark.parametrize("size", [1, 2, 3, 8, 17])
def test_the_cosine_transform_is_orthonormal(size):
    matrix = cosine_matrix(size)
    torch.testing.assert_close(matrix @ matrix.mT, torch.eye(size, dtype=torch.float64), rtol=0, atol=1e-12)


def test_the_transform_of_three_channels_is_that_to_opponent_colours():
    opponent = torch.tensor([[1, 1, 1], [1, 0, -1], [1, -2, 1]], dtype=torch.float64)
    torch.testing.assert_close(cosine_matrix(3), opponent / opponent.norm(dim=1, keepdim=True))


@pytest.mark.parametrize("shape", [(3, 8, 8), (1, 6, 10), (4, 5, 3)])
def test_the_gradient_is_the_adjoint_of_the_way_to_images(shape):
    drawn = torch.Generator().manual_seed(0)
    coefficients, grad_images = torch.randn(2, 2, 5, *shape, generator=drawn, dtype=torch.float64)
    spectrum = Spectrum.of(grad_images, 1.0, 0.3)
    images, back = torch.func.vjp(spectrum.images, coefficients)
    torch.testing.assert_close(spectrum.gradient(grad_images), back(grad_images)[0])
    energy = (coefficients * spectrum.amplitudes).square().sum()
    torch.testing.assert_close(images.square().sum(), energy)


def test_amplitudes_fall_with_the_frequency_and_are_weaker_for_colours():
    square = amplitudes_of(3, 32, 32, exponent=1.0, chroma=0.3)
    assert square.square().mean() == pytest.approx(1)
    assert square[0, 3, 4] / square[0, 0, 1] == pytest.approx(1 / 5)
    assert square[0, 0, 0] == square[0, 0, 1]
    assert torch.equal(square[1], square[2])
    torch.testing.assert_close(square[1], 0.3 * square[0])
    oblong = amplitudes_of(1, 16, 32, exponent=2.0, chroma=0.3)[0]
    assert oblong[1, 0] == oblong[0, 2], "half a wave in 16 pixels is as fast as a whole one in 32"
    flat = amplitudes_of(1, 4, 4, exponent=0.0, chroma=0.3)
    assert torch.equal(flat, torch.ones_like(flat))


# ---- the formula


def spectral_twin(model, seen, label, start, steps, keep):
    """The formula line by line, on one square image (C, H, W), with loops over its coefficients."""
    channels, size, _ = start.shape

    def wave(frequency, place, count):
        factor = math.sqrt((1 if frequency == 0 else 2) / count)
        return factor * math.cos(math.pi * (place + 0.5) * frequency / count)

    def basis_of(count):
        rows = [[wave(frequency, place, count) for place in range(count)] for frequency in range(count)]
        return torch.tensor(rows, dtype=torch.float64)

    colours, waves = basis_of(channels), basis_of(size)
    units = torch.ones(channels, size, size, dtype=torch.float64)
    for channel in range(channels):
        for down in range(size):
            for across in range(size):
                weight = 1.0 if channel == 0 else 0.3
                units[channel, down, across] = weight / max(math.hypot(down, across), 1.0)
    units /= units.square().mean().sqrt()

    def forward(images):
        return torch.einsum("oc,kh,lw,chw->okl", colours, waves, waves, images)

    def back(coefficients):
        return torch.einsum("oc,kh,lw,okl->chw", colours, waves, waves, coefficients)

    def variation(image):
        def huber(one):
            return torch.where(one.abs() < 0.1, one.square() / 0.2, one.abs() - 0.05).sum()

        return huber(image.diff(dim=1)) + huber(image.diff(dim=2))

    names, parameters = zip(*model.named_parameters(), strict=True)
    target = torch.cat([keep(name, one).flatten() for name, one in zip(names, seen, strict=True)])
    constants = normalisation_for(3)
    std, mean = (torch.tensor(one, dtype=torch.float64).view(-1, 1, 1) for one in (constants.std, constants.mean))
    image = back(units * 0.5 * start)
    first, second = torch.zeros_like(image), torch.zeros_like(image)
    for step in range(steps):
        image.requires_grad_()
        loss = nn.functional.cross_entropy(model(image[None]), label[None])
        trial = torch.autograd.grad(loss, parameters, create_graph=True)
        flat = torch.cat([keep(name, one).flatten() for name, one in zip(names, trial, strict=True)])
        distance = 1 - nn.functional.cosine_similarity(flat, target, dim=0)
        slope = torch.autograd.grad(distance.log(), image)[0]
        smooth = torch.autograd.grad(variation(image), image)[0]
        slope = slope + 0.3 * smooth * slope.norm() / smooth.norm()
        by_units = units * forward(slope)
        first, second = 0.9 * first + 0.1 * by_units, 0.99 * second + 0.01 * by_units**2
        rate = 0.4 * (1 + math.cos(math.pi * step / steps)) / 2 + 0.0004
        ahead = first / (1 - 0.9 ** (step + 1)), second / (1 - 0.99 ** (step + 1))
        image = image.detach() - back(units * rate * ahead[0] / (ahead[1].sqrt() + 1e-8))
        image = torch.maximum(torch.minimum(image, (1 - mean) / std), -mean / std)
    return image


def keep_of(preset, shared, target):
    if preset == "gs-spectral-drop":
        return lambda name, one: one[:0] if name.startswith("head.") else one
    if preset == "gs-spectral-masked":
        columns = (shared[HEAD_WEIGHT][target].abs().sum(0) > 0).double()
        return lambda name, one: one * columns if name == HEAD_WEIGHT else one
    return lambda name, one: one


@pytest.mark.parametrize("preset", ["gs-spectral", "gs-spectral-masked", "gs-spectral-drop"])
@pytest.mark.parametrize("network", ["lenet", "convnet"])
def test_attack_is_its_formula_with_autograd(network, preset, request):
    made = request.getfixturevalue(network)
    shared = masked(made.update)
    found = fldrep.reconstruct(made.model, shared, made.labels, preset, 6)
    for target in range(len(made.labels)):
        start = initial_point(generator("initial point", 0, target, 0), made.shape)[0]
        seen = [value[target] for value in shared.values()]
        keep = keep_of(preset, shared, target)
        expected = spectral_twin(made.model, seen, made.labels[target], start, 6, keep)
        torch.testing.assert_close(found.images[target], expected, rtol=1e-6, atol=1e-6)


def test_the_schedule_is_half_a_cosine():
    rates = cosine_schedule(150, 0.4)
    assert (len(rates), rates[0], rates[75]) == (150, pytest.approx(0.4004), pytest.approx(0.2004))
    assert 0.0004 < rates[-1] < 0.0005
    assert cosine_schedule(0, 0.4) == []


def test_smoothing_is_the_slope_of_hubers_variation():
    images = torch.randn(2, 2, 3, 5, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * 0.1

    def variation(images):
        huber = nn.functional.huber_loss
        across, down = images[..., 1:], images[..., 1:, :]
        given = {"delta": 0.1, "reduction": "sum"}
        return (huber(across, images[..., :-1], **given) + huber(down, images[..., :-1, :], **given)) / 0.1

    torch.testing.assert_close(variation_slope(images, 0.1), torch.func.grad(variation)(images))


def test_each_image_is_smoothed_by_its_own_share():
    one, other = torch.rand(2, 2, 2, 3, 4, 4)
    lengths = as_long_as(one, other).flatten(2).norm(dim=2)
    torch.testing.assert_close(lengths, one.flatten(2).norm(dim=2))
    assert torch.equal(as_long_as(one, torch.zeros_like(one)), torch.zeros_like(one))


# ---- the attack


def test_the_start_is_noise_with_the_spectrum(lenet):
    """Of the random numbers that every attack of the target draws."""
    found = fldrep.reconstruct(lenet.model, lenet.update, lenet.labels, "gs-spectral", 0)
    white = fldrep.reconstruct(lenet.model, lenet.update, lenet.labels, "gs", 0)
    spectrum = Spectrum.of(found.images, 1.0, 0.3)
    torch.testing.assert_close(found.images, spectrum.images(0.5 * white.images))


@pytest.mark.parametrize("preset", PARTS)
def test_together_is_as_alone(convnet, preset):
    shared = masked(convnet.update)
    together = fldrep.reconstruct(convnet.model, shared, convnet.labels, preset, 5, restarts=2)
    one_by_one = fldrep.reconstruct(convnet.model, shared, convnet.labels, preset, 5, restarts=2, problems_at_once=1)
    torch.testing.assert_close(together.all_images, one_by_one.all_images, rtol=1e-6, atol=1e-8)


def test_masked_is_plain_where_nothing_is_masked(convnet):
    plain, known = (
        fldrep.reconstruct(convnet.model, convnet.update, convnet.labels, preset, 4)
        for preset in ("gs-spectral", "gs-spectral-masked")
    )
    assert torch.equal(plain.images, known.images)
    with pytest.raises(AttackRefused, match="gs-spectral-drop"):
        fldrep.reconstruct(convnet.model, convnet.update, convnet.labels, "gs-spectral-drop", 1)


def test_updates_of_several_images_and_steps(lenet):
    drawn = torch.Generator().manual_seed(8)
    images = torch.rand(2, 4, *lenet.shape, generator=drawn, dtype=torch.float64) * 2 - 1
    labels, local = torch.tensor([[0, 0, 3, 4], [2, 1, 2, 2]]), LocalSteps(epochs=1, batch_size=2, lr=0.1)
    for given in ({}, {"local": local}):
        update = fldrep.client_update(lenet.model, images, labels, **given)
        found = fldrep.reconstruct(lenet.model, update, labels, "gs-spectral", 12, **given)
        assert found.images.shape == images.shape
        assert (found.distance < found.initial_distance[:, 0]).all()


@pytest.mark.parametrize("shape", [(1, 12, 12), (1, 8, 16), (3, 8, 8)])
def test_images_of_any_shape_stay_in_the_box(shape):
    network = nn.Sequential(nn.Flatten(), nn.Linear(math.prod(shape), 12), nn.Sigmoid(), nn.Linear(12, 4)).double()
    drawn, normalisation = torch.Generator().manual_seed(2), normalisation_for(shape[0])
    images, labels = torch.rand(2, *shape, generator=drawn, dtype=torch.float64), torch.tensor([0, 3])
    update = fldrep.client_update(network, images, labels)
    given = {"attack": "gs-spectral", "iterations": 10, "shape": shape}
    boxed = fldrep.reconstruct(network, update, labels, lr=5.0, **given).images
    pixels = normalisation.to_pixels(boxed)
    assert -1e-12 < pixels.min() <= pixels.max() < 1 + 1e-12
    free = fldrep.reconstruct(network, update, labels, lr=5.0, box=False, **given).images
    assert normalisation.to_pixels(free).max() > 1


def test_another_regulariser_can_be_added(lenet):
    own = {"objective": "cosine", "optimiser": "adam-spectral", "iterations": 8, "smoothing": 0.0}
    rough, smooth = (
        fldrep.reconstruct(lenet.model, lenet.update, lenet.labels, {**own, "total_variation": weight}).images
        for weight in (0.0, 10.0)
    )
    assert smooth.diff(dim=-1).abs().mean() < rough.diff(dim=-1).abs().mean()
    assert attack_settings(**own).start == 1


def test_real_images_are_nearer_than_the_start_and_than_by_gs():
    """Two photos of CIFAR-10 and a narrow ConvNet."""
    golden, normalisation = np.load(GOLDEN), normalisation_for(3)
    images = normalisation.to_input(torch.tensor(golden["images"][:2]).permute(0, 3, 1, 2).float() / 255)
    labels = torch.tensor(golden["labels"][:2]).long()
    model = fldrep.build_model("convnet", width=16, seed=0).eval()
    update = fldrep.client_update(model, images, labels)
    start, spectral, published = (
        fldrep.compare(fldrep.reconstruct(model, update, labels, attack, steps).images, images)
        for attack, steps in (("gs-spectral", 0), ("gs-spectral", 60), ("gs", 60))
    )
    assert (spectral.ssim > start.ssim + 0.1).all()
    assert (spectral.ssim > published.ssim + 0.1).all()
    assert (spectral.mse < published.mse / 1.5).all()
