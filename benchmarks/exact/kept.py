"""What exact attacks found, kept from one bench to the next: the table `exact`, a row an update."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from time import process_time

import pandas as pd
import torch
from torch import Tensor

import fldrep
from benchmarks.exact.cells import Cell
from benchmarks.exact.clients import Clients
from fldrep.derivatives.lanczos import jacobian_norms
from fldrep.derivatives.smoothness import first_kink
from fldrep.machine.origin import commit, machine, versions
from fldrep.metrics.assignment import assigned
from fldrep.models.updates import HEAD_WEIGHT
from fldrep.tables.table import Column, Table

EXACT = Table(
    "exact",
    1,
    (
        Column("cell", "str", "of benchmarks/exact/cells.py"),
        Column("target", "int", "position of the (first) image among the data set's test images"),
        Column("attack", "str", "preset"),
        Column("mse_pixel", "float", "mean squared error of pixels, clamped to [0, 1]", "squared pixel", null=True),
        Column("mse", "float", "mean squared error in the network's input space", "squared deviation", null=True),
        Column("distance", "float", "norm of the residual over that of what is compared", null=True),
        Column("certified", "bool", "whether the attack says that this is the image"),
        Column("rank", "int", "of the derivative of what is sent; of images found and not certified", null=True),
        Column("unknowns", "int", "pixels of an update", "pixels"),
        Column("entries", "int", "of the update that are not zero", "entries"),
        Column("bound", "float", "theorem 1's least ||X - X'||, with the norm at X; where r is masked", null=True),
        Column("iterations", "int", "steps of Levenberg-Marquardt", "steps"),
        Column("refused", "str", "why there is no image; empty where there is one"),
        Column("processor_s", "float", "processor time, certificate included; the mean of its group", "s"),
        Column("made", "str", "when, UTC"),
        Column("commit", "str", "of the code; -dirty with local changes"),
        Column("machine", "str", "system, processor and cores; one thread"),
        Column("versions", "str", "of Python and of torch"),
    ),
)


@dataclass(frozen=True)
class Kept:
    """The file of the table, and the folder of trained networks."""

    path: Path
    networks: Path

    def of(self, cell: Cell) -> pd.DataFrame:
        """The rows of a cell."""
        rows = self.rows()
        return rows[rows["cell"] == cell.name]

    def rows(self) -> pd.DataFrame:
        """All rows, in the order in which they were made."""
        return EXACT.read(self.path) if self.path.exists() else pd.DataFrame(columns=EXACT.names)

    def missing(self, cell: Cell) -> list[range]:
        """The groups of a cell that were not attacked yet."""
        done = set(self.of(cell)["target"])
        return [group for group in cell.groups() if group.start not in done]

    def attack(self, cell: Cell, groups: Iterable[range]) -> None:
        """Attack groups of a cell, and keep what was found after each."""
        for group in groups:
            made = attacked(cell, group, self.networks)
            rows = self.rows()
            EXACT.write(pd.concat([rows, made]) if len(rows) else made, self.path)


def attacked(cell: Cell, targets: range, networks: Path) -> pd.DataFrame:
    """The rows of one group."""
    it = Clients.of(cell, targets, networks)
    told = (it.labels + cell.told) % it.model.head.out_features
    given = {"normalisation": it.normalisation, **cell.options}
    began = process_time()
    found = fldrep.reconstruct(it.model, it.sent, told, cell.attack, **given)
    spent = (process_time() - began) / len(it.labels)
    rows = pd.DataFrame(
        {
            "cell": cell.name,
            "target": list(targets[:: cell.images]),
            "attack": cell.attack,
            **errors(found.images, it),
            "distance": found.distance.double().tolist(),
            "certified": found.certified.tolist(),
            "unknowns": it.images[0].numel(),
            "entries": sum((one != 0).flatten(1).sum(1) for one in it.sent.values()).tolist(),
            "bound": bounds(it),
            "iterations": found.iterations[torch.arange(len(told)), found.best_restart].tolist(),
            "refused": [reasons[0] for reasons in found.refused],
            "processor_s": spent,
            "made": datetime.now(UTC).isoformat(timespec="seconds"),
            "commit": commit(),
            "machine": machine(),
            "versions": " ".join(f"{name} {versions()[name]}" for name in ("python", "torch")),
        }
    )
    rows["rank"] = pd.array(ranks(cell, it, rows), "Int64")
    return rows[EXACT.names]


def errors(found: Tensor, it: Clients) -> dict[str, list[float]]:
    """Mean squared errors of each update, of pixels and in the input space; its images in the nearest order."""
    shape = (len(found), -1, *found.shape[-3:])
    pixels = [it.normalisation.to_pixels(one).view(shape) for one in (found, it.images)]
    order = torch.stack([assigned(one, truth) for one, truth in zip(*pixels, strict=True)])
    found = found.view(shape).take_along_dim(order[:, :, None, None, None], 1).flatten(0, 1)
    whole = fldrep.compare(found, it.images.view(shape).flatten(0, 1), it.normalisation)
    each = whole[["mse_pixel", "mse"]].groupby(whole.index // order.shape[1]).mean()
    return each.to_dict("list")


def bounds(it: Clients) -> list[float]:
    """How far theorem 1 says that each reconstruction must be from its image: ||r - r'|| over ||df/dX|| at the image.

    NaN where no feature is masked.
    """
    if it.sent.defended != "head":
        return [float("nan")] * len(it.images)
    with torch.no_grad():
        hidden = it.model.features(it.images) * ~(it.sent[HEAD_WEIGHT] != 0).any(1)
    return (hidden.norm(dim=1) / jacobian_norms(it.model, it.images)[0]).tolist()


def ranks(cell: Cell, it: Clients, rows: pd.DataFrame) -> list[float]:
    """The rank at each image that was found and is not certified, which may say why; NaN elsewhere.

    Where the gradient jumps nothing is ever certified, and the rank says nothing.
    """
    smooth = not first_kink(it.model, tuple(it.images.shape[-3:]))
    asked = (rows["mse_pixel"] < cell.below) & ~rows["certified"] & smooth
    return [_rank(it, place) if wanted else float("nan") for place, wanted in enumerate(asked)]


def _rank(it: Clients, place: int) -> int:
    one = slice(place, place + 1)
    sent = {name: value[one] for name, value in it.sent.items()}
    return int(fldrep.identifiability(it.model, it.images[one], it.labels[one], sent).rank)
