"""How the time grows with what is asked: exponents fitted in logarithms, median of three rounds."""

from statistics import median

import numpy as np
import torch

from benchmarks.measuring import images, network, seconds, step_seconds
from fldrep.config.defenses import defense_settings
from fldrep.config.train import TrainSettings
from fldrep.derivatives.jacobian import feature_norms
from fldrep.models.building import build_model
from fldrep.models.normalisation import normalisation_for
from fldrep.storage.imageset import ImageSet
from fldrep.train.fedavg import train_round
from fldrep.train.federation import Federation, copy_of
from fldrep.train.workers import client_pool


def tell(report, work: str, sizes, measure) -> None:
    """Enter the exponent of time against size. Args: measure(size): CPU seconds."""
    for size in sizes:
        measure(size)
    rounds = [[measure(size) for size in sizes] for _ in range(3)]
    spent = [median(column) for column in zip(*rounds, strict=True)]
    exponent = np.polyfit(np.log(sizes), np.log(spent), 1)[0]
    points = ", ".join(f"{size}: {1000 * one:.3g} ms" for size, one in zip(sizes, spent, strict=True))
    report(work, f"exponent {exponent:.2f} ({points})")


def test_against_targets(report):
    model = network("lenet")
    tell(report, "Growth, GS step on LeNet, targets", (1, 4, 16, 64, 256), lambda n: step_seconds(model, n, "gs", 2))


def test_against_width(report):
    models = {width: network(f"convnet-{width}") for width in (8, 16, 32, 64)}
    measure = lambda width: step_seconds(models[width], 2, "gs", 1)  # noqa: E731
    tell(report, "Growth, GS step on ConvNet with 2 targets, width", tuple(models), measure)


def test_against_features(report):
    models = {36 * width: network(f"convnet-{width}") for width in (14, 20, 28, 40, 64)}
    measure = lambda features: seconds(lambda: feature_norms(models[features], images(1)))  # noqa: E731
    tell(report, "Growth, exact scores on ConvNet (36 features a unit of width), features", tuple(models), measure)


def test_against_clients(report):
    model = build_model("lenet", (1, 28, 28), init="uniform")
    drawn = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (3200, 1, 28, 28), generator=drawn, dtype=torch.uint8)
    labels = torch.randint(0, 10, (3200,), generator=drawn)
    data = ImageSet(pixels, labels, pixels[:250], labels[:250], torch.zeros(10, 1, 28, 28))

    def a_round(clients: int) -> float:
        shards = list(torch.arange(32 * clients).split(32))
        settings, none = TrainSettings(fraction=1.0), defense_settings()
        of = Federation(model, data, shards, settings, none, normalisation_for(1), ("data", "lenet", "iid", 0), "none")
        with client_pool(1, of) as call:
            return seconds(lambda: train_round(call, of, copy_of(model.state_dict()), 1))

    tell(report, "Growth, FedAvg round of clients with 32 images, clients", (1, 3, 10, 30, 100), a_round)
