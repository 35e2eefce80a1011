import copy
import math

import pytest
import torch
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader, Subset, TensorDataset

from fldrep.config.defenses import defense_settings
from fldrep.config.train import TrainSettings
from fldrep.errors import DataError
from fldrep.models.building import build_model
from fldrep.seeds import generator
from fldrep.storage.imageset import ImageSet
from fldrep.tables.columns import RUN
from fldrep.tables.training import TRAINING
from fldrep.train.client import Report, Sent
from fldrep.train.fedavg import server_step, weighted_mean
from fldrep.train.federation import local_lr, sampled_clients

SECONDS = ("train_s", "defense_s", "evaluate_s")
IDENTITY = ("noise", "small", "dealt", 0)


def without_seconds(history):
    return [{key: value for key, value in row.items() if key not in SECONDS} for row in history]


def assert_same_run(one, other):
    assert without_seconds(one.history) == without_seconds(other.history)
    assert one.checkpoints.keys() == other.checkpoints.keys()
    for round, state in one.checkpoints.items():
        for name, value in state.items():
            assert torch.equal(value, other.checkpoints[round][name]), (round, name)


def plain_loop(model, data, shards, settings):
    """FedAvg as a tutorial has it: a DataLoader and an optimiser a client, local weights averaged by number of images.

    Returns for each round the state and the clients' mean update, everything in float64.
    """
    pixels = ((data.train_images.float() / 255).double() - 0.4) / 0.3
    dataset = TensorDataset(pixels, data.train_labels)
    rounds = []
    for round in range(1, settings.rounds + 1):
        drawn = torch.randperm(len(shards), generator=generator("clients", *IDENTITY, round))
        chosen = sorted(drawn[: round_half_even(settings.fraction * len(shards))].tolist())
        before = copy.deepcopy(model.state_dict())
        after = {name: torch.zeros_like(value, dtype=torch.float64) for name, value in before.items()}
        images = sum(len(shards[k]) for k in chosen)
        for client in chosen:
            local = copy.deepcopy(model).train()
            lr = settings.lr * settings.lr_decay ** (round - 1)
            optimiser = torch.optim.SGD(local.parameters(), lr=lr)
            order = generator("batches", *IDENTITY, client, round)
            for _ in range(settings.local_epochs):
                epoch = Subset(dataset, shards[client][torch.randperm(len(shards[client]), generator=order)].tolist())
                for x, y in DataLoader(epoch, settings.batch_size):
                    optimiser.zero_grad()
                    cross_entropy(local(x), y).backward()
                    optimiser.step()
            for name, value in local.state_dict().items():
                after[name] += value.double() * len(shards[client]) / images
        counts = {name: value.round() for name, value in after.items() if not before[name].is_floating_point()}
        model.load_state_dict(after | counts)
        rounds.append((copy.deepcopy(model.state_dict()), {n: (before[n] - after[n]) / lr for n in before}))
    return rounds


def round_half_even(value):
    return max(1, round(value))


@pytest.mark.parametrize("name", ["lenet", "normed"])
def test_equals_the_plain_loop(small, name, request):
    model = request.getfixturevalue(name)
    settings = small.settings.model_copy(update={"rounds": 3, "checkpoints": [0, 1, 2, 3]})
    trained = small.train(model, settings=settings)
    expected = plain_loop(copy.deepcopy(model), small.data, small.shards, settings)
    parameters = dict(model.named_parameters())
    for round, (state, update) in enumerate(expected, 1):
        for tensor, value in state.items():
            torch.testing.assert_close(trained.checkpoints[round][tensor], value, rtol=1e-9, atol=1e-11)
        norm = math.sqrt(sum(update[tensor].square().sum().item() for tensor in parameters))
        assert trained.history[round]["update_norm"] == pytest.approx(norm, rel=1e-9)
        assert trained.history[round]["lr"] == 0.2 * 0.5 ** (round - 1)
        model.load_state_dict(state)
        pixels = ((small.data.test_images.float() / 255).double() - 0.4) / 0.3
        logits = model.eval()(pixels)
        assert trained.history[round]["test_loss"] == pytest.approx(
            cross_entropy(logits, small.data.test_labels).item(), rel=1e-9
        )
        accuracy = (logits.argmax(1) == small.data.test_labels).double().mean().item()
        assert trained.history[round]["test_accuracy"] == pytest.approx(accuracy)


