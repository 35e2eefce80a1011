"""An attack that is killed goes on from where it was, and gives the bits of an undisturbed one."""

import multiprocessing
import signal
from dataclasses import fields
from functools import partial
from types import SimpleNamespace

import pytest
import torch

import fldrep
from fldrep.attack import job
from fldrep.attack.attacker import carry_out
from fldrep.attack.engine import Work
from fldrep.attack.observation import Observation, public_zeros
from fldrep.attack.reconstruction import Reconstruction
from fldrep.attack.resume import Checkpointer
from fldrep.config.attacks import attack_settings
from fldrep.config.defenses import defense_settings
from fldrep.config.engine import EngineSettings
from fldrep.config.jobs import AttackJob
from fldrep.config.models import model_settings
from fldrep.config.updates import UpdateSettings
from fldrep.models.checkpoint import model_for, write_checkpoints
from fldrep.models.normalisation import normalisation_for
from fldrep.seeds import generator
from fldrep.storage.imageset import ImageSet, mean_of_each_class
from fldrep.storage.places import Block, Run
from fldrep.storage.tensors import job_key, read_tensors, write_tensors
from fldrep.tables.attack_runs import ATTACK_RUNS
from fldrep.tables.shards import SHARDS

PRESETS = ["gs", "gs-spectral-masked", "gs-drop", "gs-pruned", "r-matching", "dlg", "idlg", "ensemble"]


class Killed(Exception):
    """Stands for a kill."""


class Doomed(Checkpointer):
    """Keeps every step, and is killed after some."""

    lives = 0

    def step(self, steps, state):
        super().step(steps, state)
        self.lives -= 1
        if self.lives == 0:
            raise Killed


def attacked(made, preset, checkpointer=None):
    """All three updates, in two chunks."""
    observation = Observation(
        made.model,
        made.defended,
        made.labels,
        shape=made.shape,
        normalisation=normalisation_for(3),
        draw=partial(generator, "initial point"),
        zeros=public_zeros(made.defended),
    )
    settings = attack_settings(preset, iterations=40 if preset == "ensemble" else 4)
    return carry_out(observation, settings, Work(2, checkpointer=checkpointer or Checkpointer()))


@pytest.fixture(params=["lenet", "convnet"])
def made(request):
    """A network in float32, and three updates under Soteria."""
    found = request.getfixturevalue(request.param)
    given = {"model": found.model, "images": found.images, "labels": found.labels}
    defended = fldrep.defend(found.update, "soteria", rate=0.3, **given)
    yield SimpleNamespace(model=found.model.float(), labels=found.labels, shape=found.shape, defended=defended)
    found.model.double()


@pytest.mark.parametrize("preset", PRESETS)
def test_a_killed_attack_gives_the_bits_of_an_undisturbed_one(made, preset, tmp_path):
    undisturbed = attacked(made, preset)
    path, kills, whole = tmp_path / "progress", 0, Checkpointer()
    for lives in (1, 2, 1, 3, 40, 25):
        checkpointer = Doomed(path, "key", save_every_s=0)
        checkpointer.lives = lives
        try:
            attacked(made, preset, checkpointer)
        except Killed:
            kills += 1
        else:
            break
    assert kills >= 3
    resumed = attacked(made, preset, Checkpointer(path, "key"))
    for field in fields(Reconstruction):
        one, other = getattr(resumed, field.name), getattr(undisturbed, field.name)
        same = torch.equal(one, other) if isinstance(one, torch.Tensor) else one == other
        assert same, field.name
    assert whole.seconds_before == 0 < Checkpointer(path, "key").seconds_before


def test_steps_are_not_done_twice(made, tmp_path):
    done = []

    class Counting(Doomed):
        def step(self, steps, state):
            done.append(self._steps)
            super().step(steps, state)

    for lives in (3, 4, 100):
        checkpointer = Counting(tmp_path / "progress", "key", save_every_s=0)
        checkpointer.lives = lives
        if lives < 100:
            with pytest.raises(Killed):
                attacked(made, "gs", checkpointer)
        else:
            attacked(made, "gs", checkpointer)
    assert done == [0, 1, 2, 3, 0, 1, 2, 3]


def test_progress_of_another_job_or_a_damaged_file_is_not_taken(tmp_path):
    path = tmp_path / "progress"
    checkpointer = Checkpointer(path, "key", save_every_s=0)
    start = {"images": torch.zeros(2, 3)}
    assert checkpointer.finished() is None
    checkpointer.begin(start)
    checkpointer.step(1, {"images": torch.ones(2, 3)})
    assert Checkpointer(path, "key").begin(start)[0] == 1
    assert Checkpointer(path, "another").begin(start) == (0, start)
    assert Checkpointer(path, "key").begin({"images": torch.zeros(3, 3)})[0] == 0, "another chunk size"
    path.write_bytes(path.read_bytes()[:-3])
    assert Checkpointer(path, "key").begin(start) == (0, start)


