"""What a change makes again, and what it does not, asked of the table of jobs; tests/workflow asks Snakemake itself."""

from pathlib import Path

import pytest

from fldrep.config.reading import read_config
from fldrep.figures import figures_of
from fldrep.plan.digest import code_digest
from fldrep.plan.jobs import JOBS
from fldrep.storage.places import Picture

TINY = Path(__file__).parents[1] / "workflow/tiny.yaml"
EVERY_ATTACK = {"none/dlg/0", "soteria-60/dlg/0", "none/gs/0", "soteria-60/gs/0", "soteria-60/gs-masked/0"}
EVERY_TRAINING = {"lenet/none", "lenet/soteria-60", "convnet-4/none", "convnet-4/soteria-60"}
DRAWN = figures_of(read_config(TINY))
PAGES = {"claims", "report"}
LATER = {"metrics", "figures", *PAGES}
OF_REPRESENTATIONS = {"identifiability", "leakage", "certificate"}
THEORY = {*OF_REPRESENTATIONS, "convergence", "accounting"}

DLG = {"none/dlg/0", "soteria-60/dlg/0"}
GS = {"none/gs/0", "soteria-60/gs/0"}
UNDER_SOTERIA = {name for name in EVERY_ATTACK if name.startswith("soteria")}
TRAINED_WITH_SOTERIA = {name for name in EVERY_TRAINING if name.endswith("soteria-60")}


# ---- a changed config


def test_nothing_is_made_again_without_a_change(again, tiny):
    assert again(tiny) == {}


def test_another_tv_weight_of_gs_remakes_gs_and_what_follows(again, tiny):
    tiny["attacks"]["gs"]["total_variation"] = 0.5
    found = again(tiny)
    assert found.attacks == GS
    assert set(found) == {"attack", *LATER}


def test_a_default_written_out_remakes_nothing(again, tiny):
    tiny["attacks"]["gs"]["total_variation"] = 1e-4
    tiny["train"]["lenet"]["batch_size"] = 32
    assert again(tiny) == {}


def test_another_rate_remakes_the_runs_of_that_defense_only(again, tiny):
    tiny["defenses"]["soteria-60"]["rate"] = 0.61
    found = again(tiny)
    assert found.trainings == TRAINED_WITH_SOTERIA
    assert found.attacks == UNDER_SOTERIA
    assert set(found) == {"train", "attack", "accounting", *OF_REPRESENTATIONS, *LATER}


def test_a_new_defense_adds_its_runs_and_remakes_no_other(again, tiny):
    tiny["defenses"]["soteria-80"] = {"method": "soteria", "rate": 0.8}
    tiny["grid"][0]["defenses"].append("soteria-80")
    found = again(tiny)
    assert (found.trainings, found.attacks) == ({"lenet/soteria-80"}, {"soteria-80/dlg/0"})


def test_another_target_adds_a_block_and_remakes_none(again, tiny):
    tiny["grid"][1]["targets"] = 3
    found = again(tiny)
    assert found.attacks == {"none/gs/1", "soteria-60/gs/1"}
    assert set(found) == {"attack", *LATER}


def test_another_seed_adds_its_runs_and_remakes_none(again, tiny):
    tiny["seeds"] = [0, 1]
    found = again(tiny)
    assert (found.trainings, found.attacks) == (EVERY_TRAINING, EVERY_ATTACK)
    made = [output for rule in ("partition", "train", "attack") for output in found[rule]]
    assert all("seed-1" in output and "seed-0" not in output for output in made)
    assert "data" not in found


def test_another_threshold_remakes_the_metrics_and_what_follows(again, tiny):
    tiny["metrics"] = {"recovered_ssim": 0.6}
    assert set(again(tiny)) == LATER


def test_another_lr_remakes_that_models_training_and_attacks(again, tiny):
    tiny["train"]["lenet"]["lr"] = 0.2
    found = again(tiny)
    assert found.trainings == {"lenet/none", "lenet/soteria-60"}
    assert found.attacks == DLG


def test_another_partition_remakes_all_but_the_data(again, tiny):
    tiny["partitions"]["iid"]["clients"] = 50
    found = again(tiny)
    assert (found.trainings, found.attacks) == (EVERY_TRAINING, EVERY_ATTACK)
    assert "data" not in found


def test_an_attack_taken_out_remakes_only_the_tables_and_what_follows(again, tiny):
    del tiny["grid"][2]
    assert set(again(tiny)) == LATER


def test_moving_the_cache_the_archives_or_a_plug_in_remakes_nothing(again, tiny):
    tiny["data"] = {"sources": ["folder", "torchvision"], "folder": "elsewhere", "cache": "moved"}
    assert again(tiny) == {}