def test_one_client_with_one_step_is_plain_gradient_descent(small, lenet):
    settings = TrainSettings(rounds=1, checkpoints=[0, 1], fraction=0.2, batch_size=60, lr=0.3)
    everything = torch.arange(60)
    trained = small.train(lenet, settings=settings, shards=[everything])
    pixels = ((small.data.train_images.float() / 255).double() - 0.4) / 0.3
    loss = cross_entropy(lenet(pixels), small.data.train_labels)
    for (name, value), gradient in zip(
        lenet.named_parameters(), torch.autograd.grad(loss, list(lenet.parameters())), strict=True
    ):
        torch.testing.assert_close(trained.checkpoints[1][name], (value - 0.3 * gradient).detach(), rtol=0, atol=1e-12)
        assert torch.equal(trained.checkpoints[0][name], value)


def report(images):
    return Report(images=images, train_s=1.0, defense_s=0.5, sent_bytes=4, nonzero_pruned=None)


def test_mean_is_weighted_by_images_and_rounds_counts():
    one = Sent({"w": torch.tensor([1.0, 3.0]), "count": torch.tensor(3)}, report(10), {})
    two = Sent({"w": torch.tensor([5.0, -1.0]), "count": torch.tensor(6)}, report(30), {})
    mean, reports = weighted_mean([one, two])
    assert mean["w"].tolist() == [4.0, 0.0]
    assert mean["w"].dtype == torch.float32
    assert mean["count"] == 5  # 5.25
    assert mean["count"].dtype == torch.int64
    assert [one.images for one in reports] == [10, 30]


def test_server_steps_parameters_and_takes_buffers():
    state = {"w": torch.tensor([1.0]), "running_mean": torch.tensor([7.0])}
    mean = {"w": torch.tensor([2.0]), "running_mean": torch.tensor([0.5])}
    assert server_step(state, mean, ["w"], 0.1) == {"w": torch.tensor([0.8]), "running_mean": torch.tensor([0.5])}


def test_sampled_clients_are_distinct_and_at_least_one():
    g = torch.Generator().manual_seed(0)
    assert len(sampled_clients(100, 0.1, g)) == 10
    assert len(set(sampled_clients(100, 0.3, g))) == 30
    assert len(sampled_clients(100, 0.001, g)) == 1
    assert sampled_clients(7, 1.0, g) == list(range(7))
    draws = [tuple(sampled_clients(5, 0.4, generator("clients", *IDENTITY, r))) for r in range(1, 30)]
    assert set().union(*draws) == set(range(5))


def test_lr_decays_from_the_second_round_on():
    settings = TrainSettings(lr=0.4, lr_decay=0.5)
    assert [local_lr(settings, round) for round in (1, 2, 3)] == [0.4, 0.2, 0.1]


def test_workers_change_no_number(small, normed):
    model = normed.float()
    defense = defense_settings(method="gaussian", std=0.1)
    runs = [small.train(model, defense, workers=workers) for workers in (1, 2, 3)]
    assert_same_run(runs[0], runs[1])
    assert_same_run(runs[0], runs[2])
    assert_same_run(runs[0], small.train(model, defense))


def test_the_given_model_and_the_global_random_state_stay(small, normed):
    before = {name: value.clone() for name, value in normed.state_dict().items()}
    random = torch.get_rng_state()
    small.train(normed, defense_settings(method="laplace", std=0.1))
    assert torch.equal(random, torch.get_rng_state())
    assert all(torch.equal(before[name], value) for name, value in normed.state_dict().items())


