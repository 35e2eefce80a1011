"""How a config is read: a key given twice, an old word, and what the command line says."""

import shlex

import pytest
import yaml

from fldrep.config.documents import KeyTwice, parse_document, read_document, refuse_keys_given_twice
from fldrep.config.overrides import snakemake_command, with_types
from fldrep.config.reading import parse_config, plugin_files, read_config
from fldrep.config.renamed import KEYS, VALUES, with_new_words
from fldrep.errors import ConfigError

SMALL = {
    "name": "small",
    "partitions": {"iid": {}},
    "models": {"a": {}},
    "train": {"a": {}},
    "defenses": {"none": {}},
    "attacks": {"gs": {}},
    "grid": [{"datasets": ["mnist"], "models": ["a"], "partitions": ["iid"], "defenses": ["none"]}],
}


# ---- a key given twice

TWICE = {
    "at the top": ("name: a\nseeds: [0]\nname: b\n", "name", (1, 3)),
    "in a section": ("attacks:\n  gs: {}\n  dlg: {}\n  gs: {}\n", "attacks.gs", (2, 4)),
    "in an entry of a list": ("grid:\n  - models: [a]\n    models: [b]\n", "grid.0.models", (2, 3)),
    "in one line": ("engine: {block: 1, block: 2}\n", "engine.block", (1, 1)),
    "under an anchor": ("a: &a\n  x: 1\n  x: 2\nb: *a\n", "a.x", (2, 3)),
    "in JSON": ('{"name": "a",\n "name": "b"}', "name", (1, 2)),
    "with quotes and without": ("name: a\n'name': b\n", "name", (1, 2)),
}


@pytest.mark.parametrize("case", TWICE)
def test_a_key_given_twice_is_refused_by_file_key_and_both_lines(tmp_path, case):
    text, key, (first, second) = TWICE[case]
    path = tmp_path / "my config.yaml"
    path.write_text(text)
    for read in (read_document, read_config, lambda path: refuse_keys_given_twice([path])):
        with pytest.raises(KeyTwice) as told:
            read(path)
        assert str(told.value).startswith(f"{path}: {key}: ")
        assert f"lines {first} and {second}" in str(told.value)


ONCE = {
    "the same key in two sections": "a: {x: 1}\nb: {x: 2}\n",
    "a merge and a key over it": "a: &a {x: 1}\nb: {<<: *a, x: 2}\n",
    "a number and its text": "1: a\n'1': b\n",
    "an alias of what it is in": "a: &a [*a]\n",
}


@pytest.mark.parametrize("case", ONCE)
def test_a_key_given_once_is_read_as_yaml_reads_it(case):
    assert repr(parse_document(ONCE[case], "x")) == repr(yaml.safe_load(ONCE[case]))


@pytest.mark.parametrize("text", ["a: [", "\t", "a: 2026-99-99", "[" * 5000])
def test_what_cannot_be_read_is_told_in_one_line_and_left_to_snakemake_in_its_own_files(tmp_path, text):
    path = tmp_path / "x.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match="not a readable YAML file") as told:
        read_document(path)
    assert "\n" not in str(told.value)
    refuse_keys_given_twice([path, tmp_path / "absent.yaml"])


# ---- old words


@pytest.mark.parametrize("place", KEYS)
def test_an_old_key_is_refused_with_the_new_one_named(place):
    *above, old = place.replace("*", "none").split(".")
    raw = {**SMALL}
    raw[above[0]] = {above[1]: {old: 1}} if len(above) > 1 else {old: 1}
    with pytest.raises(ConfigError, match=rf"{'.'.join([*above, old])}: renamed, write {KEYS[place]}"):
        parse_config(raw)


@pytest.mark.parametrize("place", VALUES)
def test_an_old_value_is_refused_with_the_new_one_named(place):
    section, _, key = place.split(".")
    for old, new in VALUES[place].items():
        with pytest.raises(ConfigError, match=rf"{section}\.x\.{key}: '{old}': renamed, write {new}"):
            parse_config({**SMALL, section: {"x": {key: old}}})


