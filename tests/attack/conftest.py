"""Slow twins: the attacks as plain loops over one target, with autograd and the optimisers of torch."""

from types import SimpleNamespace

import pytest
import torch
from torch import nn

import fldrep
from fldrep.models.normalisation import Normalisation, normalisation_for


def client_gradient(model, image, label):
    """What a client sends for one image, as a list in the order of the parameters."""
    loss = nn.functional.cross_entropy(model(image[None]), label[None])
    return [one.detach() for one in torch.autograd.grad(loss, list(model.parameters()))]


def variation(image):
    """Total variation by a loop over pixels."""
    channels, high, wide = image.shape
    across = sum((image[:, :, j + 1] - image[:, :, j]).abs().sum() for j in range(wide - 1))
    down = sum((image[:, i + 1, :] - image[:, i, :]).abs().sum() for i in range(high - 1))
    return across / (channels * high * (wide - 1)) + down / (channels * (high - 1) * wide)


def signed_adam_twin(model, seen, label, start, *, iterations, lr, weight, normalisation, box, lr_decay, keep):
    """GS as its authors describe it, on one image. `keep(name, tensor)` is what is compared of each tensor."""
    names, parameters = zip(*model.named_parameters(), strict=True)
    image = start.clone().requires_grad_()
    optimiser = torch.optim.Adam([image], lr=lr)
    milestones = [iterations // 2.667, iterations // 1.6, iterations // 1.142] if lr_decay else []
    schedule = torch.optim.lr_scheduler.MultiStepLR(optimiser, milestones, gamma=0.1)
    constants = (normalisation.std, normalisation.mean)
    std, mean = (torch.tensor(one, dtype=torch.float64).view(-1, 1, 1) for one in constants)
    target = torch.cat([keep(name, one).flatten() for name, one in zip(names, seen, strict=True)])

    def distance():
        loss = nn.functional.cross_entropy(model(image[None]), label[None])
        trial = torch.autograd.grad(loss, parameters, create_graph=True)
        flat = torch.cat([keep(name, one).flatten() for name, one in zip(names, trial, strict=True)])
        return 1 - nn.functional.cosine_similarity(flat, target, dim=0)

    first = distance().item()
    for _ in range(iterations):
        optimiser.zero_grad()
        (distance() + weight * variation(image)).backward()
        image.grad.sign_()
        optimiser.step()
        schedule.step()
        if box:
            with torch.no_grad():
                image.copy_(torch.maximum(torch.minimum(image, (1 - mean) / std), -mean / std))
    return SimpleNamespace(image=image.detach(), initial=first, final=distance().item())


def lbfgs_twin(model, seen, start, logits, *, steps, history=100, inner=20, label=None):
    """DLG (label None) or iDLG on one image."""
    image, soft = start.clone().requires_grad_(), logits.clone().requires_grad_()
    free = [image, soft] if label is None else [image]
    optimiser = torch.optim.LBFGS(free, lr=1, max_iter=inner, history_size=history)

    def distance():
        target = soft.softmax(-1)[None] if label is None else label[None]
        loss = nn.functional.cross_entropy(model(image[None]), target)
        trial = torch.autograd.grad(loss, list(model.parameters()), create_graph=True)
        return sum(((one - other) ** 2).sum() for one, other in zip(trial, seen, strict=True))

    def closure():
        optimiser.zero_grad()
        value = distance()
        value.backward()
        return value

    first = distance().item()
    for _ in range(steps):
        optimiser.step(closure)
    return SimpleNamespace(image=image.detach(), logits=soft.detach(), initial=first, final=distance().item())


@pytest.fixture(scope="session")
def twins():
    return SimpleNamespace(
        client_gradient=client_gradient,
        variation=variation,
        signed_adam=signed_adam_twin,
        lbfgs=lbfgs_twin,
        normalisation=normalisation_for(3),
    )


def scene(name, shape, count, **options):
    """A model in float64, images near the middle of the valid range, labels, and the clients' update."""
    model = fldrep.build_model(name, shape=shape, classes=5, dtype=torch.float64, seed=3, **options).eval()
    drawn = torch.Generator().manual_seed(11)
    images = torch.rand(count, *shape, generator=drawn, dtype=torch.float64) * 2 - 1
    labels = torch.arange(count) % 5
    return SimpleNamespace(
        model=model, images=images, labels=labels, update=fldrep.client_update(model, images, labels), shape=shape
    )


PLAIN = Normalisation((0.4,), (0.25,))


def exact_scene(model, count=2, images=1, shape=(1, 8, 8), seed=0):
    """Pixels away from the edges of the box, labels, and what the clients would send."""
    drawn, dtype = torch.Generator().manual_seed(seed), next(model.parameters()).dtype
    pixels = torch.rand(count, images, *shape, generator=drawn, dtype=torch.float64).to(dtype)
    labels = torch.arange(count * images).view(count, images) % 4
    pixels, labels = (pixels, labels) if images > 1 else (pixels[:, 0], labels[:, 0])
    return SimpleNamespace(
        model=model,
        pixels=pixels,
        inputs=PLAIN.to_input(pixels),
        labels=labels,
        shape=shape,
        normalisation=PLAIN,
    )


def exactly_attacked(it, update, labels="theirs", attack="gauss-newton", **settings):
    labels = it.labels if isinstance(labels, str) else labels
    given = {"normalisation": PLAIN, "shape": it.shape, **settings}
    found = fldrep.reconstruct(it.model, update, labels, attack, **given)
    error = (PLAIN.to_pixels(found.images) - it.pixels).square().flatten(1).mean(1)
    return found, error


@pytest.fixture(scope="session")
def exact():
    """Scenes of small networks, and exact attacks on them with the errors of their pixels."""
    return SimpleNamespace(scene=exact_scene, attacked=exactly_attacked, normalisation=PLAIN)


@pytest.fixture(scope="session")
def lenet():
    return scene("lenet", (3, 16, 16), 3, init="uniform")


@pytest.fixture(scope="session")
def convnet():
    """Batch norm with statistics as after training, so that no constant hides."""
    made = scene("convnet", (3, 18, 18), 3, width=2)
    drawn = torch.Generator().manual_seed(5)
    for module in made.model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.3, generator=drawn)
            module.running_var.uniform_(0.2, 0.8, generator=drawn)
            module.weight.data.uniform_(0.5, 2, generator=drawn)
            module.bias.data.normal_(0, 0.3, generator=drawn)
    made.update = fldrep.client_update(made.model, made.images, made.labels)
    return made
