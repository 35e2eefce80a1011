"""What a config may say, and how it is told that it is wrong."""

import copy
import json
import re
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from fldrep import registry
from fldrep.config.attacks import attack_settings
from fldrep.config.checking import parse_section, stable_json
from fldrep.config.defenses import defense_settings
from fldrep.config.docs import config_schema
from fldrep.config.jobs import (
    AccountingJob,
    AttackJob,
    CertificateJob,
    IdentifiabilityJob,
    LeakageJob,
    MetricsJob,
    TrainJob,
)
from fldrep.config.reading import parse_config, read_config
from fldrep.config.train import TrainSettings
from fldrep.config.updates import UpdateSettings
from fldrep.config.whole import Config
from fldrep.errors import ConfigError
from fldrep.plan.grid import grid_of
from fldrep.plan.jobs import (
    accounting_job,
    attack_job,
    certificate_job,
    identifiability_job,
    leakage_job,
    metrics_job,
    train_job,
)

ROOT = Path(__file__).parents[2]
SHIPPED = sorted((ROOT / "config").glob("*.yaml"))

BASE = """
name: small
seeds: [0]
data: {sources: [npm]}
partitions:
  iid: {method: iid, clients: 10}
  two: {method: label-skew, clients: 10, classes_per_client: 2}
models:
  lenet: {architecture: lenet, init: uniform, normalisation: none}
  conv: {architecture: convnet, width: 4}
train:
  lenet: {rounds: 3, checkpoints: [0, 3], lr: 0.1}
  conv: {rounds: 0, checkpoints: [0], test_images: 100}
defenses:
  none: {}
  soteria: {method: soteria, rate: 0.6}
  compression: {method: compression, rate: 0.6}
  gaussian: {method: gaussian, std: 0.01}
  laplace: {method: laplace, std: 0.01}
attacks:
  dlg: {preset: dlg, iterations: 5}
  gs: {preset: gs, iterations: 5}
  masked: {preset: gs-masked, iterations: 5}
  drop: {preset: gs-drop, iterations: 5}
grid:
  - {datasets: [mnist], models: [lenet], partitions: [iid], defenses: [none, soteria], rounds: [0, 3], attacks: [dlg],
     targets: 5, theory: [identifiability, leakage, accounting]}
  - {datasets: [cifar10], models: [conv], partitions: [two], defenses: [soteria], rounds: [0],
     attacks: [gs, masked, drop], theory: [certificate]}
engine: {targets_per_job: 2, problems_at_once: 4}
metrics: {recovered_ssim: 0.5}
theory:
  leakage: {batch_sizes: [1, 4], batches: 2, public_images: 50}
  identifiability: {prior_std: 2.0}
  certificate: {points: 3}
  accounting: {delta: 0.01}
  convergence: {datasets: [mnist], partitions: [two], rates: [0.4], clients: 3, sampled: 2, rounds: 5}
"""


def base() -> dict:
    return yaml.safe_load(BASE)


def changed(path: str, value) -> dict:
    """The base config with the value at a dotted path replaced, or removed where the value is `...`."""
    raw = base()
    *parents, last = [int(part) if part.isdigit() else part for part in path.split("/")]
    at = raw
    for part in parents:
        at = at[part]
    if value is ...:
        del at[last]
    else:
        at[last] = value
    return raw


