# What all rules share: the package, the config as a grid of jobs, and where results lie.
import json
import shlex
import subprocess
import sys
from pathlib import Path

# The package is beside this file's folder, also where another workflow uses this one as a module; else it is installed.
HERE = Path(workflow.current_basedir.get_path_or_uri(secret_free=True))
sys.path.insert(0, str(HERE.parents[1]))

from fldrep.applications.status import tell_now_and_then
from fldrep.config.docs import config_schema
from fldrep.config.documents import refuse_keys_given_twice
from fldrep.config.overrides import snakemake_command, with_types
from fldrep.config.reading import parse_config, plugin_files
from fldrep.config.checking import stable_json
from fldrep.errors import FLDRepError
from fldrep.figures import figures_of
from fldrep.machine.devices import gpus_visible
from fldrep.machine.origin import PACKAGE, share_package
from fldrep.plan.digest import code_digest, text_digest, words_digest
from fldrep.plan.estimate import estimate
from fldrep.plan.files import files_digest
from fldrep.plan.grid import grid_of, summary
from fldrep.plan.jobs import JOBS, TABLES
from fldrep.plan.leftovers import claim_workdir, former_results
from fldrep.plan.uses import told_of
from fldrep import registry
from fldrep.registry import added, load_plugins
from fldrep.storage import places
from fldrep.storage.cache import share_cache
from snakemake.exceptions import WorkflowError
from snakemake.settings.types import DeploymentMethod

# Files given on the command line, and those named in a Snakefile, an importer's included.
CONFIG_FILES = [
    Path(path) for path in (*workflow.overwrite_configfiles, *workflow.configfiles)
]
GIVEN = workflow.config_settings.config  # by --config

try:
    refuse_keys_given_twice(CONFIG_FILES)
    RAW = with_types(config, GIVEN, whole=workflow.modifier_stack[0].globals["config"])
    PLUGINS = plugin_files(RAW, [path.resolve().parent for path in CONFIG_FILES])
    load_plugins(PLUGINS)
    CONFIG = parse_config(RAW)
    GRID = grid_of(CONFIG)
except FLDRepError as error:
    raise WorkflowError(str(error)) from None

# What a config may hold: stored for what is built in, and made anew where something was added.
SCHEMA = "schemas/config.schema.json"
if added():
    SCHEMA = str(workflow.snakemake_tmp_dir / "config.schema.json")
    Path(SCHEMA).write_text(json.dumps(config_schema()))

RESULTS = f"results/{CONFIG.name}"
REPORTS = f"reports/{CONFIG.name}"
LOGS = f"logs/{CONFIG.name}"

IMAGES = f"{RESULTS}/{places.IMAGES}"
SHARDS = f"{RESULTS}/{places.SHARDS}"
TRAINING = f"{RESULTS}/{places.TRAINING}"
CHECKPOINTS = f"{RESULTS}/{places.CHECKPOINTS}"
ATTACK_RUNS = f"{RESULTS}/{places.ATTACK_RUNS}"
RECONSTRUCTIONS = f"{RESULTS}/{places.RECONSTRUCTIONS}"
IDENTIFIABILITY = f"{RESULTS}/{places.IDENTIFIABILITY}"
LEAKAGE = f"{RESULTS}/{places.LEAKAGE}"
CERTIFICATE = f"{RESULTS}/{places.CERTIFICATE}"
CONVERGENCE = f"{RESULTS}/{places.CONVERGENCE}"
ACCOUNTING = f"{RESULTS}/{places.ACCOUNTING}"
FINAL_TABLES = {name: f"{RESULTS}/{path}" for name, path in TABLES.items()}
GALLERY = f"{RESULTS}/{places.GALLERY}"
FIGURE = f"{REPORTS}/{places.FIGURE}"
FIGURES = [FIGURE.format(figure=name) for name in figures_of(CONFIG)]
CLAIMS = f"{REPORTS}/{places.CLAIMS}"
CLAIMS_PAGE = f"{REPORTS}/{places.CLAIMS_PAGE}"
REPORT = f"{REPORTS}/{places.REPORT}"
RECORD = f"{REPORTS}/{places.RECORD}"

# Files of the user's that are missing are told before anything runs.
if workflow.is_main_process:
    try:
        for dataset in [*GRID.datasets(), *(one.dataset for one in GRID.splits)]:
            files_digest(CONFIG.data, dataset)
    except FLDRepError as error:
        raise WorkflowError(str(error)) from None

