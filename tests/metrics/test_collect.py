"""Jobs' files become the final tables: each reconstruction judged by every metric, beside what takes no update."""

import pandas as pd
import pytest
import torch

from fldrep.config.jobs import MetricsJob
from fldrep.errors import DataError
from fldrep.metrics.collect import collect
from fldrep.plan.grid import Grid
from fldrep.storage import places
from fldrep.storage.imageset import ImageSet, mean_of_each_class
from fldrep.storage.tensors import write_tensors
from fldrep.tables.attack_runs import ATTACK_RUNS
from fldrep.tables.attacks import ATTACKS
from fldrep.tables.final import FINAL
from fldrep.tables.training import TRAINING

JOB = MetricsJob(
    seeds=[0],
    grid=[{"datasets": ["mnist"], "models": ["lenet"], "partitions": ["iid"], "defenses": ["none"], "attacks": ["dlg"],
           "targets": 4}],
    block=4,
    metrics={},
)  # fmt: skip


@pytest.fixture
def results(tmp_path, synthetic):
    """The files of the jobs of `JOB`: one block of four targets, found up to noise."""
    draw = torch.Generator().manual_seed(0)
    pixels = torch.rand(4, 1, 28, 28, generator=draw)
    found = (pixels + 0.1 * torch.randn(pixels.shape, generator=draw)).unsqueeze(1)
    (block,) = Grid(JOB.grid, JOB.seeds, JOB.block).blocks()
    rows = synthetic.attack_table(4, ("dlg",), ("none",), (("mnist", "lenet", "iid", 0),))
    ATTACK_RUNS.write(rows[ATTACK_RUNS.names], tmp_path / block.path(places.ATTACK_RUNS))
    write_tensors(tmp_path / block.path(places.RECONSTRUCTIONS), {"originals": pixels, "images": found})
    training = synthetic.training_table((("mnist", "lenet", "iid", 1),), ("none",))
    TRAINING.write(training, tmp_path / block.run.path(places.TRAINING))
    images = (pixels * 255).to(torch.uint8)
    labels = torch.arange(4) % 2
    means = mean_of_each_class(images, labels, 10)
    ImageSet(images, labels, images, labels, means).write(tmp_path / places.IMAGES.format(dataset="mnist"), {})
    return tmp_path


def gathered(results) -> dict[str, pd.DataFrame]:
    paths = {name: results / f"metrics/{name}.parquet" for name in FINAL}
    collect(JOB, results, paths, results / "metrics/gallery.safetensors", "fedcba9876543210")
    return {name: table.read(paths[name]) for name, table in FINAL.items()}


def test_every_final_table_is_written_with_who_judged_and_how_its_methods_look(results):
    tables = gathered(results)
    assert {name: len(rows) for name, rows in tables.items()} == {
        **dict.fromkeys(FINAL, 0),
        "attacks": 4,
        "training": 2,
    }
    attacks = tables["attacks"]
    assert set(attacks["judged_by"]) == {"fedcba9876543210"}
    assert set(attacks["code"]) == {"0123456789abcdef"}
    assert (attacks["mse_pixel"] < attacks["grey_mse_pixel"]).all()
    assert '"none": {"order": 0' in attacks.attrs["styles"] == tables["training"].attrs["styles"]


def test_a_metric_of_a_plug_in_becomes_a_column_with_its_values_for_what_takes_no_update(results, plug_in):
    before = gathered(results)["attacks"]
    plug_in("import fldrep\n@fldrep.metric('far')\ndef far(a, b):\n    return (a - b).abs().flatten(1).amax(1)\n")
    attacks = gathered(results)["attacks"]
    pd.testing.assert_frame_equal(attacks[before.columns], before)
    assert [name for name in attacks if name not in ATTACKS.names] == ["far", "grey_far", "class_mean_far"]
    assert (attacks["far"] < attacks["grey_far"]).all()


def test_files_of_an_older_version_are_not_gathered(results):
    (block,) = Grid(JOB.grid, JOB.seeds, JOB.block).blocks()
    older = TRAINING.older[0]
    rows = TRAINING.read(results / block.run.path(places.TRAINING))
    before = type(TRAINING)(older.name, older.version, TRAINING.columns)
    before.write(rows, results / block.run.path(places.TRAINING))
    with pytest.raises(DataError, match=r"training\.parquet: holds table 'utility' version 1, .*snakemake"):
        gathered(results)
