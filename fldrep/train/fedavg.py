"""Federated averaging, with a defense in each client.

Source: McMahan et al. 2017, arXiv:1602.05629. The buffers of batch norm (means and variances of the clients'
activations) are averaged like the weights, and no defense touches them: they leak what they say about the images.
"""

import copy
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

import torch
from torch import Tensor

from fldrep.config.defenses import DefenseSettings
from fldrep.config.train import TrainSettings
from fldrep.defenses.defended import defense_of
from fldrep.models.model import Model
from fldrep.models.normalisation import Normalisation
from fldrep.seeds import generator
from fldrep.storage.imageset import ImageSet
from fldrep.train.client import Report, Sent, train_client
from fldrep.train.evaluate import BATCH, mean_scores, scored_batches
from fldrep.train.federation import Federation, Part, copy_of, local_lr, sampled_clients
from fldrep.train.resume import Progress, load_progress, run_key, save_progress
from fldrep.train.workers import Call, client_pool

State = dict[str, Tensor]


@dataclass(frozen=True)
class TrainedRun:
    """A finished run: one row a round (round 0 is the untrained model), and the model's state after each kept round."""

    history: list[dict]
    checkpoints: dict[int, State]


def train(
    model: Model,
    data: ImageSet,
    shards: Sequence[Tensor],
    settings: TrainSettings,
    defense: DefenseSettings,
    *,
    normalisation: Normalisation,
    identity: tuple[str, str, str, int],
    defense_name: str,
    workers: int = 1,
    progress: Callable[[dict], None] | None = None,
    resume: Path | None = None,
    save_every_s: float = 5.0,
    code: str = "",
) -> TrainedRun:
    """Train a copy of `model` by FedAvg; the same arguments give the same result, but for seconds, bit for bit.

    Args:
        shards: for each client the positions of its images in `data.train_images`.
        identity: (data set, model, partition, seed), the names that client sampling and batch order are drawn from.
        defense_name: names, with the identity, what the defense draws.
        workers: processes of one thread each; they change no number.
        progress: called with each row.
        resume: a file that holds how far the run has come, written every `save_every_s` seconds, and read at the start
            if it is of a run with the same arguments and `code`. Delete it once the result is kept.

    Returns history rows with the columns of `tables.training` between the run's identity and `code`. `train_s` and
    `defense_s` are summed over the clients, so with w workers a round takes about train_s / w. The bytes are of the
    parameters; the few of batch norm's buffers come on top.
    Errors: `DataError` for a client without images.
    """
    place = copy.deepcopy(model).to(memory_format=torch.channels_last)  # a sixth faster than row-major, on a CPU
    hooks = defense_of(defense)
    hooks.on_model(place)
    federation = Federation(place, data, shards, settings, hooks, normalisation, identity, defense_name)
    key = run_key(federation, code)
    done = (resume and load_progress(resume, key)) or Progress(model.state_dict())
    done.state = copy_of(federation.model_at(done.state).state_dict())
    saved = perf_counter()
    with client_pool(workers, federation) as call:
        for round in range(len(done.history), settings.rounds + 1):
            done.state, row = play_round(call, federation, done.state, done.memories, round, workers)
            done.history.append(row)
            if round in settings.checkpoints:
                done.checkpoints[round] = done.state | with_prefix("memory", done.memories)
            if resume and perf_counter() - saved >= save_every_s:
                save_progress(resume, key, done)
                saved = perf_counter()
            if progress:
                progress(row)
    return TrainedRun(done.history, done.checkpoints)


def play_round(
    call: Call, federation: Federation, state: State, memories: State, round: int, workers: int
) -> tuple[State, dict]:
    """The next state and its row of history; in round 0 nobody trains, and the model is only evaluated.

    Args: memories: what the clients' defenses keep, `CLIENT/NAME`, changed in place.
    """
    if round == 0:
        reports, facts = [], {"update_norm": None, "lr": None}
    else:
        state, reports, facts = train_round(call, federation, state, memories, round)
    evaluated = evaluate(call, federation, state, workers)
    entries = sum(value.numel() for value in federation.model.parameters())
    return state, {"round": round, **evaluated, **facts, **summary(reports), "dense_bytes": 4 * entries}


