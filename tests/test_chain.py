"""Every data set, network and way to deal images, through train and attack: the jobs themselves, on random images."""

import numpy as np
import pytest
import torch
from PIL import Image

from fldrep.attack.job import attack_block
from fldrep.config.attacks import attack_settings
from fldrep.config.data import DataSettings
from fldrep.config.datasets import facts_of
from fldrep.config.defenses import defense_settings
from fldrep.config.engine import EngineSettings
from fldrep.config.jobs import AttackJob, TrainJob
from fldrep.config.models import ModelSettings
from fldrep.config.partitions import PartitionSettings
from fldrep.config.train import TrainSettings
from fldrep.config.updates import UpdateSettings
from fldrep.data.datasets import prepare
from fldrep.data.partition import shards_table, split
from fldrep.metrics.collect import UNINFORMED, judge
from fldrep.storage.imageset import ImageSet, as_pixels, mean_of_each_class
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


@pytest.fixture
def chain(tmp_path):
    """Train one defended run on a file of images and attack its last round; returns the files by name."""
    names = ("images", "shards", "checkpoints", "training", "attack_runs", "reconstructions")
    paths = {name: tmp_path / name for name in names}

    def chain(dataset, model, partition, attack):
        data = ImageSet.read(paths["images"])
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
        steps = {"iterations": 2, **({"inner_iterations": 2} if attack.startswith("dlg") else {})}
        job = AttackJob(
            model=model,
            defense=defense,
            update=UpdateSettings(),
            attack=attack_settings(attack, **steps),
            engine=EngineSettings(problems_at_once=2, device="cpu"),
            targets=[0, 1],
        )
        files = (paths[n] for n in ("images", "shards", "checkpoints", "attack_runs", "reconstructions"))
        attack_block(Block(run, 1, "single", attack, 0), job, *files, code="")
        return paths

    chain.paths = paths
    return chain


@pytest.mark.parametrize(("dataset", "model", "partition", "attack"), SORTED)
def test_a_defended_run_is_trained_and_its_last_round_attacked(dataset, model, partition, attack, chain):
    data = random_set(dataset)
    data.write(chain.paths["images"], {})
    paths = chain(dataset, model, partition, attack)
    training = TRAINING.read(paths["training"])
    assert training["round"].tolist() == [0, 1]
    assert training["nonzero_pruned"].iloc[1] == pytest.approx(0.5, abs=0.1)
    rows, tensors = ATTACK_RUNS.read(paths["attack_runs"]), read_tensors(paths["reconstructions"])
    assert rows["target"].tolist() == [0, 1]
    assert rows["live_pruned"].between(0.3, 0.7).all()
    assert tensors["images"].shape == (2, 1, *data.shape)
    assert tensors["images"].isfinite().all()
    held = set(SHARDS.read(paths["shards"])["index"])
    assert held >= set(rows["index"]), "targets come from clients' own data"


@pytest.mark.parametrize("channels", [1, 3])
def test_a_folder_of_pictures_goes_the_same_way_with_constants_of_its_own(chain, tmp_path, channels):
    for name, colour in {"a rose": (200, 40, 90), "lily": (90, 200, 40), "tulip": (40, 90, 200)}.items():
        (tmp_path / "flowers" / name).mkdir(parents=True)
        for number in range(12):
            noisy = np.random.default_rng(number).normal(colour, 50, (24, 30, 3)).clip(0, 255).astype(np.uint8)
            Image.fromarray(noisy).save(tmp_path / "flowers" / name / f"{number}.png")
    folder = {"folder": str(tmp_path / "flowers"), "size": 20, "channels": channels}
    prepare("flowers", DataSettings(sets={"flowers": folder}), chain.paths["images"])
    paths = chain("flowers", LENET, "iid", "gs")
    block = (ATTACK_RUNS.read(paths["attack_runs"]), paths["reconstructions"])
    rows = judge([block], {"flowers": read_tensors(paths["images"], UNINFORMED)}, 0.9)
    assert rows["mse"].notna().all()
    data, originals = ImageSet.read(paths["images"]), read_tensors(paths["reconstructions"])["originals"].double()
    mean, std = data.mean.view(-1, 1, 1), data.std.view(-1, 1, 1)
    grey = ((mean.float().double() - originals) / std).square().flatten(1).mean(1)
    np.testing.assert_allclose(rows["grey_mse"], grey, rtol=1e-5)
    assert torch.equal(originals[0], as_pixels(data.train_images)[rows["index"].iloc[0]].double())
