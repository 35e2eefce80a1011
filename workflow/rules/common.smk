# What all rules share: the package, the config as a grid of jobs, and where results lie.
import subprocess
import sys
from pathlib import Path

SOURCE = Path(workflow.basedir).parent
sys.path.insert(0, str(SOURCE))

from fldrep import registry
from fldrep.config.attacks import modules_of
from fldrep.config.data import PHOTO
from fldrep.config.reading import parse_config, stable_json
from fldrep.errors import FLDRepError
from fldrep.figures import figures_of
from fldrep.machine.devices import gpus_visible
from fldrep.machine.origin import share_package
from fldrep.plan.digest import code_digest, text_digest
from fldrep.plan.estimate import estimate
from fldrep.plan.grid import grid_of, summary
from fldrep.plan import jobs
from fldrep.plan.leftovers import claim_workdir
from fldrep.storage import places
from fldrep.storage.cache import share_cache
from fldrep.storage.places import Block, Run
from snakemake.exceptions import WorkflowError

try:
    CONFIG = parse_config(config)
    GRID = grid_of(CONFIG)
except FLDRepError as error:
    raise WorkflowError(str(error)) from None

RESULTS = f"results/{CONFIG.name}"
REPORTS = f"reports/{CONFIG.name}"
LOGS = f"logs/{CONFIG.name}"

(
    IMAGES,
    SHARDS,
    TRAINING,
    CHECKPOINTS,
    ATTACK_RUNS,
    RECONSTRUCTIONS,
    LEAKAGE,
    CERTIFICATE,
    CONVERGENCE,
    ACCOUNTING,
) = (
    f"{RESULTS}/{pattern}"
    for pattern in (
        places.IMAGES,
        places.SHARDS,
        places.TRAINING,
        places.CHECKPOINTS,
        places.ATTACK_RUNS,
        places.RECONSTRUCTIONS,
        places.LEAKAGE,
        places.CERTIFICATE,
        places.CONVERGENCE,
        places.ACCOUNTING,
    )
)

# A run that was killed leaves jobs and locks; the next one, but for a dry run, clears them.
if workflow.is_main_process and not workflow.output_settings.dryrun:
    try:
        for line in claim_workdir(Path.cwd(), [RESULTS, REPORTS]):
            print(line, file=sys.stderr)
    except FLDRepError as error:
        raise WorkflowError(str(error)) from None
# What claims are judged on and the page shows, and the config as a command names it in the workflow's folder.
CLAIM_TABLES = (
    "attacks",
    "training",
    "leakage",
    "certificate",
    "convergence",
    "accounting",
)
FROM = Path((workflow.overwrite_configfiles or [SOURCE / "config/config.yaml"])[0])
CONFIG_FILE = (
    FROM.resolve().relative_to(SOURCE)
    if FROM.resolve().is_relative_to(SOURCE)
    else FROM.name
)

# The package is found from any working directory, and in a rule's own environment.
share_package()
share_cache(CONFIG.data.cache)

# Where the files of data sets are found: told to the command, but no param, as what is found is the same everywhere.
PLACES = stable_json(CONFIG.data.model_copy(update={"photo": None}))


# What the page is written with beside its code: a sentence for each figure (where its command looks), and the template.
CAPTIONS = SOURCE / "workflow" / "report"
TEMPLATES = SOURCE / "fldrep" / "report" / "templates"


wildcard_constraints:
    dataset="[a-z0-9-]+",
    model="[a-z0-9-]+",
    partition="[a-z0-9-]+",
    defense="[a-z0-9-]+",
    update_kind="[a-z0-9-]+",
    attack="[a-z0-9-]+",
    seed=r"\d+",
    round=r"\d+",
    block=r"\d+",


def run_of(wildcards):
    """The training run that wildcards name."""
    return Run(
        wildcards.dataset,
        wildcards.model,
        wildcards.partition,
        wildcards.defense,
        int(wildcards.seed),
    )


def data_settings(wildcards):
    """What the images of a data set depend on, as JSON."""
    return stable_json(jobs.data_job(CONFIG, wildcards.dataset))


def photo_file(wildcards):
    """The user's file behind the data set `photo`; the others are fetched."""
    return CONFIG.data.photo.path if wildcards.dataset == PHOTO else []


def train_settings(wildcards):
    """What a training run depends on, as JSON."""
    return stable_json(jobs.train_job(CONFIG, run_of(wildcards)))


def block_of(wildcards):
    """The attack job that wildcards name."""
    return Block(
        run_of(wildcards),
        int(wildcards.round),
        wildcards.update_kind,
        wildcards.attack,
        int(wildcards.block),
    )


def attack_settings(wildcards):
    """What an attack job depends on, as JSON."""
    return stable_json(jobs.attack_job(CONFIG, GRID, block_of(wildcards)))


def attack_code(wildcards):
    """Digest of what an attack job runs: the job itself, the attack's parts and the defense."""
    parts = modules_of(CONFIG.attacks[wildcards.attack])
    return code_under_defense("fldrep.attack.job", *parts)(wildcards)


def code_under_defense(*modules):
    """Digest of modules and of the defense of a run, as a function of wildcards."""

    def code(wildcards):
        method = CONFIG.defenses[wildcards.defense].method
        return code_digest(*modules, registry.entry("defense", method).module)

    return code


def gpus_wanted(wildcards):
    """1 where attacks run on a GPU: asked for, or found on this machine."""
    device = CONFIG.engine.device
    return int(device == "cuda" or (device == "auto" and bool(gpus_visible())))


def announcement(measuring):
    """The grid in a line, and what it costs in another; measuring takes some seconds, once a machine and code."""
    # Cores here, or jobs at once on a cluster.
    at_once = workflow.resource_settings.cores or workflow.resource_settings.nodes
    command = ["estimate", "--settings", stable_json(CONFIG), "--cores", at_once]
    if measuring:
        told = subprocess.run(
            [sys.executable, "-m", "fldrep", *map(str, command), "--within", "5"],
            capture_output=True,
            text=True,
        )
        cost = told.stdout.strip() or told.stderr.strip()
    else:
        cost = f"{CONFIG.name}: {estimate(CONFIG, within_s=0).sentence(at_once)}"
    return f"{summary(CONFIG, GRID)}\n{cost}"
