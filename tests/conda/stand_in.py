"""As much of the command `conda` as Snakemake 9 asks for, over py-rattler.

It solves and installs as conda does, from the channels that a file names, with strict priority. Where these
lie is told as to conda, by a `channel_alias`: the variable CONDA_CHANNEL_ALIAS. `bin/activate` is the other half.
"""

import argparse
import asyncio
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import rattler
import yaml

VERSION = "26.7.0"  # what Snakemake is told
PLATFORMS = ("linux-64", "noarch")


def main() -> None:
    """The commands `--version`, `info`, `config --get`, `env create` and `clean`, which finds nothing left to clean."""
    parser = argparse.ArgumentParser(prog="conda")
    parser.add_argument("--version", action="version", version=f"conda {VERSION}")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("info").add_argument("--json", action="store_true", required=True)
    clean = commands.add_parser("clean")
    for option in ("-y", "--tarballs", "--packages"):
        clean.add_argument(option, action="store_true")
    config = commands.add_parser("config")
    config.add_argument("--get", required=True)
    config.add_argument("--json", action="store_true", required=True)
    create = commands.add_parser("env").add_subparsers(required=True).add_parser("create")
    create.add_argument("--file", type=Path, required=True)
    create.add_argument("--prefix", type=Path, required=True)
    create.add_argument("--quiet", action="store_true")
    create.add_argument("--no-default-packages", action="store_true")
    given = parser.parse_args()
    if given.command == "info":
        print(json.dumps({"conda_prefix": os.environ["CONDA_STAND_IN"], "platform": PLATFORMS[0]}))
    elif given.command == "config":
        print(json.dumps({"get": {"channel_priority": "strict"}}))
    elif given.command == "env":
        environment = yaml.safe_load(given.file.read_text())
        specs = [one for one in environment["dependencies"] if isinstance(one, str)]
        asyncio.run(install(environment["channels"], specs, given.prefix))
        for part in environment["dependencies"]:
            if isinstance(part, dict):
                install_by_pip(part["pip"], given.prefix)


async def install(channels: list[str], specs: list[str], prefix: Path) -> None:
    """Solve and install packages of channels."""
    places = rattler.ChannelConfig(channel_alias=os.environ["CONDA_CHANNEL_ALIAS"])
    solved = await rattler.solve(
        [rattler.Channel(name, places) for name in channels],
        specs,
        platforms=list(PLATFORMS),
        virtual_packages=rattler.VirtualPackage.detect(),
    )
    print(*(f"{one.name.normalized} {one.version}" for one in solved), sep="\n")
    with tempfile.TemporaryDirectory() as cache:
        await rattler.install(solved, prefix, cache_dir=Path(cache), show_progress=False)


def install_by_pip(packages: list[str], prefix: Path) -> None:
    """Install packages by the pip of an environment, as conda does."""
    command = [str(prefix / "bin/python"), "-m", "pip", "install", "--quiet", "--no-input", *packages]
    sys.exit(subprocess.call(command))


if __name__ == "__main__":
    main()
