"""Federated training."""

from pydantic import model_validator

from fldrep.config.section import Natural, Positive, Section, option


class TrainSettings(Section):
    """Federated averaging (McMahan et al. 2017, arXiv:1602.05629)."""

    rounds: Natural = option(10, "federated rounds; 0 keeps the untrained model", unit="rounds")
    checkpoints: list[Natural] = option(
        [0], "rounds whose model is kept; 0 is the untrained model", unit="rounds", min_length=1
    )
    fraction: float = option(
        0.1, "share of the clients that train in a round", gt=0, le=1, source="10 of 100: recalled from the paper (R)"
    )
    local_epochs: Positive = option(1, "passes over a client's images in a round", source="recalled from the paper (R)")
    batch_size: Positive = option(32, "images in a local step", source="recalled from the paper (R)")
    lr: float = option(0.1, "step size of local SGD", gt=0, source="the paper's 0.01 is recalled (R)")
    momentum: float | None = option(
        None, "share of a local step that goes on in the next, each round from none; 0 if not given", ge=0, lt=1
    )
    lr_decay: float = option(1.0, "factor on lr after each round", gt=0, le=1)
    test_images: Positive | None = option(None, "test images accuracy is measured on; all if not given", unit="images")

    @model_validator(mode="after")
    def _check(self):
        late = [kept for kept in self.checkpoints if kept > self.rounds]
        if late:
            raise ValueError(f"checkpoints {late} lie after the last round, rounds={self.rounds}")
        return self
