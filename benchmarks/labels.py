"""How many labels of a batch are read from its update: `python -m benchmarks.labels` writes docs/results/labels.json.

Batches are of training images, networks are untrained or after `STEPS` steps of SGD, and public images are test images.
"""

from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from torch import Tensor

import fldrep
from benchmarks.exact.clients import images_of
from benchmarks.rows import write_rows
from fldrep.attack.labels import inferred_counts
from fldrep.models.model import Model
from fldrep.models.normalisation import Normalisation
from fldrep.models.updates import Update, cross_entropy
from fldrep.storage.imageset import as_pixels
from fldrep.theory.leakage import count_accuracy, estimated_counts, even_counts, evenly_spread_counts, habits_of

OUT = Path(__file__).parents[1] / "docs/results/labels.json"
NETWORKS = (("mnist", "lenet", {"init": "uniform"}), ("cifar10", "lenet", {"init": "uniform"}),
            ("cifar10", "convnet", {"width": 16}))  # fmt: skip
SIZES, BATCHES, STEPS = (8, 16, 32, 64), 32, 400
CLASSES = {"all classes": 10, "two classes": 2}
HEADS = ["network", "labels of a batch", *(f"{size} images" for size in SIZES)]


def main() -> None:
    """Measure every network, mix and size."""
    torch.set_num_threads(1)
    rows = [row for dataset, name, keys in NETWORKS for row in rows_of(dataset, name, keys)]
    said = f"{BATCHES} batches of training images a cell; shares of labels found, as multisets: mean over the batches"
    write_rows(OUT, HEADS, rows, said)


def rows_of(dataset: str, name: str, keys: dict) -> Iterator[list[str]]:
    """The rows of one network, untrained and after training, a row a mix of classes."""
    data = images_of(dataset)
    normalisation = Normalisation.of(data.mean, data.std)
    images, labels = normalisation.to_input(as_pixels(data.train_images[:20_000])), data.train_labels[:20_000]
    public = normalisation.to_input(as_pixels(data.test_images[5000:5500])), data.test_labels[5000:5500]
    for steps in (0, STEPS):
        model = trained(fldrep.build_model(name, data.shape, 10, seed=0, **keys), images, labels, steps)
        habits, title = habits_of(model, *public), f"{name}, {dataset}, {f'{steps} steps' if steps else 'untrained'}"
        readers = {
            "attack": lambda update, size, model=model: inferred_counts(model, update, size)[0],
            "bias": lambda update, size: evenly_spread_counts(update, size)[0],
            "public": lambda update, size, habits=habits: estimated_counts(update, size, habits)[0],
            "guess": lambda update, size: even_counts(size, 10),
        }
        for mix, classes in CLASSES.items():
            yield [title, mix, *(cell(model, images, labels, readers, classes, size) for size in SIZES)]


def cell(
    model: Model,
    images: Tensor,
    labels: Tensor,
    readers: dict[str, Callable[[Update, int], Tensor]],
    classes: int,
    size: int,
) -> str:
    """The share of labels that each reader finds."""
    drawn, shares = torch.Generator().manual_seed(size), []
    for _ in range(BATCHES):
        among = torch.isin(labels, torch.randperm(10, generator=drawn)[:classes]).nonzero().flatten()
        chosen = among[torch.randint(len(among), (size,), generator=drawn)]
        update = fldrep.client_update(model, images[chosen][None], labels[chosen][None])
        true = torch.bincount(labels[chosen], minlength=10)
        shares.append([count_accuracy(read(update, size), true) for read in readers.values()])
    return ", ".join(f"{share:.2f}" for share in torch.tensor(shares).mean(0).tolist())


def trained(model: Model, images: Tensor, labels: Tensor, steps: int) -> Model:
    """After steps of SGD on batches of 32, step size 0.1, in training mode; left in eval mode."""
    drawn, optimiser = torch.Generator().manual_seed(0), torch.optim.SGD(model.train().parameters(), lr=0.1)
    for _ in range(steps):
        chosen = torch.randint(len(images), (32,), generator=drawn)
        optimiser.zero_grad()
        cross_entropy(model(images[chosen]), labels[chosen]).backward()
        optimiser.step()
    return model.eval()


if __name__ == "__main__":
    main()
