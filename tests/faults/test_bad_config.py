"""A wrong config ends in one line that names the key, the value and what would be right."""

import re

import pytest
import yaml

from fldrep.plan.grid import grid_of

BASE = """
name: small
seeds: [0]
data: {sources: [npm]}
partitions:
  iid: {method: iid, clients: 10}
  two: {method: label-skew, clients: 10, classes_per_client: 2}
  skewed: {method: dirichlet, clients: 10, alpha: 0.5}
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
  averaged: {preset: gs-averaged, iterations: 5}
  matching: {preset: r-matching, iterations: 5}
grid:
  - {datasets: [mnist], models: [lenet], partitions: [iid], defenses: [none, soteria], rounds: [0, 3], attacks: [dlg],
     targets: 5}
  - {datasets: [cifar10], models: [conv], partitions: [two], defenses: [soteria], rounds: [0],
     attacks: [gs, masked, drop]}
engine: {targets_per_job: 2, problems_at_once: 4}
metrics: {recovered_ssim: 0.5}
"""

# What can be wrong with one key. A case is a key and one of these, so no two cases are the same under two names.
MISSING, TYPE, UNKNOWN, NO_KEY = "missing", "wrong type", "unknown value", "unknown key"
LOW, HIGH, NOT_FINITE, EMPTY, NO_NAME, TEXT = (
    "too small",
    "too large",
    "not finite",
    "empty",
    "no name",
    "number as text",
)
MANY = "more than there are"
CAUSES = {MISSING, TYPE, UNKNOWN, NO_KEY, LOW, HIGH, NOT_FINITE, EMPTY, NO_NAME, TEXT, MANY}

