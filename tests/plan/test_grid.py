"""From a config to jobs and files."""

import copy
import re
from itertools import product
from string import Formatter

import pytest

from fldrep.config.checking import parse_section, stable_json
from fldrep.config.data import DataSettings
from fldrep.config.defenses import defense_settings
from fldrep.config.grid import GridEntry
from fldrep.config.jobs import DataJob
from fldrep.config.reading import parse_config
from fldrep.config.whole import Config
from fldrep.errors import ConfigError
from fldrep.plan.grid import Grid, grid_of, summary
from fldrep.plan.jobs import (
    accounting_job,
    attack_job,
    certificate_job,
    data_job,
    identifiability_job,
    leakage_job,
    metrics_job,
    train_job,
    without_places,
)
from fldrep.plan.uses import by_dataset
from fldrep.storage import places
from fldrep.storage.places import Block, Checkpoint, DataSet, Run, Sent
from fldrep.tables.attack_runs import ATTACK_IDENTITY
from fldrep.tables.columns import RUN

RAW = {
    "name": "small",
    "seeds": [0, 3],
    "partitions": {"iid": {"clients": 10}},
    "models": {"a": {}, "b": {"architecture": "softmax"}},
    "train": {"a": {"rounds": 2, "checkpoints": [0, 2]}, "b": {"rounds": 1, "checkpoints": [1]}},
    "defenses": {"none": {}, "s": {"method": "soteria", "rate": 0.5}, "g": {"method": "gaussian", "std": 1.0}},
    "attacks": {"dlg": {"preset": "dlg"}, "gs": {"iterations": 3}},
    "grid": [
        {
            "datasets": ["mnist"],
            "models": ["a"],
            "partitions": ["iid"],
            "defenses": ["none", "s"],
            "rounds": [0, 2],
            "attacks": ["dlg"],
            "targets": 5,
        },
        {
            "datasets": ["cifar10", "mnist"],
            "models": ["b"],
            "partitions": ["iid"],
            "defenses": ["g"],
            "rounds": [1],
            "attacks": ["gs"],
            "targets": 2,
        },
        {"datasets": ["mnist"], "models": ["a"], "partitions": ["iid"], "defenses": ["none", "g"]},
    ],
    "engine": {"targets_per_job": 2},
}


@pytest.fixture
def config():
    return parse_config(RAW)


@pytest.fixture
def jobs(config):
    return grid_of(config)


def test_runs_are_the_products_of_the_entries_each_once(jobs):
    expected = {("mnist", "a", "iid", defense, seed) for defense, seed in product(["none", "s", "g"], [0, 3])}
    expected |= {(dataset, "b", "iid", "g", seed) for dataset, seed in product(["cifar10", "mnist"], [0, 3])}
    found = [tuple(vars(run).values()) for run in jobs.runs]
    assert len(found) == len(set(found))
    assert set(found) == expected
    assert jobs.datasets() == ["mnist", "cifar10"]


def test_blocks_share_out_the_targets_each_once(jobs):
    blocks = list(jobs.blocks())
    assert len(blocks) == len(set(blocks)) == 2 * 2 * 2 * 3 + 2 * 2 * 1
    by_attack = {}
    for block in blocks:
        by_attack.setdefault((block.run, block.round, block.attack), []).extend(jobs.targets_of(block))
        assert len(jobs.targets_of(block)) <= 2
    assert {tuple(sorted(targets)) for targets in by_attack.values()} == {tuple(range(5)), tuple(range(2))}


def test_more_targets_keep_the_blocks_there_were():
    small, large = (Grid([GridEntry(**{**RAW["grid"][0], "targets": targets})], [0], 2) for targets in (4, 7))
    assert {block: small.targets_of(block) for block in small.blocks()}.items() <= {
        block: large.targets_of(block) for block in large.blocks()
    }.items()


@pytest.mark.parametrize(
    "change",
    [{"block": 3}, {"attack": "gs"}, {"round": 1}, {"update_kind": "x"}, {"run": Run("mnist", "a", "iid", "g", 0)}],
)
def test_a_block_that_the_grid_lacks_is_refused(jobs, change):
    known = {"run": jobs.runs[0], "round": 0, "update_kind": "single", "attack": "dlg", "block": 0}
    assert jobs.targets_of(Block(**known)) == [0, 1]
    with pytest.raises(ConfigError, match="the grid has no Block"):
        jobs.targets_of(Block(**{**known, **change}))


def test_updates_are_an_axis_of_their_own():
    entry = {**RAW["grid"][0], "updates": ["single", "four"], "targets": 8}
    changed = {"updates": {"four": {"images": 4}}, "grid": [entry], "engine": {"targets_per_job": 4}}
    config = parse_config({**RAW, **changed})
    jobs = grid_of(config)
    by_update = {name: [block for block in jobs.blocks() if block.update_kind == name] for name in ("single", "four")}
    assert len(by_update["single"]) == len(by_update["four"]) == 2 * 2 * 2 * 2
    paths = {block.path(places.ATTACK_RUNS) for block in jobs.blocks()}
    assert len(paths) == len(list(jobs.blocks()))
    assert attack_job(config, jobs, by_update["four"][0]).update.images == 4


