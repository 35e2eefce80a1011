"""An attack job: from a checkpoint and the clients' images to what the attacker makes of each update."""

import time
from itertools import product
from pathlib import Path

import torch
from torch import Tensor

from fldrep.attack.active import sent_network
from fldrep.attack.attempt import attempt
from fldrep.attack.engine import Work
from fldrep.attack.observation import Observation, public_zeros
from fldrep.attack.reconstruction import Reconstruction
from fldrep.attack.resume import Checkpointer
from fldrep.attack.surrogate import Surrogate
from fldrep.config.jobs import AttackJob
from fldrep.defenses.networks import trained
from fldrep.defenses.rates import rates_of_update
from fldrep.defenses.sent import Batches, as_clients_compute, sending, sent_updates
from fldrep.machine.devices import device_for, device_words
from fldrep.machine.memory import keep_freed_memory
from fldrep.machine.progress import log_lines
from fldrep.models.checkpoint import read_memory
from fldrep.models.model import Model
from fldrep.models.normalisation import Normalisation
from fldrep.models.updates import LocalSteps, Update
from fldrep.seeds import generator
from fldrep.storage.imageset import ImageSet, as_pixels
from fldrep.storage.places import Block, Run
from fldrep.storage.targets import Target
from fldrep.storage.tensors import write_tensors
from fldrep.tables.attack_runs import ATTACK_RUNS


def attack_block(
    where: Block,
    job: AttackJob,
    images: Path,
    shards: Path,
    checkpoints: Path,
    attack_runs: Path,
    reconstructions: Path,
    code: str,
) -> None:
    """Attack the targets of one block at one checkpoint; write the table `attack_runs` and the images.

    If killed, the next call goes on from what is kept beside the outputs, and `runtime_s` counts both.
    The images' file holds `originals` (T, C, H, W), their `labels` (T,), and `images` (T, R, C, H, W): pixels, not
    clamped. In an update of several images the attacker cannot know which of its images is which: the metrics match
    them to the originals.
    """
    torch.set_num_threads(job.engine.threads)
    keep_freed_memory()
    imageset = ImageSet.read(images)
    with device_for(job.engine.device, job.engine.tf32) as device:
        batches = Batches.of(where.run, job.model, job.update, job.targets, imageset, shards).to(device)
        model = trained(where.run, where.round, job.model, job.defense, imageset, checkpoints).to(device)
        model = sent_network(job.attack, model, _public_images(imageset, batches.normalisation)).to(device)
        model = as_clients_compute(model, job.update)
        memories = [read_memory(checkpoints, where.round, client, device) for client in batches.clients]
        repeats = job.attack.repeats or 1
        update = sent_updates(model, batches, where.run, job.defense, job.update, memories, repeats)
        key = batches.key(where, job, code, model)
        checkpointer = Checkpointer(attack_runs.with_name(f"{attack_runs.stem}.resume.safetensors"), key)
        observation = _observation(where, job, model, update, batches, imageset)
        (found, refused), seconds = _timed(observation, job, checkpointer)
        rates = effective_rates_of(update, model, batches.inputs, job)
        rows = _rows(where, job, batches.targets, found, refused, rates, seconds, device_words(device), code)
    ATTACK_RUNS.write(rows, attack_runs)
    pictures = {"originals": batches.pixels, "images": batches.normalisation.to_pixels(by_target(found.all_images))}
    write_tensors(reconstructions, {**pictures, "labels": batches.labels.flatten().cpu()})
    checkpointer.remove()


def _observation(
    where: Block, job: AttackJob, model: Model, update: Update, batches: Batches, imageset: ImageSet
) -> Observation:
    """What the server sees of a block, and knows besides."""
    return Observation(
        model=model,
        update=update,
        labels=batches.labels if job.attack.labels == "known" else None,
        shape=tuple(batches.pixels.shape[1:]),
        normalisation=batches.normalisation,
        draw=lambda place, restart: initial_generator(where.run, batches.numbers[place], restart),
        zeros=public_zeros(update),
        batch=job.update.images if job.update.images > 1 else None,
        local=LocalSteps.of(job.update),
        distorted=update.distorted,
        surrogate=_surrogate(where.run, job, model, batches, imageset),
        statistics=update.statistics,
    )