def test_nothing_is_written_before_its_time_or_without_a_path(tmp_path):
    for checkpointer in (Checkpointer(), Checkpointer(tmp_path / "progress")):
        checkpointer.finished()
        checkpointer.begin({})
        checkpointer.step(1, {"images": torch.ones(1)})
        checkpointer.finish({"images": torch.ones(1)})
        checkpointer.remove()
    assert list(tmp_path.iterdir()) == []


def test_a_key_depends_on_names_and_bits():
    one = torch.zeros(2)
    keys = {job_key(*given) for given in ((("a",), (one,)), (("b",), (one,)), (("a",), (one + 1e-7,)), (("a",), ()))}
    assert len(keys) == 4
    assert job_key(("a",), (one,)) == job_key(("a",), (one.clone(),))


WHERE = Block(Run("mnist", "small", "dealt", "none", 0), 0, "single", "gs", 0)
JOB = AttackJob(
    model=model_settings("convnet", width=2),
    defense=defense_settings(),
    update=UpdateSettings(),
    attack=attack_settings("gs", iterations=30),
    engine=EngineSettings(problems_at_once=2, device="cpu"),
    targets=[0, 1, 2],
)


@pytest.fixture
def files(tmp_path):
    """The inputs of an attack job."""
    images = torch.randint(0, 256, (8, 1, 28, 28), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    labels = torch.arange(8) % 4
    data = ImageSet(images, labels, images, labels, mean_of_each_class(images, labels, 4))
    paths = {name: tmp_path / name for name in ("images", "shards", "checkpoints")}
    data.write(paths["images"], {})
    SHARDS.write([{"client": i // 2, "index": i, "label": int(labels[i])} for i in range(8)], paths["shards"])
    write_checkpoints(paths["checkpoints"], {0: model_for(WHERE.run, JOB.model, data).state_dict()}, {})
    return paths


def run_job(files, folder):
    folder.mkdir(exist_ok=True)
    outputs = {"attack_runs": folder / "block-0.parquet", "reconstructions": folder / "block-0.safetensors"}
    job.attack_block(WHERE, JOB, **files, **outputs, code="abc")
    return ATTACK_RUNS.read(outputs["attack_runs"]).drop(columns=["runtime_s", "device"]), read_tensors(
        outputs["reconstructions"]
    )


def test_a_job_killed_for_real_goes_on_and_leaves_only_its_outputs(files, tmp_path, monkeypatch):
    table, tensors = run_job(files, tmp_path / "undisturbed")
    hears, tells = multiprocessing.get_context("fork").Pipe(duplex=False)

    class Telling(Checkpointer):
        def step(self, steps, state):
            super().step(steps, state)
            tells.send((len(self._finished), self._steps))

    monkeypatch.setattr(job, "Checkpointer", partial(Telling, save_every_s=0))
    folder = tmp_path / "killed"
    for least in ((0, 7), (1, 11)):
        process = multiprocessing.get_context("fork").Process(target=run_job, args=(files, folder))
        process.start()
        while hears.recv() < least:
            assert hears.poll(60), "the job ended before it was killed"
        process.kill()
        process.join()
        assert process.exitcode == -signal.SIGKILL
        assert [path.name for path in folder.glob("*.resume.*")] == ["block-0.resume.safetensors"]
        while hears.poll():
            hears.recv()
    kept = Checkpointer(folder / "block-0.resume.safetensors")
    assert kept.seconds_before == 0, "without the key nothing is taken"
    found, images = run_job(files, folder)
    assert found.equals(table)
    assert all(torch.equal(images[name], tensors[name]) for name in tensors)
    visible = sorted(path.name for path in folder.iterdir() if not path.name.startswith("."))
    assert visible == ["block-0.parquet", "block-0.safetensors"]


def test_a_file_of_progress_is_safetensors_and_its_key_is_inside(tmp_path):
    path = tmp_path / "progress"
    write_tensors(path, {"state/images": torch.ones(1)}, {"key": "key", "steps": "3", "seconds": "1.5"})
    checkpointer = Checkpointer(path, "key")
    assert checkpointer.seconds_before == 1.5
    assert checkpointer.begin({"images": torch.zeros(1)})[0] == 3
