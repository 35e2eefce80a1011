"""The tutorial runs as it stands, and finds the image where it says so."""

from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

from fldrep.config.data import DataSettings
from fldrep.data.datasets import load_arrays
from fldrep.errors import DataError

ROOT = Path(__file__).parents[2]
TUTORIAL = ROOT / "docs/tutorial.ipynb"
SAID = """
errors = [fldrep.compare(one.images, images)["ssim"].item() for one in (found, unaware, aware, exact)]
print(*errors, exact.certified.item(), table["Soteria"].rank.item() == table["Soteria"].unknowns.item())
"""


@pytest.fixture(scope="module")
def run():
    """The notebook after a run, with a last cell that tells what it found; it needs MNIST, at hand or to be fetched."""
    try:
        load_arrays("mnist", DataSettings())
    except DataError as error:
        pytest.skip(f"MNIST: {error}")
    notebook = nbformat.read(TUTORIAL, 4)
    notebook.cells.append(nbformat.v4.new_code_cell(SAID))
    client = NotebookClient(notebook, timeout=900, kernel_name="python3", resources={"metadata": {"path": ROOT}})
    return client.execute()


def test_it_finds_the_image_and_loses_it_where_it_says_so(run):
    *errors, certified, all_directions = run.cells[-1].outputs[0]["text"].split()
    found, unaware, aware, exact = map(float, errors)
    assert min(found, aware, exact) > 0.95
    assert unaware < 0.5
    assert (certified, all_directions) == ("True", "True")


def test_the_stored_outputs_are_of_these_cells(run):
    stored = nbformat.read(TUTORIAL, 4)
    assert len([one for one in stored.cells if one.cell_type == "code"]) <= 10
    for now, then in zip(run.cells, stored.cells, strict=False):
        assert kinds(now) == kinds(then), now.source[:60]


def kinds(cell) -> list[str]:
    """What a cell shows: text and pictures, in order."""
    return [kind for one in cell.get("outputs", []) for kind in sorted(one.get("data") or [one["output_type"]])]
