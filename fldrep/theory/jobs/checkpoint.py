"""The model that a job looks at."""

from pathlib import Path

from fldrep.config.models import ModelSettings
from fldrep.models.checkpoint import model_for, read_checkpoint
from fldrep.models.model import Model
from fldrep.storage.imageset import ImageSet
from fldrep.storage.places import Run


def model_at(run: Run, round: int, settings: ModelSettings, data: ImageSet, checkpoints: Path) -> Model:
    """The model of a run after a round, in eval mode."""
    model = model_for(run, settings, data)
    model.load_state_dict(read_checkpoint(checkpoints, round, model.state_dict()))
    return model.eval()
