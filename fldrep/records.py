"""Parquet tables: every column's type, unit and meaning, declared once. Figures and the page read only these tables.

Importing this module does not import torch.
"""

from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from fldrep.errors import DataError
from fldrep.files import written_beside

TYPES = {
    "str": pa.string(),
    "int": pa.int64(),
    "float": pa.float64(),
    "bool": pa.bool_(),
}


@dataclass(frozen=True)
class Column:
    """One column: its name, its type (a key of `TYPES`), its unit and what it says; `null` where it may be absent."""

    name: str
    type: str
    meaning: str
    unit: str = ""
    null: bool = False


@dataclass(frozen=True)
class Table:
    """A named, versioned list of columns."""

    name: str
    version: int
    columns: tuple[Column, ...]

    @property
    def names(self) -> list[str]:
        """The columns' names, in order."""
        return [column.name for column in self.columns]

    def arrow_schema(self) -> pa.Schema:
        """The Arrow schema, each field with its unit and meaning, the table with its name and version."""
        fields = [pa.field(c.name, TYPES[c.type], c.null, {"unit": c.unit, "meaning": c.meaning}) for c in self.columns]
        return pa.schema(fields, {"fldrep_table": self.name, "fldrep_version": str(self.version)})

    def write(self, rows: pd.DataFrame | list[dict], path: Path | str) -> None:
        """Write rows atomically. Errors: `DataError` naming the column that is missing, unknown or of another type."""
        frame = pd.DataFrame(rows, columns=None if len(rows) else self.names)
        missing = [name for name in self.names if name not in frame]
        unknown = [name for name in frame if name not in self.names]
        if missing or unknown:
            raise DataError(f"table {self.name}: missing columns {missing}, unknown columns {unknown}")
        for column in self.columns:
            if not column.null and frame[column.name].isna().any():
                raise DataError(f"table {self.name}: column {column.name} has empty cells")
        try:
            table = pa.Table.from_pandas(frame[self.names], self.arrow_schema(), preserve_index=False)
            table.validate(full=True)
        except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
            raise DataError(f"table {self.name}: {error}") from None
        with written_beside(Path(path)) as beside:
            pq.write_table(table, beside)

    def read(self, path: Path | str) -> pd.DataFrame:
        """Read a table written by `write`. Errors: `DataError` naming the file and what is wrong with it."""
        try:
            with pq.ParquetFile(path) as file:  # one file: names of folders add no columns
                table = file.read()
        except (OSError, pa.ArrowException) as error:
            raise DataError(f"{path}: not a readable Parquet table: {str(error).splitlines()[0]}") from None
        meta = table.schema.metadata or {}
        found = tuple(meta.get(key, b"?").decode(errors="replace") for key in (b"fldrep_table", b"fldrep_version"))
        if found != (self.name, str(self.version)):
            raise DataError(
                f"{path}: holds table {found[0]!r} version {found[1]}, expected {self.name!r} version {self.version}"
            )
        missing = [name for name in self.names if name not in table.column_names]
        if missing:
            raise DataError(f"{path}: missing columns {missing}")
        for column in self.columns:
            stored = table.schema.field(column.name).type
            if stored != TYPES[column.type]:
                raise DataError(f"{path}: column {column.name} holds {stored}, expected {TYPES[column.type]}")
            if not column.null and table[column.name].null_count:
                raise DataError(f"{path}: column {column.name} has empty cells, expected none")
        return table.select(self.names).to_pandas()


CODE = Column("code", "str", "digest of the code that made the row")

RUN = (
    Column("dataset", "str", "data set"),
    Column("model", "str", "name of the model in the config"),
    Column("partition", "str", "name of the partition in the config"),
    Column("defense", "str", "name of the defense in the config"),
    Column("method", "str", "what the defense does: none, soteria, compression, gaussian, laplace"),
    Column("rule", "str", "Soteria's ranking rule, empty for other methods"),
    Column("rate", "float", "nominal rate of pruning", "share in [0, 1]", null=True),
    Column("std", "float", "standard deviation of the noise", "gradient entries", null=True),
    Column("seed", "int", "repetition of the grid"),
)

SHARDS = Table(
    "shards",
    1,
    (
        Column("client", "int", "client that holds the image"),
        Column("index", "int", "position of the image in the training set"),
        Column("label", "int", "class of the image"),
    ),
)

