"""The jobs of the data stage: files in, images and their split out."""

from pathlib import Path

from fldrep.config.data import DataSettings
from fldrep.config.jobs import DataJob
from fldrep.config.partitions import PartitionSettings
from fldrep.config.reading import parse_section
from fldrep.data.datasets import prepare
from fldrep.data.partition import shards_table, split
from fldrep.seeds import generator
from fldrep.storage.imageset import ImageSet
from fldrep.storage.places import DataSet, Split
from fldrep.tables.shards import SHARDS


def data_job(where: DataSet, job: DataJob, images: Path, places: str) -> None:
    """Fetch, check and store a data set. Args: places: the config's section `data` as JSON, for where files are."""
    prepare(where.dataset, parse_section(DataSettings, places).model_copy(update={"photo": job.photo}), images)


def partition_job(where: Split, settings: PartitionSettings, images: Path, shards: Path) -> None:
    """Split the training images of a data set among clients; write the table `shards`."""
    labels = ImageSet.read(images).train_labels
    drawn = generator(where.dataset, where.partition, "deal", where.seed)
    SHARDS.write(shards_table(split(labels, settings, drawn), labels), shards)
