"""The estimate against hand-counted work, and what is measured, kept and left out."""

import json
import subprocess
import sys
import time
from dataclasses import replace

import pytest
import torch

from fldrep.config.attacks import ATTACKS, attack_settings, members_of
from fldrep.config.datasets import Facts
from fldrep.config.presets import ATTACK_PRESETS
from fldrep.config.reading import parse_config
from fldrep.machine.progress import rough
from fldrep.plan import calibration
from fldrep.plan.calibration import Unit, calibrated, cost_of, measured
from fldrep.plan.estimate import estimate, known_facts
from fldrep.storage.imageset import ImageSet

COSTS = {"start": 3.0, "attack": 0.5, "local": 0.001, "test": 0.0001, "parameters": 1000}
OTHERS = {"push": 0.01, "product": 2.0, "solve": 90.0}
RAW = {
    "name": "small",
    "seeds": [0, 1],
    "partitions": {"iid": {"clients": 100}},
    "models": {"lenet": {}},
    "train": {"lenet": {"rounds": 2, "checkpoints": [0, 2], "local_epochs": 3, "test_images": 500}},
    "defenses": {"none": {}},
    "attacks": {"dlg": {"preset": "dlg", "iterations": 7, "restarts": 2}},
    "grid": [
        {"datasets": ["mnist"], "models": ["lenet"], "partitions": ["iid"], "defenses": ["none"], "rounds": [0, 2],
         "attacks": ["dlg"], "targets": 5}
    ],
    "engine": {"targets_per_job": 4, "device": "cpu"},
}  # fmt: skip


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """A cache of the test's own."""
    monkeypatch.setenv("FLDREP_CACHE", str(tmp_path))
    return tmp_path


def known(unit):
    return (COSTS | OTHERS)[unit.kind]


def test_hours_are_the_jobs_times_their_unit_costs():
    found = estimate(parse_config(RAW), measure=known)
    assert found.jobs == {"data": 1 + 2, "train": 2, "attack": 2 * 2 * 2, "theory": 0}
    assert found.files == 3 * 3 + (2 + 8) * 6
    assert replace(found, jobs={**found.jobs, "theory": 2}).files == found.files + 2 * 4
    images = 2 * 10 * 600 * 3  # rounds x clients x images of each x epochs
    assert found.hours["train"] * 3600 == pytest.approx(2 * (3 + images * 0.001 + 3 * 500 * 0.0001))
    problems = 2 * 2 * 5 * 2  # seeds x checkpoints x targets x restarts
    assert found.hours["attack"] * 3600 == pytest.approx(8 * 3 + problems * 7 * 0.5)
    pixels = 784
    reconstructions = 4 * 2 * 2 * 5 * (1 + 2) * pixels
    assert found.gigabytes * 1e9 == pytest.approx(70_000 * pixels + 2 * 2 * 4 * 1000 + reconstructions)


def test_an_ensemble_costs_what_its_members_cost():
    """Steps of those that descend, and a whole attack of one that solves."""
    exact = {"preset": "closed-form"}
    members = {"gs": {"preset": "gs"}, "flat": {"objective": "l2", "optimiser": "lbfgs"}, "exact": exact}
    own = {"objective": "cosine", "optimiser": "signed-adam", "iterations": 40, "restarts": 2, "members": members}
    grid = [{**RAW["grid"][0], "attacks": ["mine"]}]
    found = estimate(parse_config({**RAW, "attacks": {"mine": own}, "grid": grid}), measure=known)
    problems = 2 * 2 * 5 * 2
    assert found.hours["attack"] * 3600 == pytest.approx(8 * 3 + problems * (40 * 0.5 + 2 * 0.5 + 90.0))


@pytest.mark.parametrize("preset", ATTACK_PRESETS)
def test_what_a_unit_says_of_its_attack_can_be_read_back(preset):
    """And every member of an ensemble under its own name."""
    settings = attack_settings(preset)
    for one in [settings, *members_of(settings).values()]:
        _, section, _ = cost_of(one)
        read = ATTACKS.validate(json.loads(section))
        kept = {"preset", "variant_of", "restarts", "iterations"}
        assert read.model_dump(exclude=kept) == one.model_dump(exclude=kept)


def test_hours_of_identifiability_are_pushes_and_products():
    (entry,) = RAW["grid"]
    asked = {**entry, "attacks": [], "rounds": [0], "theory": ["identifiability"]}
    found = estimate(parse_config({**RAW, "grid": [asked]}), measure=known)
    assert found.jobs["theory"] == 2 * 2
    products = 2.0 * (1000 * 784**2 / 2 + 12 * 784**3) / 1e9
    assert found.hours["theory"] * 3600 == pytest.approx(4 * 3 + 2 * 5 * (784 * 0.01 + products))
    assert estimate(parse_config({**RAW, "grid": [asked]}), within_s=0, measure=pytest.fail).untimed == 0, "all known"


def test_a_gpu_takes_one_attack_at_a_time_and_cores_share_the_rest():
    cpu, cuda = (estimate(parse_config(RAW), device, measure=known) for device in ("cpu", "cuda"))
    assert cpu.hours == cuda.hours
    total, trained = sum(cpu.hours.values()), cpu.hours["train"]
    assert f"{rough(3600 * total / 4)} with 4 at once" in cpu.sentence(4)
    assert f"{rough(3600 * (trained / 4 + total - trained))} with 4 at once" in cuda.sentence(4)


