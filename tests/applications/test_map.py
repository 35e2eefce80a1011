"""The page of the rooms is what the code says."""

from pathlib import Path

from fldrep.applications.map import rooms_missing, rooms_page

ROOT = Path(__file__).parents[2]


def test_the_map_in_the_repository_is_drawn_from_this_code():
    assert (ROOT / "docs/map.md").read_text() == rooms_page(), "run: python -m fldrep map"


def test_the_map_shows_every_room():
    assert rooms_missing() == set()
