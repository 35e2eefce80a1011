"""The provenance of a finished run as an RO-Crate: what was run, with what, and what came of it, for other programs.

A crate is a zip file of the results with a description in JSON-LD. This one follows the profile Workflow Run Crate 0.5
(w3id.org/ro/wfrun/workflow): one action, the run, of one workflow, with its config as input and its tables, figures and
pages as outputs.
"""

import hashlib
import mimetypes
from collections.abc import Iterator
from datetime import UTC, datetime
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from fldrep import registry
from fldrep.config.reading import read_config
from fldrep.config.whole import Config
from fldrep.errors import ConfigError, DataError
from fldrep.machine.origin import PACKAGE
from fldrep.plan.notes import made
from fldrep.report.record import Record, read_record
from fldrep.report.results_folder import check_config
from fldrep.storage.places import CLAIMS, CLAIMS_PAGE, FIGURE, GALLERY, RECORD, REPORT, final_table
from fldrep.tables.final import FINAL

if TYPE_CHECKING:
    from rocrate.model.contextentity import ContextEntity
    from rocrate.model.file import File
    from rocrate.rocrate import ROCrate

ROCRATE = "1.1"  # what the profiles stand on
PROFILES = {
    "https://w3id.org/ro/wfrun/process/0.5": ("Process Run Crate", "0.5"),
    "https://w3id.org/ro/wfrun/workflow/0.5": ("Workflow Run Crate", "0.5"),
    "https://w3id.org/workflowhub/workflow-ro-crate/1.0": ("Workflow RO-Crate", "1.0"),
}
SHA256 = {"sha256": "http://schema.org/sha256"}  # a term that its context lacks
LICENSE = "https://spdx.org/licenses/MIT"
COMPLETED = "http://schema.org/CompletedActionStatus"
OF_WORKFLOWS = "https://bioschemas.org/profiles/ComputationalWorkflow/1.0-RELEASE"
PARQUET = "application/vnd.apache.parquet"
TYPES = {".parquet": PARQUET, ".safetensors": "application/octet-stream", ".yaml": "text/yaml"}
README = """# {name}

{description}

- `reports/`: the result on one page (open `report.html`), its figures, and every claim with its verdict.
- `results/`: every row of every table, as Parquet; columns, units and meanings are in the files.
- `config/`: what was asked for; `workflow/`: the Snakemake workflow that ran. Its package is not in here.
- `ro-crate-metadata.json`: all of this for programs, as a Workflow Run RO-Crate, with the digest of every file.
"""


class Output(NamedTuple):
    """A file that a run made: where it lies, what it is, and of which output of the workflow it is one."""

    path: Path
    name: str
    output: str


def write_crate(config_file: Path, out: Path, folder: Path = Path()) -> Path:
    """Write the crate of a config's finished run as a zip file; returns it.

    Args: folder: the one in which the workflow ran. Errors: `ConfigError` where the config is not that of the run, or
    `rocrate` is not installed; `DataError` naming a file that is missing.
    """
    try:
        from rocrate.rocrate import ROCrate
    except ModuleNotFoundError:
        raise ConfigError("crate: the package rocrate is not installed; run: pip install 'fldrep[crate]'") from None
    config = read_config(config_file)
    record = read_record(folder / "reports" / config.name / RECORD)
    check_config(config, record, config_file)
    files = list(outputs(config, record, folder))
    missing = [str(one.path) for one in files if not one.path.is_file()]
    if missing:
        raise DataError(f"{missing[0]}: missing, so the run is not finished; run snakemake")
    crate = ROCrate(version=ROCRATE)
    _describe(crate, config, record)
    workflow = _workflow(crate, record)
    _run(crate, workflow, config_file, config, record, files, folder)
    out.parent.mkdir(parents=True, exist_ok=True)
    return Path(crate.write_zip(out))


def outputs(config: Config, record: Record, folder: Path) -> Iterator[Output]:
    """What a finished run made that is kept: the final tables, figures, claims, the page and the gallery."""
    results, reports = folder / "results" / config.name, folder / "reports" / config.name
    for name in FINAL:
        yield Output(results / final_table(name), f"table {name}", "tables")
    yield Output(results / GALLERY, "pictures kept for figures, by name", "tables")
    for name in record.figures:
        title = registry.entry("figure", name).words["title"]
        yield Output(reports / FIGURE.format(figure=name), f"figure: {title}", "figures")
    yield Output(reports / CLAIMS, "table claims", "claims")
    yield Output(reports / CLAIMS_PAGE, "the claims as a page", "claims")
    yield Output(reports / REPORT, "the report as one page", "report")
    yield Output(reports / RECORD, "what the report was made from", "report")


OUTPUTS = {
    "tables": "every row of every table, as Parquet, and the pictures behind the figures",
    "figures": "one PNG a figure",
    "claims": "each claim with its verdict, cell by cell",
    "report": "the whole result on one page",
}