# key (a path into BASE), cause, wrong value (... takes the key away), what the line must say
CASES = [
    ("name", MISSING, ..., "name: missing"),
    ("name", TYPE, 2026, "name: 2026: .*string"),
    ("name", NO_NAME, "../../etc", "name: '../../etc': .*pattern"),
    ("name", HIGH, "a" * 65, "name: .*64 characters"),
    ("name", EMPTY, "", "name: '': .*pattern"),
    ("seeds", EMPTY, [], r"seeds: \[\]: .*at least 1"),
    ("seeds", TYPE, ["0"], "seeds.0: '0': .*integer"),
    ("seeds", LOW, [-1], "seeds.0: -1: .*greater than or equal to 0"),
    ("seeds", HIGH, [2**63], "seeds.0: 9223372036854775808: .*less than or equal to"),
    ("atacks", NO_KEY, {}, "atacks: unknown key"),
    ("data/sources", UNKNOWN, ["ftp"], "data.sources.0: 'ftp': .*'folder', 'torchvision' or 'npm'"),
    ("data/sources", EMPTY, [], r"data.sources: \[\]: .*at least 1"),
    ("data/sources", TYPE, "npm", "data.sources: 'npm': .*list"),
    ("data/folder", TYPE, 3, "data.folder: 3: .*string"),
    ("data/cache", TYPE, ["x"], "data.cache: .*string"),
    ("data/proxy", NO_KEY, "x", "data.proxy: unknown key"),
    ("partitions", TYPE, ["iid"], "partitions: .*dictionary"),
    ("partitions", MISSING, ..., "partitions: missing"),
    ("partitions/iid/clients", LOW, 0, "partitions.iid.clients: 0: .*greater than or equal to 1"),
    ("partitions/iid/clients", HIGH, 10**12, "partitions.iid.clients: 1000000000000: .*or equal to 2147483647"),
    (
        "partitions/iid/method",
        UNKNOWN,
        "random",
        "partitions.iid.method: 'random': .*'label-skew' or 'dirichlet'",
    ),
    ("partitions/two/clients", TYPE, 2.5, "partitions.two.clients: 2.5: .*integer"),
    ("partitions/two/classes_per_client", LOW, 0, "partitions.two.classes_per_client: 0: .*greater than or equal to 1"),
    ("partitions/skewed/alpha", LOW, 0, "partitions.skewed.alpha: 0: .*greater than 0"),
    ("partitions/skewed/alpha", NOT_FINITE, float("inf"), "partitions.skewed.alpha: inf: .*finite"),
    ("models", MISSING, ..., "models: missing"),
    ("models/lenet/architecture", UNKNOWN, "vgg", "models.lenet.architecture: 'vgg': .*'lenet'"),
    ("models/lenet/init", UNKNOWN, "zeros", "models.lenet.init: 'zeros': .*'default', 'uniform' or 'own'"),
    ("models/lenet/normalisation", TYPE, True, "models.lenet.normalisation: True: .*'dataset' or 'none'"),
    ("models/conv/width", LOW, 0, "models.conv.width: 0: .*greater than or equal to 1"),
    ("models/conv/width", TEXT, "4", "models.conv.width: '4': .*integer"),
    ("models/Big Net", NO_NAME, {}, "models.Big Net: 'Big Net': .*pattern"),
    ("models/conv/wdith", NO_KEY, 4, "models.conv.wdith: 4: unknown key"),
    ("models/lenet/width", NO_KEY, 8, "models.lenet.width: .*unknown key"),
    ("train", MISSING, ..., "train: missing"),
    ("train/lenet/rounds", LOW, -1, "train.lenet.rounds: -1: .*greater than or equal to 0"),
    ("train/lenet/rounds", HIGH, 10**10, "train.lenet.rounds: 10000000000: .*less than or equal to"),
    ("train/lenet/lr", LOW, 0, "train.lenet.lr: 0: .*greater than 0"),
    ("train/lenet/lr", NOT_FINITE, float("inf"), "train.lenet.lr: inf: .*finite"),
    ("train/lenet/lr", TEXT, "1e-4", r"train.lenet.lr: '1e-4': .*number.*1\.0e-4"),
    ("train/lenet/lr_decay", HIGH, 1.01, "train.lenet.lr_decay: 1.01: .*less than or equal to 1"),
    ("train/lenet/fraction", LOW, 0.0, "train.lenet.fraction: 0.0: .*greater than 0"),
    ("train/lenet/fraction", HIGH, 10, "train.lenet.fraction: 10: .*less than or equal to 1"),
    ("train/lenet/batch_size", TYPE, True, "train.lenet.batch_size: True: .*integer"),
    ("train/lenet/batch_size", LOW, 0, "train.lenet.batch_size: 0: .*greater than or equal to 1"),
    ("train/lenet/local_epochs", TEXT, "1", "train.lenet.local_epochs: '1': .*integer"),
    ("train/lenet/checkpoints", EMPTY, [], r"train.lenet.checkpoints: \[\]: .*at least 1"),
    ("train/lenet/test_images", LOW, 0, "train.lenet.test_images: 0: .*greater than or equal to 1"),
    ("defenses", TYPE, None, "defenses: None: .*dictionary"),
    ("defenses/soteria/rate", HIGH, 60, "defenses.soteria.rate: 60: .*less than or equal to 1"),
    ("defenses/soteria/rate", LOW, -0.1, "defenses.soteria.rate: -0.1: .*greater than or equal to 0"),
    ("defenses/soteria/rule", UNKNOWN, "l2", "defenses.soteria.rule: 'l2': .*'ratio'"),
    ("defenses/soteria/norm_estimator", UNKNOWN, "guess", "defenses.soteria.norm_estimator: 'guess': .*'variance'"),
    ("defenses/soteria/prune", TYPE, [], r"defenses.soteria.prune: \[\]: .*'gradient' or 'representation'"),
    ("defenses/gaussian/std", LOW, -0.1, "defenses.gaussian.std: -0.1: .*greater than or equal to 0"),
    ("defenses/laplace/std", NOT_FINITE, float("nan"), "defenses.laplace.std: nan: .*finite"),
    ("defenses/laplace/clip", LOW, 0, "defenses.laplace.clip: 0: .*greater than 0"),
    ("defenses/none/method", TYPE, None, "defenses.none.method: None: .*'none'"),
    ("defenses/none/method", UNKNOWN, "dropout", "defenses.none.method: 'dropout': .*'none'"),
    ("attacks/gs/preset", UNKNOWN, "deepleak", "attacks.gs.preset: 'deepleak': .*'dlg'"),
    ("attacks/gs/preset", TYPE, ["gs"], r"attacks.gs.preset: \['gs'\]: .*'dlg'"),
    ("attacks/gs", TYPE, "gs", "attacks.gs: 'gs': .*section with keys"),
    ("attacks/gs/iterations", LOW, -1, "attacks.gs.iterations: -1: .*greater than or equal to 0"),
    ("attacks/gs/restarts", LOW, 0, "attacks.gs.restarts: 0: .*greater than or equal to 1"),
    ("attacks/gs/lr", LOW, 0, "attacks.gs.lr: 0: .*greater than 0"),
    ("attacks/gs/total_variation", LOW, -1e-4, "attacks.gs.total_variation: -0.0001: .*greater than or equal to 0"),
    ("attacks/gs/total_variation", TEXT, "1e-4", r"attacks.gs.total_variation: '1e-4': .*1\.0e-4"),
    ("attacks/gs/box", TYPE, "yes", "attacks.gs.box: 'yes': .*boolean"),
    ("attacks/gs/lr_decay", TYPE, 1, "attacks.gs.lr_decay: 1: .*boolean"),
    ("attacks/dlg/history", LOW, 0, "attacks.dlg.history: 0: .*greater than or equal to 1"),
    ("attacks/dlg/inner_iterations", TYPE, 0.5, "attacks.dlg.inner_iterations: 0.5: .*integer"),
    ("attacks/dlg/labels", UNKNOWN, "guessed", "attacks.dlg.labels: 'guessed': .*'known'"),
    ("attacks/dlg/tv", NO_KEY, 0.1, "attacks.dlg.tv: 0.1: unknown key"),
    ("attacks/averaged/repeats", LOW, 0, "attacks.averaged.repeats: 0: .*greater than or equal to 1"),
    ("attacks/matching/feature_weight", LOW, -1.0, "attacks.matching.feature_weight: -1.0: .*or equal to 0"),
    ("grid", EMPTY, [], r"grid: \[\]: .*at least 1"),
    ("grid", MISSING, ..., "grid: missing"),
    ("grid", TYPE, {"datasets": ["mnist"]}, "grid: .*list"),
    ("grid/0/targets", LOW, 0, "grid.0.targets: 0: .*greater than or equal to 1"),
    ("grid/0/targets", HIGH, 10**12, "grid.0.targets: 1000000000000: .*or equal to 2147483647"),
    ("grid/0/targets", MANY, 60_001, r"grid\[0\].targets: 60001: expected at most 60000, the images of 'mnist'"),
    ("partitions/iid/clients", MANY, 60_001, r"grid\[0\].partitions: 'iid' has 60001 clients: expected at most 60000"),
    ("grid/0/datasets", UNKNOWN, ["imagenet"], r"grid\[0\].datasets: 'imagenet' is no data set; known: .*mnist"),
    ("grid/0/datasets", EMPTY, [], r"grid.0.datasets: \[\]: .*at least 1"),
    ("grid/1/models", MISSING, ..., "grid.1.models: missing"),
    ("grid/1/rounds", TYPE, [0.5], "grid.1.rounds.0: 0.5: .*integer"),
    ("grid/1/attacks", TYPE, "gs", "grid.1.attacks: 'gs': .*list"),
    ("engine/device", UNKNOWN, "gpu", "engine.device: 'gpu': .*'auto', 'cpu' or 'cuda'"),
    ("engine/threads", LOW, 0, "engine.threads: 0: .*greater than or equal to 1"),
    ("engine/threads", HIGH, 1025, "engine.threads: 1025: .*less than or equal to 1024"),
    ("engine/targets_per_job", TYPE, "all", "engine.targets_per_job: 'all': .*integer"),
    ("engine/problems_at_once", TYPE, None, "engine.problems_at_once: None: .*whole number from 1, or auto"),
    ("engine/tf32", TYPE, "on", "engine.tf32: 'on': .*boolean"),
    ("metrics/recovered_ssim", HIGH, 1.5, "metrics.recovered_ssim: 1.5: .*less than or equal to 1"),
    ("metrics/recovered_ssim", LOW, -1.5, "metrics.recovered_ssim: -1.5: .*greater than or equal to -1"),
]

