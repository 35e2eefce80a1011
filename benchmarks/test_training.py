"""Federated training: rounds with Soteria against rounds without, and against a plain loop over clients."""

import copy
from time import perf_counter

import pytest
import torch

from benchmarks import twins
from benchmarks.measuring import network, seconds
from fldrep.config.data import DataSettings
from fldrep.config.defenses import defense_settings
from fldrep.config.train import TrainSettings
from fldrep.data.datasets import load_arrays
from fldrep.defenses.soteria.masks import mask_agreement, masks_of
from fldrep.derivatives.jacobian import features_and_norms
from fldrep.errors import DataError
from fldrep.models.building import build_model
from fldrep.models.normalisation import normalisation_for
from fldrep.seeds import generator
from fldrep.storage.imageset import ImageSet, as_pixels
from fldrep.train.evaluate import mean_scores, scored_batches
from fldrep.train.fedavg import train, train_round
from fldrep.train.federation import Federation, copy_of
from fldrep.train.workers import client_pool

CLIENTS, EACH, LR, ROUNDS = 10, 600, 0.1, 5
IDENTITY = ("data", "model", "iid", 0)


@pytest.fixture(scope="module")
def mnist() -> ImageSet:
    """MNIST itself, where it is at hand or can be fetched."""
    try:
        raw = load_arrays("mnist", DataSettings())
    except DataError as error:
        pytest.skip(f"MNIST: {error}")
    parts = [torch.from_numpy(getattr(raw, name)) for name in ("train_images", "train_labels", "test_images")]
    images, labels, tests = parts
    return ImageSet(
        images[:, None], labels, tests[:, None], torch.from_numpy(raw.test_labels), torch.zeros(10, 1, 28, 28)
    )


@pytest.fixture(scope="module")
def random_cifar() -> ImageSet:
    """Random images of CIFAR-10's shape: what a round costs does not depend on what they show."""
    drawn = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (EACH, 3, 32, 32), generator=drawn, dtype=torch.uint8)
    labels = torch.randint(0, 10, (EACH,), generator=drawn)
    return ImageSet(pixels, labels, pixels[:250], labels[:250], torch.zeros(10, 3, 32, 32))


def shards(clients: int, each: int) -> list[torch.Tensor]:
    return list(torch.randperm(clients * each, generator=torch.Generator().manual_seed(0)).split(each))


def federation(model, data: ImageSet, clients: int, each: int, defense, lr: float = LR) -> Federation:
    place = copy.deepcopy(model).to(memory_format=torch.channels_last)
    settings = TrainSettings(fraction=1.0, lr=lr)
    constants = normalisation_for(data.shape[0])
    return Federation(place, data, shards(clients, each), settings, defense, constants, IDENTITY, defense.method)


@pytest.mark.parametrize(("name", "words"), [("lenet", "LeNet"), ("convnet-16", "ConvNet-16")])
def test_a_round_with_soteria(compare, random_cifar, name, words):
    model = network(name)
    plain, defended = (
        federation(model, random_cifar, 1, EACH, one, lr=0.01)
        for one in (defense_settings(), defense_settings(method="soteria", rate=0.4))
    )

    def a_round(of: Federation) -> float:
        with client_pool(1, of) as call:
            return seconds(lambda: train_round(call, of, copy_of(model.state_dict()), 1))

    compare(
        f"Soteria inside FedAvg, {words}, batch 32",
        f"the same round undefended, 1 client of {EACH} images",
        lambda: a_round(plain),
        lambda: a_round(defended),
        mark=2,
        at_most=True,
    )


def test_a_round_of_ten_clients(compare, report, mnist):
    """Both train from the same weights on the same batches in the same order, so they must agree in accuracy."""
    start = build_model("lenet", (1, 28, 28), init="uniform")
    ours = federation(start, mnist, CLIENTS, EACH, defense_settings())
    state, twin, rounds = (
        copy_of(start.state_dict()),
        build_model("lenet", (1, 28, 28), init="uniform"),
        iter(range(1, 99)),
    )
    inputs = normalisation_for(1).to_input(as_pixels(mnist.train_images[: CLIENTS * EACH]))
    shares = [(inputs[one], mnist.train_labels[one]) for one in ours.shards]
    played = []

    def slow() -> float:
        played.append(next(rounds))
        orders = [generator("batches", *IDENTITY, client, played[-1]) for client in range(CLIENTS)]
        return seconds(lambda: twins.averaged_round(twin, shares, orders, LR), perf_counter)

    with client_pool(2, ours) as call:

        def fast() -> float:
            nonlocal state
            began = perf_counter()
            state, _, _ = train_round(call, ours, state, played[-1])
            return perf_counter() - began

        try:
            compare(
                f"FedAvg round, {CLIENTS} clients of {EACH} MNIST images, LeNet, 2 cores",
                "a loop over clients with a DataLoader, 1 thread (2 threads are no faster)",
                slow,
                fast,
                mark=2,
                clock="wall time",
                pairs=7,
            )
        finally:
            found = mean_scores(scored_batches(ours, state, "test", range(0, 10_000, 250)), 10_000)[0]
            tests = normalisation_for(1).to_input(as_pixels(mnist.test_images))
            expected = twins.accuracy(twin, tests, mnist.test_labels)
            text = f"{found:.4f} and {expected:.4f} after {played[-1]} rounds"
            report("Accuracy of FedAvg and of the plain loop", text, "equal to 4 digits")
    assert round(found, 4) == round(expected, 4), text


def test_fast_scores_on_trained_networks(report, mnist):
    """Share of the pruned set that the fast estimators find, at checkpoints of FedAvg; no mark, but it is told."""
    start = build_model("convnet", (1, 28, 28), width=8)
    rounds = [0, 1, 4]
    settings = TrainSettings(fraction=1.0, lr=0.05, rounds=rounds[-1], checkpoints=rounds, test_images=250)
    run = train(
        start,
        mnist.with_tests(250),
        shards(4, 300),
        settings,
        defense_settings(),
        normalisation=normalisation_for(1),
        identity=IDENTITY,
        defense_name="none",
    )
    images = normalisation_for(1).to_input(as_pixels(mnist.test_images[:4]))
    for kept, state in run.checkpoints.items():
        start.load_state_dict(state)
        start.eval()
        features, exact = features_and_norms(start, images)
        found = []
        for how, options in (("variance", {}), ("jvp", {"directions": 16})):
            norms = features_and_norms(start, images, how, **options)[1]
            for rate in (0.4, 0.6, 0.8):
                scores = [torch.where(one > 0, features.abs() / one, 0)[:, None] for one in (exact, norms)]
                masks = [masks_of(score, (exact > 0)[:, None], rate, "ratio") for score in scores]
                found.append(f"{how} {mask_agreement(*masks).mean():.2f} at {rate:.0%}")
        accuracy = run.history[kept]["test_accuracy"]
        report(
            f"Agreement with exact scores, ConvNet-8 after {kept} rounds (accuracy {accuracy:.2f})", ", ".join(found)
        )
