"""Files in, tables out, on a few random images."""

from dataclasses import replace

import pytest
import torch

from fldrep.config.defenses import defense_settings
from fldrep.config.engine import EngineSettings
from fldrep.config.jobs import AccountingJob, CertificateJob, IdentifiabilityJob, LeakageJob
from fldrep.config.models import ModelSettings, model_settings
from fldrep.config.theory import (
    AccountingSettings,
    CertificateSettings,
    ConvergenceSettings,
    IdentifiabilitySettings,
    LeakageSettings,
)
from fldrep.config.train import TrainSettings
from fldrep.config.updates import UpdateSettings
from fldrep.errors import ConfigError, DataError
from fldrep.models.checkpoint import model_for, write_checkpoints
from fldrep.storage.imageset import ImageSet
from fldrep.storage.places import Block, Checkpoint, Run, Sent, Split
from fldrep.storage.tensors import write_tensors
from fldrep.tables.accounting import ACCOUNTING
from fldrep.tables.certificate import CERTIFICATE
from fldrep.tables.convergence import CONVERGENCE
from fldrep.tables.identifiability import IDENTIFIABILITY
from fldrep.tables.leakage import LEAKAGE
from fldrep.tables.shards import SHARDS
from fldrep.theory.identifiability import spectrum_of
from fldrep.theory.jobs.accounting import accounting_job
from fldrep.theory.jobs.certificate import certificate_job
from fldrep.theory.jobs.convergence import convergence_job
from fldrep.theory.jobs.identifiability import identifiability_job
from fldrep.theory.jobs.leakage import leakage_job

CLASSES, CLIENTS, EACH = 3, 4, 12
SOTERIA = defense_settings(method="soteria", rate=0.5)


