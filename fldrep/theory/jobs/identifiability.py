"""The identifiability job: what the updates of a block of targets determine of their images."""

import json
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from fldrep.atomic import atomic_write
from fldrep.config.jobs import IdentifiabilityJob
from fldrep.defenses.defended import defense_of
from fldrep.defenses.defense import Defense
from fldrep.defenses.networks import trained
from fldrep.defenses.sent import Batches, as_clients_compute, sent_updates
from fldrep.machine.devices import device_for
from fldrep.machine.progress import log_each
from fldrep.models.checkpoint import read_memory
from fldrep.models.model import Model, without_pruned
from fldrep.models.updates import HEAD_WEIGHT, LocalSteps, as_batches, client_update, clipped
from fldrep.storage.imageset import ImageSet
from fldrep.storage.places import Sent
from fldrep.tables.identifiability import IDENTIFIABILITY
from fldrep.theory.identifiability import THRESHOLD, noise_on, spectrum_of

SAME = 1e-4  # of a tensor's largest entry: what is sent and what it is taken for differ by rounding


def identifiability_job(
    where: Sent,
    job: IdentifiabilityJob,
    images: Path,
    shards: Path,
    checkpoints: Path,
    identifiability: Path,
    code: str = "",
) -> None:
    """Table `identifiability` of a block of targets, a row each: the images and updates that attack jobs meet.

    Noise is the defense's, and the rounding of the update. Floors and the prior are in units of the data set's
    deviation, as the errors of attacks are, whatever the network's input is. If killed, the next call goes on behind
    the last one done.
    """
    torch.set_num_threads(job.engine.threads)
    data = ImageSet.read(images)
    with device_for(job.engine.device, job.engine.tf32) as device:
        batches = Batches.of(where.run, job.model, job.update, job.targets, data, shards).to(device)
        model = trained(where.run, where.round, job.model, job.defense, data, checkpoints).to(device)
        model = as_clients_compute(model, job.update)
        memories = [read_memory(checkpoints, where.round, client, device) for client in batches.clients]
        update = sent_updates(model, batches, where.run, job.defense, job.update, memories)
        held, labels = as_batches(batches.inputs, batches.labels)
        unit = float((data.std / torch.tensor(batches.normalisation.std)).square().mean().sqrt())
        done = Done(identifiability.with_suffix(".resume.json"), batches.key(where, job, code, model))
        for number in log_each(range(len(done.found), len(held)), "identifiability", "update"):
            sent = {name: value[number] for name, value in update.items()}
            done.add(determined(model, held[number], labels[number], sent, job, unit))
    IDENTIFIABILITY.write(_rows(where, job, batches, done.found, code), identifiability)
    done.path.unlink(missing_ok=True)


class Done:
    """What is found of the updates of a job, in a file: a killed job goes on from there."""

    def __init__(self, path: Path, key: str):
        """Args: key: of the job; what another left, or a damaged file, is found anew."""
        self.path, self.key, self.found = path, key, []
        try:
            said = json.loads(path.read_text())
        except (OSError, ValueError):
            return
        if isinstance(said, dict) and said.get("key") == key:
            self.found = said["found"]

    def add(self, found: dict[str, object]) -> None:
        """One more update is done."""
        self.found.append(found)
        with atomic_write(self.path) as beside:
            beside.write_text(json.dumps({"key": self.key, "found": self.found}))


def determined(
    model: Model, images: Tensor, labels: Tensor, sent: Mapping[str, Tensor], job: IdentifiabilityJob, unit: float = 1.0
) -> dict[str, object]:
    """What one update determines, by the columns of the table. Shapes: (B, C, H, W), (B,), {name: its shape}.

    Args: unit: the data set's deviation in the network's input, the root mean square over channels.
    """
    defense, local, each = defense_of(job.defense), LocalSteps.of(job.update), job.identifiability
    nothing = dict.fromkeys(("rank", "undetermined", "sigma_min", "sigma_median", "floor", "floor_spectral"))
    counted = {"entries": sum(int((value != 0).sum()) for value in sent.values()), "unknowns": images.numel()}
    place = without_pruned(model, sent[HEAD_WEIGHT]) if defense.prunes_representation else model
    reason = reason_against(place, images, labels, sent, defense, local)
    if reason:
        return {**counted, **nothing, "threshold": None, "jacobian": "", "reason": reason}
    spectrum = spectrum_of(
        place,
        images,
        labels,
        None if defense.zeros == "none" else {name: value != 0 for name, value in sent.items()},
        noise=noise_on(sent, defense.std, rounding=True, law=defense.noise),
        prior_std=each.prior_std * unit,
        clip=defense.clip,
        local=local,
        method=each.method,
    )
    measured = {name: getattr(spectrum, name) for name in nothing}
    measured |= {name: measured[name] / unit**2 for name in ("floor", "floor_spectral")}
    return {**counted, **measured, "threshold": THRESHOLD, "jacobian": spectrum.method, "reason": ""}


def reason_against(
    model: Model,
    images: Tensor,
    labels: Tensor,
    sent: Mapping[str, Tensor],
    defense: Defense,
    local: LocalSteps | None,
) -> str:
    """Why the derivative of what is sent is not that of a gradient with entries at zero; empty where it is.

    A defense that adds noise of a law is taken at its word; without noise the update itself shows what was done to it.
    """
    if not all(bool(value.isfinite().all()) for value in sent.values()):
        return "the update is not finite"
    if defense.std:
        return ""
    plain = clipped(client_update(model, images[None], labels[None], local), defense.clip)
    for name, value in sent.items():
        apart = (value - plain[name][0])[value != 0].abs()
        if len(apart) and float(apart.max()) > SAME * float(plain[name].abs().max()):
            return "what is sent is not the gradient with entries at zero, and the defense names no noise"
    return ""


def _rows(
    where: Sent, job: IdentifiabilityJob, batches: Batches, found: list[dict[str, object]], code: str
) -> list[dict[str, object]]:
    shared = {
        **where.run.columns(job.defense),
        "round": where.round,
        "update_kind": where.update_kind,
        "images_per_update": job.update.images,
        "local_steps": job.update.local_steps,
        "prior_std": job.identifiability.prior_std,
        "code": code,
    }
    each = job.update.images
    return [{**shared, **vars(one), **found[place // each]} for place, one in enumerate(batches.targets)]
