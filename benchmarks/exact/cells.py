"""What exact attacks are measured on: a cell is a network, a defense and an attack, with the mark it must reach."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

MARKS = range(100, 164)  # test images: no constant was chosen on them, and grids attack training images
FIRST_SEED = 200  # of the networks' weights; no constant was chosen on such a network
FOUND, NEARLY = 1e-6, 1e-4  # MSE of pixels below which an image counts as found
RULES = ("ratio", "inverse", "reference-notebook", "reference-script")
RATES = (1, 60, 80)  # in percent


@dataclass(frozen=True)
class Cell:
    """Attacks of one kind.

    `name`: what pytest -k takes. `rounds` of FedAvg are behind the network. `defense`: its method and settings.
    `targets`: test images, `images` of them an update, so many updates a `group`, which has a network of its own;
    `side`: images are averaged down to it. `told`: what is added to the label that the attacker is told. `below`: the
    MSE (pixels) of an image found; `least`: the mark, how many of the updates must be found (None: reported only).
    """

    name: str
    dataset: str
    defense: Mapping = field(default_factory=dict)
    network: str = "lenet"
    rounds: int = 0
    attack: str = "closed-form"
    options: Mapping = field(default_factory=dict)
    targets: range = MARKS
    images: int = 1
    group: int = 8
    side: int | None = None
    told: int = 0
    below: float = FOUND
    least: int | None = None

    def groups(self) -> list[range]:
        """The targets that share a network."""
        size = self.group * self.images
        return [self.targets[first : first + size] for first in range(0, len(self.targets), size)]

    def seed(self, targets: range) -> int:
        """Of the weights of a group's network; trained networks are one a data set."""
        return FIRST_SEED + (0 if self.rounds else (targets.start - MARKS.start) // (self.group * self.images))


def soteria(rule: str, rate: int, **settings: str) -> dict:
    """The settings of a mask, the rate in percent."""
    return {"method": "soteria", "rule": rule, "rate": rate / 100, **settings}


def compression(rate: int) -> dict:
    """The settings of gradient compression, the rate in percent."""
    return {"method": "compression", "rate": rate / 100}


def masked(dataset: str, rounds: int, least: int) -> Iterator[Cell]:
    """LeNet undefended, through every rule's mask, and through one on the whole weight of the last layer."""
    where = f"{dataset}-lenet-{rounds}"
    yield Cell(f"{where}-none", dataset, rounds=rounds, least=least)
    # at 100 % all rules send the same: nothing of the last layer's weight
    for rule, rate in [("ratio", 100), *((rule, rate) for rule in RULES for rate in RATES)]:
        yield Cell(f"{where}-{rule}-{rate}", dataset, soteria(rule, rate), rounds=rounds, least=least)


def pruned(dataset: str) -> Cell:
    """A client that prunes its representation itself."""
    defense = soteria("ratio", 80, prune="representation")
    return Cell(f"{dataset}-lenet-0-representation-80", dataset, defense, attack="closed-form-pruned", least=56)


def compressed(dataset: str, rate: int, count: int, **given) -> Cell:
    """Entries cut in every tensor: the image is solved for as a whole."""
    name = f"{dataset}-lenet-0-compression-{rate}"
    return Cell(name, dataset, compression(rate), attack="gauss-newton", targets=MARKS[:count], below=NEARLY, **given)


def through_pools(rate: int, first: int) -> Cell:
    """The reference's own ConvNet-64, a network an image; every third image meets each rate."""
    targets = MARKS[first:16:3]
    return Cell(
        f"cifar10-convnet-64-0-ratio-{rate}", "cifar10", soteria("ratio", rate), "convnet-64", targets=targets, group=1
    )


def small(what: str, count: int, **given) -> Cell:
    """MNIST averaged to 14 x 14 pixels: what only the certificate is judged on, and what costs too much at 28 x 28."""
    targets = range(MARKS.start, MARKS.start + count * given.get("images", 1))
    return Cell(f"small-lenet-0-{what}", "mnist", attack="gauss-newton", side=14, targets=targets, **given)


CELLS = {
    cell.name: cell
    for cell in (
        *masked("mnist", 0, 62),
        *masked("mnist", 10, 62),
        *masked("cifar10", 0, 62),
        *masked("cifar10", 10, 56),
        pruned("mnist"),
        pruned("cifar10"),
        compressed("mnist", 80, 32, least=28),
        compressed("mnist", 90, 32, least=28),
        compressed("cifar10", 60, 8),
        compressed("cifar10", 80, 8),
        *(through_pools(rate, first) for first, rate in enumerate((60, 80, 100))),
        *(small(f"compression-{rate}", 24, defense=compression(rate)) for rate in (60, 80, 90, 95, 97)),
        *(small(f"noise-{std:g}", 24, defense={"method": "gaussian", "std": std}) for std in (1e-7, 1e-5, 1e-3)),
        small("wrong-label", 32, told=1),
        small("wrong-label-compression-80", 32, told=1, defense=compression(80)),
        small("of-2", 64, images=2),
    )
}