UTILITY = Table(
    "utility",
    1,
    (
        *RUN,
        Column("round", "int", "round just finished; 0 is the untrained model", "rounds"),
        Column("test_images", "int", "test images that accuracy and loss are measured on", "images"),
        Column("test_accuracy", "float", "share of these images classified correctly", "share in [0, 1]"),
        Column("test_loss", "float", "mean cross entropy over these images", "nats"),
        Column("update_norm", "float", "L2 norm of the averaged weight change / lr", null=True),
        Column("lr", "float", "step size of local SGD in this round", null=True),
        Column("clients", "int", "clients that trained in this round"),
        Column("train_s", "float", "local training of all clients of the round", "seconds"),
        Column("defense_s", "float", "part of train_s spent in the defense", "seconds"),
        Column("evaluate_s", "float", "evaluation on the test set", "seconds"),
        Column("dense_bytes", "int", "float32 size of one client's update", "bytes"),
        Column(
            "sent_bytes",
            "float",
            "mean size of what a client sends: each tensor dense (4 bytes an entry) or sparse (8 bytes a non-zero one),"
            " whichever is smaller",
            "bytes",
        ),
        Column("live_rate", "float", "mean share of live features that Soteria prunes", "share in [0, 1]", null=True),
        Column("train_scores", "str", "how Soteria's Jacobian norms were had in training, empty for other methods"),
        Column(
            "agreement",
            "float",
            "at checkpoints: share of what the training mask prunes that the exact one prunes too, mean over images",
            "share in [0, 1]",
            null=True,
        ),
        CODE,
    ),
)

ATTACK_IDENTITY = (
    *RUN,
    Column("round", "int", "checkpoint attacked; 0 is the untrained model", "rounds"),
    Column("sent", "str", "what the client sent: name of the update in the config"),
    Column("images", "int", "images an update holds", "images"),
    Column("local_steps", "int", "steps of local SGD behind an update; 1 for a gradient", "steps"),
    Column("attack", "str", "name of the attack in the config"),
    Column("preset", "str", "attack it is a variant of"),
    Column("label_strategy", "str", "known, inferred or optimised"),
    Column("block", "int", "job the target was attacked in"),
    Column("target", "int", "number of the attacked image"),
    Column("restart", "int", "initial point"),
)

ATTACK_OUTCOME = (
    Column("chosen", "bool", "this restart has the smallest gradient distance of the target's update, diverged last"),
    Column("client", "int", "client that holds the image"),
    Column("index", "int", "position of the image in the training set"),
    Column("label", "int", "true class"),
    Column("label_found", "int", "class the attack used or found, in the table `attacks` for the matched image"),
    Column("iterations", "int", "optimiser steps done", "steps"),
    Column("initial_distance", "float", "gradient distance of the initial point", null=True),
    Column("gradient_distance", "float", "gradient distance of the result", null=True),
    Column("diverged", "bool", "not finite, or the gradient distance ended above its initial value"),
    Column("live_rate", "float", "share of live features pruned in the target's update", "share in [0, 1]", null=True),
    Column("energy_removed", "float", "share of the squared norm of r removed", "share in [0, 1]", null=True),
    Column("runtime_s", "float", "seconds of the block's attack / (targets x restarts)", "seconds"),
    Column("device", "str", "device and precision"),
    Column("chunk", "int", "updates x restarts worked at once, as asked or as fitted into memory", "problems"),
    CODE,
)

# What an attack job writes; the metrics stage adds the images' errors and makes ATTACKS of it.
ATTEMPTS = Table("attempts", 2, (*ATTACK_IDENTITY, *ATTACK_OUTCOME))

IMAGE_METRICS = ("mse", "mse_pixel", "psnr_db", "ssim")


def _image_columns(prefix: str, whose: str) -> tuple[Column, ...]:
    return (
        Column(prefix + "mse", "float", f"mean squared error of {whose}, normalised space", "data set std squared"),
        Column(
            prefix + "mse_pixel", "float", f"mean squared error of {whose}, clamped to [0, 1]", "pixel range squared"
        ),
        Column(prefix + "psnr_db", "float", f"peak signal-to-noise ratio of {whose}, pixels, data range 1", "dB"),
        Column(prefix + "ssim", "float", f"structural similarity of {whose}, gaussian weights, sigma 1.5"),
    )