def test_every_file_has_a_path_of_its_own(jobs):
    paths = [run.path(pattern) for run in jobs.runs for pattern in (places.TRAINING, places.CHECKPOINTS)]
    paths += [
        block.path(pattern) for block in jobs.blocks() for pattern in (places.ATTACK_RUNS, places.RECONSTRUCTIONS)
    ]
    paths += [checkpoint.path(places.LEAKAGE) for checkpoint in (Checkpoint(jobs.runs[0], n) for n in (0, 2))]
    paths += [block.path(places.CERTIFICATE) for block in jobs.blocks()]
    paths += [run.path(places.ACCOUNTING) for run in jobs.runs]
    assert len(paths) == len(set(paths))
    block = Block(Run("mnist", "a", "iid", "s", 3), 2, "single", "dlg", 1)
    assert block.path(places.ATTACK_RUNS) == "attack/mnist/a/iid/s/seed-3/round-2/single/dlg/block-1.parquet"
    assert block.run.path(places.SHARDS) == "data/mnist/iid/seed-3.parquet"


def test_wildcards_are_columns_of_the_tables():
    columns = {column.name for column in ATTACK_IDENTITY}
    patterns = (
        places.IMAGES,
        places.SHARDS,
        places.TRAINING,
        places.CHECKPOINTS,
        places.ATTACK_RUNS,
        places.RECONSTRUCTIONS,
    )
    theory = (places.LEAKAGE, places.CERTIFICATE, places.CONVERGENCE, places.ACCOUNTING)
    for pattern in (*patterns, *theory):
        wildcards = {field for _, field, _, _ in Formatter().parse(pattern) if field}
        assert wildcards <= columns, pattern
        assert not re.search(r"\d\.\d", pattern), "a number of the config in a path"


def test_a_run_knows_its_columns(config):
    run = Run("mnist", "a", "iid", "s", 3)
    found = run.columns(config.defenses["s"])
    assert set(found) == {column.name for column in RUN}
    assert (found["method"], found["rule"], found["rate"], found["std"]) == ("soteria", "ratio", 0.5, None)
    assert run.columns(defense_settings())["rule"] == ""


def test_jobs_hold_what_they_depend_on_and_no_more(config, jobs):
    block = Block(Run("cifar10", "b", "iid", "g", 0), 1, "single", "gs", 0)
    job = attack_job(config, jobs, block)
    assert (job.model, job.defense, job.attack) == (config.models["b"], config.defenses["g"], config.attacks["gs"])
    assert (job.engine, job.targets) == (config.engine, [0, 1])
    assert set(type(job).model_fields) == {"model", "defense", "update", "attack", "engine", "targets"}
    train = train_job(config, jobs, block.run)
    assert (train.model, train.train, train.defense) == (config.models["b"], config.train["b"], config.defenses["g"])
    assert set(type(train).model_fields) == {"model", "train", "defense"}
    metrics = metrics_job(config, jobs, None)
    again = Grid(metrics.grid, metrics.seeds, metrics.block)
    assert (list(again.blocks()), again.runs) == (list(jobs.blocks()), jobs.runs)


def test_only_the_photo_depends_on_the_photo(config):
    photo = config.model_copy(update={"data": DataSettings(photo={"path": "car.jpg", "label": 1})})
    assert data_job(photo, None, DataSet("photo")) == DataJob(photo=photo.data.photo)
    assert data_job(photo, None, DataSet("cifar10")) == DataJob()


def test_no_job_and_no_page_depends_on_where_files_are_found(config):
    places = {"sources": ["folder"], "folder": "archives", "cache": "elsewhere"}
    moved = config.model_copy(update={"data": DataSettings(**places)})
    assert data_job(moved, None, DataSet("mnist")) == data_job(config, None, DataSet("mnist"))
    assert without_places(moved) == without_places(config)