# path, wrong value, and what the message must name: the key first, then the value or what would be right
WRONG = [
    ("name", ..., "name: missing"),
    ("name", "../../etc", "name: '../../etc'"),
    ("name", "a; touch x", "name: 'a; touch x'"),
    ("name", "line\n", r"name: 'line\\n'"),
    ("name", "a" * 65, "name: .*64 characters"),
    ("seeds", [], r"seeds: \[\]: .*at least 1"),
    ("seeds", ["0"], "seeds.0: '0'"),
    ("seeds", [-1], "seeds.0: -1"),
    ("atacks", {}, "atacks: unknown key"),
    ("data/sources", ["ftp"], "data.sources.0: 'ftp': .*'folder', 'torchvision' or 'npm'"),
    ("data/folder", 3, "data.folder: 3"),
    ("data/photo", {"path": "car.jpg"}, "data.photo.label: missing"),
    ("data/photo", {"path": "car.jpg", "label": 10}, "data.photo.label: 10: .*less than or equal to 9"),
    ("data/proxy", "x", "data.proxy: unknown key"),
    ("data/sets", {"mine": {"size": 32}}, "data.sets.mine.folder: missing"),
    ("data/sets", {"mine": {"folder": ""}}, "data.sets.mine.folder: '': .*at least 1"),
    ("data/sets", {"mine": {"folder": "x", "size": 10}}, "data.sets.mine.size: 10: .*or equal to 11"),
    ("data/sets", {"mine": {"folder": "x", "channels": 4}}, "data.sets.mine.channels: 4: .*1 or 3"),
    ("data/sets", {"mine": {"folder": "x", "sise": 32}}, "data.sets.mine.sise: unknown key"),
    ("data/sets", {"My Set": {"folder": "x"}}, "data.sets.My Set: 'My Set'"),
    ("data/sets", {"mnist": {"folder": "x"}}, "data.sets: 'mnist' is a data set already"),
    ("partitions", ["iid"], "partitions: "),
    ("partitions/iid/clients", 0, "partitions.iid.clients: 0: .*greater than or equal to 1"),
    ("partitions/iid/method", "random", "partitions.iid.method: 'random'"),
    ("partitions/two/clients", 2.5, "partitions.two.clients: 2.5"),
    ("models", ..., "models: missing"),
    ("models/lenet/architecture", "vgg", "models.lenet.architecture: 'vgg'"),
    ("models/lenet/init", "zeros", "models.lenet.init: 'zeros': .*'default', 'uniform' or 'own'"),
    ("models/lenet/normalisation", True, "models.lenet.normalisation: True"),
    ("models/conv/width", 0, "models.conv.width: 0"),
    ("models/Big Net", {}, "models.Big Net: 'Big Net'"),
    ("train/lenet/rounds", -1, "train.lenet.rounds: -1"),
    ("train/lenet/lr", 0, "train.lenet.lr: 0: .*greater than 0"),
    ("train/lenet/lr", float("inf"), "train.lenet.lr: inf: .*finite"),
    ("train/lenet/lr_decay", 1.01, "train.lenet.lr_decay: 1.01: .*less than or equal to 1"),
    ("train/lenet/fraction", 0.0, "train.lenet.fraction: 0.0"),
    ("train/lenet/batch_size", True, "train.lenet.batch_size: True: .*integer"),
    ("train/lenet/local_epochs", "1", "train.lenet.local_epochs: '1'"),
    ("train/lenet/checkpoints", [], "train.lenet.checkpoints: "),
    ("train/lenet/test_images", 0, "train.lenet.test_images: 0"),
    ("defenses/soteria/rate", 60, "defenses.soteria.rate: 60: .*less than or equal to 1"),
    ("defenses/soteria/rule", "l2", "defenses.soteria.rule: 'l2': .*ratio"),
    ("defenses/soteria/norm_estimator", "guess", "defenses.soteria.norm_estimator: 'guess'"),
    ("defenses/soteria/prune", [], "defenses.soteria.prune: "),
    ("defenses/gaussian/std", -0.1, "defenses.gaussian.std: -0.1"),
    ("defenses/laplace/std", float("nan"), "defenses.laplace.std: nan"),
    ("defenses/laplace/clip", 0, "defenses.laplace.clip: 0"),
    ("defenses/none/method", None, "defenses.none.method: None"),
    ("attacks/gs/preset", "deepleak", "attacks.gs.preset: 'deepleak': .*dlg"),
    ("attacks/gs/iterations", -1, "attacks.gs.iterations: -1"),
    ("attacks/gs/restarts", 0, "attacks.gs.restarts: 0"),
    ("attacks/gs/total_variation", -1e-4, "attacks.gs.total_variation: -0.0001"),
    ("attacks/gs/box", "yes", "attacks.gs.box: 'yes': .*boolean"),
    ("attacks/gs/lr_decay", 1, "attacks.gs.lr_decay: 1"),
    ("attacks/dlg/history", 0, "attacks.dlg.history: 0"),
    ("attacks/dlg/inner_iterations", 0.5, "attacks.dlg.inner_iterations: 0.5"),
    ("attacks/dlg/labels", "guessed", "attacks.dlg.labels: 'guessed'"),
    ("attacks/dlg/tv", 0.1, "attacks.dlg.tv: 0.1: unknown key; preset 'dlg' takes history, inner_iterations"),
    ("attacks/dlg", {"t\nv": 0.1}, r"attacks.dlg.'t\\nv': 0.1: unknown key"),
    ("grid", [], "grid: .*at least 1"),
    ("grid/0/targets", 0, "grid.0.targets: 0"),
    ("grid/0/datasets", ["imagenet"], r"grid\[0\].datasets: 'imagenet' is no data set; known: cifar10, .*photo"),
    ("grid/1/models", ..., "grid.1.models: missing"),
    ("grid/1/rounds", [0.5], "grid.1.rounds.0: 0.5"),
    ("engine/device", "gpu", "engine.device: 'gpu': .*'auto', 'cpu' or 'cuda'"),
    ("engine/threads", 0, "engine.threads: 0"),
    ("engine/targets_per_job", "all", "engine.targets_per_job: 'all'"),
    ("engine/problems_at_once", None, "engine.problems_at_once: None"),
    ("engine/problems_at_once", 0, "engine.problems_at_once: 0: .*whole number from 1, or auto"),
    ("engine/problems_at_once", "all", "engine.problems_at_once: 'all': .*whole number from 1, or auto"),
    ("engine/tf32", "on", "engine.tf32: 'on'"),
    ("metrics/recovered_ssim", 1.5, "metrics.recovered_ssim: 1.5"),
    ("grid/0/theory", ["convergence"], "grid.0.theory.0: 'convergence': .*'certificate' or 'accounting'"),
    ("theory/identifiability/prior_std", 0, "theory.identifiability.prior_std: 0: .*greater than 0"),
    ("theory/identifiability/method", "guess", "theory.identifiability.method: 'guess'"),
    ("theory/leakage/batch_sizes", [], "theory.leakage.batch_sizes: "),
    ("theory/leakage/batch_sizes", [0], "theory.leakage.batch_sizes.0: 0"),
    ("theory/certificate/points", 1, "theory.certificate.points: 1: .*greater than or equal to 2"),
    ("theory/accounting/delta", 0, "theory.accounting.delta: 0: .*greater than 0"),
    ("theory/convergence/datasets", ["mnits"], "theory.convergence.datasets: 'mnits' is no data set; known: .*mnist"),
    ("theory/convergence/mu", 0, "theory.convergence.mu: 0: .*greater than 0"),
    ("theory/convergence/rates", [1.0], "theory.convergence.rates.0: 1.0: .*less than 1"),
    ("theory/convergence/partitions", ..., "theory.convergence.partitions: missing"),
    ("theory/convergence/masks", [], "theory.convergence.masks: unknown key"),
]

