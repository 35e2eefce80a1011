"""Digests are taken once, until a line of the package changes."""

import os

import pytest

from fldrep.plan.remembered import VERSIONS_KEPT, Remembered


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A package of two modules; its digests are kept in a folder of this test."""
    monkeypatch.setenv("FLDREP_CACHE", str(tmp_path / "cache"))
    (tmp_path / "package" / "room").mkdir(parents=True)
    (tmp_path / "package" / "one.py").write_text("1\n")
    (tmp_path / "package" / "room" / "two.py").write_text("2\n")
    return tmp_path / "package"


@pytest.fixture
def digest(package):
    """What a process gets that asks for a digest, and whether it was taken anew."""

    def asked(answer: str = "abc", what: str = "[]") -> tuple[str, bool]:
        taken = []
        return Remembered(package).digest(what, lambda: taken.append(1) or answer), bool(taken)

    return asked


def test_a_later_process_finds_what_an_earlier_one_took(digest):
    assert digest() == ("abc", True)
    assert digest() == ("abc", False)
    assert digest("def", what="[1]") == ("def", True)
    assert digest("x") == ("abc", False)


@pytest.mark.parametrize(
    "edit",
    [
        lambda package: (package / "room/two.py").write_text("3\n"),
        lambda package: (package / "room/two.py").rename(package / "room/three.py"),
        lambda package: (package / "four.py").write_text(""),
        lambda package: (package / "one.py").unlink(),
    ],
    ids=["changed", "renamed", "new", "gone"],
)
def test_any_edit_takes_it_anew(package, digest, edit):
    digest()
    edit(package)
    assert digest("new") == ("new", True)


def test_who_undoes_an_edit_finds_what_was(package, digest):
    digest()
    (package / "one.py").write_text("7\n")
    digest("new")
    (package / "one.py").write_text("1\n")
    assert digest() == ("abc", False)


def test_another_place_and_time_of_the_same_files_are_no_edit(package, digest):
    digest()
    package.rename(package.parent / "moved").rename(package)
    os.utime(package / "one.py", (0, 0))
    assert digest("new") == ("abc", False)


def test_what_was_edited_while_it_was_read_is_not_kept(package, digest):
    def take() -> str:
        (package / "one.py").write_text("7\n")
        return "of both"

    assert Remembered(package).digest("[]", take) == "of both"
    assert digest("after") == ("after", True)
    (package / "one.py").write_text("1\n")
    assert digest("before") == ("before", True)


@pytest.mark.parametrize("text", ["", "{", "[]", "\0"])
def test_a_damaged_file_is_as_none(package, digest, text):
    digest()
    (kept,) = package.parent.glob("cache/digests/*.json")
    kept.write_text(text)
    assert digest("new") == ("new", True)
    assert digest() == ("new", False)


def test_a_cache_that_cannot_be_written_costs_time_alone(package, digest):
    (package.parent / "cache").write_text("no folder")
    assert digest() == ("abc", True)
    assert digest("new") == ("new", True)


def test_old_versions_of_the_package_are_forgotten(package, digest):
    for number in range(VERSIONS_KEPT + 3):
        (package / "one.py").write_text(f"{number}\n")
        digest()
    assert len(list(package.parent.glob("cache/digests/*"))) == VERSIONS_KEPT
