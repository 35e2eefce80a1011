"""The slow ways, as the reference does them: one target, one feature, one client at a time. They share no code with the
fast paths.
"""

from collections.abc import Callable
from time import process_time

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, RandomSampler, TensorDataset


def gs_steps(
    model: nn.Module,
    seen: list[Tensor],
    label: Tensor,
    start: Tensor,
    steps: int,
    now: Callable[[], float] = process_time,
) -> float:
    """Seconds a step of GS on one image: cosine, total variation, Adam on the sign, valid pixels.

    `backward` also accumulates the gradients of the parameters, as in the reference.
    """
    parameters = list(model.parameters())
    image = start.clone().requires_grad_()
    optimiser = torch.optim.Adam([image], lr=0.1)
    mean, std = (torch.tensor(one).view(3, 1, 1).to(image) for one in ((0.49, 0.48, 0.45), (0.25, 0.24, 0.26)))
    began = now()
    for _ in range(steps):
        optimiser.zero_grad()
        model.zero_grad()
        loss = nn.functional.cross_entropy(model(image[None]), label[None])
        trial = torch.autograd.grad(loss, parameters, create_graph=True)
        dot, norm, target = 0, 0, 0
        for one, other in zip(trial, seen, strict=True):
            dot = dot + (one * other).sum()
            norm = norm + one.pow(2).sum()
            target = target + other.pow(2).sum()
        across, down = image[:, :, 1:] - image[:, :, :-1], image[:, 1:, :] - image[:, :-1, :]
        variation = across.abs().mean() + down.abs().mean()
        (1 - dot / norm.sqrt() / target.sqrt() + 1e-4 * variation).backward()
        image.grad.sign_()
        optimiser.step()
        with torch.no_grad():
            image.data = torch.max(torch.min(image, (1 - mean) / std), -mean / std)
    return (now() - began) / steps


def dlg_steps(
    model: nn.Module,
    seen: list[Tensor],
    start: Tensor,
    logits: Tensor,
    steps: int,
    inner: int = 20,
    note: Callable[[Tensor], None] | None = None,
    now: Callable[[], float] = process_time,
) -> float:
    """Seconds a step of DLG on one image: the squared distance under `torch.optim.LBFGS`, image and soft label free.

    Args: note: called with every point that is evaluated, image and logits in one row.
    """
    parameters = list(model.parameters())
    image, soft = start.clone().requires_grad_(), logits.clone().requires_grad_()
    optimiser = torch.optim.LBFGS([image, soft], lr=1, max_iter=inner)

    def closure() -> Tensor:
        optimiser.zero_grad()
        loss = nn.functional.cross_entropy(model(image[None]), soft.softmax(-1)[None])
        trial = torch.autograd.grad(loss, parameters, create_graph=True)
        distance = sum((one - other).pow(2).sum() for one, other in zip(trial, seen, strict=True))
        distance.backward()
        if note:
            note(torch.cat([image.detach().flatten(), soft.detach()]))
        return distance

    began = now()
    for _ in range(steps):
        optimiser.step(closure)
    return (now() - began) / steps


def norms_by_loop(model: nn.Module, image: Tensor, features: int) -> float:
    """Seconds of ||dr_i/dX|| for all features of one image (1, C, H, W), timed on some of them, spread evenly."""
    image = image.clone().requires_grad_()
    began = process_time()
    r = model.body(image)[0]
    for feature in range(0, len(r), len(r) // features):
        image.grad = None
        r[feature].backward(retain_graph=True)
        image.grad.norm()
    return (process_time() - began) * len(r) / features


def local_epoch(model: nn.Module, images: Tensor, labels: Tensor, order: torch.Generator, lr: float) -> None:
    """One epoch of SGD in batches of 32 by a DataLoader."""
    images = TensorDataset(images, labels)
    optimiser = torch.optim.SGD(model.parameters(), lr=lr)
    model.train()
    for batch, wanted in DataLoader(images, batch_size=32, sampler=RandomSampler(images, generator=order)):
        optimiser.zero_grad()
        nn.functional.cross_entropy(model(batch), wanted).backward()
        optimiser.step()


def averaged_round(
    model: nn.Module,
    shares: list[tuple[Tensor, Tensor]],
    orders: list[torch.Generator],
    lr: float,
) -> None:
    """A round of FedAvg: each client trains from the model's weights, which become the clients' mean by images."""
    start = {name: value.clone() for name, value in model.state_dict().items()}
    total = sum(len(labels) for _, labels in shares)
    mean = {name: torch.zeros_like(value) for name, value in start.items()}
    for (images, labels), order in zip(shares, orders, strict=True):
        model.load_state_dict(start)
        local_epoch(model, images, labels, order, lr)
        for name, value in model.state_dict().items():
            mean[name] += value * (len(labels) / total)
    model.load_state_dict(mean)


def accuracy(model: nn.Module, images: Tensor, labels: Tensor) -> float:
    """Share of images classified correctly."""
    model.eval()
    with torch.no_grad():
        return sum(
            (model(batch).argmax(1) == wanted).sum().item()
            for batch, wanted in zip(images.split(250), labels.split(250), strict=True)
        ) / len(labels)


def update_rows_by_loop(model: nn.Module, image: Tensor, label: Tensor, rows: int) -> float:
    """Seconds of the Jacobian of an update by one image (1, C, H, W), a backward pass an entry, timed on some rows."""
    image = image.clone().requires_grad_()
    began = process_time()
    loss = nn.functional.cross_entropy(model(image), label)
    update = torch.autograd.grad(loss, list(model.parameters()), create_graph=True)
    entries = torch.cat([one.flatten() for one in update])
    for entry in range(0, len(entries), len(entries) // rows):
        torch.autograd.grad(entries[entry], image, retain_graph=True)
    return (process_time() - began) * len(entries) / rows