CONTRADICTIONS = [
    ("models/lenet/width", 8, "models.lenet.width: .*unknown key"),
    ("partitions/iid/classes_per_client", 2, "partitions.iid: classes_per_client .*method is 'iid'"),
    ("partitions/two/classes_per_client", ..., "partitions.two: classes_per_client .*is None"),
    ("train/lenet/checkpoints", [0, 4], r"train.lenet: checkpoints \[4\] .*rounds=3"),
    ("train/conv", ..., "grid.1..models: 'conv' has no section in train"),
    ("grid/1/rounds", [1], r"grid.1..rounds: \[1\] not among train.conv.checkpoints \[0\]"),
    ("grid/0/partitions", ["dirichlet"], "grid.0..partitions: 'dirichlet' is not in partitions; known: iid, two"),
    ("grid/0/defenses", ["soterai"], "grid.0..defenses: 'soterai' .*known: .*soteria"),
    ("grid/0/attacks", ["idlg"], "grid.0..attacks: 'idlg' is not in attacks"),
    ("grid/0/models", ["resnet"], "grid.0..models: 'resnet' is not in models"),
    ("defenses/soteria/std", 0.1, "defenses.soteria.std: 0.1: unknown key; method 'soteria' takes rule, rate"),
    ("defenses/soteria/clip", 1.0, "defenses.soteria.clip: 1.0: unknown key; method 'soteria'"),
    ("defenses/soteria/rate", ..., "defenses.soteria.rate: missing"),
    ("defenses/gaussian/std", ..., "defenses.gaussian.std: missing"),
    ("defenses/gaussian/rate", 0.5, "defenses.gaussian.rate: 0.5: unknown key; method 'gaussian'"),
    ("defenses/compression/rule", "ratio", "defenses.compression.rule: 'ratio': unknown key"),
    ("defenses/compression/norm_estimator", "jvp", "defenses.compression.norm_estimator: 'jvp': unknown key"),
    ("defenses/none/rate", 0.5, "defenses.none.rate: 0.5: unknown key; method 'none'"),
    ("attacks/dlg/total_variation", 1e-4, "attacks.dlg.total_variation: 0.0001: not used by preset 'dlg'"),
    ("attacks/dlg/box", False, "attacks.dlg.box: False: not used by preset 'dlg'"),
    ("attacks/gs/inner_iterations", 20, "attacks.gs.inner_iterations: 20: not used by preset 'gs'"),
    ("attacks/gs/labels", "optimised", "attacks.gs: labels: 'optimised': optimiser 'signed-adam'"),
    ("updates", {"a": {"images": 2, "lr": 0.1}}, "updates.a: .*local_epochs, batch_size not given"),
    ("updates", {"a": {"images": 2, "batch_size": 4, "local_epochs": 1, "lr": 0.1}}, "updates.a: batch_size 4 .* 2 im"),
    ("updates", {"single": {"images": 2}}, "updates: 'single' means one image and one step"),
    ("grid/0/updates", ["eight"], "grid.0..updates: 'eight' is not in updates; known: single"),
    ("grid/1/defenses", ["none"], "grid.1..attacks: '(masked|drop)' .*'none'"),
    (
        "grid/1/defenses",
        ["compression"],
        "grid.1..attacks: 'drop' needs .* last layer alone, .*'compression'",
    ),
    ("grid/0/theory", ["certificate"], "grid.0..theory: certificate is of a pruned representation, but 'none' prunes"),
    ("grid/1/attacks", [], "grid.1..theory: certificate judges what attacks find, but attacks is empty"),
    ("theory/accounting/delta", 0.1, "theory.accounting.delta: 0.1 is not below 1/10, the clients of 'iid'"),
    ("theory/convergence/partitions", ["dirichlet"], "theory.convergence.partitions: 'dirichlet' is not in partitions"),
    ("theory/convergence/clients", 11, "theory.convergence.clients: 11, but 'two' has 10"),
    ("theory/convergence/sampled", 4, "theory.convergence: sampled=4 of clients=3"),
]


