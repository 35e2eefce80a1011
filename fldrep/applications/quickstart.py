"""One photo, one attack: the reference's quick start, written with this package's public Python face alone."""

import json
import time
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor
from tqdm import tqdm

import fldrep
from fldrep.atomic import atomic_write
from fldrep.config.attacks import attack_settings
from fldrep.defenses.rates import rates_of_update
from fldrep.errors import ConfigError
from fldrep.machine.devices import device_for, device_words
from fldrep.models.face import with_inner_names
from fldrep.models.normalisation import normalisation_for
from fldrep.report.pictures import enlarged, picture_of

ENLARGED = 8  # screen pixels a side of one image pixel in pair.png


@dataclass(frozen=True)
class PhotoSettings:
    """What is attacked and how; the words are those of the Python face."""

    label: int
    attack: str = "gs"
    iterations: int = 300
    restarts: int = 1
    defense: str = "none"
    rate: float | None = None
    rule: str | None = None
    std: float | None = None
    model: str = "convnet"
    width: int | None = None
    init: str = "default"
    classes: int = 10
    seed: int = 0
    device: str = "auto"


def attack_photo(photo: Path, settings: PhotoSettings, out: Path) -> dict[str, object]:
    """Attack one photo, resized to 32 x 32; write original.png, reconstruction.png, pair.png and result.json to `out`.

    Returns what result.json holds: errors of the reconstruction (mse in normalised space, mse_pixel, psnr_db, ssim) and
    of a constant grey image, the effective rates, the gradient distances, and the settings.
    Errors: `DataError` for the photo; `ConfigError`, `UnknownName` and `AttackRefused` for the settings.
    """
    if not 0 <= settings.label < settings.classes:
        raise ConfigError(f"label: {settings.label}: expected 0 to {settings.classes - 1}")
    constants = normalisation_for(3)
    pixels = fldrep.read_photo(photo).unsqueeze(0)
    with device_for(settings.device) as device:
        images = constants.to_input(pixels).to(device)
        labels = torch.tensor([settings.label], device=device)
        model = _untrained(settings).to(device)
        shared = _defended(model, images, labels, settings)
        began = time.perf_counter()
        found = fldrep.reconstruct(
            model,
            shared,
            labels if attack_settings(settings.attack).labels == "known" else None,
            attack=settings.attack,
            iterations=settings.iterations,
            restarts=settings.restarts,
            seed=settings.seed,
            progress=tqdm,
        )
        result = {
            **_errors(found.images, images.cpu()),
            **_rates(shared, model, images, settings),
            "gradient_distance": found.distance.item(),
            "initial_distance": found.initial_distance[0, found.best_restart[0]].item(),
            "diverged": found.diverged[0, found.best_restart[0]].item(),
            "label_found": found.labels_found[0, found.best_restart[0]].item(),
            "runtime_s": round(time.perf_counter() - began, 2),
            "device": device_words(device),
            "photo": Path(photo).name,
            "settings": asdict(settings),
        }
    _write(out, pixels[0], constants.to_pixels(found.images[0]), result)
    return result


def _untrained(settings: PhotoSettings):
    return fldrep.build_model(
        settings.model,
        shape=(3, 32, 32),
        classes=settings.classes,
        init=settings.init,
        width=settings.width,
        seed=settings.seed,
    ).eval()


def _defended(model, images: Tensor, labels: Tensor, settings: PhotoSettings):
    return fldrep.defend(
        fldrep.client_update(model, images, labels),
        settings.defense,
        rate=settings.rate,
        rule=settings.rule,
        std=settings.std,
        model=model,
        images=images,
        labels=labels,
        seed=settings.seed,
    )


def _errors(found: Tensor, images: Tensor) -> dict[str, float]:
    grey = fldrep.compare(torch.zeros_like(images), images).add_prefix("grey_")
    return {**fldrep.compare(found, images).iloc[0], **grey.iloc[0]}


def _rates(shared, model, images: Tensor, settings: PhotoSettings) -> dict[str, float | None]:
    if settings.defense != "soteria":
        return {"live_pruned": None, "norm2_removed": None}
    live, energy = rates_of_update(with_inner_names(model, shared), model, images)
    return {"live_pruned": live.item(), "norm2_removed": energy.item()}


def _write(out: Path, original: Tensor, found: Tensor, result: dict[str, object]) -> None:
    pictures = {"original": original, "reconstruction": found, "pair": torch.cat([original, found], dim=2)}
    with ExitStack() as all_or_none:
        for name, pixels in pictures.items():
            picture = enlarged(picture_of(pixels.numpy()), ENLARGED if name == "pair" else 1)
            picture.save(all_or_none.enter_context(atomic_write(out / f"{name}.png")))
        beside = all_or_none.enter_context(atomic_write(out / "result.json"))
        beside.write_text(json.dumps(result, indent=2, allow_nan=True) + "\n")
