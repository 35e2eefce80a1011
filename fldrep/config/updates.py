"""What a client sends."""

from pydantic import model_validator

from fldrep.config.section import Positive, Section, option


class UpdateSettings(Section):
    """What a client sends: the gradient of one batch, or the weight change / lr of several local steps."""

    images: Positive = option(1, "images an update, all of one client; `targets` counts images", unit="images")
    local_epochs: Positive | None = option(
        None, "passes over these images before the client sends; with batch_size and lr, else one gradient of all"
    )
    batch_size: Positive | None = option(None, "images in a local step", unit="images")
    lr: float | None = option(None, "step size of the local steps", gt=0)
    momentum: float | None = option(None, "share of a local step that goes on in the next; 0 if not given", ge=0, lt=1)
    training_mode: bool | None = option(
        None, "whether batch norm normalises by the batch, as it does in training, and its statistics are sent besides"
    )

    @model_validator(mode="after")
    def _check(self):
        local = {key: getattr(self, key) for key in ("local_epochs", "batch_size", "lr")}
        missing = [key for key, value in local.items() if value is None]
        if 0 < len(missing) < len(local):
            raise ValueError(f"local steps need local_epochs, batch_size and lr; {', '.join(missing)} not given")
        if missing and self.momentum is not None:
            raise ValueError("momentum is of local steps; give local_epochs, batch_size and lr")
        if not missing and self.batch_size > self.images:
            raise ValueError(f"batch_size {self.batch_size} is more than the {self.images} images of an update")
        return self

    @property
    def local_steps(self) -> int:
        """Steps of local SGD behind an update; 1 for a gradient."""
        return 1 if self.local_epochs is None else self.local_epochs * -(-self.images // self.batch_size)


SINGLE = "single"  # the update that every config knows: one image, one step
