"""Exact attacks: images found and certified in each cell, and the time to an image against DLG.

What was measured is kept (`--exact FILE`), so that hours of it can be done in parts: only what is missing is attacked,
at most `--groups N` groups of targets a cell. `pytest benchmarks/test_exact.py -k mnist-lenet-0` picks cells.
"""

import pytest

from benchmarks.exact.cells import CELLS
from benchmarks.exact.kept import Kept
from benchmarks.exact.page import outcome, write_page
from fldrep.errors import DataError


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
