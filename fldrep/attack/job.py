"""An attack job: from a checkpoint and the clients' images to what the attacker makes of each update."""

import time
from pathlib import Path

import torch
from torch import Tensor
from tqdm import tqdm

from fldrep.attack import Reconstruction, attack_named
from fldrep.attack.targets import Target, choose_targets
from fldrep.defenses import DEFENSES
from fldrep.defenses.client import Client
from fldrep.defenses.soteria import rates_of_update
from fldrep.devices import device_for, device_words
from fldrep.gradients import Update, client_update
from fldrep.grid import Block, Run
from fldrep.imageset import ImageSet, as_pixels
from fldrep.memory import keep_freed_memory
from fldrep.models import Model, input_of, model_for
from fldrep.records import ATTEMPTS
from fldrep.seeds import generator
from fldrep.settings import AttackJob
from fldrep.shards import read_shards
from fldrep.tensors import read_checkpoint, write_tensors


def attack_block(
    where: Block,
    job: AttackJob,
    images: Path,
    shards: Path,
    checkpoints: Path,
    attempts: Path,
    reconstructions: Path,
    code: str,
) -> None:
    """Attack the targets of one block at one checkpoint; write the table `attempts` and the images.

    The images' file holds `originals` (T, C, H, W) and `images` (T, R, C, H, W), pixels, not clamped.
    """
    torch.set_num_threads(job.engine.threads)
    keep_freed_memory()
    run, imageset = where.run, ImageSet.read(images)
    targets = choose_targets(
        read_shards(shards, imageset.train_labels), job.targets, run.dataset, run.partition, run.seed
    )
    with device_for(job.engine.device, job.engine.tf32) as device:
        model = _model_of_round(where, job, imageset, checkpoints).to(device)
        constants = input_of(run, job.model, imageset)
        pixels = as_pixels(imageset.train_images[[target.index for target in targets]])
        labels = torch.tensor([target.label for target in targets])
        inputs = constants.to_input(pixels).to(device)
        update = sent_updates(model, inputs, labels.to(device), where, job, targets)
        start = time.perf_counter()
        found = attack_named(job.attack.preset)(
            model,
            update,
            labels.to(device) if job.attack.labels == "known" else None,
            job.attack,
            shape=imageset.shape,
            normalisation=constants,
            draw=lambda target, restart: initial_generator(where.run, targets[target], restart),
            chunk=job.engine.chunk,
            progress=tqdm,
        )
        seconds = time.perf_counter() - start
        rates = effective_rates_of(update, model, inputs, job)
        rows = _rows(where, job, targets, found, rates, seconds, device_words(device), code)
    ATTEMPTS.write(rows, attempts)
    write_tensors(reconstructions, {"originals": pixels, "images": constants.to_pixels(found.all_images)})


def _model_of_round(where: Block, job: AttackJob, imageset: ImageSet, checkpoints: Path) -> Model:
    model = model_for(where.run, job.model, imageset)
    model.load_state_dict(read_checkpoint(checkpoints, where.round, model.state_dict()))
    return model.eval()


def initial_generator(run: Run, target: Target, restart: int) -> torch.Generator:
    """Draws a target's initial point; the same under every defense, rate, round and attack: results are paired."""
    return generator("initial", run.dataset, run.model, run.partition, target.target, restart, run.seed)


def sent_updates(
    model: Model, images: Tensor, labels: Tensor, where: Block, job: AttackJob, targets: list[Target]
) -> Update:
    """The defended update of each target: {name: (T, *shape)}. Only the noise depends on the defense's name."""
    run, sent = where.run, []
    for place, target in enumerate(targets):
        one = slice(place, place + 1)
        noise = generator("noise", run.dataset, run.model, run.partition, run.defense, target.target, run.seed)
        client = Client(model, images[one], labels[one], noise)
        sent.append(_mean_update(client, job))
    return Update({name: torch.cat([one[name] for one in sent]) for name in sent[0]}, sent[0].defended)


def _mean_update(client: Client, job: AttackJob) -> Update:
    """The mean of what a client sends over `repeats` rounds; only noise differs from one round to the next."""
    repeats = (job.attack.repeats or 1) if job.defense.std else 1
    plain = client_update(client.model, client.images, client.labels)
    sent = [DEFENSES[job.defense.method](plain, job.defense, client) for _ in range(repeats)]
    return Update({name: sum(one[name] for one in sent) / repeats for name in plain}, sent[0].defended)


def effective_rates_of(update: Update, model: Model, images: Tensor, job: AttackJob) -> list[tuple]:
    """Live rate and share of ||r||^2 removed for each target; empty cells where the defense prunes no feature."""
    if job.defense.method != "soteria":
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
    shared = {
        **where.run.columns(job.defense),
        "round": where.round,
        "attack": where.attack,
        "preset": job.attack.preset,
        "label_strategy": job.attack.labels,
        "block": where.block,
        "runtime_s": seconds / found.diverged.numel(),
        "device": device,
        "chunk": job.engine.chunk,
        "code": code,
    }
    return [
        {
            **shared,
            **vars(target),
            "restart": restart,
            "chosen": restart == int(found.chosen[place]),
            "label_found": int(found.labels_found[place, restart]),
            "iterations": int(found.iterations[place, restart]),
            "initial_distance": float(found.initial_distance[place, restart]),
            "gradient_distance": float(found.final_distance[place, restart]),
            "diverged": bool(found.diverged[place, restart]),
            "live_rate": rates[place][0],
            "energy_removed": rates[place][1],
        }
        for place, target in enumerate(targets)
        for restart in range(found.diverged.shape[1])
    ]
