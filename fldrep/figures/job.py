"""The figures job: tables in, one picture out."""

from pathlib import Path

from fldrep.figures import render
from fldrep.storage.places import Picture


def figure_job(where: Picture, picture: Path, **inputs: Path) -> None:
    """Draw one figure. Args: inputs: the final tables by their names, and the `gallery`."""
    render(where.figure, inputs, picture)
