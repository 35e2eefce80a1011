"""The command line: every command explains itself, and a user's mistake ends in one line, exit code 2 and no file."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from typer.main import get_command

from fldrep.cli import main as cli
from fldrep.plan.jobs import JOBS

ROOT = Path(__file__).parents[2]
COMMANDS = sorted(get_command(cli.app).commands)


def plain(text: str) -> str:
    """What a help says, without boxes and colours."""
    return " ".join(re.sub(r"\x1b\[[0-9;]*m|[│╭╮╰╯─]", " ", text).split())


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself(call, command):
    code, out, _ = call(command, "--help")
    assert code == 0
    function = get_command(cli.app).commands[command]
    assert function.help.split("\n")[0][:40] in plain(out)
    for option in function.params:
        assert option.name == "help" or any(name in plain(out) for name in (*option.opts, option.name)), option.name


def test_the_commands_are_those_of_a_person_and_run():
    assert {"run", "photo", "estimate", "schema", "publish"} <= set(COMMANDS)


def test_the_jobs_are_listed_with_what_each_does(call):
    code, out, _ = call("run")
    assert code == 0
    assert dict(re.findall(r"^(\w+) +(\S.*)$", out, re.MULTILINE)) == {name: job.does for name, job in JOBS.items()}
    assert all(name in plain(call("run", "--help")[1]) for name in JOBS)


@pytest.mark.parametrize("name", JOBS)
def test_every_job_explains_its_arguments(call, name):
    code, out, err = call("run", name, "--help")
    assert (code, err) == (0, "")
    job = JOBS[name]
    assert job.does in " ".join(out.split())
    words = [*(job.of.names() if job.of else []), *job.files, *job.told, "plugins"]
    assert all(f"--{word.replace('_', '-')} " in out for word in words)


def test_the_module_is_run_as_documented(job_words, tmp_path):
    words = job_words("data", dataset="letters", settings={}, images=tmp_path / "x" / "out")
    done = subprocess.run([sys.executable, "-m", "fldrep", *words], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 2
    assert done.stdout == ""
    assert re.fullmatch(r"fldrep: error: unknown dataset 'letters'; known: [^\n]*mnist[^\n]*\n", done.stderr)
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["run", "atack"], "unknown job 'atack'; known: .*attack"),
        (["run", "data"], "run data: .*required: --dataset, --settings, --images, --places"),
        (["run", "data", "--dataset", "mnist", "--settings", "{}"], "run data: .*required: --images, --places$"),
        (["run", "data", "--colour", "red"], "run data: .*--dataset"),
        (["run", "attack", "--block", "first"], "run attack: argument --block: invalid int value: 'first'"),
        (["run", "figures", "--plugins", "sign.py"], "run figures: argument --plugins: no JSON: .*'sign.py'"),
    ],
)
def test_arguments_that_make_no_job_are_told_in_one_line(call, words, told):
    code, out, err = call(*words)
    assert (code, out) == (2, "")
    assert re.fullmatch(f"fldrep: error: {told}.*", err.rstrip("\n")), err


@pytest.mark.parametrize("words", [["colour"], ["photo", "x.jpg", "--label", "-1", "--out", "x"], ["photo"]])
def test_arguments_that_make_no_command_end_with_code_2_and_no_traceback(call, words):
    code, out, err = call(*words)
    assert code == 2
    assert "Traceback" not in out + err
    assert err.strip()


def test_a_bug_is_not_dressed_as_a_users_mistake(monkeypatch):
    def broken():
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr(cli, "app", broken)
    with pytest.raises(ZeroDivisionError):
        cli.main()


# ---- commands of a person


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["photo", "@page.html", "--label", "1", "--out", ">out"], "page.html: not a readable image"),
        (["photo", "@page.html", "--label", "10", "--out", ">out"], "label: 10: expected 0 to 9"),
        (["publish", "@absent.yaml", "--text", "@page.html", "--out", ">out"], "absent.yaml: not a readable YAML"),
        (["publish", "--text", "@absent.md", "--out", ">out"], "absent.md: cannot be read"),
        (["estimate", "@absent.yaml"], "absent.yaml: not a readable YAML file"),
        (["estimate", "@plugged.yaml"], "plugins: 'absent.py': no such file"),
        (["schema", "--plugins", "@absent.py"], "absent.py: cannot be read as Python"),
        (["schema", "--plugins", "@page.html"], "page.html: cannot be read as Python"),
        (["schema", "--readme", "@absent.md", "--schema", ">schema.json"], "absent.md: cannot be read"),
    ],
)
def test_a_mistake_of_a_person_ends_in_one_line_and_leaves_no_output(call, tmp_path, words, told):
    (tmp_path / "page.html").write_text("<html>404</html>")
    (tmp_path / "plugged.yaml").write_text("plugins: [absent.py]\n")
    before = sorted(tmp_path.rglob("*"))
    filled = [re.sub("^@", f"{tmp_path}/", re.sub("^>", f"{tmp_path}/made/", one)) for one in words]
    code, out, err = call(*filled)
    assert (code, out) == (2, "")
    assert re.fullmatch(f"fldrep: error: .*{told}.*", err.rstrip("\n")), err
    assert sorted(tmp_path.rglob("*")) == before


def test_a_photo_is_attacked_and_the_result_written(call, tmp_path):
    picture = Path(__file__).parents[1] / "data" / "pattern.png"
    given = ["--label", "1", "--attack", "gs", "--iterations", "2", "--defense", "soteria", "--rate", "0.6"]
    code, _, _ = call(
        "photo", picture, *given, "--rule", "reference-script", "--width", "4", "--out", tmp_path, "--device", "cpu"
    )
    assert code == 0
    result = json.loads((tmp_path / "result.json").read_text())
    assert {"mse", "mse_pixel", "psnr_db", "ssim", "live_pruned", "norm2_removed", "settings", "grey_mse"} <= set(
        result
    )
    assert result["settings"]["rule"] == "reference-script"
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "original.png",
        "pair.png",
        "reconstruction.png",
        "result.json",
    ]


# ---- the config explained, with what a stranger adds

PLUGIN = '''
import fldrep

@fldrep.{kind}("sign")
class Sign(fldrep.Defense):
    """One bit an entry."""
    class Settings(fldrep.Section):
        scale: float = fldrep.option(1.0, "factor on the signs", gt=0)
'''


def test_schema_with_plug_ins_is_printed_and_the_stored_files_stay(tmp_path):
    path = tmp_path / "sign.py"
    path.write_text(PLUGIN.format(kind="defense"))
    stored = [ROOT / "workflow/schemas/config.schema.json", ROOT / "config/README.md"]
    before = [one.read_bytes() for one in stored]
    command = [sys.executable, "-m", "fldrep", "schema", "--plugins", path]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    schema, tables = done.stdout.split("\n}\n", 1)
    assert json.loads(schema + "}")["properties"]["name"]
    assert "| `plugins` |" in tables
    assert [one.read_bytes() for one in stored] == before


def test_schema_with_plug_ins_writes_the_files_that_are_named(tmp_path):
    path, readme = tmp_path / "sign.py", tmp_path / "README.md"
    path.write_text(PLUGIN.format(kind="defense"))
    readme.write_text("# Mine\n")
    command = [sys.executable, "-m", "fldrep", "schema", "--plugins", path, "--readme", readme]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    assert readme.read_text().startswith("# Mine\n")
    assert "| `plugins` |" in readme.read_text()