def _surrogate(run: Run, job: AttackJob, model: Model, batches: Batches, imageset: ImageSet) -> Surrogate:
    """What the server has besides: its own images, and their labels."""
    images = _public_images(imageset, batches.normalisation)
    drawn = generator("surrogate", run.dataset, run.model, run.defense, run.seed)
    send = sending(model, job.defense, job.update, batches.normalisation, drawn)
    return Surrogate(images, imageset.test_labels[-len(images) :], send)


def _public_images(imageset: ImageSet, normalisation: Normalisation) -> Tensor:
    """The second half of the test images: a server's own, of which no client holds any."""
    return normalisation.to_input(as_pixels(imageset.test_images[len(imageset.test_images) // 2 :]))


def _timed(observation: Observation, job: AttackJob, checkpointer: Checkpointer) -> tuple[tuple, float]:
    """What the attack found and why not, if so, and the seconds it took, before and after a kill."""
    work = Work(job.engine.problems_at_once, progress=log_lines, checkpointer=checkpointer)
    start = time.perf_counter()
    found = attempt(observation, job.attack, work)
    return found, checkpointer.seconds_before + time.perf_counter() - start


def by_target(found: Tensor) -> Tensor:
    """Images of updates as images of targets: (N, R, C, H, W) as it is, (N, R, B, C, H, W) -> (N * B, R, C, H, W)."""
    return found if found.ndim == 5 else found.transpose(1, 2).flatten(0, 1)


def initial_generator(run: Run, update: int, restart: int) -> torch.Generator:
    """Draws the initial point of the update of a number; the same under every defense, rate, round and attack."""
    return generator("initial", run.dataset, run.model, run.partition, update, restart, run.seed)


def effective_rates_of(update: Update, model: Model, images: Tensor, job: AttackJob) -> list[tuple]:
    """Live rate and share of ||r||^2 removed for each update; empty cells where the defense prunes no feature."""
    if update.defended != "head":
        return [(None, None)] * len(images)
    live, energy = rates_of_update(update, model, images)
    return list(zip(live.tolist(), energy.tolist(), strict=True))


def _rows(
    where: Block,
    job: AttackJob,
    targets: list[Target],
    found: Reconstruction,
    refused: list[str],
    rates: list[tuple],
    seconds: float,
    device: str,
    code: str,
) -> list[dict]:
    each = job.update.images
    labels_found = found.labels_found.unsqueeze(-1) if each == 1 else found.labels_found
    shared = {
        **where.run.columns(job.defense),
        "round": where.round,
        "update_kind": where.update_kind,
        "images_per_update": each,
        "local_steps": job.update.local_steps,
        "attack": where.attack,
        "preset": job.attack.preset or where.attack,
        "variant_of": " ".join(job.attack.variant_of),
        "label_strategy": job.attack.labels,
        "block": where.block,
        "runtime_s": seconds / labels_found.numel(),
        "device": device,
        "code": code,
    }
    return [
        {
            **shared,
            **vars(target),
            "restart": restart,
            "is_best_restart": restart == int(found.best_restart[update]),
            "member": found.members[update][restart] if found.members else "",
            "label_found": int(labels_found[update, restart, image]),
            "iterations": int(found.iterations[update, restart]),
            "problems_at_once": int(found.problems_at_once[update, restart]),
            "initial_distance": float(found.initial_distance[update, restart]),
            "gradient_distance": float(found.final_distance[update, restart]),
            "diverged": bool(found.diverged[update, restart]),
            "certified": bool(found.all_certified[update, restart]),
            "refused": refused[update],
            "live_pruned": rates[update][0],
            "norm2_removed": rates[update][1],
        }
        for target, (update, image) in zip(targets, product(range(len(rates)), range(each)), strict=True)
        for restart in range(found.diverged.shape[1])
    ]
