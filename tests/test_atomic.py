"""Files appear whole or not at all."""

import os
import stat
import subprocess
import sys

import pytest

from fldrep.atomic import atomic_write
from fldrep.errors import DataError


def test_a_file_appears_when_the_block_ends_and_not_before(tmp_path):
    path = tmp_path / "deep" / "er" / "out.txt"
    with atomic_write(path) as beside:
        beside.write_text("new")
        assert not path.exists()
        assert beside.parent == path.parent
        assert beside.suffix == path.suffix
    assert path.read_text() == "new"
    assert [one.name for one in path.parent.iterdir()] == ["out.txt"]


@pytest.mark.parametrize("mistake", [RuntimeError, KeyboardInterrupt, SystemExit])
def test_a_failure_leaves_nothing_and_keeps_the_old_file(tmp_path, mistake):
    path = tmp_path / "out.txt"
    path.write_text("old")

    def fail():
        with atomic_write(path) as beside:
            beside.write_text("half")
            raise mistake

    with pytest.raises(mistake):
        fail()
    assert path.read_text() == "old"
    assert [one.name for one in tmp_path.iterdir()] == ["out.txt"]


def test_what_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("in the way")
    for path in (tmp_path / "file" / "out.txt", tmp_path / ("x" * 300 + ".txt")):
        with pytest.raises(DataError, match=r"out\.txt|xxx") as refused, atomic_write(path) as beside:
            beside.write_text("x")
        assert str(refused.value).startswith(f"{path}: cannot be written: ")
    (tmp_path / "folder").mkdir()
    with pytest.raises(DataError, match="folder: cannot be written"), atomic_write(tmp_path / "folder") as beside:
        beside.write_text("x")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "folder"]


LIMITED = """
import resource, sys
from pathlib import Path
import torch
from fldrep.errors import DataError
from fldrep.errors import DataError
from fldrep.atomic import atomic_write
from fldrep.tables.shards import SHARDS
from fldrep.storage.tensors import write_tensors
resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000))
folder = Path(sys.argv[1])
def text(path):
    with atomic_write(path) as beside:
        beside.write_bytes(bytes(5000))
writers = {
    "text": text,
    "table": lambda path: SHARDS.write([{"client": k, "index": k * k, "label": 0} for k in range(3000)], path),
    "tensors": lambda path: write_tensors(path, {"a": torch.zeros(3000)}),
}
for name, write in writers.items():
    try:
        write(folder / name)
    except DataError as error:
        assert "\\n" not in str(error), error
        print(name, "cannot be written" in str(error), str(folder / name) in str(error))
"""


def test_a_full_disk_is_told_in_one_line_and_leaves_nothing(tmp_path):
    command = [sys.executable, "-B", "-c", LIMITED, str(tmp_path)]  # else it leaves compiled modules that are cut
    said = subprocess.run(command, capture_output=True, text=True)
    assert said.stdout.splitlines() == ["text True True", "table True True", "tensors True True"], said.stderr
    assert list(tmp_path.iterdir()) == []


def test_the_file_has_the_rights_that_the_users_mask_gives(tmp_path):
    before = os.umask(0o027)
    try:
        with atomic_write(tmp_path / "out.txt") as beside:
            beside.write_text("x")
        assert os.umask(0o027) == 0o027  # looking at the mask did not change it
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "out.txt").stat().st_mode) == 0o640


def test_a_killed_writer_leaves_no_file_of_that_name(tmp_path):
    code = (
        "import os, sys; from pathlib import Path; from fldrep.atomic import atomic_write\n"
        "with atomic_write(Path(sys.argv[1])) as beside:\n"
        "    beside.write_text('half'); os.kill(os.getpid(), 9)"
    )
    assert subprocess.run([sys.executable, "-c", code, str(tmp_path / "out.txt")]).returncode == -9
    assert not (tmp_path / "out.txt").exists()