# key, the key it contradicts, value, what the line must say
CONTRADICTIONS = [
    ("data/sources", "data.folder", ["folder"], "data: sources names only folder, but folder is not given"),
    ("data/folder", "data.sources", "/x", r"data: folder is '/x', but sources \['npm'\] do not name folder"),
    ("partitions/iid/classes_per_client", "method", 2, "partitions.iid: classes_per_client .*method is 'iid'"),
    ("partitions/two/classes_per_client", "method", ..., "partitions.two: classes_per_client .*is None"),
    ("partitions/iid/alpha", "method", 0.5, "partitions.iid: alpha .*method is 'iid'"),
    ("train/lenet/checkpoints", "rounds", [0, 4], r"train.lenet: checkpoints \[4\] .*rounds=3"),
    ("train/conv", "grid.1.models", ..., "grid.1..models: 'conv' has no section in train"),
    ("grid/1/rounds", "train.conv.checkpoints", [1], r"grid.1..rounds: \[1\] not among train.conv.checkpoints \[0\]"),
    ("grid/0/partitions", "partitions", ["x"], "grid.0..partitions: 'x' is not in partitions; known: iid, skewed, two"),
    ("grid/0/defenses", "defenses", ["soterai"], "grid.0..defenses: 'soterai' .*known: .*soteria"),
    ("grid/0/attacks", "attacks", ["idlg"], "grid.0..attacks: 'idlg' is not in attacks"),
    ("grid/0/models", "models", ["resnet"], "grid.0..models: 'resnet' is not in models"),
    ("defenses/soteria/std", "method", 0.1, "defenses.soteria.std: 0.1: unknown key; method 'soteria' takes"),
    ("defenses/soteria/clip", "method", 1.0, "defenses.soteria.clip: 1.0: unknown key; method 'soteria'"),
    ("defenses/soteria/rate", "method", ..., "defenses.soteria.rate: missing"),
    ("defenses/gaussian/std", "method", ..., "defenses.gaussian.std: missing"),
    ("defenses/gaussian/rate", "method", 0.5, "defenses.gaussian.rate: 0.5: unknown key; method 'gaussian'"),
    ("defenses/compression/rule", "method", "ratio", "defenses.compression.rule: 'ratio': unknown key"),
    ("defenses/compression/norm_estimator", "method", "jvp", "defenses.compression.norm_estimator: 'jvp': unknown key"),
    ("defenses/none/rate", "method", 0.5, "defenses.none.rate: 0.5: unknown key; method 'none'"),
    ("attacks/dlg/total_variation", "preset", 1e-4, "attacks.dlg.total_variation: 0.0001: not used by preset 'dlg'"),
    ("attacks/dlg/box", "preset", False, "attacks.dlg.box: False: not used by preset 'dlg'"),
    ("attacks/gs/inner_iterations", "preset", 20, "attacks.gs.inner_iterations: 20: not used by preset 'gs'"),
    ("attacks/gs/labels", "preset", "optimised", "attacks.gs: labels: 'optimised': optimiser 'signed-adam'"),
    ("attacks/gs/repeats", "preset", 4, "attacks.gs.repeats: 4: not used by preset 'gs'"),
    ("grid/1/defenses", "attacks.masked", ["none"], "grid.1..attacks: '(masked|drop)' .*'none'"),
    (
        "grid/1/defenses",
        "attacks.drop",
        ["compression"],
        "grid.1..attacks: 'drop' needs .* but defense 'compression'",
    ),
    ("grid/1", "grid.0.targets", "the first, with 6 targets", r"grid\[1\].targets: 6, .* 5 targets of 'dlg'"),
]
ALL = [*CASES, *((key, f"contradicts {other}", value, told) for key, other, value, told in CONTRADICTIONS)]


