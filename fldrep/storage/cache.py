"""The folder for what is made or fetched once and used by all runs: downloads, compiled attacks."""

import os
from pathlib import Path

import platformdirs


def cache_folder(named: str | None = None) -> Path:
    """The folder named in the config (`data.cache`), else the variable FLDREP_CACHE, else the user's cache folder."""
    return Path(named or os.environ.get("FLDREP_CACHE") or platformdirs.user_cache_dir("fldrep")).expanduser()


def share_cache(named: str | None) -> None:
    """Let child processes use the folder named in the config, whatever their own settings hold of it."""
    if named:
        os.environ["FLDREP_CACHE"] = str(cache_folder(named).absolute())
