"""The partition job: which client holds which image."""

from pathlib import Path

from fldrep.config.partitions import PartitionSettings
from fldrep.data.partition import shards_table, split
from fldrep.seeds import generator
from fldrep.storage.imageset import ImageSet
from fldrep.storage.places import Split
from fldrep.tables.shards import SHARDS


def partition_job(where: Split, settings: PartitionSettings, images: Path, shards: Path) -> None:
    """Split the training images of a data set among clients; write the table `shards`."""
    labels = ImageSet.read(images).train_labels
    drawn = generator(where.dataset, where.partition, "deal", where.seed)
    SHARDS.write(shards_table(split(labels, settings, drawn), labels), shards)
