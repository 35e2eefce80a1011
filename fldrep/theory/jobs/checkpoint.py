"""The model that a job looks at."""

from pathlib import Path

from fldrep.grid import Run
from fldrep.imageset import ImageSet
from fldrep.models import Model, model_for
from fldrep.settings import ModelSettings
from fldrep.tensors import read_checkpoint


def model_at(run: Run, round: int, settings: ModelSettings, data: ImageSet, checkpoints: Path) -> Model:
    """The model of a run after a round, in eval mode."""
    model = model_for(run, settings, data)
    model.load_state_dict(read_checkpoint(checkpoints, round, model.state_dict()))
    return model.eval()
