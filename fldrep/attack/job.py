"""An attack job: from a checkpoint and the clients' images to what the attacker makes of each update."""

import time
from itertools import product
from pathlib import Path

import torch
from torch import Tensor
from tqdm import tqdm

from fldrep.attack import Reconstruction, attack_named
from fldrep.attack.resume import Keeper, job_key
from fldrep.attack.targets import Target, choose_targets
from fldrep.config.jobs import AttackJob
from fldrep.config.reading import stable_json
from fldrep.defenses.client import Client
from fldrep.defenses.defended import defended_update, defense_of
from fldrep.defenses.defense import Defense
from fldrep.defenses.rates import rates_of_update
from fldrep.machine.devices import device_for, device_words
from fldrep.machine.memory import keep_freed_memory
from fldrep.models.checkpoint import input_of, model_for, read_checkpoint, read_memory
from fldrep.models.model import Model
from fldrep.models.updates import LocalSteps, Update, as_batches
from fldrep.seeds import generator
from fldrep.storage.imageset import ImageSet, as_pixels
from fldrep.storage.places import Block, Run
from fldrep.storage.shards import read_shards
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
    run, imageset, held = where.run, ImageSet.read(images), job.update.images
    identity = (run.dataset, run.partition, run.seed)
    targets = choose_targets(read_shards(shards, imageset.train_labels), job.targets, *identity, images=held)
    with device_for(job.engine.device, job.engine.tf32) as device:
        model = _model_of_round(where, job, imageset, checkpoints).to(device)
        constants = input_of(run, job.model, imageset)
        pixels = as_pixels(imageset.train_images[[target.index for target in targets]])
        labels = in_updates(torch.tensor([target.label for target in targets]), held).to(device)
        inputs = in_updates(constants.to_input(pixels), held).to(device)
        numbers = [target.target // held for target in targets[::held]]
        clients = [target.client for target in targets[::held]]
        memories = [read_memory(checkpoints, where.round, client) for client in clients]
        update = sent_updates(model, inputs, labels, where, job, numbers, memories)
        identity = (where, *targets, stable_json(job), code, torch.device(device).type, torch.__version__)
        key = job_key(identity, (*model.state_dict().values(), pixels))
        keeper = Keeper(attack_runs.with_name(f"{attack_runs.stem}.resume.safetensors"), key)
        start = time.perf_counter()
        found = attack_named(job.attack.preset)(
            model,
            update,
            labels if job.attack.labels == "known" else None,
            job.attack,
            shape=imageset.shape,
            normalisation=constants,
            draw=lambda place, restart: initial_generator(where.run, numbers[place], restart),
            chunk=job.engine.problems_at_once,
            batch=held if held > 1 else None,
            local=LocalSteps.of(job.update),
            progress=tqdm,
            keeper=keeper,
        )
        seconds = keeper.seconds_before + time.perf_counter() - start
        rates = effective_rates_of(update, model, inputs, job)
        rows = _rows(where, job, targets, found, rates, seconds, device_words(device), code)
    ATTACK_RUNS.write(rows, attack_runs)
    pictures = {"originals": pixels, "images": constants.to_pixels(by_target(found.all_images))}
    write_tensors(reconstructions, {**pictures, "labels": torch.tensor([target.label for target in targets])})
    keeper.remove()


def in_updates(values: Tensor, held: int) -> Tensor:
    """Values of targets by the update that holds them. Shape: (T, *) -> (T / held, held, *), as it is for one image."""
    return values if held == 1 else values.unflatten(0, (-1, held))


def by_target(found: Tensor) -> Tensor:
    """Images of updates as images of targets: (N, R, C, H, W) as it is, (N, R, B, C, H, W) -> (N * B, R, C, H, W)."""
    return found if found.ndim == 5 else found.transpose(1, 2).flatten(0, 1)


def _model_of_round(where: Block, job: AttackJob, imageset: ImageSet, checkpoints: Path) -> Model:
    model = model_for(where.run, job.model, imageset)
    model.load_state_dict(read_checkpoint(checkpoints, where.round, model.state_dict()))
    return model.eval()


def initial_generator(run: Run, update: int, restart: int) -> torch.Generator:
    """Draws the initial point of the update of a number; the same under every defense, rate, round and attack."""
    return generator("initial", run.dataset, run.model, run.partition, update, restart, run.seed)


def sent_updates(
    model: Model,
    images: Tensor,
    labels: Tensor,
    where: Block,
    job: AttackJob,
    numbers: list[int],
    memories: list[dict[str, Tensor]],
) -> Update:
    """The defended update of each number: {name: (N, *shape)}. Only what is drawn depends on the defense's name.

    Shapes: images (N, C, H, W), labels (N,), or (N, B, C, H, W) and (N, B).
    Args: memories: what the defense of the client of each number kept up to this round.
    """
    run, defense, sent = where.run, defense_of(job.defense), []
    images, labels = as_batches(images, labels)
    for number, held, classes, memory in zip(numbers, images, labels, memories, strict=True):
        drawn = generator("noise", run.dataset, run.model, run.partition, run.defense, number, run.seed)
        sent.append(_mean_update(defense, Client(model, held, classes, drawn, memory=memory), job))
    return Update({name: torch.cat([one[name] for one in sent]) for name in sent[0]}, defense.zeros)


def _mean_update(defense: Defense, client: Client, job: AttackJob) -> Update:
    """The mean of what a client sends over `repeats` rounds; only noise differs from one round to the next."""
    repeats = (job.attack.repeats or 1) if defense.std else 1
    sent = [defended_update(defense, client, LocalSteps.of(job.update)) for _ in range(repeats)]
    return Update({name: sum(one[name] for one in sent) / repeats for name in sent[0]}, defense.zeros)


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
    rates: list[tuple],
    seconds: float,
    device: str,
    code: str,
) -> list[dict]:
    held = job.update.images
    labels_found = found.labels_found.unsqueeze(-1) if held == 1 else found.labels_found
    shared = {
        **where.run.columns(job.defense),
        "round": where.round,
        "update_kind": where.update_kind,
        "images_per_update": held,
        "local_steps": job.update.local_steps,
        "attack": where.attack,
        "preset": job.attack.preset,
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
            "is_best_restart": restart == int(found.chosen[update]),
            "label_found": int(labels_found[update, restart, image]),
            "iterations": int(found.iterations[update, restart]),
            "problems_at_once": int(found.chunk[update, restart]),
            "initial_distance": float(found.initial_distance[update, restart]),
            "gradient_distance": float(found.final_distance[update, restart]),
            "diverged": bool(found.diverged[update, restart]),
            "live_pruned": rates[update][0],
            "norm2_removed": rates[update][1],
        }
        for target, (update, image) in zip(targets, product(range(len(rates)), range(held)), strict=True)
        for restart in range(found.diverged.shape[1])
    ]
