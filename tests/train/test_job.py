import pandas as pd
import pytest
import torch

from fldrep.config.defenses import defense_settings
from fldrep.config.jobs import TrainJob
from fldrep.config.models import ModelSettings
from fldrep.config.train import TrainSettings
from fldrep.models.building import build_model
from fldrep.models.checkpoint import model_for, read_checkpoint
from fldrep.storage.imageset import ImageSet
from fldrep.storage.places import Run
from fldrep.storage.tensors import read_metadata
from fldrep.tables.shards import SHARDS
from fldrep.tables.training import TRAINING
from fldrep.train import job as job_module
from fldrep.train.job import train_run

RUN = Run("mnist", "small-lenet", "dealt", "noisy", 3)
JOB = TrainJob(
    model=ModelSettings(architecture="lenet", init="uniform"),
    train=TrainSettings(rounds=2, checkpoints=[0, 2], fraction=0.6, batch_size=8, lr=0.1),
    defense=defense_settings(method="gaussian", std=0.01),
)


@pytest.fixture
def files(data, shards, tmp_path):
    paths = {name: tmp_path / name for name in ("images", "shards", "training", "checkpoints")}
    data.write(paths["images"], {})
    rows = [
        {"client": client, "index": int(i), "label": int(data.train_labels[i])}
        for client, held in enumerate(shards)
        for i in held
    ]
    SHARDS.write(rows, paths["shards"])
    return paths


def test_a_job_writes_its_history_and_checkpoints(files, data):
    train_run(RUN, JOB, **files, code="abc")
    history = TRAINING.read(files["training"])
    assert history["round"].tolist() == [0, 1, 2]
    first = history.iloc[1]
    assert (first["model"], first["defense"], first["method"], first["std"], first["seed"], first["code"]) == (
        "small-lenet",
        "noisy",
        "gaussian",
        0.01,
        3,
        "abc",
    )
    model = build_model("lenet", data.shape, data.classes)
    for round in (0, 2):
        state = read_checkpoint(files["checkpoints"], round, model.state_dict())
        model.load_state_dict(state)
    untrained = read_checkpoint(files["checkpoints"], 0, model.state_dict())
    expected = model_for(RUN, JOB.model, data).state_dict()
    assert all(torch.equal(value, untrained[name]) for name, value in expected.items())
    assert read_metadata(files["checkpoints"])["code"] == "abc"
    assert {path.name for path in files["images"].parent.iterdir()} == {*files}


def test_a_job_killed_before_its_end_goes_on(files, monkeypatch):
    train_run(RUN, JOB, **files)
    expected = TRAINING.read(files["training"])
    for name in ("training", "checkpoints"):
        files[name].unlink()
    steady = job_module.train

    def eager(*args, **named):
        return steady(*args, **named, save_every_s=0.0)

    def killed(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr(job_module, "train", eager)
    with monkeypatch.context() as broken:
        broken.setattr(job_module, "write_checkpoints", killed)
        with pytest.raises(KeyboardInterrupt):
            train_run(RUN, JOB, **files)
    assert files["checkpoints"].with_name("checkpoints.resume.safetensors").exists()
    train_run(RUN, JOB, **files, threads=2)
    seconds = ["train_s", "defense_s", "evaluate_s"]
    pd.testing.assert_frame_equal(
        TRAINING.read(files["training"]).drop(columns=seconds), expected.drop(columns=seconds)
    )
    assert {path.name for path in files["images"].parent.iterdir()} == {*files}


def test_first_weights_are_named_by_data_model_and_seed(data):
    def weights(**changed):
        run = Run(**{**vars(RUN), **changed})
        return model_for(run, JOB.model, data).head.weight

    assert torch.equal(weights(), weights(partition="other", defense="none"))
    for changed in ({"dataset": "cifar10"}, {"model": "other"}, {"seed": 4}):
        assert not torch.equal(weights(), weights(**changed))


def test_normalisation_follows_the_model_settings(files, monkeypatch):
    seen, data = [], ImageSet.read(files["images"])
    own = tuple(data.mean.tolist()), tuple(data.std.tolist())
    steady = job_module.train
    monkeypatch.setattr(
        job_module, "train", lambda *a, **named: seen.append(named["normalisation"]) or steady(*a, **named)
    )
    for setting in ("dataset", "none"):
        model = JOB.model.model_copy(update={"normalisation": setting})
        train_run(RUN, JOB.model_copy(update={"model": model}), **files)
    assert [(one.mean, one.std) for one in seen] == [own, ((0.0,), (1.0,))]


def test_accuracy_is_measured_on_as_many_test_images_as_asked(files):
    few = JOB.model_copy(update={"train": JOB.train.model_copy(update={"test_images": 7})})
    train_run(RUN, few, **files)
    assert set(TRAINING.read(files["training"])["test_images"]) == {7}


def test_the_fast_masks_agreement_with_the_exact_one_is_recorded_at_checkpoints(files):
    defense = defense_settings(method="soteria", rate=0.5)
    train_run(RUN, JOB.model_copy(update={"defense": defense}), **files)
    history = TRAINING.read(files["training"]).set_index("round")
    assert set(history["norm_estimator"]) == {"variance"}
    assert history["agreement"].isna().tolist() == [False, True, False]
    assert (history["agreement"].dropna() > 0.8).all()  # chance is 0.5
    exact = defense_settings(method="soteria", rate=0.5, norm_estimator="exact")
    train_run(RUN, JOB.model_copy(update={"defense": exact}), **files)
    assert TRAINING.read(files["training"])["agreement"].isna().all()