def test_a_published_config_is_read_in_new_words_and_one_of_today_stays_as_it_is():
    old = {
        **SMALL,
        "partitions": {"iid": {"method": "classes", "clients": 4, "classes_per_client": 2}},
        "attacks": {"strongest": {"preset": "strongest"}},
        "engine": {"block": 4, "chunk": 2},
    }
    config = parse_config(with_new_words(old))
    assert config.partitions["iid"].method == "label-skew"
    assert config.attacks["strongest"].preset == "ensemble", "a name is the user's own"
    assert (config.engine.targets_per_job, config.engine.problems_at_once) == (4, 2)
    assert with_new_words(SMALL) == SMALL
    assert old["engine"] == {"block": 4, "chunk": 2}, "the old one is left alone"


# ---- what the command line says


def test_nested_text_from_the_command_line_is_typed_and_text_of_a_file_is_not():
    config = {"name": "x", "attacks": {"gs": {"iterations": "24000", "lr": "0.1"}, "dlg": {"iterations": "5"}}}
    given = {"attacks": {"gs": {"iterations": "24000"}}}
    found = with_types(config, given, config)
    assert found["attacks"] == {"gs": {"iterations": 24000, "lr": "0.1"}, "dlg": {"iterations": "5"}}
    assert config["attacks"]["gs"]["iterations"] == "24000", "the config is left alone"


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("3", 3),
        ("1.0e-3", 1e-3),
        ("true", True),
        ("null", None),
        ("gs", "gs"),
        ("", None),
        ("2026-99-99", "2026-99-99"),
    ],
)
def test_lists_and_sections_in_them_are_typed_through(text, value):
    config = {"grid": [{"models": [text], "targets": text}]}
    assert with_types(config, config, config) == {"grid": [{"models": [value], "targets": value}]}


def test_text_at_the_top_is_left_as_snakemake_typed_it():
    config = {"name": "2026-01-01", "seeds": ["1"]}
    assert with_types(config, config, config) == {"name": "2026-01-01", "seeds": [1]}


def test_a_config_that_is_a_section_of_an_importers_is_typed_alike():
    section = {"name": "x", "seeds": ["1"], "engine": {"threads": "2"}}
    whole = {"fldrep": section, "other": "3"}
    given = {"fldrep": {"seeds": ["1"]}, "other": "3"}
    assert with_types(section, given, whole) == {"name": "x", "seeds": [1], "engine": {"threads": "2"}}
    assert with_types(section, {"other": "3"}, whole) == section


def test_a_command_repeats_what_the_command_line_said():
    given = {"name": "it's", "attacks": {"gs": {"iterations": "24000"}}, "seeds": ["0"], "data": None}
    words = shlex.split(snakemake_command("reports/x/claims.parquet", ["a b.yaml", "c.yaml"], given))
    assert words[3:7] == ["reports/x/claims.parquet", "--configfile", "a b.yaml", "c.yaml"]
    assert words[7:] == ["--config", "name=it's", 'attacks={"gs": {"iterations": 24000}}', "seeds=[0]", "data="]
    assert snakemake_command("x", [], {}) == "snakemake --cores all x"


# ---- plug-ins


def test_plug_ins_are_seen_from_the_working_directory_else_from_the_configs_folder(tmp_path, monkeypatch):
    here, beside = tmp_path / "here", tmp_path / "beside"
    for folder, names in ((here, ["both.py"]), (beside, ["both.py", "only.py"])):
        folder.mkdir()
        for name in names:
            (folder / name).touch()
    monkeypatch.chdir(here)
    found = plugin_files({"plugins": ["both.py", "only.py", str(beside / "both.py")]}, [beside])
    assert [path.resolve() for path in found] == [here / "both.py", beside / "only.py", beside / "both.py"]


def test_a_plug_in_that_is_not_there_is_named(tmp_path):
    with pytest.raises(ConfigError, match=r"plugins: 'absent\.py': no such file"):
        plugin_files({"plugins": ["absent.py"]}, [tmp_path])


@pytest.mark.parametrize("plugins", ["one.py", [1], {"a": "b"}, None])
def test_a_value_of_another_kind_is_named_by_the_check_of_the_config(plugins):
    assert plugin_files({"plugins": plugins}, []) == []
    with pytest.raises(ConfigError, match="plugins"):
        parse_config({**SMALL, "plugins": plugins})
