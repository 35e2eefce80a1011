"""Packages that fldrep imports and a GPU's machine may lack, from a folder of wheels: no network, nothing installed."""

import atexit
import importlib
import shutil
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path
from zipfile import ZipFile

FOLDER = Path(__file__).parent / "wheels"  # what `make evidence-wheels` fills
NEEDED = ("pydantic", "pydantic_core", "annotated_types", "typing_inspection", "typing_extensions", "platformdirs")


def lacking() -> list[str]:
    """The needed packages that cannot be imported."""
    return [name for name in NEEDED if find_spec(name) is None]


def borrow(folder: Path = FOLDER) -> list[str]:
    """Where a needed package is lacking, unpack all wheels of a folder and put them first on the path.

    All, and first, because they belong together: pydantic asks for one release of its core. They are unpacked, since a
    compiled module cannot be imported out of an archive, into a folder that goes when this process ends.
    Returns the wheels' names. Ends the process, naming what is lacking, where the folder does not help.
    """
    if not lacking():
        return []
    wheels = sorted(folder.glob("*.whl"))
    place = tempfile.mkdtemp(prefix="fldrep-wheels-")
    atexit.register(shutil.rmtree, place, ignore_errors=True)
    for wheel in wheels:
        with ZipFile(wheel) as archive:
            archive.extractall(place)
    sys.path.insert(0, place)
    importlib.invalidate_caches()
    if still := lacking():
        found = f"{folder} holds {', '.join(wheel.name for wheel in wheels) or 'no wheels'}"
        sys.exit(f"evidence: not installed: {', '.join(still)}; {found}; run make evidence-wheels and bring the folder")
    return [wheel.name for wheel in wheels]