ATTACKS = Table(
    "attacks",
    2,
    (
        *ATTACK_IDENTITY,
        *ATTACK_OUTCOME,
        Column("match", "int", "which reconstruction of its update is set against the target, by least mse_pixel"),
        *(
            Column(c.name, c.type, c.meaning, c.unit, null=True)
            for c in _image_columns("", "the reconstruction (empty where it is not finite)")
        ),
        Column("recovered", "bool", "ssim at or above the config's threshold"),
        *_image_columns("grey_", "a constant image at the data set's mean: the no-information line"),
        *_image_columns("class_mean_", "the mean training image of the target's class: the no-information line"),
    ),
)

# What the theory stage writes, and the metrics stage gathers.

LOOKED_AT = Column("round", "int", "checkpoint looked at; 0 is the untrained model", "rounds")


def _correlation(name: str, meaning: str) -> Column:
    return Column(name, "float", f"mean over the classes present of {meaning}", "correlation in [-1, 1]", null=True)


def _share(name: str, meaning: str) -> Column:
    return Column(name, "float", f"share of the batch's labels found {meaning}", "share in [0, 1]")


LEAKAGE = Table(
    "leakage",
    1,
    (
        *RUN,
        LOOKED_AT,
        Column("batch_size", "int", "images in the update", "images"),
        Column("batch", "int", "number of the batch; the same images under every defense"),
        Column("client", "int", "client that holds the batch"),
        Column("classes_present", "int", "different labels in the batch", "classes"),
        _correlation("correlation", "Pearson's correlation of dL/dW over dL/db with the class's mean representation"),
        _correlation("correlation_kept", "the same over features whose column of dL/dW was sent"),
        _correlation("correlation_centred", "the same with the mean representation of public images taken off both"),
        _correlation("correlation_public", "the correlation that mean has by itself: the no-information line"),
        _share("label_accuracy", "from dL/db alone"),
        _share("label_accuracy_public", "from dL/db by an attacker with labelled public images"),
        _share("label_accuracy_even", "by an even guess: the no-information line"),
        CODE,
    ),
)

CONSTANTS = {
    "local": "the Jacobian's norm at X, as in the paper",
    "segment": "the largest Jacobian norm at points from X to X', an estimate",
    "layers": "the product of the layers' norms, a proven constant",
    "any": "the proven constant, less ||f(X') - r'||, so for any attacker",
}

CERTIFICATE = Table(
    "certificate",
    2,
    (
        *RUN,
        LOOKED_AT,
        Column("sent", "str", "what the client sent: name of the update in the config"),
        Column("attack", "str", "name of the attack in the config"),
        Column("target", "int", "number of the attacked image"),
        Column("restart", "int", "initial point"),
        Column("representation_change", "float", "||r - r'||, r' being what the defense leaves of r = f(X)"),
        Column("premise_gap", "float", "||f(X') - r'||, which the theorem takes to be 0", null=True),
        Column("premise_holds", "bool", "premise_gap at most 1 % of representation_change", null=True),
        Column("distance", "float", "||X - X'|| as measured", "norm of the network's input", null=True),
        Column(
            "farthest", "float", "distance of the farthest image with pixels in [0, 1]", "norm of the network's input"
        ),
        *(
            Column(f"norm_{name}", "float", meaning, null=name == "segment")
            for name, meaning in CONSTANTS.items()
            if name != "any"
        ),
        *(
            Column(f"bound_{name}", "float", f"bound by {meaning}", "norm of the network's input", null=True)
            for name, meaning in CONSTANTS.items()
        ),
        *(Column(f"holds_{name}", "bool", f"distance is at least bound_{name}", null=True) for name in CONSTANTS),
        CODE,
    ),
)