# Cores here, or jobs at once on a cluster.
JOBS_AT_ONCE = workflow.resource_settings.cores or workflow.resource_settings.nodes

# A run that was killed leaves jobs and locks; the next one, but for a dry run, clears them.
if workflow.is_main_process:
    folders = [workflow.modifier.modify_path(one) for one in (RESULTS, REPORTS)]
    said = former_results(Path(folders[0]))
    try:
        if not workflow.output_settings.dryrun:
            said += claim_workdir(Path.cwd(), folders, JOBS_AT_ONCE)
    except FLDRepError as error:
        raise WorkflowError(str(error)) from None
    for line in said:
        print(line, file=sys.stderr)

# The package is found from any working directory, and in a rule's own environment.
share_package()
# Snakemake takes PYTHONPATH away where a rule has an environment of conda's; this gives back what of it is the package.
if DeploymentMethod.CONDA in workflow.deployment_settings.deployment_method:
    PACKAGE_PATH = (
        shlex.quote(str(PACKAGE.parent)).replace("{", "{{").replace("}", "}}")
    )
    shell.prefix(f"set -euo pipefail; export PYTHONPATH={PACKAGE_PATH}; ")
share_cache(CONFIG.data.cache)

# What the pages are written with beside their code.
TEMPLATES = PACKAGE / "report" / "templates"


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


def command(name):
    """The shell command of a job."""
    return JOBS[name].command()


def settings_of(name):
    """What a job depends on, as JSON: a function of its wildcards."""
    job = JOBS[name]
    return lambda wildcards: stable_json(
        job.settings(CONFIG, GRID, job.where(wildcards))
    )


def code_of(name):
    """The digest of what a job runs: a function of its wildcards."""
    job = JOBS[name]
    return lambda wildcards: code_digest(*job.code(CONFIG, job.where(wildcards)))


def untracked(value):
    """A parameter whose change reruns nothing: Snakemake compares none that may be made from outputs."""
    return lambda wildcards, output: value


# Where the files of data sets and plug-ins are found; what is found there is the same everywhere.
DATA_PLACES = untracked(stable_json(CONFIG.data))
PLUGIN_FILES = untracked(
    shlex.join(["--plugins", *map(str, PLUGINS)]) if PLUGINS else ""
)


def plugin_words(wildcards):
    """What jobs that cannot load plug-ins are told of them."""
    told = told_of(CONFIG)
    return shlex.join(["--plugins", json.dumps(told, sort_keys=True)]) if told else ""


def figure_caption(wildcards, output):
    """The sentences under a figure in Snakemake's own report; untracked."""
    return registry.entry("figure", wildcards.figure).words["caption"]


def data_files(wildcards):
    """Digest of the user's files behind a data set."""
    return files_digest(CONFIG.data, wildcards.dataset)


def shown_path(path):
    """A path inside the workflow's folder or the working directory; of one elsewhere, the name, as it may be private."""
    for folder in (PACKAGE.parent, Path.cwd()):
        if path.resolve().is_relative_to(folder):
            return str(path.resolve().relative_to(folder))
    return path.name


# What makes the claims again, as typed in the workflow's folder; a module's files may have a prefix.
REBUILD_CLAIMS = snakemake_command(
    workflow.modifier.modify_path(CLAIMS),
    map(shown_path, workflow.overwrite_configfiles or CONFIG_FILES),
    GIVEN,
)


def gpus_wanted(wildcards):
    """1 where attacks run on a GPU: asked for, or found on this machine."""
    device = CONFIG.engine.device
    return int(device == "cuda" or (device == "auto" and bool(gpus_visible())))


def announcement(measuring):
    """The grid in a line, and what it costs in another; measuring takes some seconds, once a machine and code."""
    asked = ["estimate", "--settings", stable_json(CONFIG), "--cores", JOBS_AT_ONCE]
    asked += [word for path in PLUGINS for word in ("--plugins", path)]
    if measuring:
        told = subprocess.run(
            [sys.executable, "-m", "fldrep", *map(str, asked), "--within", "5"],
            capture_output=True,
            text=True,
        )
        cost = told.stdout.strip() or told.stderr.strip()
    else:
        cost = f"{CONFIG.name}: {estimate(CONFIG, within_s=0).sentence(JOBS_AT_ONCE)}"
    return f"{summary(CONFIG, GRID)}\n{cost}"