def base() -> dict:
    """The config that every case spoils in one place."""
    return yaml.safe_load(BASE)


def changed(path: str, value) -> dict:
    """The base config with the value at a path replaced, or removed where the value is `...`."""
    raw = base()
    if path == "grid/1" and isinstance(value, str):
        value = {**raw["grid"][0], "targets": 6}
    *parents, last = [int(part) if part.isdigit() else part for part in path.split("/")]
    at = raw
    for part in parents:
        at = at[part]
    if value is ...:
        del at[last]
    else:
        at[last] = value
    return raw


def _no_calibration(config, *unused):
    grid_of(config)
    raise AssertionError("the config was accepted")


@pytest.mark.parametrize(("key", "cause", "value", "told"), ALL, ids=[f"{key}: {cause}" for key, cause, *_ in ALL])
def test_a_wrong_config_ends_in_one_line_that_names_the_key(refused, tmp_path, monkeypatch, key, cause, value, told):
    monkeypatch.setattr("fldrep.plan.estimate.estimate", _no_calibration)
    path = tmp_path / "wrong.yaml"
    path.write_text(yaml.safe_dump(changed(key, value)))
    assert re.search(told, refused(["estimate", path], tmp_path))


def test_every_cause_is_one_of_a_few_and_no_key_has_one_twice():
    assert {cause for _, cause, *_ in CASES} == CAUSES
    assert len({(key, cause) for key, cause, *_ in ALL}) == len(ALL) >= 100
    assert len(CONTRADICTIONS) >= 10