CONVERGENCE = Table(
    "convergence",
    1,
    (
        Column("dataset", "str", "data set"),
        Column("partition", "str", "name of the partition in the config"),
        Column("seed", "int", "repetition of the grid"),
        Column("mask", "str", "name of the mask"),
        Column("kind", "str", "none, soteria (deterministic, ratio rule) or random (unbiased)"),
        Column("rate", "float", "columns pruned", "share in [0, 1)"),
        Column("repetition", "int", "run with draws of its own"),
        Column("round", "int", "rounds done", "rounds"),
        Column("steps", "int", "local steps done", "steps"),
        Column("gap", "float", "F(w) - F* of this repetition", "nats"),
        Column("bound", "float", "bound on the mean gap without a mask (Li et al. 2020)", "nats"),
        Column("bound_defended", "float", "the same with constants enlarged by the mask", "nats"),
        Column("bound_covers", "bool", "the theorem covers the mask (it is unbiased)"),
        Column("floor", "float", "proven lower limit of the gap, from columns never updated", "nats"),
        Column("crossing", "float", "steps after which bound_defended is below the floor", "steps", null=True),
        Column("projected", "float", "local steps that left the ball", "share in [0, 1]"),
        Column("clients", "int", "all clients, N", "clients"),
        Column("sampled", "int", "clients of a round, K", "clients"),
        Column("local_steps", "int", "local steps of a round, E", "steps"),
        Column("smoothness", "float", "L of every client's loss"),
        Column("convexity", "float", "mu, the weight of L2"),
        Column("variance", "float", "largest sigma_k^2"),
        Column("variance_defended", "float", "largest sigma_k^2 with the mask's term"),
        Column("gradient_square", "float", "G^2 inside the ball"),
        Column("gradient_square_defended", "float", "G^2 with the mask's term"),
        Column("heterogeneity", "float", "Gamma = F* - sum p_k F_k*", "nats"),
        Column("distance_square", "float", "||w_1 - w*||^2"),
        Column("optimum", "float", "the least loss, F*", "nats"),
        CODE,
    ),
)

ACCOUNTING = Table(
    "accounting",
    1,
    (
        *RUN,
        Column("clip", "float", "L2 norm an update is scaled down to", "gradient entries", null=True),
        Column("server", "str", "each-update (sees what each client sends) or sum-only (secure aggregation)"),
        Column("neighbours", "str", "what differs between two inputs that must look alike"),
        Column("sampling", "str", "how clients are drawn"),
        Column("rounds", "int", "federated rounds", "rounds"),
        Column("clients", "int", "all clients, N", "clients"),
        Column("sampled", "int", "clients of a round, K", "clients"),
        Column("participations", "int", "rounds accounted to a client where each update is seen", "rounds"),
        Column("noise_multiplier", "float", "standard deviation of the noise / sensitivity", null=True),
        Column("delta", "float", "chance, at most, that epsilon does not hold"),
        Column("epsilon", "float", "epsilon spent by a client over the run at delta", null=True),
        Column("epsilon_pure", "float", "epsilon at delta 0 (Laplace noise)", null=True),
        Column("guarantee", "str", "the guarantee in words"),
        CODE,
    ),
)

VERDICTS = (
    "reproduced",
    "reproduced only against a non-adaptive attack",
    "not reproduced",
    "attack too weak to judge",
    "not testable here",
)

CLAIMS = Table(
    "claims",
    2,
    (
        Column("claim", "str", "name of the claim"),
        Column("said", "str", "what the paper, its code or this audit says"),
        Column("source", "str", "where it is said; (S) read there, (R) recalled, not read"),
        Column("dataset", "str", "data set; empty where the row covers several, or none"),
        Column("model", "str", "name of the model in the config; empty likewise"),
        Column("partition", "str", "name of the partition in the config; empty likewise"),
        Column("round", "int", "checkpoint attacked; empty where the row covers several", "rounds", null=True),
        Column("sent", "str", "what the client sent: name of the update in the config; empty likewise"),
        Column("attack", "str", "attacks compared, by their names in the config"),
        Column("defense", "str", "defenses compared, by their names in the config"),
        Column("measured", "str", "what was found, in words"),
        Column("quantity", "str", "what median, low and high are of, and what n counts"),
        Column("n", "int", "values behind the median"),
        Column("median", "float", "median of the quantity; for a share, the share", null=True),
        Column("low", "float", "lower end of its 95 % interval, from 8 values on", null=True),
        Column("high", "float", "upper end of its 95 % interval, from 8 values on", null=True),
        Column("seeds", "int", "repetitions of the grid behind the row"),
        Column("scale", "str", "config, model, rounds trained and iterations of the attacks"),
        Column("device", "str", "device and precision of the attacks, or of the analysis"),
        Column("command", "str", "what rebuilds the row"),
        Column("verdict", "str", "one of: " + "; ".join(VERDICTS)),
    ),
)
