"""What is run."""

from typing import Literal

from fldrep.config.section import Name, Natural, Positive, Section, option
from fldrep.config.updates import SINGLE

ANALYSES = ("identifiability", "leakage", "certificate", "accounting")


class GridEntry(Section):
    """A product: every data set x model x partition x defense x round x update x attack x seed."""

    datasets: list[Name] = option(
        ..., "data sets: those built in, of a plug-in, or names from `data.sets`", min_length=1
    )
    models: list[Name] = option(..., "names from `models`", min_length=1)
    partitions: list[Name] = option(..., "names from `partitions`", min_length=1)
    defenses: list[Name] = option(..., "names from `defenses`", min_length=1)
    rounds: list[Natural] = option([0], "checkpoints attacked; each must be one that training keeps")
    updates: list[Name] = option([SINGLE], "names from `updates`", min_length=1)
    attacks: list[Name] = option([], "names from `attacks`; none means training only")
    targets: Positive = option(
        8, "images attacked for each combination; a multiple of the images an update holds", unit="images"
    )
    theory: list[Literal[ANALYSES]] = option(
        [],
        "analyses of the same runs: `identifiability` of what the targets' clients send, whatever attacks it (no attack"
        " is needed for it), `leakage` of representations at each round of `rounds`, `certificate` of what each"
        " attack finds (Soteria only), `accounting` of the (epsilon, delta) spent in training",
    )