def test_rows_are_the_columns_of_the_table(small, lenet, tmp_path):
    trained = small.train(lenet, defense_settings(method="soteria", rate=0.5))
    identity = [column.name for column in RUN]
    added_by_the_job = {"norm_estimator": "variance", "agreement": None, "code": "c"}
    assert {*trained.history[0]} == {*TRAINING.names} - {*identity, *added_by_the_job}
    run = {"dataset": "d", "model": "m", "partition": "p", "defense": "s", "method": "soteria", "rule": "ratio"}
    run |= {"rate": 0.5, "std": None, "seed": 0} | added_by_the_job
    TRAINING.write([{**run, **row} for row in trained.history], tmp_path / "training.parquet")
    assert TRAINING.read(tmp_path / "training.parquet")["round"].tolist() == [0, 1, 2]
    first = trained.history[0]
    assert (first["clients"], first["train_s"], first["update_norm"], first["lr"]) == (0, 0.0, None, None)
    assert (trained.history[1]["clients"], trained.history[1]["test_images"]) == (3, 40)


def test_diverged_training_is_recorded_and_not_hidden(small, lenet):
    trained = small.train(lenet.float(), defense_settings(method="gaussian", std=1e38))
    assert trained.history[-1]["test_loss"] == math.inf


def test_a_client_without_images_is_refused(small, lenet):
    with pytest.raises(DataError, match=r"client 1 of partition 'dealt' holds no image"):
        small.train(lenet, shards=[torch.arange(4), torch.arange(0)])


def test_accuracy_on_what_no_client_holds_is_a_column_of_its_own(small, lenet):
    assert small.train(lenet).history[0]["held_out_accuracy"] is None  # every image is dealt
    trained = small.train(lenet, shards=[torch.tensor([0, 3, 7]), torch.tensor([1, 5])], workers=2)
    outside = [place for place in range(len(small.data.train_labels)) if place not in (0, 1, 3, 5, 7)]
    lenet.load_state_dict(small.train(lenet, settings=TrainSettings(rounds=0)).checkpoints[0])
    pixels = ((small.data.train_images[outside].float() / 255).double() - 0.4) / 0.3
    right = lenet.eval()(pixels).argmax(1) == small.data.train_labels[outside]
    assert trained.history[0]["held_out_accuracy"] == right.double().mean().item()


def test_no_rounds_evaluates_the_untrained_model(small, lenet):
    trained = small.train(lenet, settings=TrainSettings(rounds=0))
    assert [row["round"] for row in trained.history] == [0]
    assert [*trained.checkpoints] == [0]


def test_a_failing_worker_ends_in_its_error(small, lenet):
    bad = torch.tensor([10_000])
    with pytest.raises(IndexError):
        small.train(lenet, shards=[bad, bad, bad], workers=2)


def test_it_learns_what_can_be_learnt(small):
    """Four classes, told apart by which quarter of the image is bright."""
    g = torch.Generator().manual_seed(0)
    labels = torch.arange(400) % 4
    images = torch.randint(0, 100, (400, 1, 12, 12), generator=g, dtype=torch.uint8)
    for label in range(4):
        top, left = 6 * (label // 2), 6 * (label % 2)
        images[labels == label, :, top : top + 6, left : left + 6] += 100
    data = ImageSet(images[:300], labels[:300], images[300:], labels[300:], torch.zeros(4, 1, 12, 12))
    model = build_model("softmax", (1, 12, 12), 4)
    settings = TrainSettings(rounds=3, fraction=0.5, batch_size=10, lr=0.05)
    shards = list(torch.arange(300).split(30))
    history = small.train(model, data=data, shards=shards, settings=settings).history
    assert history[0]["test_accuracy"] < 0.6
    assert history[-1]["test_accuracy"] > 0.95
    assert history[-1]["test_loss"] < history[0]["test_loss"]


def test_checkpoints_are_row_major_and_do_not_move(small, normed):
    settings = small.settings.model_copy(update={"checkpoints": [0, 1, 2]})
    trained = small.train(normed, settings=settings)
    assert all(value.is_contiguous() for state in trained.checkpoints.values() for value in state.values())
    assert all(torch.equal(value, trained.checkpoints[0][name]) for name, value in normed.state_dict().items())
    assert not torch.equal(trained.checkpoints[1]["head.bias"], trained.checkpoints[2]["head.bias"])
