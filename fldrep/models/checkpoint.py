"""The network of a run, untrained or after a round."""

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from fldrep.config.models import ModelSettings
from fldrep.errors import DataError
from fldrep.models.building import network_of
from fldrep.models.model import Model
from fldrep.models.normalisation import Normalisation, normalisation_for
from fldrep.seeds import job_seed
from fldrep.storage.imageset import ImageSet
from fldrep.storage.places import Run
from fldrep.storage.tensors import read_tensors, tensor_names, write_tensors


def model_for(run: Run, settings: ModelSettings, images: ImageSet) -> Model:
    """The untrained network of a run; its weights depend on data set, model and seed: never on the defense."""
    seed = job_seed("weights", run.dataset, run.model, run.seed)
    return network_of(settings, images.shape, images.classes, seed)


def input_of(settings: ModelSettings, images: ImageSet) -> Normalisation:
    """What a network takes: images normalised with the data set's constants, or pixels."""
    if settings.normalisation == "none":
        return normalisation_for(images.shape[0], "none")
    return Normalisation.of(images.mean, images.std)


def write_checkpoints(
    path: Path | str, states: Mapping[int, Mapping[str, Tensor]], metadata: Mapping[str, str]
) -> None:
    """The model's state after each kept round, in one file: tensor `round-R/NAME`."""
    write_tensors(path, {f"round-{r}/{name}": t for r, state in states.items() for name, t in state.items()}, metadata)


def read_checkpoint(path: Path | str, round: int, expected: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The state of one round, of the shapes of `expected`. Errors: `DataError` naming file, tensor, and the two shapes,
    or a tensor that is not finite."""
    state = read_tensors(path, [f"round-{round}/{name}" for name in expected])
    found = {name: state[f"round-{round}/{name}"] for name in expected}
    for name, value in found.items():
        if value.shape != expected[name].shape:
            raise DataError(f"{path}: {name} has shape {tuple(value.shape)}, expected {tuple(expected[name].shape)}")
        if value.is_floating_point() and not value.isfinite().all():
            raise DataError(f"{path}: {name} of round {round} is not finite")
    return found


def with_checkpoint(model: Model, checkpoints: Path | str, round: int) -> Model:
    """A network as it is after a round, in eval mode. Errors: as for `read_checkpoint`."""
    model.load_state_dict(read_checkpoint(checkpoints, round, model.state_dict()))
    return model.eval()


def read_memory(path: Path | str, round: int, client: int, device: torch.device | str = "cpu") -> dict[str, Tensor]:
    """What a client's defense had kept by a round, {name: tensor}; empty if it keeps nothing. Errors: `DataError`."""
    prefix = f"round-{round}/memory/{client}/"
    names = [name for name in tensor_names(path) if name.startswith(prefix)]
    return {name.removeprefix(prefix): value.to(device) for name, value in read_tensors(path, names).items()}
