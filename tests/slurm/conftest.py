"""A real Slurm on this machine: one node on loopback, without cgroups or database, with stand-in GPUs.

Needs root and Debian's packages slurm-wlm and munge, which are installed if they lack. The configuration must lie in
/etc/slurm, since the plugin's inner `srun` does not know of any other; one that is not of these tests is not touched.
"""

import hashlib
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil
import pytest

ROOT = Path(__file__).parents[2]
CONFIGURATION = Path("/etc/slurm")
MARK = "# written by the tests of FLDRep: a cluster of one node"
DAEMONS = ("munged", "slurmctld", "slurmd")
PLUGIN = ("snakemake-executor-plugin-slurm", "snakemake-executor-plugin-slurm-jobstep", "throttler")
CPUS, MEMORY_MB, GPUS = 4, 32_000, 2  # told to Slurm, and not enforced: a small machine carries them
PATIENCE_S = 60

SETTINGS = """{mark}
ClusterName=tests
SlurmctldHost={node}(127.0.0.1)
SlurmUser=root
AuthInfo=socket={base}/munge.socket
StateSaveLocation={base}/state
SlurmdSpoolDir={base}/spool
SlurmctldPidFile={base}/slurmctld.pid
SlurmdPidFile={base}/slurmd.pid
SlurmctldLogFile={base}/slurmctld.log
SlurmdLogFile={base}/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
JobCompType=jobcomp/none
MinJobAge=3600
KillWait=2
SlurmdTimeout=10
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
GresTypes=gpu
SlurmdParameters=config_overrides
ReturnToService=2
NodeName={node} NodeAddr=127.0.0.1 CPUs={cpus} RealMemory={memory} Gres=gpu:{gpus} State=UNKNOWN
PartitionName=main Nodes={node} Default=YES MaxTime=INFINITE State=UP
"""


def said(*command: object) -> str:
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, timeout=PATIENCE_S)
    assert done.returncode == 0, f"{command}: {done.stderr}"
    return done.stdout


class Cluster:
    """The three daemons, their files, and the jobs they know."""

    def __init__(self, base: Path):
        self.base = base

    def configure(self) -> None:
        for name in ("state", "spool"):
            (self.base / name).mkdir()
        key = self.base / "munge.key"
        key.touch(0o600)
        key.write_bytes(os.urandom(128))
        for number in range(GPUS):  # like /dev/null: a device that is there
            os.mknod(self.base / f"gpu{number}", 0o020666, os.makedev(1, 3))
        given = {"mark": MARK, "node": socket.gethostname().split(".")[0], "base": self.base}
        CONFIGURATION.mkdir(exist_ok=True)
        (CONFIGURATION / "slurm.conf").write_text(SETTINGS.format(**given, cpus=CPUS, memory=MEMORY_MB, gpus=GPUS))
        (CONFIGURATION / "gres.conf").write_text(f"{MARK}\nName=gpu File={self.base}/gpu[0-{GPUS - 1}]\n")

    def start(self, *daemons: str) -> None:
        paths = {"--key-file": "munge.key", "--socket": "munge.socket", "--pid-file": "munged.pid"}
        paths |= {"--seed-file": "munged.seed", "--log-file": "munged.log"}
        for daemon in daemons:
            options = [f"{name}={self.base / path}" for name, path in paths.items()] if daemon == "munged" else []
            said(daemon, *options)
        self._wait_for("idle|mixed|allocated")

    def _wait_for(self, states: str) -> None:
        """Wait until the controller says that the node is in one of these states, a pattern."""
        deadline = time.monotonic() + PATIENCE_S
        ask = ["sinfo", "-h", "-o", "%T"]
        while not re.match(states, subprocess.run(ask, capture_output=True, text=True, timeout=PATIENCE_S).stdout):
            assert time.monotonic() < deadline, (self.base / "slurmctld.log").read_text()[-2000:]
            time.sleep(0.2)

    def daemon(self, name: str) -> psutil.Process | None:
        """A daemon that was started and has not died since."""
        path = self.base / f"{name}.pid"
        try:
            return psutil.Process(int(path.read_text()))
        except (FileNotFoundError, psutil.NoSuchProcess):
            return None

    def kill_node(self) -> None:
        """SIGKILL for the node's daemon and all that it had started, as when the machine goes down; then it is back.

        It comes back once the controller has missed it: a daemon that is back at once, without a word of its jobs,
        leaves them running in the controller's eyes until their time limit.
        """
        daemon = self.daemon("slurmd")
        steps = [one for one in psutil.process_iter() if one.name() == "slurmstepd"]
        killed = [daemon, *(child for step in steps for child in step.children(recursive=True)), *steps]
        for one in killed:
            try:
                one.kill()
            except psutil.NoSuchProcess:
                continue
        psutil.wait_procs(killed, timeout=PATIENCE_S)
        (self.base / "slurmd.pid").unlink(missing_ok=True)
        self._wait_for("down")
        self.start("slurmd")

    def stop(self) -> None:
        if self.daemon("slurmctld"):
            subprocess.run(["scancel", "--full", "--me"], timeout=PATIENCE_S)
            deadline = time.monotonic() + PATIENCE_S
            while said("squeue", "-h").strip() and time.monotonic() < deadline:
                time.sleep(0.2)
        for daemon in filter(None, map(self.daemon, reversed(DAEMONS))):
            daemon.terminate()
            if psutil.wait_procs([daemon], timeout=PATIENCE_S)[1]:
                daemon.kill()

    def cancel(self, job: str) -> None:
        said("scancel", job)

    def limit(self, job: str, minutes: int) -> None:
        """Shorten a job's time."""
        said("scontrol", "update", f"JobId={job}", f"TimeLimit={minutes}")

    def jobs(self) -> list[dict[str, str]]:
        """All jobs, as `scontrol --details show job` describes them."""
        lines = said("scontrol", "--oneliner", "--details", "show", "job").splitlines()
        return [dict(re.findall(r"(\S+?)=(\S*)", line)) for line in lines if line.startswith("JobId")]


