"""Nothing is unpickled unchecked, no name reaches a shell as code, and no file lands where nobody asked for it."""

import ast
import io
import pickle
import tarfile
from pathlib import Path

import pytest
import yaml

from fldrep.data import formats

ROOT = Path(__file__).parents[2]
SOURCES = sorted((ROOT / "fldrep").rglob("*.py"))
# Calls that run what a file says, or start a shell.
FORBIDDEN = {
    *("torch.load", "pickle.load", "pickle.loads", "pd.read_pickle", "joblib.load", "marshal.loads", "shelve.open"),
    *("yaml.load", "yaml.unsafe_load", "yaml.full_load", "eval", "exec", "os.system", "os.popen"),
    *("subprocess.getoutput", "subprocess.getstatusoutput", "Markup"),
}


# Forked workers answer their parent through a pipe of its own; no file and no download passes there.
OWN_PIPE = Path("fldrep/train/workers.py")


def calls(path: Path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call):
            yield ast.unparse(node.func), {word.arg: ast.unparse(word.value) for word in node.keywords}


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_code_unpickles_evaluates_or_starts_a_shell(path):
    for name, given in calls(path):
        if path.relative_to(ROOT) == OWN_PIPE and name == "pickle.loads":
            continue
        assert name not in FORBIDDEN, f"{path}: {name}"
        assert not name.endswith((".extractall", ".extract")), f"{path}: {name}"
        assert given.get("shell", "False") == "False", f"{path}: {name}(shell=...)"
        assert given.get("allow_pickle", "False") == "False", f"{path}: {name}(allow_pickle=...)"
        assert given.get("autoescape", "True") == "True", f"{path}: {name}(autoescape=...)"


def test_only_the_reader_of_checked_batches_knows_of_pickles():
    importing = [
        path.relative_to(ROOT)
        for path in SOURCES
        for node in ast.walk(ast.parse(path.read_text()))
        if (isinstance(node, ast.Import) and "pickle" in [alias.name for alias in node.names])
        or (isinstance(node, ast.ImportFrom) and node.module == "pickle")
    ]
    assert importing == [Path("fldrep/data/formats.py"), OWN_PIPE]


def test_no_template_switches_the_escaping_off():
    for path in (ROOT / "fldrep/report/templates").glob("*.j2"):
        assert "|safe" not in path.read_text().replace(" ", "")
        assert "autoescape" not in path.read_text()


@pytest.mark.parametrize("damage", ["cut", "swapped", "one byte"])
def test_an_archive_with_another_digest_is_never_opened(refused, data_words, world, build, monkeypatch, damage):
    whole = build.tar_gz(world.colour_batches(), "tiny-batches-py/")
    other = {"cut": whole[:-200], "swapped": build.tar_gz({"data_batch_1": pickle.dumps(1)}), "one byte": whole + b"x"}
    world.put({"tiny-python.tar.gz": other[damage]})

    def opened(*arguments, **named):
        raise AssertionError("opened before its digest was checked")

    monkeypatch.setattr(formats._ArraysOnly, "load", opened, raising=False)
    monkeypatch.setattr(formats.gzip, "open", opened)
    refused(data_words("colour", world.settings("folder")), world.root, "tiny-python.tar.gz", "expected digest md5-")


def test_members_that_point_outside_land_nowhere(data_words, world, build, call):
    held = io.BytesIO()
    with tarfile.open(fileobj=held, mode="w:gz") as tar:
        for name, data in {**world.colour_batches(), "../../escaped": b"x", "/tmp/fldrep-escaped": b"x"}.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    world.define_colour(world.colour_batches(), tar=held.getvalue())
    world.put({"tiny-python.tar.gz": held.getvalue()})
    before = set(world.root.parent.rglob("*"))
    code, _, err = call(*data_words("colour", world.settings("folder")))
    assert code == 0, err
    assert set(world.root.parent.rglob("*")) - before == {world.out.parent, world.out}
    assert not Path("/tmp/fldrep-escaped").exists()


# ---- names and paths that a shell would run

HOSTILE = 'it\'s "here" $(touch sprung) `touch sprung`; touch sprung & | > sprung\n#{}'


@pytest.mark.parametrize("place", ["name", "models", "partitions", "defenses", "attacks"])
@pytest.mark.parametrize("name", ["$(touch sprung)", "../up", "a b", "{wildcards}", "-n", "a\nb", ""])
def test_a_name_that_is_no_plain_word_is_refused(refused, tiny, tmp_path, place, name):
    if place == "name":
        tiny["name"] = name
    else:
        tiny[place][name] = next(iter(tiny[place].values()))
    path = tmp_path / "hostile.yaml"
    path.write_text(yaml.safe_dump(tiny))
    refused(["estimate", path], tmp_path, f"{place}")


@pytest.mark.long
@pytest.mark.parametrize("key", ["folder", "cache"])
def test_a_hostile_path_reaches_the_job_as_it_is_and_runs_nothing(snakemake, tiny, tmp_path, key):
    """A real run: the job is refused by name, or goes on, with the path as written; nothing in it was run."""
    place = tmp_path / "file"
    place.write_text("in the way")
    hostile = f"{place}/{HOSTILE}"
    tiny["data"] = {"sources": ["folder" if key == "folder" else "npm"], key: hostile}
    path, folder = tmp_path / "hostile.yaml", tmp_path / "it's $(touch sprung) here"
    path.write_text(yaml.safe_dump(tiny))
    done = snakemake("--cores", 1, "results/tiny/data/mnist.safetensors", "--configfile", path, folder=folder)
    assert done.code != 0
    log = (folder / "logs/tiny/data/mnist.log").read_text()
    assert log.startswith("fldrep: error: ")
    assert repr(hostile)[1:-1] in log
    assert not list(tmp_path.rglob("sprung"))
    assert not (folder / "results/tiny/data").exists() or not list((folder / "results/tiny/data").iterdir())