def test_what_was_measured_once_is_not_measured_again():
    calls = []
    first = estimate(parse_config(RAW), measure=lambda unit: calls.append(unit) or COSTS[unit.kind])
    assert sorted({unit.kind for unit in calls}) == sorted(COSTS)
    assert len(calls) == len(set(calls)) == 5
    assert estimate(parse_config(RAW), measure=pytest.fail) == first
    longer = {**RAW, "attacks": {"dlg": {"preset": "dlg", "iterations": 9, "restarts": 1}}}
    assert estimate(parse_config(longer), measure=pytest.fail).hours["attack"] < first.hours["attack"]


def test_another_model_attack_or_device_is_another_cost():
    estimate(parse_config(RAW), measure=known)
    changed = [
        ({"models": {"lenet": {"init": "uniform"}}}, {"attack", "local", "test", "parameters"}),
        ({"attacks": {"dlg": {"preset": "dlg", "inner_iterations": 3}}}, {"attack"}),
        ({"engine": {"targets_per_job": 4, "device": "cuda"}}, {"attack"}),
        ({"engine": {"targets_per_job": 3, "device": "cpu"}}, set()),
    ]
    for change, expected in changed:
        calls = []
        estimate(parse_config({**RAW, **change}), measure=lambda unit: calls.append(unit.kind) or COSTS[unit.kind])  # noqa: B023
        assert set(calls) == expected, change


def test_other_code_or_versions_are_measured_anew(monkeypatch):
    before = calibration.cache_file()
    monkeypatch.setattr(calibration, "versions", lambda: {"torch": "0"})
    assert calibration.cache_file() != before


def test_without_time_nothing_is_measured_and_the_sentence_says_so():
    found = estimate(parse_config(RAW), within_s=0, measure=pytest.fail)
    assert found.untimed == 2 + 8
    assert "13 jobs (3 data, 2 train, 8 attack), 69 files; 10 of them not yet timed" in found.sentence(1)


def test_time_that_runs_out_keeps_what_was_measured(monkeypatch):
    clock = iter(range(100))
    monkeypatch.setattr(calibration.time, "monotonic", lambda: next(clock))
    units = [Unit("start"), Unit("local"), Unit("test")]
    assert len(calibrated(units, 2.5, known)) == 2
    monkeypatch.undo()


@pytest.mark.parametrize("kind", ["attack", "solve", "local", "test", "parameters", "push", "product"])
def test_units_are_measured_on_real_models(kind):
    preset = "closed-form" if kind == "solve" else "gs-drop"
    (expected, section, times) = calibration.cost_of(attack_settings(preset, restarts=3))
    assert (expected, times) == (("solve", 1) if kind == "solve" else ("attack", 24_000))
    found = measured(Unit(kind, shape=(1, 28, 28), attack=section))
    assert found == 12 * 25 + 12 + 3 * (12 * 12 * 25 + 12) + 588 * 10 + 10 if kind == "parameters" else 0 < found < 60


def test_a_busy_machine_does_not_look_slow():
    """Waiting is no work; that of a child is."""
    assert calibration._seconds(Unit("start"), lambda: time.sleep(1)) < 0.5
    loop = [sys.executable, "-c", "import time\nwhile time.process_time() < 0.3: pass"]
    assert 0.25 < calibration._seconds(Unit("start"), lambda: subprocess.run(loop, check=True)) < 0.6


def test_the_estimate_is_made_without_torch():
    """The Snakefile prints it."""
    code = "import sys; from fldrep.plan.estimate import estimate; from fldrep.config.checking import parse_section; "
    code += "from fldrep.config.whole import Config; sys.stdin.read(); estimate(parse_section(Config, sys.argv[1]), "
    code += "within_s=0); sys.exit('torch' in sys.modules)"
    whole = parse_config(RAW).model_dump(mode="json", exclude_none=True)
    assert (
        subprocess.run([sys.executable, "-c", code, json.dumps(whole)], check=False, input="", text=True).returncode
        == 0
    )


# ---- data sets whose size nobody said


def own_set(tmp_path) -> dict:
    """A config of a folder that is not looked at."""
    grid = [{**RAW["grid"][0], "datasets": ["mine"]}]
    return {**RAW, "data": {"sets": {"mine": {"folder": str(tmp_path / "mine"), "size": 28}}}, "grid": grid}


def test_jobs_on_a_data_set_of_unknown_size_are_not_timed_and_the_sentence_says_so(tmp_path):
    config = parse_config(own_set(tmp_path))
    found = estimate(config, measure=known, results=tmp_path)
    assert (found.untimed, found.unseen) == (2 + 8, ("mine",))
    assert "10 of them not yet timed: the size of mine is known once it is prepared" in found.sentence(1)
    (tmp_path / "small/data").mkdir(parents=True)
    (tmp_path / "small/data/mine.safetensors").write_bytes(b"damaged")
    assert estimate(config, measure=known, results=tmp_path) == found


def test_a_finished_data_set_tells_its_size(tmp_path):
    images, labels = torch.zeros(6, 1, 28, 28, dtype=torch.uint8), torch.arange(6) % 2
    made = ImageSet(images, labels, images[:2], labels[:2], images.float()[:2])
    (tmp_path / "small/data").mkdir(parents=True)
    made.write(tmp_path / "small/data/mine.safetensors", {})
    facts = known_facts(parse_config(own_set(tmp_path)), "mine", tmp_path / "small")
    assert facts == Facts(shape=(1, 28, 28), classes=2, train_images=6, test_images=2)
    assert estimate(parse_config(own_set(tmp_path)), measure=known, results=tmp_path).untimed == 0