def why_not() -> str | None:
    """Why no cluster can be started here."""
    if sys.platform != "linux" or os.getuid():
        return "a test cluster needs Linux and root"
    if not all(map(shutil.which, (*DAEMONS, "sbatch"))):
        if not shutil.which("apt-get"):
            return "slurm-wlm and munge are not installed, and there is no apt-get"
        install = ["apt-get", "install", "-y", "--no-install-recommends", "slurm-wlm", "munge"]
        for command in (["apt-get", "update"], install):
            done = subprocess.run(command, env={**os.environ, "DEBIAN_FRONTEND": "noninteractive"}, capture_output=True)
            if done.returncode:
                return f"slurm-wlm and munge cannot be installed: {done.stderr.decode()[-200:]}"
    there = CONFIGURATION / "slurm.conf"
    if there.exists() and MARK not in there.read_text():
        return f"{there} is of another cluster"
    return None


@pytest.fixture(scope="session")
def cluster():
    reason = why_not()
    if reason:
        pytest.skip(reason)
    base = Path(tempfile.mkdtemp(prefix="slurm-"))
    base.chmod(0o755)  # clients of munge must reach its socket
    cluster = Cluster(base)
    cluster.configure()
    try:
        cluster.start(*DAEMONS)
        yield cluster
    finally:
        cluster.stop()
        for name in ("slurm.conf", "gres.conf"):
            (CONFIGURATION / name).unlink()
        shutil.rmtree(base, ignore_errors=True)


@pytest.fixture(scope="session")
def python(cluster) -> Path:
    """The Python of an environment with the plugin, beside the ordinary one, whose packages it shares.

    The ordinary one goes without: where Slurm's clients lie but no controller answers, importing the plugin costs
    10 seconds a call. Kept in .venvs from one run of the tests to the next.
    """
    lock = (ROOT / "requirements.lock").read_bytes() + sys.prefix.encode()
    place = ROOT / ".venvs" / f"slurm-{hashlib.sha256(lock).hexdigest()[:12]}"
    if not (place / "ready").exists():
        shutil.rmtree(place, ignore_errors=True)
        said(sys.executable, "-m", "venv", "--without-pip", place)
        packages = next(place.glob("lib/python*/site-packages"))
        (packages / "shared.pth").write_text("\n".join(path for path in sys.path if path.endswith("site-packages")))
        uv = [sys.executable, "-m", "uv", "pip", "install", "--python", place / "bin/python", "--no-deps"]
        said(*uv, "-c", ROOT / "requirements.lock", *PLUGIN)
        (place / "ready").touch()
    return place / "bin/python"


@pytest.fixture
def on_slurm(start, python):
    """Start the workflow by its Slurm profile in a folder: targets and options as snakemake takes them."""

    def started(*arguments: object, folder: Path, source: Path):
        profile = ("--workflow-profile", source / "workflow/profiles/slurm", "--slurm-status-command", "squeue")
        patience = ("--latency-wait", 10, "--slurm-init-seconds-before-status-checks", 2)
        return start(*profile, *patience, *arguments, folder=folder, source=source, python=python)

    return started
