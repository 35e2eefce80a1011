"""Exact attacks: images found and certified in each cell, and the time to an image against DLG.

What was measured is kept (`--exact FILE`), so that hours of it can be done in parts: only what is missing is attacked,
at most `--groups N` groups of targets a cell. `pytest benchmarks/test_exact.py -k mnist-lenet-0` picks cells.
"""

import hashlib
from time import process_time

import pytest
import torch

import fldrep
from benchmarks import twins
from benchmarks.exact.cells import CELLS, MARKS, NEARLY
from benchmarks.exact.clients import Clients, images_of
from benchmarks.exact.kept import Kept
from benchmarks.exact.page import outcome, write_page
from benchmarks.measuring import seconds
from fldrep.attack.observation import initial_point
from fldrep.errors import DataError

TIMED, DLG_STEPS = 32, 300


@pytest.fixture(scope="module")
def kept(request) -> Kept:
    """What was measured before; the page of it is written at the end."""
    path = request.config.getoption("--exact")
    kept = Kept(path, request.config.cache.mkdir("exact"))
    yield kept
    if path.exists():
        write_page(kept.rows(), path.with_suffix(".md"))


@pytest.mark.parametrize("name", CELLS)
def test_images_are_found_and_none_is_certified_wrongly(name, kept, request):
    cell = CELLS[name]
    groups = kept.missing(cell)[: request.config.getoption("--groups")]
    try:
        kept.attack(cell, groups)
    except DataError as error:
        pytest.skip(f"{cell.dataset}: {error}")
    found = outcome(cell, kept.of(cell))
    assert not found.wrong, f"{found.wrong} of {found.attacked} certified wrongly"
    assert found.result != "short", found


@pytest.mark.parametrize("dataset", ["mnist", "cifar10"])
def test_no_image_that_marks_are_measured_on_is_a_training_image(dataset):
    try:
        data = images_of(dataset)
    except DataError as error:
        pytest.skip(f"{dataset}: {error}")
    trained = {digest(one) for one in data.train_images}
    assert not trained & {digest(data.test_images[index]) for index in MARKS}


def digest(image: torch.Tensor) -> bytes:
    return hashlib.sha256(image.numpy().tobytes()).digest()


# ---- time to an image


class Reached(Exception):
    """DLG has come near enough."""


def test_time_to_an_image(compare, report, kept):
    """DLG's loop is stopped where its image is near; the exact attack is taken whole, with its certificate."""
    cell = CELLS["mnist-lenet-0-none"]
    try:
        each = [Clients.of(cell, group, kept.networks) for group in cell.groups()[: TIMED // cell.group]]
    except DataError as error:
        pytest.skip(f"{cell.dataset}: {error}")
    targets = [(it, place) for it in each for place in range(cell.group)]
    spent = [dlg_seconds(it, place, number) for number, (it, place) in enumerate(targets)]
    got_there = [number for number, one in enumerate(spent) if one is not None]
    loop = iter([got_there[0], *got_there])
    attack = iter([got_there[0], *got_there])
    compare(
        "closed form to an MSE (pixels) below 1e-4, LeNet, MNIST, one target, certificate included",
        f"torch.optim.LBFGS stopped there (DLG, at most {DLG_STEPS} steps)",
        lambda: spent[next(loop)],
        lambda: exact_seconds(*targets[next(attack)]),
        mark=50,
        pairs=len(got_there),
    )
    report("DLG to an MSE (pixels) below 1e-4, LeNet, MNIST", f"{len(got_there)} of {TIMED} targets")


def dlg_seconds(it: Clients, place: int, number: int) -> float | None:
    """Until the image is near; None where it never is."""
    image, logits = initial_point(torch.Generator().manual_seed(number), tuple(it.images.shape[1:]), (10,))
    pixels = it.normalisation.to_pixels(it.images[place])

    def stop_there(point: torch.Tensor) -> None:
        found = it.normalisation.to_pixels(point[: image.numel()].view_as(pixels))
        if (found.clamp(0, 1) - pixels).square().mean() < NEARLY:
            raise Reached

    seen = [value[place] for value in it.sent.values()]
    began = process_time()
    try:
        twins.dlg_steps(it.model, seen, image.float(), logits.float(), DLG_STEPS, note=stop_there)
    except Reached:
        return process_time() - began
    return None


def exact_seconds(it: Clients, place: int) -> float:
    """The attack whole; it must find the image."""
    one = slice(place, place + 1)
    sent, found = {name: value[one] for name, value in it.sent.items()}, []
    spent = seconds(lambda: found.append(fldrep.reconstruct(it.model, sent, it.labels[one], "closed-form")))
    assert fldrep.compare(found[0].images, it.images[one])["mse_pixel"].item() < NEARLY
    return spent
