"""The tables of a finished grid, which figures, claims and the page read: one place lists them.

Attacks and training come first, then the analyses: each is a file with its table and, under `@analysis`, a function
from its rows to what the page shows. The decorator gives its `title`, a `note` on how it is read, and its `order`.
"""

from collections.abc import Iterator, Mapping
from importlib import import_module

from fldrep import registry
from fldrep.tables.attacks import ATTACKS
from fldrep.tables.table import Table
from fldrep.tables.training import TRAINING


class _Final(Mapping[str, Table]):
    """The final tables by name, in order. The file of an analysis is imported when its table is asked for."""

    always = {table.name: table for table in (ATTACKS, TRAINING)}  # noqa: RUF012

    def __iter__(self) -> Iterator[str]:
        yield from (*self.always, *registry.in_order("analysis"))

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def __getitem__(self, name: str) -> Table:
        if name in self.always:
            return self.always[name]
        declared = vars(import_module(registry.built_in("analysis")[name].module)).values()
        return next(one for one in declared if isinstance(one, Table) and one.name == name)


FINAL: Mapping[str, Table] = _Final()