def test_only_the_photo_depends_on_the_photo(again, tiny):
    tiny["data"] = {"photo": {"path": "car.jpg", "label": 1}}
    assert set(again(tiny)) == PAGES, "which show the config"


# ---- changed code

# module in which a line is changed -> what is made again: rules, attacks, trainings
EDITS = {
    "attack/optimisers/signed_adam.py": ({"attack", *LATER}, {*GS, "soteria-60/gs-masked/0"}, set()),
    "attack/optimisers/lbfgs.py": ({"attack", "certificate", *LATER}, DLG, set()),
    "attack/engine.py": ({"attack", "certificate", *LATER}, EVERY_ATTACK, set()),
    "attack/ensemble.py": (set(), set(), set()),
    "train/fedavg.py": ({"train", "attack", *OF_REPRESENTATIONS, *LATER}, EVERY_ATTACK, EVERY_TRAINING),
    "metrics/images.py": (LATER, set(), set()),
    "report/claims_table.py": (PAGES, set(), set()),
    "report/page.py": ({"report"}, set(), set()),
    "theory/identifiability.py": ({"identifiability", *LATER}, set(), set()),
    "derivatives/update_jacobian.py": ({"identifiability", *LATER}, set(), set()),
    "theory/leakage.py": ({"leakage", *LATER}, set(), set()),
    "theory/convergence.py": ({"convergence", *LATER}, set(), set()),
    "figures/theme.py": ({"figures", "report"}, set(), set()),
    "figures/privacy_utility.py": ({"figures", "report"}, set(), set()),
    "analysis/rows.py": ({"figures", *PAGES}, set(), set()),
    "defenses/soteria/__init__.py": (
        {"train", "attack", "accounting", *OF_REPRESENTATIONS, *LATER},
        UNDER_SOTERIA,
        TRAINED_WITH_SOTERIA,
    ),
    "defenses/noise.py": (set(), set(), set()),
    "data/datasets.py": ({"data", "partition", "train", "attack", *THEORY, *LATER}, EVERY_ATTACK, EVERY_TRAINING),
    "data/partition.py": ({"partition", "train", "attack", *THEORY, *LATER}, EVERY_ATTACK, EVERY_TRAINING),
    "tables/table.py": (set(), set(), set()),  # of these modules only what is used counts
    "config/attacks.py": (set(), set(), set()),
    "cli/run.py": (set(), set(), set()),
    "plan/jobs.py": (set(), set(), set()),
    "applications/quickstart.py": (set(), set(), set()),
}


@pytest.mark.parametrize("module", EDITS)
def test_a_changed_line_remakes_what_runs_it_and_what_follows(again, package, tiny, module):
    text = (package.folder / module).read_text()
    package(module, text, f"{text}\nANOTHER_CONSTANT = 1\n")
    found = again(tiny)
    assert (set(found), found.attacks, found.trainings) == EDITS[module]


def test_comments_and_docstrings_remake_nothing(again, package, tiny):
    for path in sorted(package.folder.rglob("*.py")):
        text = path.read_text()
        assert text.startswith('"""')
        package(str(path.relative_to(package.folder)), text, f'"""In other words: {text[3:]}\n# A remark at the end.\n')
    assert again(tiny) == {}


def test_a_line_of_one_figure_remakes_that_figure_and_the_page(again, package, tiny):
    package("figures/privacy_utility.py", "\nimport ", "\nANOTHER = 1\nimport ")
    found = again(tiny)
    assert found["figures"] == {"figures/privacy_utility.png"}
    assert set(found) == {"figures", "report"}


def test_a_word_of_a_figure_or_an_analysis_remakes_no_table_and_no_picture(again, package, tiny):
    package("figures/privacy_utility.py", 'caption="', 'caption="In other words: ')
    package("tables/leakage.py", 'note="', 'note="In other words: ')
    assert again(tiny) == {}, "the page is told them beside its code"


def test_a_column_of_an_analysis_counts_wherever_its_table_is_written_or_read(package):
    """Also where no entry of a grid asks for the analysis: its table is there, empty, and has its columns."""
    config = read_config(TINY)
    told = {"metrics": None, "claims": None, "report": None, "leakage": Picture("leakage"), "other": Picture("batches")}

    def codes() -> dict[str, str]:
        rows = {name: JOBS["figures" if isinstance(where, Picture) else name] for name, where in told.items()}
        return {name: code_digest(*row.code(config, told[name])) for name, row in rows.items()}

    before = codes()
    package("tables/leakage.py", '"batch_size"', '"batch_images"')
    assert {name for name, code in codes().items() if code != before[name]} == {*told} - {"other"}


def test_a_new_setting_with_a_default_remakes_nothing(again, package, tiny):
    package("config/engine.py", "    tf32: bool", '    colour: str | None = option(None, "a key")\n    tf32: bool')
    assert again(tiny) == {}