def _describe(crate: "ROCrate", config: Config, record: Record) -> None:
    """What the crate as a whole is."""
    from rocrate.model.contextentity import ContextEntity

    profiles = [
        ContextEntity(crate, profile, {"@type": ["CreativeWork", "Profile"], "name": name, "version": version})
        for profile, (name, version) in PROFILES.items()
    ]
    license_of = {"@type": "CreativeWork", "name": "MIT License", "identifier": LICENSE, "url": LICENSE}
    crate.add(*profiles, ContextEntity(crate, LICENSE, license_of))
    crate.metadata.extra_terms.update(SHA256)
    crate.root_dataset["conformsTo"] = profiles
    crate.name = f"FLDRep: run of the config {config.name}"
    crate.description = (
        f"Gradient defenses of federated learning, attacked: the results of the config {config.name}, made "
        f"{record.facts['made']} by commit {record.facts['commit']} on {record.facts['machine']}."
    )
    crate.license = crate.get(LICENSE)
    crate.keywords = ["federated learning", "gradient inversion", "privacy"]
    text = StringIO(README.format(name=crate.name, description=crate.description))
    about = {"name": "what is in here", "encodingFormat": "text/markdown", "about": crate.root_dataset}
    crate.add_file(text, "README.md", properties=about)


def _workflow(crate: "ROCrate", record: Record) -> "File":
    """The workflow that ran, with the files of its rules and environments and the engine that ran it."""
    from rocrate.model.computerlanguage import snakemake

    place = PACKAGE.parent / "workflow"
    if not (place / "Snakefile").is_file():
        raise DataError(f"{place}: no workflow beside the package; run this in a clone of the repository")
    said = {
        "name": "FLDRep",
        "description": "Trains networks by FedAvg under gradient defenses, attacks what clients send, and judges both.",
        "version": record.versions["fldrep"],
        "identifier": record.facts["commit"],
        "license": {"@id": LICENSE},
        "conformsTo": {"@id": OF_WORKFLOWS},
        "encodingFormat": "text/plain",
    }
    language = crate.add(snakemake(crate, record.versions["snakemake"]))
    workflow = crate.add_workflow(place / "Snakefile", "workflow/Snakefile", properties=said, main=True, lang=language)
    parts = [path for folder in ("rules", "envs", "schemas", "report") for path in sorted((place / folder).iterdir())]
    names = {path: f"workflow/{path.relative_to(place).as_posix()}" for path in parts}
    workflow["hasPart"] = [
        crate.add_file(path, name, properties=_told(path, "of the workflow")) for path, name in names.items()
    ]
    return workflow


def _run(
    crate: "ROCrate",
    workflow: "File",
    config_file: Path,
    config: Config,
    record: Record,
    files: list[Output],
    folder: Path,
) -> None:
    """The action: its instrument, what went in and came out, and when."""
    asked = _parameter(crate, "config", "the config: what is trained, defended and attacked", "text/yaml")
    workflow["input"] = asked
    slots = {name: _parameter(crate, name, meaning) for name, meaning in OUTPUTS.items()}
    workflow["output"] = list(slots.values())
    given = {**_told(config_file, "the config of the run"), "exampleOfWork": asked, "encodingFormat": "text/yaml"}
    settings = crate.add_file(config_file, f"config/{config_file.name}", properties=given)
    made_files = [
        crate.add_file(
            one.path,
            one.path.relative_to(folder).as_posix(),
            properties={**_told(one.path, one.name), "exampleOfWork": slots[one.output]},
        )
        for one in files
    ]
    began, ended = times_of(config, record, folder)
    said = {
        "@type": "CreateAction",
        "name": f"run of the config {config.name}",
        "description": f"snakemake --cores all --configfile {config_file.name}",
        "startTime": began.isoformat(),
        "endTime": ended.isoformat(),
        "actionStatus": COMPLETED,
    }
    action = crate.add_action(workflow, "#run", object=settings, result=made_files, properties=said)
    workflow["softwareRequirements"] = [
        crate.add(_software(crate, name, version))
        for name, version in record.versions.items()
        if name != "fldrep" and version[0].isdigit()
    ]
    crate.root_dataset["mentions"] = action


def _software(crate: "ROCrate", name: str, version: str) -> "ContextEntity":
    """A package of Python, or Python itself."""
    from rocrate.model.softwareapplication import SoftwareApplication

    address = "https://www.python.org/" if name == "python" else f"https://pypi.org/project/{name}/"
    return SoftwareApplication(crate, address, {"name": name, "version": version, "url": address})


def _parameter(crate: "ROCrate", name: str, meaning: str, encoding: str = "") -> "ContextEntity":
    """An input or output of the workflow, which files of a run are examples of."""
    more = {"encodingFormat": encoding} if encoding else {}
    return crate.add_formal_parameter(name, "File", f"#{name}", meaning, valueRequired=True, properties=more)


def _told(path: Path, name: str) -> dict[str, str]:
    """What is said of a file: what it is, its size, its type and its digest."""
    content = path.read_bytes()
    guessed = TYPES.get(path.suffix) or mimetypes.guess_type(path.name)[0] or "text/plain"
    return {
        "name": name,
        "contentSize": str(len(content)),
        "encodingFormat": guessed,
        "sha256": hashlib.sha256(content).hexdigest(),
    }


def times_of(config: Config, record: Record, folder: Path) -> tuple[datetime, datetime]:
    """When the first job of what lies there began and the last one ended; if that is not noted, when the page was made.

    Jobs that were not made again by the last run count too: the results are theirs as well.
    """
    starts = (f"results/{config.name}/", f"reports/{config.name}/")
    notes = [note for path, note in made(folder).items() if path.startswith(starts)]
    if not notes:
        page = datetime.strptime(record.facts["made"], "%Y-%m-%d %H:%M UTC").replace(tzinfo=UTC)
        return page, page
    began, ended = min(note.began for note in notes), max(note.ended for note in notes)
    return datetime.fromtimestamp(round(began), UTC), datetime.fromtimestamp(round(ended), UTC)