@pytest.fixture
def files(tmp_path):
    g = torch.Generator().manual_seed(0)
    count = CLIENTS * EACH
    images = torch.randint(0, 256, (count + 9, 1, 8, 8), generator=g, dtype=torch.uint8)
    labels = torch.arange(count + 9) % CLASSES
    data = ImageSet(images[:count], labels[:count], images[count:], labels[count:], torch.zeros(CLASSES, 1, 8, 8))
    data.write(tmp_path / "images.safetensors", {})
    rows = [{"client": i // EACH, "index": i, "label": int(labels[i])} for i in range(count)]
    SHARDS.write(rows, tmp_path / "shards.parquet")
    run = Run("mnist", "lenet", "iid", "any", 0)
    state = model_for(run, ModelSettings(init="uniform"), data).state_dict()
    write_checkpoints(tmp_path / "checkpoints.safetensors", {2: state}, {})
    pixels = torch.rand(2, 1, 8, 8, generator=g), torch.rand(2, 3, 1, 8, 8, generator=g)
    write_tensors(
        tmp_path / "found.safetensors", {"originals": pixels[0], "images": pixels[1], "labels": torch.tensor([0, 1])}
    )
    return tmp_path


def run_of(defense="any"):
    return Run("mnist", "lenet", "iid", defense, 0)


def leakage_table(files, defense, name="any", **options):
    settings = LeakageSettings(**{"batch_sizes": [1, 4], "batches": 3, **options})
    job = LeakageJob(model=ModelSettings(init="uniform"), defense=defense, leakage=settings)
    paths = [
        files / f"{part}" for part in ("images.safetensors", "shards.parquet", "checkpoints.safetensors", "out.parquet")
    ]
    leakage_job(Checkpoint(run_of(name), 2), job, *paths, code="abc")
    return LEAKAGE.read(paths[-1])


def test_leakage(files):
    plain, soteria = leakage_table(files, defense_settings()), leakage_table(files, SOTERIA, "soteria-50")
    assert len(plain) == 6
    assert plain["correlation"][:3].tolist() == pytest.approx([1] * 3, abs=1e-4)
    assert soteria["correlation_kept"][:3].tolist() == pytest.approx([1] * 3, abs=1e-4)
    assert soteria["correlation"][0] < 0.9
    paired = ["batch_size", "batch", "client", "classes_present"]
    assert plain[paired].equals(soteria[paired])
    assert plain["client"][:3].tolist() == plain["client"][3:].tolist()
    assert plain["client"].nunique() > 1


def test_a_batch_that_no_client_holds(files):
    with pytest.raises(DataError, match="no client holds 13 images, the largest batch; the fullest has 12"):
        leakage_table(files, defense_settings(), batch_sizes=[1, 13])


def certificate_table(files, defense, targets=(4, 5)):
    settings = {"certificate": CertificateSettings(points=3), "targets": list(targets)}
    job = CertificateJob(model=ModelSettings(init="uniform"), defense=defense, **settings)
    paths = [files / f"{part}.safetensors" for part in ("images", "checkpoints", "found")]
    certificate_job(Block(run_of("soteria-50"), 2, "single", "dlg", 2), job, *paths, files / "out.parquet")
    return CERTIFICATE.read(files / "out.parquet")


def test_certificate(files):
    table = certificate_table(files, SOTERIA)
    assert table[["target", "restart"]].to_numpy().tolist() == [[t, r] for r in range(3) for t in (4, 5)]
    assert table["holds_any"].all()
    assert (table["representation_change"] > 0).all()
    assert not table["premise_holds"].any()
    assert (table["distance"] <= table["farthest"]).all()  # these reconstructions are valid images


def test_only_a_pruned_representation_is_certified(files):
    with pytest.raises(ConfigError, match="nothing to certify"):
        certificate_table(files, defense_settings(method="gaussian", std=0.1))


def test_reconstructions_of_other_targets(files):
    with pytest.raises(DataError, match=r"found\.safetensors: holds 2 targets, expected 3"):
        certificate_table(files, SOTERIA, targets=(1, 2, 3))


def convergence_table(files, **options):
    paths = [files / "images.safetensors", files / "shards.parquet", files / "out.parquet"]
    given = {"clients": 3, "images_per_client": 10, "rounds": 20, "moments": 3, "repetitions": 2, **options}
    convergence_job(Split("mnist", "iid", 0), ConvergenceSettings(partitions=["iid"], **given), *paths)
    return CONVERGENCE.read(paths[-1])


def test_convergence(files):
    table = convergence_table(files, rates=[0.25, 0.5])
    assert table["mask"].unique().tolist() == ["none", "soteria-25", "soteria-50", "random-50"]
    assert (table.groupby("mask").size() == 4 * 2).all()
    assert table["clients"].unique().tolist() == [3]


@pytest.mark.parametrize("options", [{"clients": 5}, {"images_per_client": 13}])
def test_convergence_without_enough_images(files, options):
    with pytest.raises(DataError, match="wanted"):
        convergence_table(files, **options)


@pytest.mark.parametrize(("architecture", "words"), [("lenet", "-DP for a client"), ("convnet", "batch-norm buffers")])
def test_accounting(files, architecture, words):
    model = model_settings(architecture, **({"width": 2} if architecture == "convnet" else {}))
    noisy = defense_settings(method="gaussian", std=5.0, clip=1.0)
    train = TrainSettings(rounds=5, fraction=0.5)
    job = AccountingJob(model=model, train=train, defense=noisy, accounting=AccountingSettings())
    if architecture == "convnet":  # an image large enough for its two pools
        data = ImageSet.read(files / "images.safetensors")
        wide = {name: values.repeat(1, 1, 2, 2) if values.ndim == 4 else values for name, values in vars(data).items()}
        ImageSet(**wide).write(files / "images.safetensors", {})
    accounting_job(run_of(), job, files / "images.safetensors", files / "shards.parquet", files / "out.parquet")
    table = ACCOUNTING.read(files / "out.parquet")
    assert table["guarantee"].str.contains(words).all()
    assert table["sampled"].tolist() == [2, 2]
    assert table["clients"].tolist() == [CLIENTS] * 2


# ---- identifiability


def identifiability_table(files, defense, name="any", update=None, targets=(0, 1), **model):
    job = IdentifiabilityJob(
        model=ModelSettings(init="uniform", **model),
        defense=defense,
        update=UpdateSettings(**(update or {})),
        identifiability=IdentifiabilitySettings(),
        engine=EngineSettings(device="cpu"),
        targets=list(targets),
    )
    inputs = [files / part for part in ("images.safetensors", "shards.parquet", "checkpoints.safetensors")]
    identifiability_job(Sent(run_of(name), 2, "single", 0), job, *inputs, files / "out.parquet", code="abc")
    return IDENTIFIABILITY.read(files / "out.parquet")


def test_identifiability(files):
    plain, masked = identifiability_table(files, defense_settings()), identifiability_table(files, SOTERIA)
    noisy = identifiability_table(files, defense_settings(method="gaussian", std=0.1), "gaussian")
    assert plain["unknowns"].tolist() == [64, 64]
    assert plain["rank"].tolist() == [64, 64]
    assert (plain["entries"] > masked["entries"]).all()
    paired = ["target", "client", "index", "label"]
    assert plain[paired].equals(masked[paired])
    assert (noisy["floor"] > 100 * plain["floor"]).all(), "rounding is less"
    assert (noisy[["floor", "floor_spectral"]] < 1).all(axis=None), "the prior alone has 1"
    for table in (plain, masked, noisy):
        assert set(table["jacobian"]) == {"exact"}
        assert set(table["reason"]) == {""}


def test_floors_and_prior_are_in_units_of_the_data_sets_deviation_whatever_the_network_takes(files, monkeypatch):
    priors = []

    def hidden(*args, prior_std, **options):
        priors.append(prior_std)
        return replace(spectrum_of(*args, prior_std=prior_std, **options), floor=prior_std**2)

    monkeypatch.setattr("fldrep.theory.jobs.identifiability.spectrum_of", hidden)
    tables = [identifiability_table(files, defense_settings(), normalisation=name) for name in ("dataset", "none")]
    deviation = float(ImageSet.read(files / "images.safetensors").std.square().mean().sqrt())
    assert priors == pytest.approx([1, 1, deviation, deviation])
    for table in tables:
        assert table["floor"].tolist() == pytest.approx([1, 1]), "what the prior alone leaves"


def test_a_killed_job_goes_on_behind_what_is_done(files, monkeypatch):
    whole, calls = identifiability_table(files, SOTERIA, targets=(0, 1, 2)), []

    def once(*args, **options):
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return spectrum_of(*args, **options)

    monkeypatch.setattr("fldrep.theory.jobs.identifiability.spectrum_of", once)
    with pytest.raises(KeyboardInterrupt):
        identifiability_table(files, SOTERIA, targets=(0, 1, 2))
    (left,) = files.glob("*resume*")
    kept = left.read_text()
    again = identifiability_table(files, SOTERIA, targets=(0, 1, 2))
    assert again.equals(whole)
    assert len(calls) == 4
    assert not left.exists()
    for spoilt in (kept[:-9], kept.replace('"key": "', '"key": "another')):
        left.write_text(spoilt)
        assert identifiability_table(files, SOTERIA, targets=(0, 1, 2)).equals(whole)
    assert len(calls) == 10


def test_clipping_is_part_of_what_is_sent(files):
    loud, quiet = (
        identifiability_table(files, defense_settings(method="gaussian", std=0.01, clip=clip)) for clip in (1e3, 1e-3)
    )
    assert (quiet["floor"] > loud["floor"]).all(), "the same noise on a smaller update"
    assert (quiet["rank"] <= loud["rank"]).all()


def test_a_network_without_the_pruned_features(files):
    pruned = defense_settings(method="soteria", rate=0.5, prune="representation")
    table = identifiability_table(files, pruned)
    assert set(table["reason"]) == {""}
    assert table["rank"].notna().all()


def test_an_update_of_several_images_is_one(files):
    table = identifiability_table(files, defense_settings(), update={"images": 2}, targets=(0, 1, 2, 3))
    assert table["unknowns"].tolist() == [128] * 4
    assert table["rank"].nunique() <= 2
    assert table.loc[0, "floor"] == table.loc[1, "floor"] != table.loc[2, "floor"]


SIGN = """
import fldrep

@fldrep.defense("sign")
class Sign(fldrep.Defense):
    def on_update(self, update, client):
        return {name: value.sign() for name, value in update.items()}
"""

LARGEST = """
import fldrep

@fldrep.defense("largest")
class Largest(fldrep.Defense):
    zeros = "all"

    def on_update(self, update, client):
        return {name: value * (value.abs() > value.abs().mean()) for name, value in update.items()}
"""


def test_what_is_no_masked_gradient_has_a_reason_and_no_rank(files, plug_in):
    plug_in(SIGN)
    table = identifiability_table(files, defense_settings(method="sign"))
    assert table["rank"].isna().all()
    assert table["floor"].isna().all()
    assert table["reason"].str.contains("names no noise").all()
    assert table["unknowns"].tolist() == [64, 64]


def test_an_outside_mask_is_seen_for_what_it_is(files, plug_in):
    plug_in(LARGEST)
    table = identifiability_table(files, defense_settings(method="largest"))
    assert set(table["reason"]) == {""}
    assert (table["rank"] <= table["entries"]).all()


def test_an_update_that_is_not_finite(files):
    state = model_for(run_of(), ModelSettings(init="uniform"), ImageSet.read(files / "images.safetensors")).state_dict()
    state["head.weight"] = torch.full_like(state["head.weight"], 3e38)
    write_checkpoints(files / "checkpoints.safetensors", {2: state}, {})
    table = identifiability_table(files, defense_settings())
    assert set(table["reason"]) == {"the update is not finite"}
