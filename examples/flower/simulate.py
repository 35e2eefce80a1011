"""The app in one process, without Flower's SuperLink: `python simulate.py defenses=none,soteria records=records`."""

import sys
import tomllib
from pathlib import Path

from flwr.serverapp import ServerApp
from flwr.simulation import run_simulation
from mnist_app import client_app, server_app

HERE = Path(__file__).parent
CLIENTS = 2
# By default Ray runs clients at the lowest priority, so that beside other work they hardly get to run, and kills them
# where other work takes 95 % of the memory.
RAY = {"worker_niceness": 0, "worker_register_timeout_seconds": 600, "memory_monitor_refresh_ms": 0}


def config_of(words: list[str]) -> dict:
    """The run's config of pyproject.toml, with KEY=VALUE from the command line."""
    said = tomllib.loads((HERE / "pyproject.toml").read_text())["tool"]["flwr"]["app"]["config"]
    for key, _, value in (word.partition("=") for word in words):
        said[key] = type(said[key])(value)
    return said | {"records": said["records"] and str(Path(said["records"]).absolute())}


def main() -> None:
    """All defenses asked for."""
    said, server = config_of(sys.argv[1:]), ServerApp()
    server.main()(lambda grid, context: server_app.serve(grid, said))
    ray = {"num_cpus": 1, "include_dashboard": False, "_system_config": RAY}
    backend = {"client_resources": {"num_cpus": 1}, "init_args": ray}
    run_simulation(server, client_app.app, CLIENTS, backend_config=backend)


if __name__ == "__main__":
    main()
