"""Every block of docs/audit.md as it stands, from an empty folder."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/audit.md").read_text()
BLOCK = re.compile(r"```(\w*)\n(.*?)```", re.DOTALL)
ROUNDED = ("as-weights", "as-record")  # a difference of weights is rounded more coarsely than a gradient
SAVED = re.compile(r"[Ss]ave\s+this\s+as\s+`([\w.]+)`(?:(?!```).)*```python\n(.*?)```", re.DOTALL)


def commands() -> list[str]:
    """The commands of the page, in order."""
    return [line for kind, text in BLOCK.findall(PAGE) if not kind for line in text.splitlines() if line.strip()]


def in_folder(words: list[str], folder: Path) -> str:
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    # an installed package is found from anywhere; one that is only checked out by this
    own = {**os.environ, "PATH": path, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(words, cwd=folder, env=own, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, f"{words}: {done.stderr[-3000:]}"
    return done.stdout


@pytest.fixture(scope="module")
def folder(made_once) -> Path:
    """A user's folder after all that the page says."""

    def make(place: Path) -> None:
        for name, text in SAVED.findall(PAGE):
            (place / name).write_text(text)
        said = [in_folder(["bash", "-c", command], place) for command in commands()]
        last = [text for kind, text in BLOCK.findall(PAGE) if kind == "python"][-1]
        said.append(in_folder([sys.executable, "-c", last], place))
        (place / "said.json").write_text(json.dumps(said))

    return made_once("audits of a page", make)


def test_the_page_says_what_to_save_and_to_type():
    assert [name for name, _ in SAVED.findall(PAGE)] == ["my_model.py", "client.py", "record.py"]
    assert len(commands()) == 8


@pytest.mark.parametrize("out", ["audit", "as-npz", "as-weights", "checked", "gate", "as-record", "from-python"])
def test_every_audit_of_the_page_wrote_its_files(folder, out):
    said = json.loads((folder / out / "result.json").read_text())
    assert said["verdict"] == ("recovered-exactly" if out not in ROUNDED else said["verdict"])
    assert said["labels"] == [1]
    assert "<h1>" in (folder / out / "audit.html").read_text()
    assert list((folder / out).glob("*.png"))


def test_the_words_of_the_page_are_those_of_the_code(folder):
    from fldrep.applications.audit import verdict

    words = [value for name, value in vars(verdict).items() if name.isupper() and isinstance(value, str)]
    assert all(f"`{word}`" in PAGE for word in words)
    said = json.loads((folder / "checked/result.json").read_text())
    assert said["attacks"][0]["ssim"] > 0.99
    assert said["settings"]["originals"] == "pixels"