def test_a_folder_of_pictures_is_a_data_set_like_any_other_and_its_place_counts_nowhere(config):
    sets = {"mine": {"folder": "somewhere/a folder", "size": 24}, "other": {"folder": "o"}}
    raw = {**RAW, "data": {"sets": sets}, "grid": [{**RAW["grid"][0], "datasets": ["mine", "mnist"]}]}
    asked = parse_config(raw)
    assert grid_of(asked).datasets() == ["mine", "mnist"]
    job = data_job(asked, None, DataSet("mine"))
    assert "somewhere" not in stable_json(job)
    assert (job.sets["mine"].size, *job.sets) == (24, "mine")
    assert data_job(asked, None, DataSet("mnist")) == data_job(config, grid_of(config), DataSet("mnist"))
    assert [*by_dataset(asked, DataSet("mine"))] == [("module", "fldrep.data.folder")]
    assert [*by_dataset(asked, DataSet("mnist"))] == [("dataset", "mnist")]
    raw["data"]["sets"]["mine"]["folder"] = "elsewhere"
    moved = parse_config(raw)
    assert (data_job(moved, None, DataSet("mine")), without_places(moved)) == (job, without_places(asked))
    assert parse_section(Config, stable_json(without_places(asked))).data.sets["mine"].size == 24
    told = parse_section(DataSettings, stable_json(job)).found_at(parse_section(DataSettings, stable_json(asked.data)))
    assert told.sets == {"mine": asked.data.sets["mine"]}
    raw["data"]["sets"]["mine"]["size"] = 28
    assert data_job(parse_config(raw), None, DataSet("mine")) != job


def test_the_summary_counts(config, jobs):
    expected = "small: 2 data sets, 10 training runs, 28 attack jobs on 48 targets, 0 analyses"
    assert summary(config, jobs) == expected


# ---- theory


@pytest.fixture
def analysed():
    """The same entries with analyses, one of them asked for twice."""
    first, second, third = copy.deepcopy(RAW["grid"])
    first.update(theory=["leakage", "accounting"])
    third.update(theory=["leakage"])
    without_attacks = {**third, "defenses": ["g"], "theory": ["identifiability"], "targets": 8}
    certified = {**first, "defenses": ["s"], "theory": ["certificate"]}
    theory = {"convergence": {"datasets": ["cifar10"], "partitions": ["iid"], "clients": 4}}
    return parse_config({**RAW, "grid": [first, second, third, certified, without_attacks], "theory": theory})


def test_analyses_are_those_the_entries_ask_for_each_once(analysed):
    jobs = grid_of(analysed)
    runs = {(defense, seed): f"mnist/a/iid/{defense}/seed-{seed}" for defense in ("none", "s", "g") for seed in (0, 3)}
    rounds = {"none": (0, 2), "s": (0, 2), "g": (0,)}
    expected = {
        "identifiability": {
            f"theory/{runs['g', seed]}/round-0/single/block-{block}/identifiability.parquet"
            for seed, block in product((0, 3), range(4))
        },
        "leakage": {f"theory/{run}/round-{n}/leakage.parquet" for (name, _), run in runs.items() for n in rounds[name]},
        "certificate": {
            f"theory/{runs['s', seed]}/round-{n}/single/dlg/block-{block}/certificate.parquet"
            for seed, n, block in product((0, 3), (0, 2), range(3))
        },
        "convergence": {f"theory/cifar10/iid/seed-{seed}/convergence.parquet" for seed in (0, 3)},
        "accounting": {f"theory/{run}/accounting.parquet" for (name, _), run in runs.items() if name != "g"},
    }
    found = jobs.analyses()
    assert {name: set(files) for name, files in found.items()} == expected
    assert all(len(files) == len(expected[name]) for name, files in found.items())
    assert summary(analysed, jobs).endswith("28 attack jobs on 48 targets, 36 analyses")
    metrics = metrics_job(analysed, jobs, None)
    assert Grid(metrics.grid, metrics.seeds, metrics.block, metrics.convergence).analyses() == found


def test_without_analyses_there_is_no_file_of_theory(jobs):
    assert list(jobs.analyses()) == ["identifiability", "leakage", "certificate", "convergence", "accounting"]
    assert not any(jobs.analyses().values())


def test_analyses_hold_what_they_depend_on_and_no_more(analysed):
    run = Run("mnist", "a", "iid", "s", 0)
    leakage, account = leakage_job(analysed, None, Checkpoint(run, 0)), accounting_job(analysed, None, run)
    found = certificate_job(analysed, grid_of(analysed), Block(run, 2, "single", "dlg", 2))
    shared = (analysed.models["a"], analysed.defenses["s"])
    assert (leakage.model, leakage.defense, leakage.leakage) == (*shared, analysed.theory.leakage)
    assert (found.model, found.defense, found.certificate) == (*shared, analysed.theory.certificate)
    assert found.targets == [4]
    sent = identifiability_job(analysed, grid_of(analysed), Sent(Run("mnist", "a", "iid", "g", 3), 0, "single", 3))
    assert (sent.model, sent.defense, sent.targets) == (analysed.models["a"], analysed.defenses["g"], [6, 7])
    fields = {"model", "defense", "update", "identifiability", "engine", "targets"}
    assert {*type(sent).model_fields} == fields, "no attack"
    assert (account.model, account.defense, account.accounting) == (*shared, analysed.theory.accounting)
    assert account.train == analysed.train["a"]
    assert {*type(leakage).model_fields} == {"model", "defense", "leakage"}
    assert {*type(found).model_fields} == {"model", "defense", "certificate", "targets"}
    assert {*type(account).model_fields} == {"model", "train", "defense", "accounting"}
