"""`python -m fldrep STAGE ...`: the only place that touches argv. Any command of a log can be pasted and run alone."""

import json
import logging
import sys
from pathlib import Path
from typing import Annotated

import typer

from fldrep.errors import DataError, FLDRepError

app = typer.Typer(
    help="Does a gradient defense protect the clients of federated learning?",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

CAPTIONS = Path(__file__).parents[2] / "workflow" / "report"  # beside the package, where there is a workflow

Dataset = Annotated[str, typer.Option(help="data set")]
ModelName = Annotated[str, typer.Option(help="name of the model in the config")]
Partition = Annotated[str, typer.Option(help="name of the partition in the config")]
Defense = Annotated[str, typer.Option(help="name of the defense in the config")]
Round = Annotated[int, typer.Option(help="checkpoint attacked; 0 is the untrained model")]
UpdateKind = Annotated[str, typer.Option(help="what the client sent: name of the update in the config")]
Attack = Annotated[str, typer.Option(help="name of the attack in the config")]
BlockNumber = Annotated[int, typer.Option("--block", help="block of targets")]
Settings = Annotated[str, typer.Option(help="the config sections the job depends on, as JSON")]
Places = Annotated[str | None, typer.Option(help="the config's section `data`, as JSON: where files are found")]
Code = Annotated[str, typer.Option(help="digest of the code, recorded in the table")]
File = Annotated[Path, typer.Option()]
Seed = Annotated[int, typer.Option(help="repetition of the grid")]
ReadIfNeeded = Annotated[Path | None, typer.Option(help="needed where the figure reads it")]


def main() -> None:
    """Run a command; a user's mistake ends in one line and exit code 2."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    try:
        app()
    except FLDRepError as error:
        print(f"fldrep: error: {error}", file=sys.stderr)
        sys.exit(2)


def parsed(kind: type, settings: str):
    """A section of the config from JSON."""
    from fldrep.config.reading import parse_section

    return parse_section(kind, settings)


@app.command("data")
def data_command(dataset: Dataset, settings: Settings, out: File, places: Places = None) -> None:
    """Fetch, check and store a data set."""
    from fldrep.config.data import DataSettings
    from fldrep.data.datasets import prepare

    data = parsed(DataSettings, settings)
    if places is not None:
        data = parsed(DataSettings, places).model_copy(update={"photo": data.photo})
    prepare(dataset, data, out)


@app.command("partition")
def partition_command(
    dataset: Dataset, partition: Partition, seed: Seed, settings: Settings, images: File, out: File
) -> None:
    """Split the training images of a data set to clients."""
    from fldrep.config.partitions import PartitionSettings
    from fldrep.data.partition import shards_table, split
    from fldrep.seeds import generator
    from fldrep.storage.imageset import ImageSet
    from fldrep.tables.shards import SHARDS

    labels = ImageSet.read(images).train_labels
    shards = split(labels, parsed(PartitionSettings, settings), generator(dataset, partition, "deal", seed))
    SHARDS.write(shards_table(shards, labels), out)


@app.command("train")
def train_command(
    dataset: Dataset,
    model: ModelName,
    partition: Partition,
    defense: Defense,
    seed: Seed,
    settings: Settings,
    images: File,
    shards: File,
    training: File,
    checkpoints: File,
    code: Code = "",
    threads: int = 1,
) -> None:
    """Train by FedAvg, with a defense in each client."""
    from fldrep.storage.places import Run
    from fldrep.train.job import TrainJob, train_run

    job = parsed(TrainJob, settings)
    train_run(Run(dataset, model, partition, defense, seed), job, images, shards, training, checkpoints, code, threads)


@app.command("attack")
def attack_command(
    dataset: Dataset,
    model: ModelName,
    partition: Partition,
    defense: Defense,
    seed: Seed,
    round: Round,
    update_kind: UpdateKind,
    attack: Attack,
    block: BlockNumber,
    settings: Settings,
    images: File,
    shards: File,
    checkpoints: File,
    attack_runs: File,
    reconstructions: File,
    code: Code = "",
) -> None:
    """Attack a block of targets at one checkpoint of a training run."""
    from fldrep.attack.job import AttackJob, attack_block
    from fldrep.storage.places import Block, Run

    where = Block(Run(dataset, model, partition, defense, seed), round, update_kind, attack, block)
    job = parsed(AttackJob, settings)
    attack_block(where, job, images, shards, checkpoints, attack_runs, reconstructions, code)


@app.command("leakage")
def leakage_command(
    dataset: Dataset,
    model: ModelName,
    partition: Partition,
    defense: Defense,
    seed: Seed,
    round: Round,
    settings: Settings,
    images: File,
    shards: File,
    checkpoints: File,
    out: File,
    code: Code = "",
) -> None:
    """Read representations and labels from updates at one checkpoint of a training run."""
    from fldrep.config.jobs import LeakageJob
    from fldrep.storage.places import Run
    from fldrep.theory.jobs.leakage import leakage_job

    job = parsed(LeakageJob, settings)
    leakage_job(Run(dataset, model, partition, defense, seed), round, job, images, shards, checkpoints, out, code)


@app.command("certificate")
def certificate_command(
    dataset: Dataset,
    model: ModelName,
    partition: Partition,
    defense: Defense,
    seed: Seed,
    round: Round,
    update_kind: UpdateKind,
    attack: Attack,
    block: BlockNumber,
    settings: Settings,
    images: File,
    checkpoints: File,
    reconstructions: File,
    out: File,
    code: Code = "",
) -> None:
    """Check theorem 1 on what an attack job found."""
    from fldrep.config.jobs import CertificateJob
    from fldrep.storage.places import Block, Run
    from fldrep.theory.jobs.certificate import certificate_job

    where = Block(Run(dataset, model, partition, defense, seed), round, update_kind, attack, block)
    certificate_job(where, parsed(CertificateJob, settings), images, checkpoints, reconstructions, out, code)


@app.command("convergence")
def convergence_command(
    dataset: Dataset,
    partition: Partition,
    seed: Seed,
    settings: Settings,
    images: File,
    shards: File,
    out: File,
    code: Code = "",
) -> None:
    """Check theorem 2 on softmax regression over the images of a few clients."""
    from fldrep.config.theory import ConvergenceSettings
    from fldrep.storage.places import Split
    from fldrep.theory.jobs.convergence import convergence_job

    convergence_job(Split(dataset, partition, seed), parsed(ConvergenceSettings, settings), images, shards, out, code)


@app.command("accounting")
def accounting_command(
    dataset: Dataset,
    model: ModelName,
    partition: Partition,
    defense: Defense,
    seed: Seed,
    settings: Settings,
    images: File,
    shards: File,
    out: File,
    code: Code = "",
) -> None:
    """Account for the (epsilon, delta) that a client spends over a training run."""
    from fldrep.config.jobs import AccountingJob
    from fldrep.storage.places import Run
    from fldrep.theory.jobs.accounting import accounting_job

    job = parsed(AccountingJob, settings)
    accounting_job(Run(dataset, model, partition, defense, seed), job, images, shards, out, code)


@app.command("metrics")
def metrics_command(
    settings: Settings,
    results: File,
    attacks: File,
    training: File,
    gallery: File,
    leakage: File,
    certificate: File,
    convergence: File,
    accounting: File,
) -> None:
    """Judge every reconstruction of the grid; gather the training histories and the analyses."""
    from fldrep.config.jobs import MetricsJob
    from fldrep.metrics.collect import collect

    analyses = {
        "leakage": leakage,
        "certificate": certificate,
        "convergence": convergence,
        "accounting": accounting,
    }
    collect(parsed(MetricsJob, settings), results, attacks, training, gallery, analyses)


@app.command("figures")
def figures_command(
    figure: Annotated[str, typer.Option(help="name of the figure")],
    out: File,
    attacks: ReadIfNeeded = None,
    training: ReadIfNeeded = None,
    gallery: ReadIfNeeded = None,
    leakage: ReadIfNeeded = None,
    certificate: ReadIfNeeded = None,
    convergence: ReadIfNeeded = None,
) -> None:
    """Draw one figure from the tables that it reads."""
    from fldrep.figures import render

    inputs = {
        "attacks": attacks,
        "training": training,
        "gallery": gallery,
        "leakage": leakage,
        "certificate": certificate,
        "convergence": convergence,
    }
    render(figure, inputs, out)


@app.command("schema")
def schema_command(
    schema: File = Path("workflow/schemas/config.schema.json"),
    readme: File = Path("config/README.md"),
) -> None:
    """Write the config's JSON schema and its documentation from the settings."""
    from fldrep.atomic import atomic_write
    from fldrep.config.docs import config_schema, config_tables

    try:
        head, mark, _ = readme.read_text(encoding="utf-8").partition(GENERATED)
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{readme}: cannot be read: {error}") from None
    with atomic_write(schema) as beside_schema, atomic_write(readme) as beside_readme:
        beside_schema.write_text(json.dumps(config_schema(), indent=2) + "\n")
        beside_readme.write_text(f"{head}{mark or GENERATED}\n\n{config_tables()}", encoding="utf-8")


@app.command("claims")
def claims_command(
    settings: Settings,
    config_file: Annotated[str, typer.Option(help="the config's path, for the command that rebuilds a row")],
    attacks: File,
    training: File,
    leakage: File,
    certificate: File,
    convergence: File,
    accounting: File,
    table: File,
    page: File,
) -> None:
    """Judge the claims of the paper and of this audit on the final tables."""
    from fldrep.config.whole import Config
    from fldrep.report.claims import write_claims

    tables = {
        "attacks": attacks,
        "training": training,
        "leakage": leakage,
        "certificate": certificate,
        "convergence": convergence,
        "accounting": accounting,
    }
    write_claims(parsed(Config, settings), tables, config_file, table, page)


@app.command("report")
def report_command(
    figures: Annotated[list[Path], typer.Argument(help="pictures, in the order of the page")],
    settings: Settings,
    attacks: File,
    training: File,
    claims: File,
    leakage: File,
    certificate: File,
    convergence: File,
    accounting: File,
    out: File,
    captions: Annotated[
        Path | None, typer.Option(help="folder with a sentence NAME.rst for each figure; the workflow's if not given")
    ] = None,
) -> None:
    """Write the page: one self-contained file."""
    from fldrep.config.whole import Config
    from fldrep.machine.origin import provenance
    from fldrep.report.page import write_page

    captions = captions or (CAPTIONS if CAPTIONS.is_dir() else None)
    analyses = {
        "leakage": leakage,
        "certificate": certificate,
        "convergence": convergence,
        "accounting": accounting,
    }
    write_page(parsed(Config, settings), attacks, training, claims, analyses, figures, provenance(), out, captions)


@app.command("publish")
def publish_command(
    config: Annotated[
        Path | None, typer.Argument(help="a config file whose results are there; none: README only")
    ] = None,
    results: Annotated[Path, typer.Option(help="the folder that holds results/ and reports/")] = Path("."),
    out: Annotated[Path, typer.Option(help="the folder of published results")] = Path("docs/results"),
    readme: Annotated[Path, typer.Option(help="the text whose blocks of numbers are written anew")] = Path("README.md"),
    commit: Annotated[str | None, typer.Option(help="what made the results, where their page knows no commit")] = None,
) -> None:
    """Publish the results of a config: tables, claims and figures, what made them, and the README's numbers."""
    from fldrep.atomic import atomic_write
    from fldrep.config.reading import read_config
    from fldrep.figures import figures_of
    from fldrep.report.publish import publish, table_sizes
    from fldrep.report.readme import filled, names_in, readme_blocks

    try:
        text = readme.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{readme}: cannot be read: {error}") from None
    names = names_in(text)
    if config is not None:
        folder = publish(config, results, out, figures_of(read_config(config)), commit)
        print(f"{folder}: {sum(table_sizes(folder).values()) / 1e6:.2f} MB of tables")
    blocks, lacking = readme_blocks(out, names)
    with atomic_write(readme) as beside:
        beside.write_text(filled(text, blocks), encoding="utf-8")
    print(f"{readme}: {len(blocks)} of {len(names)} blocks written")
    for name, source in lacking.items():
        print(f"{readme}: block {name} left as it is: there is no {out / source}")


@app.command("estimate")
def estimate_command(
    config: Annotated[Path, typer.Argument(help="a config file")] = Path("config/config.yaml"),
    settings: Annotated[str | None, typer.Option(help="the whole config as JSON, in place of the file")] = None,
    cores: Annotated[int, typer.Option(help="jobs at once", min=1)] = 1,
    device: Annotated[str | None, typer.Option(help="cpu or cuda; what attacks would take, if not given")] = None,
    within: Annotated[float | None, typer.Option(help="seconds after which no more costs are measured", min=0)] = None,
) -> None:
    """Tell how many jobs, hours and gigabytes a config means, from a short calibration on this device."""
    import math

    from fldrep.config.reading import read_config
    from fldrep.config.whole import Config
    from fldrep.plan.estimate import estimate

    whole = read_config(config) if settings is None else parsed(Config, settings)
    print(f"{whole.name}: {estimate(whole, device, math.inf if within is None else within).sentence(cores)}")


@app.command("photo")
def photo_command(
    photo: Annotated[Path, typer.Argument(help="a picture file")],
    label: Annotated[int, typer.Option(help="its class, 0 to classes - 1", min=0)],
    out: Annotated[Path, typer.Option(help="folder for the pictures and result.json")],
    attack: Annotated[str, typer.Option(help="dlg, idlg, gs, gs-masked, gs-drop, gs-pruned, ...")] = "gs",
    iterations: Annotated[int, typer.Option(help="optimiser steps, as the attack's optimiser counts them")] = 300,
    restarts: Annotated[int, typer.Option(help="initial points tried")] = 1,
    defense: Annotated[str, typer.Option(help="none, soteria, compression, gaussian or laplace")] = "none",
    rate: Annotated[float | None, typer.Option(help="share pruned, in [0, 1]")] = None,
    rule: Annotated[str | None, typer.Option(help="how Soteria ranks features")] = None,
    std: Annotated[float | None, typer.Option(help="standard deviation of the noise")] = None,
    model: Annotated[str, typer.Option(help="lenet or convnet")] = "convnet",
    width: Annotated[int | None, typer.Option(help="channels of ConvNet's first convolution; 64 if not given")] = None,
    init: Annotated[str, typer.Option(help="default, or uniform (-0.5, 0.5)")] = "default",
    classes: Annotated[int, typer.Option(help="classes of the model")] = 10,
    seed: Annotated[int, typer.Option(help="seed of weights, initial point and noise")] = 0,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda")] = "auto",
) -> None:
    """Attack one photo, as the reference's quick start does; write the pictures and result.json."""
    from fldrep.applications.quickstart import PhotoSettings, attack_photo

    settings = PhotoSettings(
        label=label,
        attack=attack,
        iterations=iterations,
        restarts=restarts,
        defense=defense,
        rate=rate,
        rule=rule,
        std=std,
        model=model,
        width=width,
        init=init,
        classes=classes,
        seed=seed,
        device=device,
    )
    print(json.dumps(attack_photo(photo, settings, out), indent=2))


GENERATED = "<!-- generated by `python -m fldrep schema` from fldrep/config; edit there -->"
