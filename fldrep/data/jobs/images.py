"""The data job: a data set's images, wherever they are found."""

from pathlib import Path

from fldrep.config.checking import parse_section
from fldrep.config.data import DataSettings
from fldrep.config.jobs import DataJob
from fldrep.data.datasets import prepare
from fldrep.storage.places import DataSet


def data_job(where: DataSet, job: DataJob, images: Path, places: str) -> None:
    """Fetch, check and store a data set. Args: places: the config's section `data` as JSON, for where files are."""
    asked = DataSettings(photo=job.photo, sets=job.sets)
    prepare(where.dataset, asked.found_at(parse_section(DataSettings, places)), images)
