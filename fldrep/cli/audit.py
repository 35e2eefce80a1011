"""`python -m fldrep audit`: one update audited."""

import os
from pathlib import Path
from typing import Annotated

import typer

from fldrep.arguments import refuse
from fldrep.errors import ConfigError, told

FAILED = 3  # exit code where the verdict is recovered, if asked for


def audit_command(
    model: Annotated[str, typer.Option(help="FILE.py:FUNCTION that gives the network; it is run as code")],
    shape: Annotated[str, typer.Option(help="of an image, channels x height x width, such as 3x32x32")],
    out: Annotated[Path, typer.Option(help="folder for result.json, audit.html and the pictures")],
    update: Annotated[
        Path | None, typer.Argument(help="a gradient a parameter, .safetensors or .npz; or a record")
    ] = None,
    weights: Annotated[Path | None, typer.Option(help="the weights that the client began from")] = None,
    before: Annotated[
        Path | None, typer.Option(help="in place of an update: the weights as the client got them")
    ] = None,
    after: Annotated[Path | None, typer.Option(help="and as it sent them back")] = None,
    lr: Annotated[
        float | None, typer.Option(help="the client's step size, with --before and --after, or --epochs")
    ] = None,
    labels: Annotated[str | None, typer.Option(help="classes of the images, if known: 3,7")] = None,
    images: Annotated[int | None, typer.Option(help="images of the client; 1 if nothing tells")] = None,
    clients: Annotated[int, typer.Option(help="the update is the mean of so many clients'")] = 1,
    epochs: Annotated[int | None, typer.Option(help="passes over its images that the client took")] = None,
    batch_size: Annotated[int | None, typer.Option(help="images of each of its steps; all if not given")] = None,
    originals: Annotated[Path | None, typer.Option(help="the client's own images, to judge by: .npy")] = None,
    normalisation: Annotated[str | None, typer.Option(help="a data set's name, none, or MEAN/STD: 0.5/0.25")] = None,
    budget: Annotated[float, typer.Option(help="seconds, by a fixed rate")] = 60.0,
    seed: Annotated[int, typer.Option(help="of what attacks draw")] = 0,
    fail_if_recovered: Annotated[bool, typer.Option("--fail-if-recovered", help="exit code 3 if recovered")] = False,
) -> None:
    """Tell what a server could learn of the images behind one update; write result.json, audit.html and pictures."""
    shape = shape_of(shape)
    labels = None if labels is None else labels_of(labels)
    _require_a_folder(out)
    given = {"update": update, "weights": weights, "before": before, "after": after}

    from tqdm import tqdm

    from fldrep.applications.audit import files
    from fldrep.applications.audit.face import audit
    from fldrep.applications.audit.record import is_record
    from fldrep.applications.audit.verdict import IS_RECOVERED

    alone = weights is before is after is None and not (update and is_record(update))
    network = files.network_from(model, own_weights=alone)
    said = {"lr": lr, "images": images, "epochs": epochs, "batch_size": batch_size}
    told = files.read_given(given, network) | {name: value for name, value in said.items() if value is not None}
    found = audit(
        network,
        **told,
        labels=labels,
        shape=shape,
        budget=budget,
        clients=clients,
        originals=None if originals is None else files.read_images(originals),
        normalisation=None if normalisation is None else constants_of(normalisation),
        seed=seed,
        progress=tqdm,
    )
    found.save(out)
    print(f"{found.verdict}: {found.sentence}")
    print(f"The page: {out / 'audit.html'}")
    if fail_if_recovered and found.verdict in IS_RECOVERED:
        raise typer.Exit(FAILED)


def shape_of(text: str) -> tuple[int, ...]:
    """(C, H, W) of its spelling 3x32x32. Errors: `ConfigError`."""
    parts = text.lower().split("x")
    if len(parts) != 3 or not all(part.isdecimal() and int(part) for part in parts):
        refuse("shape", text, "channels x height x width of an image, such as 3x32x32")
    return tuple(map(int, parts))


def labels_of(text: str) -> list[int]:
    """Class numbers of 3,7. Errors: `ConfigError`."""
    parts = text.split(",")
    if not all(part.strip().isdecimal() for part in parts):
        refuse("labels", text, "class numbers with commas between them, such as 3,7")
    return [int(part) for part in parts]


def constants_of(text: str):
    """A data set's name or `none` as it is; MEAN/STD, numbers a channel, as constants. Errors: `ConfigError`."""
    from fldrep.models.normalisation import Normalisation

    if "/" not in text:
        return text
    try:
        mean, std = (tuple(float(one) for one in part.split(",")) for part in text.split("/"))
    except ValueError:
        refuse(
            "normalisation", text, "a data set's name, none, or MEAN/STD such as 0.5/0.25 or 0.5,0.5,0.5/0.2,0.2,0.2"
        )
    return Normalisation(mean, std)


def _require_a_folder(out: Path) -> None:
    """Errors: `ConfigError` where nothing could be written at the end."""
    try:
        there = next(one for one in (out, *out.absolute().parents) if one.exists())
    except OSError as error:
        raise ConfigError(f"out: {told(out)}: {error.strerror}: expected a folder, or nothing there yet") from None
    if not there.is_dir():
        raise ConfigError(f"out: {told(out)}: expected a folder, or nothing there yet")
    if not os.access(there, os.W_OK):
        raise ConfigError(f"out: {told(out)}: expected a folder that can be written to")