@pytest.mark.parametrize(("path", "value", "told"), [*WRONG, *CONTRADICTIONS], ids=lambda x: str(x)[:40])
def test_a_wrong_config_is_refused_in_one_line_that_names_the_key(path, value, told):
    with pytest.raises(ConfigError, match=told) as refused:
        grid_of(parse_config(changed(path, value)))
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"photo": None}, r"grid\[0\].datasets: 'photo' needs data.photo"),
        ({"targets": 2}, r"grid\[0\].targets: 2: expected at most 1, the images of 'photo'"),
        ({"clients": 2}, r"grid\[0\].partitions: 'iid' has 2 clients: expected at most 1, the images of 'photo'"),
        ({}, None),
    ],
)
def test_a_photo_is_one_image_of_one_client_and_must_be_given(given, told):
    raw = base()
    raw["data"] = {"photo": given.get("photo", {"path": "car.jpg", "label": 1})}
    raw["partitions"]["iid"]["clients"] = given.get("clients", 1)
    raw["grid"] = [{**raw["grid"][0], "datasets": ["photo"], "targets": given.get("targets", 1)}]
    if told is None:
        assert parse_config(raw).data.photo.path == "car.jpg"
        return
    with pytest.raises(ConfigError, match=told):
        parse_config(raw)


UPDATES = {
    "two": {"images": 2},
    "three": {"images": 3},
    "steps": {"images": 2, "local_epochs": 1, "batch_size": 1, "lr": 0.1},
}
ADAPTIVE = {
    "averaged": {"preset": "gs-averaged"},
    "scaled": {"preset": "dlg-scaled"},
    "r": {"preset": "r-matching"},
    "strong": {"preset": "ensemble"},
    "l2": {"preset": "gs-l2"},
    "pruned": {"preset": "gs-pruned"},
}