def evaluate(call: Call, federation: Federation, state: State, workers: int) -> dict[str, float | int]:
    """Accuracy and loss on the whole test set, and accuracy on what is held out, as columns."""
    began = perf_counter()
    accuracy, loss = scores(call, federation, state, "test", workers)
    held_out = scores(call, federation, state, "held_out", workers)[0] if federation.count("held_out") else None
    found = {"test_accuracy": accuracy, "test_loss": loss, "test_images": federation.count("test")}
    return {**found, "held_out_accuracy": held_out, "evaluate_s": perf_counter() - began}


def scores(call: Call, federation: Federation, state: State, part: Part, workers: int) -> tuple[float, float]:
    """Accuracy and mean loss on a part of the images, each worker taking some of the batches."""
    starts = range(0, federation.count(part), BATCH)
    found = call(scored_batches, state, [(part, starts[worker::workers]) for worker in range(workers)])
    return mean_scores([batch for batches in found for batch in batches], federation.count(part))


def train_round(
    call: Call, federation: Federation, state: State, memories: State, round: int
) -> tuple[State, list[Report], dict[str, float]]:
    """One round: sampled clients train from `state`, and the server steps by the mean of what they send."""
    drawn = generator("clients", *federation.identity, round)
    clients = sampled_clients(len(federation.shards), federation.train.fraction, drawn)
    tasks = [(client, round, memory_of(client, memories)) for client in clients]
    mean, reports = weighted_mean(kept_apart(call(train_client, state, tasks), clients, memories))
    lr = local_lr(federation.train, round)
    parameters = [name for name, _ in federation.model.named_parameters()]
    norm = math.sqrt(sum(mean[name].double().square().sum().item() for name in parameters))
    return server_step(state, mean, parameters, lr), reports, {"update_norm": norm, "lr": lr}


def memory_of(client: int, memories: State) -> State | None:
    """What a client's defense kept, {name: tensor}; None where it has kept nothing so far."""
    kept = {name.partition("/")[2]: value for name, value in memories.items() if name.startswith(f"{client}/")}
    return kept or None


def kept_apart(sent: Iterable[Sent], clients: Iterable[int], memories: State) -> Iterator[Sent]:
    """What clients send, one after the other, while their memories are put aside."""
    for client, one in zip(clients, sent, strict=True):
        memories |= with_prefix(str(client), one.memory)
        yield one


def with_prefix(prefix: str, tensors: State) -> State:
    """Tensors by their names behind a prefix and a slash."""
    return {f"{prefix}/{name}": value for name, value in tensors.items()}


def weighted_mean(sent: Iterable[Sent]) -> tuple[State, list[Report]]:
    """The mean of what clients send, weighted by their numbers of images, and their reports.

    Sums are kept in float64 and one client is held at a time; the mean of integers (batch norm's counts) is rounded.
    """
    sums: State = {}
    reports: list[Report] = []
    for one in sent:
        for name, value in one.tensors.items():
            weighted = value.double() * one.report.images
            sums[name] = sums[name] + weighted if name in sums else weighted
        reports.append(one.report)
        kinds = {name: value.dtype for name, value in one.tensors.items()}
    images = sum(report.images for report in reports)
    means = {name: value / images for name, value in sums.items()}
    return {
        name: (v if kinds[name].is_floating_point else v.round()).to(kinds[name]) for name, v in means.items()
    }, reports


def server_step(state: Mapping[str, Tensor], mean: Mapping[str, Tensor], parameters: Iterable[str], lr: float) -> State:
    """w - lr * mean update for every parameter; buffers become their mean."""
    stepped = {name: state[name] - lr * mean[name] for name in parameters}
    return {name: stepped.get(name, mean[name]) for name in state}


def summary(reports: list[Report]) -> dict[str, float | int | None]:
    """The clients' reports as columns: seconds summed, bytes and pruned share averaged over the clients."""
    rates = [report.nonzero_pruned for report in reports if report.nonzero_pruned is not None]
    return {
        "clients": len(reports),
        "train_s": sum((report.train_s for report in reports), 0.0),
        "defense_s": sum((report.defense_s for report in reports), 0.0),
        "sent_bytes": sum(report.sent_bytes for report in reports) / max(1, len(reports)),
        "nonzero_pruned": sum(rates) / len(rates) if rates else None,
    }
