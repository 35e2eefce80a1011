"""Every data set, network and way to deal images, through train and attack: the jobs themselves, on random images."""

import pytest
import torch

from fldrep.attack.job import attack_block
from fldrep.config.attacks import AttackSettings
from fldrep.config.datasets import facts_of
from fldrep.config.defenses import defense_settings
from fldrep.config.engine import EngineSettings
from fldrep.config.jobs import AttackJob, TrainJob
from fldrep.config.models import ModelSettings
from fldrep.config.partitions import PartitionSettings
from fldrep.config.train import TrainSettings
from fldrep.config.updates import UpdateSettings
from fldrep.data.partition import shards_table, split
from fldrep.storage.imageset import ImageSet, mean_of_each_class
from fldrep.storage.places import Block, Run
from fldrep.storage.tensors import read_tensors
from fldrep.tables.attack_runs import ATTACK_RUNS
from fldrep.tables.shards import SHARDS
from fldrep.tables.training import TRAINING
from fldrep.train.job import train_run

SORTS = {
    "iid": PartitionSettings(method="iid", clients=4),
    "classes": PartitionSettings(method="label-skew", clients=4, classes_per_client=3),
    "dirichlet": PartitionSettings(method="dirichlet", clients=4, alpha=0.5),
}
LENET = ModelSettings(architecture="lenet")
SORTED = [
    ("mnist", LENET, "classes", "dlg"),
    ("cifar10", ModelSettings(architecture="resnet18"), "dirichlet", "gs"),
    ("fashion-mnist", LENET, "dirichlet", "gs-drop"),
    ("cifar100", LENET, "iid", "dlg-masked"),
]


def random_set(dataset: str) -> ImageSet:
    """Eighty random images of a data set's shape, labels in turn."""
    shape, classes = facts_of(dataset).shape, facts_of(dataset).classes
    images = torch.randint(0, 256, (80, *shape), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    labels = torch.arange(80) % classes
    return ImageSet(images, labels, images[:20], labels[:20], mean_of_each_class(images, labels, classes))


@pytest.mark.parametrize(("dataset", "model", "partition", "attack"), SORTED)
def test_a_defended_run_is_trained_and_its_last_round_attacked(dataset, model, partition, attack, tmp_path):
    names = ("images", "shards", "checkpoints", "training", "attack_runs", "reconstructions")
    paths = {name: tmp_path / name for name in names}
    data = random_set(dataset)
    data.write(paths["images"], {})
    shards = split(data.train_labels, SORTS[partition], torch.Generator().manual_seed(0))
    SHARDS.write(shards_table(shards, data.train_labels), paths["shards"])

    run = Run(dataset, "named", partition, "soteria-50", 0)
    defense = defense_settings(method="soteria", rule="ratio", rate=0.5)
    settings = TrainSettings(rounds=1, checkpoints=[0, 1], fraction=0.25, batch_size=20, lr=0.01)
    train_run(
        run,
        TrainJob(model=model, train=settings, defense=defense),
        *(paths[n] for n in ("images", "shards", "training", "checkpoints")),
    )
    history = TRAINING.read(paths["training"])
    assert history["round"].tolist() == [0, 1]
    assert history["nonzero_pruned"].iloc[1] == pytest.approx(0.5, abs=0.1)

    steps = {"iterations": 2, **({"inner_iterations": 2} if attack.startswith("dlg") else {})}
    job = AttackJob(
        model=model,
        defense=defense,
        update=UpdateSettings(),
        attack=AttackSettings(preset=attack, **steps),
        engine=EngineSettings(problems_at_once=2, device="cpu"),
        targets=[0, 1],
    )
    where = Block(run, 1, "single", attack, 0)
    attack_block(
        where, job, *(paths[n] for n in ("images", "shards", "checkpoints", "attack_runs", "reconstructions")), code=""
    )
    rows, tensors = ATTACK_RUNS.read(paths["attack_runs"]), read_tensors(paths["reconstructions"])
    assert rows["target"].tolist() == [0, 1]
    assert rows["live_pruned"].between(0.3, 0.7).all()
    assert tensors["images"].shape == (2, 1, *data.shape)
    assert tensors["images"].isfinite().all()
    held = set(torch.cat(shards).tolist())
    assert held >= set(rows["index"]), "targets come from clients' own data"