def adaptive(defense: str, attack: str, update: str = "single") -> dict:
    """The base config with an entry of one defense, attack and update."""
    raw = base()
    raw["attacks"] |= ADAPTIVE
    raw["updates"] = UPDATES
    raw["defenses"]["clipped"] = {"method": "gaussian", "std": 0.01, "clip": 1.0}
    raw["defenses"]["anew"] = {"method": "soteria", "rate": 0.5, "prune": "representation"}
    entry = {"datasets": ["cifar10"], "models": ["conv"], "partitions": ["two"], "targets": 4}
    raw["grid"] = [{**entry, "defenses": [defense], "attacks": [attack], "updates": [update]}]
    return raw


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        (("none", "averaged"), "grid.0..attacks: 'averaged' needs noise .* defense 'none' adds none"),
        (("soteria", "averaged"), "'averaged' needs noise .* defense 'soteria' adds none"),
        (("gaussian", "scaled"), "'scaled' needs .* clipped, but defense 'gaussian' does not clip"),
        (
            ("soteria", "pruned"),
            "'pruned' needs a client that prunes .*, but defense 'soteria' does not",
        ),
        (("anew", "pruned", "steps"), "'pruned' needs one gradient.* update 'steps' is of 2 local steps"),
        (("soteria", "r", "two"), "'r' needs one image an update, but update 'two' holds 2 images"),
        (("soteria", "r", "steps"), "'r' needs one image an update, but update 'steps' holds 2 images"),
        (("soteria", "gs", "three"), "grid.0..targets: 4 is no multiple of the 3 images of update 'three'"),
    ],
    ids=str,
)
def test_an_attack_that_a_defense_or_an_update_gives_nothing_to_do_is_refused(asked, told):
    with pytest.raises(ConfigError, match=told):
        parse_config(adaptive(*asked))


@pytest.mark.parametrize(
    "asked",
    [
        ("gaussian", "averaged"), ("laplace", "averaged", "two"), ("clipped", "scaled"), ("clipped", "scaled", "steps"),
        ("soteria", "r"), ("soteria", "strong"), ("compression", "strong", "two"), ("gaussian", "l2"),
        ("soteria", "drop", "steps"), ("compression", "masked", "two"), ("anew", "pruned", "two"),
        ("anew", "masked", "steps"),
    ],
    ids="-".join,
)  # fmt: skip
def test_an_adaptive_attack_on_what_it_adapts_to_is_accepted(asked):
    assert list(grid_of(parse_config(adaptive(*asked))).blocks())


def test_a_block_holds_whole_updates():
    raw = adaptive("soteria", "gs", "two")
    raw["engine"]["targets_per_job"] = 3
    with pytest.raises(ConfigError, match=r"engine\.targets_per_job: 3 is no multiple of the 2 images of update 'two'"):
        parse_config(raw)


def test_every_config_knows_the_update_of_one_image():
    config = parse_config(base())
    assert config.updates == {"single": UpdateSettings()}
    assert parse_section(Config, stable_json(config)) == config
    steps = [UpdateSettings(images=8, local_epochs=2, batch_size=size, lr=0.1).local_steps for size in (8, 4, 3, 1)]
    assert ([UpdateSettings(images=8).local_steps, *steps]) == [1, 2, 4, 6, 16]


def test_no_two_cases_share_key_and_cause():
    cases = [(path, told) for path, _, told in [*WRONG, *CONTRADICTIONS]]
    assert len(set(cases)) == len(cases)
    assert len(WRONG) >= 25
    assert len(CONTRADICTIONS) >= 10


def test_two_entries_may_not_ask_for_different_targets_of_one_run():
    raw = base()
    raw["grid"].append({**raw["grid"][0], "targets": 6})
    with pytest.raises(ConfigError, match=r"grid\[2\].targets: 6, .* 5 targets of 'dlg'"):
        grid_of(parse_config(raw))


