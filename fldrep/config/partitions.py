"""How training images are split among clients."""

from typing import Literal

from pydantic import model_validator

from fldrep.config.section import Natural, Positive, Section, option


class PartitionSettings(Section):
    """How training images are dealt to clients."""

    method: Literal["iid", "label-skew", "dirichlet"] = option("iid", "how training images are dealt to clients")
    clients: Positive = option(100, "number of clients", source="recalled from the paper (R)")
    classes_per_client: Positive | None = option(
        None, "exact number of classes each client holds (method label-skew)", source="2: recalled from the paper (R)"
    )

    held_out: Natural = option(
        0,
        "training images, drawn at random, that no client holds; accuracy on them is a column of its own, to choose by",
        unit="images",
    )
    alpha: float | None = option(
        None, "concentration of each client's class shares (method dirichlet)", gt=0, source="Hsu et al. 2019"
    )

    @model_validator(mode="after")
    def _check(self):
        for key, method in (("classes_per_client", "label-skew"), ("alpha", "dirichlet")):
            value = getattr(self, key)
            if (self.method == method) != (value is not None):
                raise ValueError(
                    f"{key} belongs to method {method} and only to it: method is {self.method!r}, {key} is {value!r}"
                )
        return self
