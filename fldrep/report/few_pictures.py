"""The few pictures that texts show, as PNG files of a published folder: images, and what attacks made of them."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fldrep.analysis.rows import chosen, rows_where
from fldrep.analysis.verdicts import DEFENDED, is_found
from fldrep.errors import DataError
from fldrep.report.facts import Contrast, Exact, Outcome, Published
from fldrep.report.pictures import enlarged, picture_of
from fldrep.storage.gallery import gallery_key, original_key

FOLDER = "pictures"
SIDE = 112  # pixels, at least


@dataclass(frozen=True)
class Shown:
    """One picture: its name in the gallery, under which defense it was found, and by which attack.

    The client's own image has neither.
    """

    key: str
    defense: str = ""
    outcome: Outcome | None = None

    @property
    def file(self) -> str:
        """Its place in a published folder."""
        return f"{FOLDER}/{self.key.replace('/', '_')}.png"


def contrast_pictures(published: Published, contrast: Contrast) -> list[Shown]:
    """One image of a contrast, then what comes of it undefended, and before the published and the stronger attack.

    The image is the first that is found, not found and found again; where there is none, the first of all.
    """
    columns = [
        (contrast.undefended_as, contrast.undefended),
        (contrast.defense, contrast.published),
        (contrast.defense, contrast.adaptive),
    ]
    rows = [_by_target(published, contrast.setting, defense, outcome) for defense, outcome in columns]
    common = sorted(set.intersection(*map(set, rows)))
    typical = [one for one in common if [own[one].found for own in rows] == [True, False, True]]
    target = (typical or common)[0]
    found = [
        Shown(gallery_key(own[target]), defense, outcome) for own, (defense, outcome) in zip(rows, columns, strict=True)
    ]
    return [Shown(original_key(rows[0][target])), *found]


def exact_pictures(published: Published) -> list[tuple[Exact, list[Shown]]]:
    """By cell: an image, and what the attack that solves for it made of it through Soteria; the first found."""
    shown = []
    for one in published.exact:
        for row in _by_target(published, one.setting, one.defense, one.outcome).values():
            if row.found:
                shown.append((one, [Shown(original_key(row)), Shown(gallery_key(row), one.defense, one.outcome)]))
                break
    return shown


def _by_target(published: Published, setting: tuple, defense: str, outcome: Outcome) -> dict[tuple[int, int], Any]:
    """What an attack made of each target, with `found`, by seed and target, in their order."""
    rows = rows_where(chosen(published.attacks), [*DEFENDED, "attack"], (*setting, defense, outcome.attack))
    rows = rows.assign(found=is_found(rows)).sort_values(["seed", "target"])
    return {(row.seed, row.target): row for row in rows.itertuples()}


def pictures_shown(published: Published) -> Iterator[Shown]:
    """All pictures that texts show of a folder."""
    for contrast in published.contrasts[:1]:
        yield from contrast_pictures(published, contrast)
    for _, pictures in exact_pictures(published):
        yield from pictures


def write_pictures(folder: Path, gallery: Mapping[str, np.ndarray]) -> None:
    """Write the pictures that texts show of a published folder. Errors: `DataError` for one that was not kept."""
    for shown in pictures_shown(Published(folder)):
        if shown.key not in gallery:
            raise DataError(f"{folder.name}: the gallery holds no picture {shown.key!r}; run snakemake")
        picture = picture_of(gallery[shown.key])
        (folder / FOLDER).mkdir(exist_ok=True)
        enlarged(picture, -(-SIDE // picture.width)).save(folder / shown.file, "PNG", optimize=True)