def test_every_fault_is_told_and_not_only_the_first():
    raw = changed("train/lenet/lr", -1)
    raw["engine"]["threads"] = 0
    raw["colour"] = "red"
    with pytest.raises(ConfigError) as refused:
        parse_config(raw)
    assert {fault.partition(":")[0] for fault in str(refused.value).split("; ")} == {
        "train.lenet.lr",
        "engine.threads",
        "colour",
    }


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"name: [", "not a readable YAML file"),
        (b"- a\n- b\n", "expected sections with keys, found list"),
        (b"", "expected sections with keys, found NoneType"),
        (b"\xff\xfe\x00", "not a readable YAML file"),
        (b"name: !!python/object/apply:os.getcwd []", "not a readable YAML file"),
    ],
)
def test_a_file_that_is_no_config_is_named(tmp_path, content, told):
    path = tmp_path / "mine.yaml"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=told) as refused:
        read_config(path)
    assert str(path) in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(ConfigError, match=r"absent\.yaml: .*No such file"):
        read_config(tmp_path / "absent.yaml")


# ---- what is accepted, and what it becomes


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.name)
def test_shipped_configs_are_accepted_by_the_models_and_by_the_schema(path):
    config = read_config(path)
    assert list(grid_of(config).blocks())
    Draft202012Validator(config_schema()).validate(yaml.safe_load(path.read_text()))


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.name)
def test_the_schema_refuses_unknown_keys_in_every_section(path):
    validator = Draft202012Validator(config_schema())
    raw = yaml.safe_load(path.read_text())
    places = [(), ("grid", 0)]
    places += [(name,) for name in ("data", "engine", "metrics", "theory")]
    places += [(part, name) for part in ("partitions", "models", "train", "defenses", "attacks") for name in raw[part]]
    for place in places:
        spoilt = copy.deepcopy(raw)
        at = spoilt
        for part in place:
            at = at.setdefault(part, {}) if isinstance(at, dict) else at[part]
        at["colour"] = "red"
        faults = [error.message for error in validator.iter_errors(spoilt)]
        assert any("colour" in fault for fault in faults), place


def test_the_schema_is_a_valid_schema_that_describes_every_key():
    schema = config_schema()
    Draft202012Validator.check_schema(schema)
    for section in (schema, *schema["$defs"].values()):
        assert section["additionalProperties"] is False
        for key, field in section["properties"].items():
            assert field.get("description"), f"{section['title']}.{key} is not described"


def test_settings_are_frozen():
    config = parse_config(base())
    with pytest.raises(ValueError, match="frozen"):
        config.name = "other"
    with pytest.raises(ValueError, match="frozen"):
        config.train["lenet"].lr = 1.0


def test_defenses_are_filled_in_by_method():
    soteria = defense_settings("soteria", rate=0.6)
    assert (soteria.rule, soteria.prune, soteria.norm_estimator) == ("ratio", "gradient", "variance")
    assert not hasattr(soteria, "std")
    assert defense_settings().model_dump(exclude_none=True) == {"method": "none"}
    zeros = {name: registry.value("defense", one.method).zeros for name, one in parse_config(base()).defenses.items()}
    assert zeros == {"none": "none", "soteria": "head", "compression": "all", "gaussian": "none", "laplace": "none"}


# ---- stable JSON


def test_equal_sections_give_equal_text_whatever_the_order_and_the_defaults_written_out():
    short = parse_config({"train": {"a": {"lr": 0.1, "rounds": 3, "checkpoints": [0]}}, **_rest()})
    long = parse_config({**_rest(), "train": {"a": {"checkpoints": [0], "rounds": 3, "lr": 0.1, "batch_size": 32}}})
    assert stable_json(short) == stable_json(long)
    assert stable_json(short.train["a"]) == stable_json(TrainSettings(rounds=3))


def _rest() -> dict:
    entry = {"datasets": ["mnist"], "models": ["a"], "partitions": ["iid"], "defenses": ["none"]}
    return {"name": "x", "models": {"a": {}}, "partitions": {"iid": {}}, "defenses": {"none": {}}, "grid": [entry]}


def test_different_sections_give_different_text():
    texts = [stable_json(attack_settings("gs", **change)) for change in ({}, {"lr": 0.2}, {"restarts": 2})]
    texts.append(stable_json(attack_settings("gs-masked")))
    assert len(set(texts)) == 4
    assert stable_json(attack_settings()) == stable_json(attack_settings("gs", iterations=24_000))


