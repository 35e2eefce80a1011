"""`python -m fldrep photo`: one photo attacked."""

import json
from pathlib import Path
from typing import Annotated

import typer


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
