"""How the paper's theory is checked."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from fldrep.config.section import Name, Natural, Positive, Section, option

EXACT_BYTES = 6 * 2**30  # of the Jacobian of an update, above which it is sketched unless asked otherwise
ROWS_BY_UNKNOWN = 4  # rows of a sketch for each pixel


class LeakageSettings(Section):
    """What the gradient of the last layer tells about a batch: representations and labels."""

    batch_sizes: list[Positive] = option(
        [1, 2, 4, 8, 16, 32], "images in an update; smaller batches are beginnings of larger ones", min_length=1
    )
    batches: Positive = option(10, "updates looked at for each batch size, each of one client")
    public_images: Positive = option(
        500, "first images of the test set, known to the attacker with their labels", unit="images"
    )


class CertificateSettings(Section):
    """Theorem 1: how far a reconstruction must be from the image."""

    points: int = option(9, "points of the segment from image to reconstruction where the Jacobian is measured", ge=2)


class IdentifiabilitySettings(Section):
    """What an update determines of its images, whatever attacks it."""

    prior_std: float = option(
        1.0, "standard deviation of a pixel before anything is sent", unit="data set's deviation", gt=0
    )
    method: Literal["auto", "exact", "sketch"] = option(
        "auto", "the Jacobian as it is, or its rows mixed at random; `auto` mixes what takes more than 6 GiB"
    )


class AccountingSettings(Section):
    """The (epsilon, delta) a client spends over the training."""

    delta: float | None = option(None, "delta, below 1 / clients; clients ** -1.1 if not given", gt=0, lt=1)


class ConvergenceSettings(Section):
    """Theorem 2: softmax regression with L2 by FedAvg, a problem whose constants and optimum can be computed."""

    datasets: list[Name] = option(["mnist"], "data sets, as in `grid`", min_length=1)
    partitions: list[Name] = option(..., "names from `partitions`, which say who holds what", min_length=1)
    rates: list[Annotated[float, Field(gt=0, lt=1)]] = option(
        [0.1, 0.4], "shares of the pixels that Soteria prunes; the unbiased random mask takes the largest", min_length=1
    )
    clients: Positive = option(10, "the partition's first clients")
    images_per_client: Positive = option(200, "the first images of each", unit="images")
    pooled: Positive = option(2, "side of the squares of pixels that are averaged", unit="pixels")
    mu: float = option(0.1, "weight of L2, the strong convexity of every client's loss", gt=0)
    local_steps: Positive = option(1, "local steps E in a round", unit="steps")
    sampled: Positive | None = option(None, "clients K of a round, drawn without replacement; all if not given")
    rounds: Natural = option(2000, "federated rounds", unit="rounds")
    moments: Positive = option(40, "moments kept, spaced geometrically over the rounds")
    repetitions: Positive = option(4, "runs, each with draws of its own")
    batch_size: Positive = option(32, "images in a local step, drawn with replacement", unit="images")

    @model_validator(mode="after")
    def _check(self):
        if self.sampled is not None and self.sampled > self.clients:
            raise ValueError(f"sampled={self.sampled} of clients={self.clients}: there are not so many")
        return self


class TheorySettings(Section):
    """The analyses that a grid entry asks for by its key `theory`, and the problem of theorem 2."""

    leakage: LeakageSettings = option(LeakageSettings(), "how leakage of representations is measured")
    certificate: CertificateSettings = option(CertificateSettings(), "how theorem 1 is checked")
    identifiability: IdentifiabilitySettings = option(
        IdentifiabilitySettings(), "how it is measured what updates determine"
    )
    accounting: AccountingSettings = option(AccountingSettings(), "how privacy spent is accounted")
    convergence: ConvergenceSettings | None = option(None, "how theorem 2 is checked; not checked if not given")