def test_stable_json_is_one_line_with_sorted_keys():
    text = stable_json(parse_config(base()))
    assert "\n" not in text
    assert text == json.dumps(json.loads(text), sort_keys=True)


def test_a_section_of_bad_json_is_refused_by_name():
    with pytest.raises(ConfigError, match=r"lr: '?-1'?: .*greater than 0") as refused:
        parse_section(TrainSettings, '{"lr": -1}')
    assert "\n" not in str(refused.value)
    with pytest.raises(ConfigError, match="Invalid JSON"):
        parse_section(TrainSettings, '{"lr": ')


# ---- any config is refused by name, or can be run

ALLOWED = {
    "dataset": r"[a-z0-9-]+",
    "model": r"[a-z0-9-]+",
    "partition": r"[a-z0-9-]+",
    "defense": r"[a-z0-9-]+",
    "seed": r"\d+",
}
ATOMS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-2, 12),
    st.sampled_from([10**9, 0.0, 0.5, 1.0, -0.5, 1e300, float("nan"), float("inf"), "", "gs", "none", "a b", "$(x)"]),
    st.sampled_from(["mnist", "convnet", "lenet", "soteria", "gaussian", "dlg", "gs-drop", "iid", "classes", "auto"]),
    st.text(max_size=5),
)
VALUES = st.one_of(ATOMS, st.lists(ATOMS, max_size=3), st.dictionaries(st.text(max_size=8), ATOMS, max_size=2))


def _paths(at, prefix=()):
    items = at.items() if isinstance(at, dict) else enumerate(at) if isinstance(at, list) else ()
    for key, value in items:
        yield (*prefix, key)
        yield from _paths(value, (*prefix, key))


EDITS = st.lists(
    st.tuples(st.sampled_from(sorted(_paths(base()), key=str)), st.one_of(VALUES, st.just(...))), min_size=1, max_size=3
)


def _edited(edits) -> dict:
    raw = base()
    for path, value in edits:
        at = raw
        try:
            for part in path[:-1]:
                at = at[part]
            if value is ...:
                del at[path[-1]]
            else:
                at[path[-1]] = value
        except (KeyError, IndexError, TypeError):
            continue  # an earlier edit took the place away
    return raw


def _keys(raw) -> set[str]:
    words = {str(part) for path in _paths(raw) for part in path}
    return words | {name for kind in _sections(Config) for name in kind.model_fields}


def _sections(kind):
    from fldrep.config.section import Section

    return [kind, *Section.__subclasses__()]


SCHEMA = Draft202012Validator(config_schema())


@settings(max_examples=300, deadline=None)
@given(EDITS)
def test_any_config_is_refused_by_name_or_makes_jobs(edits):
    raw = _edited(edits)
    try:
        config = parse_config(raw)
        jobs = grid_of(config)
    except ConfigError as refused:
        told = str(refused)
        assert "\n" not in told
        assert any(key and key in told for key in _keys(raw))
        return
    SCHEMA.validate(raw)
    assert parse_section(Config, stable_json(config)) == config
    assert jobs.runs
    for run in jobs.runs:
        job = train_job(config, jobs, run)
        assert parse_section(TrainJob, stable_json(job)) == job
        for wildcard, pattern in ALLOWED.items():
            assert re.fullmatch(pattern, str(getattr(run, wildcard))), wildcard
    for sent in jobs.sent_blocks():
        job = identifiability_job(config, jobs, sent)
        assert parse_section(IdentifiabilityJob, stable_json(job)) == job
    for checkpoint in jobs.leaking:
        job = leakage_job(config, jobs, checkpoint)
        assert parse_section(LeakageJob, stable_json(job)) == job
    for run in jobs.accounted:
        job = accounting_job(config, jobs, run)
        assert parse_section(AccountingJob, stable_json(job)) == job
    for block in jobs.blocks():
        job = attack_job(config, jobs, block)
        assert parse_section(AttackJob, stable_json(job)) == job
        job = certificate_job(config, jobs, block)
        assert parse_section(CertificateJob, stable_json(job)) == job
    metrics = metrics_job(config, jobs, None)
    assert parse_section(MetricsJob, stable_json(metrics)) == metrics
