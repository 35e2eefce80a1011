"""What Snakemake would run, in the folder of a finished run."""

from pathlib import Path

import pytest
import yaml


@pytest.fixture
def plan(snakemake, finished, tmp_path):
    """What a run of a config would make in the finished folder."""

    def planned(config: dict, *arguments: object, source: Path = finished.source):
        path = tmp_path / "tiny.yaml"  # the claims name the file
        path.write_text(yaml.safe_dump(config))
        return snakemake(*arguments, "--summary", "--configfile", path, folder=finished.folder, source=source)

    return planned


@pytest.fixture
def source(copied, finished, tmp_path) -> Path:
    """A copy of the code that ran, to edit."""
    return copied(finished.source, tmp_path / "source")
