"""FLDRep's mods around a Flower client, by Flower's own messages; one test runs the example's simulation for real."""

import json
import math
import sys

import numpy as np
import pytest
import torch
from torch import nn

import fldrep
from fldrep.errors import ConfigError, DataError

pytest.importorskip("flwr", reason="the extra flower is not installed")

from flwr.app import Array, ArrayRecord, ConfigRecord, Context, Error, Message, MetricRecord, RecordDict
from flwr.client import NumPyClient
from flwr.clientapp import ClientApp
from flwr.clientapp.mod import LocalDpMod, fixedclipping_mod
from flwr.supercore.task_identity import TaskIdentity

from fldrep.applications.audit.record import Record, read_record
from fldrep.applications.flower import DefenseMod, RecordMod, defend_step

LR = 0.5
# Each defense with settings, and whether it can be laid on a finished update without a word from the train function.
DEFENSES = {
    "none": ({}, True),
    "gaussian": ({"std": 1e-3, "clip": 1.0}, True),
    "laplace": ({"std": 1e-3}, True),
    "gaussian-dp": ({"epsilon": 1.0, "clip": 1.0}, True),
    "laplace-dp": ({"epsilon": 1.0, "clip": 1.0}, True),
    "compression": ({"rate": 0.8}, True),
    "percentile": ({}, True),
    "svt": ({}, True),
    "signsgd": ({}, True),
    "qsgd": ({"levels": 4}, True),
    "top-k": ({"rate": 0.8}, False),
    "soteria": ({"rate": 0.6}, False),
    "ats": ({}, False),
    "censor": ({}, False),
    "outpost": ({}, False),
    "graddefense": ({}, False),
    "precode": ({}, False),
}


@pytest.fixture(autouse=True)
def task():
    """What a message of Flower's asks of the process that makes it."""
    TaskIdentity.run_id = TaskIdentity.task_id = TaskIdentity.node_id = 1


class Client:
    """A Flower client with an image of class 1 and one of class 3, its mods, and a state that lasts."""

    def __init__(self, network, pixels, mods, *, hands_over=True, steps=1, told=None, train=None):
        self.network, self.images = network, pixels[:2] * 2 - 1
        self.hands_over, self.steps = hands_over, steps
        self.told = {"lr": LR} if told is None else told
        self.context = Context(1, 7, {"partition-id": 3, "num-partitions": 4}, RecordDict(), {})
        self.app = ClientApp(mods=list(mods))
        self.app.train()(train or self.train)
        self.app.evaluate()(lambda message, context: Message(RecordDict(), reply_to=message))

    def train(self, message, context):
        weights = message.content["arrays"].to_torch_state_dict()
        self.network.load_state_dict(dict(zip(self.network.state_dict(), weights.values(), strict=True)))
        labels = torch.tensor([1, 3])
        for _ in range(self.steps):
            self.network.zero_grad()
            nn.functional.cross_entropy(self.network(self.images), labels).backward()
            if self.hands_over:
                defend_step(self.network, self.images, labels)
            with torch.no_grad():
                for value in self.network.parameters():
                    if value.grad is not None:
                        value -= LR * value.grad
        values = self.network.state_dict().values()
        arrays = ArrayRecord({key: Array(value.numpy()) for key, value in zip(weights, values, strict=True)})
        content = RecordDict({"arrays": arrays, "metrics": MetricRecord({"num-examples": 2})})
        return Message(content, reply_to=message)

    def asked(self, weights, kind="train", **config):
        arrays = ArrayRecord({name: Array(value.numpy()) for name, value in weights.items()})
        said = ConfigRecord({**self.told, **config})
        return Message(RecordDict({"arrays": arrays, "config": said}), dst_node_id=7, message_type=kind)

    def round(self, weights, **config):
        """What it sends in the gradient's units, (received - sent) / lr."""
        reply = self.app(self.asked(weights, **config), self.context)
        sent = {name: torch.from_numpy(one.numpy().copy()) for name, one in reply.content["arrays"].items()}
        return {name: (value.double() - sent[name].double()) / LR for name, value in weights.items()}


@pytest.fixture
def client(network, pixels):
    """The function that makes a client with mods, and the weights that it receives."""

    def make(*mods, made=None, **given):
        model = network() if made is None else network(made)
        weights = {name: value.detach().clone() for name, value in model.state_dict().items()}
        return Client(model, pixels, mods, **given), weights

    return make


def norm(update) -> float:
    return float(sum(value.double().square().sum() for value in update.values()).sqrt())


def bottlenecked() -> nn.Module:
    """The network of a run under PRECODE, which adds layers."""
    layers = nn.Conv2d(1, 6, 3, padding=1, stride=2), nn.Sigmoid(), nn.Flatten(), nn.Linear(6 * 36, 5)
    return fldrep.defended_model(nn.Sequential(*layers), "precode", shape=(1, 12, 12))


# What is sent ---------------------------------------------------------------------------------------------------------


def test_every_built_in_defense_is_here():
    assert set(DEFENSES) == {name for name, entry in fldrep.registry.built_in("defense").items() if entry}


@pytest.mark.parametrize("method", DEFENSES)
def test_every_defense_can_be_applied(client, method):
    settings, alone = DEFENSES[method]
    mod, made = DefenseMod(method, seed=1, **settings), bottlenecked if method == "precode" else None
    one, weights = client(mod, made=made)
    sent, plain = one.round(weights), client(made=made)[0].round(weights)
    assert all(value.isfinite().all() for value in sent.values())
    same = all(torch.equal(sent[name], plain[name]) for name in plain)
    assert same == (method == "none")
    if not alone:
        one, weights = client(mod, hands_over=False, made=made)
        with pytest.raises(ConfigError, match=r"defend_step\(network, images, labels\) after each backward"):
            one.round(weights)


@pytest.mark.parametrize("method", ["compression", "percentile", "signsgd"])
@pytest.mark.parametrize("hands_over", [True, False])
def test_what_is_sent_is_the_defended_update(client, method, hands_over):
    settings = DEFENSES[method][0]
    one, weights = client(DefenseMod(method, **settings), hands_over=hands_over, steps=2)
    sent, plain = one.round(weights), client(steps=2)[0].round(weights)
    expected = fldrep.defend({name: value[None].float() for name, value in plain.items()}, method, **settings)
    for name, value in sent.items():
        assert torch.allclose(value.float(), expected[name][0], atol=1e-5), name


def test_noise_is_that_of_the_settings_in_units_of_the_gradient(client):
    one, weights = client(DefenseMod("gaussian", std=0.3, clip=0.5, seed=0))
    sent, plain = one.round(weights), client()[0].round(weights)
    drawn = torch.cat([(sent[name] - plain[name] * 0.5 / norm(plain)).flatten() for name in plain])
    assert float(drawn.std()) == pytest.approx(0.3, rel=0.05)


def test_soteria_prunes_columns_of_the_last_layer_at_each_step_and_nothing_else(client):
    one, weights = client(DefenseMod("soteria", rate=0.5))
    sent, plain = one.round(weights), client()[0].round(weights)
    columns = (sent["5.weight"] == 0).all(0)
    assert 0.4 < float(columns.float().mean()) < 0.6
    assert torch.equal(sent["5.weight"][:, ~columns], plain["5.weight"][:, ~columns])
    assert all(torch.equal(sent[name], plain[name]) for name in plain if name != "5.weight")


def test_memory_lasts_from_round_to_round_in_the_clients_state(client):
    one, weights = client(DefenseMod("top-k", rate=0.9))
    plain = client()[0].round(weights)
    sent = [one.round(weights) for _ in range(2)]
    kept = {name: array.numpy() for name, array in one.context.state["fldrep.memory"].items()}
    assert len(kept) == len(plain)
    total = {name: sent[0][name] + sent[1][name] for name in plain}
    left = sum(abs(2 * plain[name] - total[name]).sum() for name in plain)
    assert float(left) == pytest.approx(sum(float(abs(value).sum()) for value in kept.values()), rel=1e-4)


def test_draws_repeat_by_seed_client_and_round_and_cannot_be_foretold_without_one(client):
    def sent(seed, **config):
        one, weights = client(DefenseMod("gaussian", std=0.1, seed=seed))
        return one.round(weights, **config)["0.weight"]

    assert torch.equal(sent(4), sent(4))
    assert torch.equal(sent(4, **{"server-round": 2}), sent(4, **{"server-round": 2}))
    assert not torch.equal(sent(4), sent(4, **{"server-round": 2}))
    assert not torch.equal(sent(4), sent(5))
    assert not torch.equal(sent(None), sent(None))
    one, weights = client(DefenseMod("gaussian", std=0.1, seed=4))
    assert not torch.equal(one.round(weights)["0.weight"], one.round(weights)["0.weight"])


class Normed(nn.Module):
    """Batch norm, whose buffers are sent beside the weights."""

    def __init__(self):
        super().__init__()
        self.stem, self.norm = nn.Conv2d(1, 6, 3, padding=1, stride=2), nn.BatchNorm2d(6)
        self.fc = nn.Linear(6 * 36, 5)

    def forward(self, x):
        return self.fc(torch.sigmoid(self.norm(self.stem(x))).flatten(1))


@pytest.mark.parametrize("method", ["compression", "soteria", "ats"])
def test_buffers_are_sent_as_they_are_and_the_network_keeps_its_mode(client, method):
    one, weights = client(DefenseMod(method, **DEFENSES[method][0]), made=Normed)
    sent, plain = one.round(weights), client(made=Normed)[0].round(weights)
    assert one.network.training
    for name in ("norm.running_mean", "norm.running_var", "norm.num_batches_tracked"):
        assert torch.equal(sent[name], plain[name])
    assert any(not torch.equal(sent[name], plain[name]) for name in plain)


def test_weights_sent_as_a_list_are_known_by_their_places(client):
    one, weights = client(DefenseMod("top-k", rate=0.5))
    listed = {str(place): value for place, value in enumerate(weights.values())}
    sent = one.round(listed)
    assert float((sent["4"] == 0).float().mean()) == pytest.approx(0.5, abs=0.01)


def test_frozen_parameters_are_sent_as_they_are(client):
    one, weights = client(DefenseMod("gaussian", std=0.1))
    one.network[0].requires_grad_(False)
    sent = one.round(weights)
    assert not sent["0.weight"].any()
    assert sent["2.weight"].any()


# What is refused ------------------------------------------------------------------------------------------------------


def test_what_is_not_a_reply_to_train_is_left_as_it_is(client, tmp_path):
    one, weights = client(RecordMod(tmp_path), DefenseMod("soteria", rate=0.5))
    reply = one.app(one.asked(weights, kind="evaluate"), one.context)
    assert not reply.has_error()
    mods = RecordMod(tmp_path), DefenseMod("gaussian", std=1.0)
    failed, _ = client(*mods, train=lambda message, context: Message(Error(1, "no memory"), reply_to=message))
    assert failed.app(one.asked(weights), one.context).error.reason == "no memory"
    assert not list(tmp_path.iterdir())


def test_a_step_size_that_nobody_tells_is_asked_for(client):
    one, weights = client(DefenseMod("gaussian", std=1.0), told={"eta": LR})
    with pytest.raises(ConfigError, match="lr: 'lr' or 'learning-rate': neither the reply nor"):
        one.round(weights)
    assert client(DefenseMod("none", lr="eta"), told={"eta": LR})[0].round(weights)
    one, weights = client(DefenseMod("gaussian", std=1.0), told={"lr": "fast"})
    with pytest.raises(ConfigError, match="lr: 'fast': expected a number"):
        one.round(weights)


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"method": "soteira"}, "unknown defense 'soteira'"),
        ({"method": "gaussian"}, "std"),
        ({"method": "gaussian", "std": -1.0}, "std"),
        ({"method": "none", "lr": 0}, "lr: 0: expected a number above 0"),
        ({"method": "none", "seed": -1}, "seed: -1"),
    ],
)
def test_wrong_settings_are_refused_when_the_app_is_made(given, told):
    with pytest.raises(ConfigError, match=told):
        DefenseMod(**given)


def test_arrays_that_do_not_fit_are_told(client, tmp_path):
    def echo(message, context):
        return Message(message.content, reply_to=message)

    one, weights = client(RecordMod(tmp_path), train=echo)
    message = one.asked(weights)
    message.content["second"] = ArrayRecord({"a": Array(torch.zeros(1).numpy())})
    with pytest.raises(ConfigError, match="what the client received holds 2 ArrayRecords: expected one"):
        one.app(message, one.context)


def test_defend_step_does_nothing_without_a_mod_and_asks_for_a_gradient_with_one(client, network, pixels):
    def too_early(*_):
        defend_step(network(), pixels[:1], torch.tensor([0]))

    too_early()
    one, weights = client(DefenseMod("soteria", rate=0.5), train=too_early)
    with pytest.raises(ConfigError, match="expected defend_step after backward"):
        one.app(one.asked(weights), one.context)


def test_without_flower_the_extra_is_named(monkeypatch):
    for name in [one for one in sys.modules if one.startswith("fldrep.applications.flower")]:
        monkeypatch.delitem(sys.modules, name)
    for name in [one for one in sys.modules if one.partition(".")[0] == "flwr"]:
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ConfigError, match=r"flwr: not installed: expected .* pip install -e '.\[flower\]'"):
        __import__("fldrep.applications.flower")


# Records --------------------------------------------------------------------------------------------------------------


def test_the_first_mod_records_what_the_server_will_see(client, tmp_path):
    one, weights = client(RecordMod(tmp_path), DefenseMod("compression", rate=0.8))
    sent = one.round(weights, **{"server-round": 2, "local-epochs": 1})
    record = read_record(tmp_path / "round-2-client-3.safetensors")
    assert record.told == {"images": 2, "lr": LR, "epochs": 1, "round": 2, "client": 3}
    for name, value in weights.items():
        assert torch.equal(record.received[name], value)
        assert torch.equal((value.double() - record.sent[name].double()) / LR, sent[name])
    assert float((record.received["5.weight"] == record.sent["5.weight"]).float().mean()) == pytest.approx(0.8, abs=0.1)


def test_flowers_own_mods_are_recorded_alike(client, tmp_path):
    def change(mod) -> dict[str, torch.Tensor]:
        one, weights = client(RecordMod(tmp_path), mod)
        one.round(weights, clipping_norm=0.1 * LR)
        found = read_record(tmp_path / "round-1-client-3.safetensors")
        return {name: value - found.sent[name] for name, value in found.received.items()}

    assert norm(change(fixedclipping_mod)) == pytest.approx(0.1 * LR, rel=1e-3)
    noisy = change(LocalDpMod(clipping_norm=0.1 * LR, sensitivity=0.2 * LR, epsilon=10.0, delta=1e-5))
    std = float(torch.cat([value.flatten() for value in noisy.values()]).std())
    assert std == pytest.approx(0.2 * LR * math.sqrt(2 * math.log(1.25e5)) / 10, rel=0.05)


class OfLists(NumPyClient):
    """A client of Flower's older kind: weights as a list, keys with underscores, and words of its own."""

    def __init__(self, network):
        self.network = network

    def fit(self, parameters, config):
        sent = [value - np.float32(0.1) for value in parameters]
        return sent, 7, {"batch_size": 2}


def test_a_client_of_lists_of_weights_tells_its_images_and_steps(network, tmp_path):
    made, run = network(), {"learning-rate": 0.25, "local-epochs": 3, "batch-size": 5}
    app = ClientApp(client_fn=lambda context: OfLists(made).to_client(), mods=[RecordMod(tmp_path)])
    arrays = ArrayRecord({str(place): Array(one.numpy()) for place, one in enumerate(made.state_dict().values())})
    content = {"fitins.parameters": arrays, "fitins.config": ConfigRecord({"server_round": 4})}
    message = Message(RecordDict(content), dst_node_id=7, message_type="train")
    assert not app(message, Context(1, 7, {"partition-id": 3}, RecordDict(), run)).has_error()
    record = read_record(tmp_path / "round-4-client-3.safetensors")
    assert record.told == {"images": 7, "lr": 0.25, "epochs": 3, "batch_size": 2, "round": 4, "client": 3}
    assert record.of_audit(made)["after"].keys() == made.state_dict().keys()


def test_rounds_are_counted_where_the_server_does_not_tell_them(client, tmp_path):
    one, weights = client(RecordMod(tmp_path))
    for _ in range(2):
        one.round(weights)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "round-1-client-3.safetensors",
        "round-2-client-3.safetensors",
    ]


MODEL = """
from torch import nn

def build():
    return nn.Sequential(
        nn.Conv2d(1, 6, 3, padding=1, stride=2), nn.Sigmoid(),
        nn.Conv2d(6, 8, 3, padding=1), nn.Sigmoid(), nn.Flatten(), nn.Linear(8 * 36, 5),
    )
"""


@pytest.fixture
def recorded(client, tmp_path, monkeypatch):
    """A folder with a record of a client of two images, and the file of its network."""
    monkeypatch.chdir(tmp_path)
    one, weights = client(RecordMod("records"))
    one.round(weights)
    (tmp_path / "my_model.py").write_text(MODEL)
    return tmp_path / "records/round-1-client-3.safetensors"


AUDIT = ("--model", "my_model.py:build", "--shape", "1x12x12", "--normalisation", "0.5/0.5", "--out", "audit")


def test_audit_reads_a_record_directly(recorded, call, tmp_path):
    code, _, err = call("audit", str(recorded), *AUDIT, "--budget", "1")
    assert code == 0, err
    said = json.loads((tmp_path / "audit/result.json").read_text())
    assert said["update"]["kind"] == "weights"
    assert said["update"]["images"] == 2
    assert said["labels"] == [1, 3]
    assert any("no local steps were told" in note for note in said["settings"]["notes"])


def test_options_count_before_what_a_record_tells(recorded, call, tmp_path):
    code, _, err = call("audit", str(recorded), *AUDIT, "--budget", "1", "--images", "3", "--labels", "1,3,3")
    assert code == 0, err
    assert json.loads((tmp_path / "audit/result.json").read_text())["update"]["images"] == 3


def test_a_record_of_a_list_of_weights_is_read_by_place(recorded, call, tmp_path):
    found = read_record(recorded)
    listed = [
        {str(place): value for place, value in enumerate(one[name] for name in fldrep_names())}
        for one in (found.received, found.sent)
    ]
    Record(*listed, found.told).write(tmp_path / "listed.safetensors")
    code, _, err = call("audit", "listed.safetensors", *AUDIT, "--budget", "1")
    assert code == 0, err


def fldrep_names() -> list[str]:
    return [f"{layer}.{kind}" for layer in (0, 2, 5) for kind in ("weight", "bias")]


@pytest.mark.parametrize(
    ("tensors", "metadata", "told"),
    [
        ({"received/a": torch.zeros(1)}, {"format": "other"}, "no record"),
        ({"a": torch.zeros(1)}, {"format": "fldrep-record"}, "tensor 'a': expected received/NAME or sent/NAME"),
        ({"sent/a": torch.zeros(1)}, {"format": "fldrep-record", "told": "["}, "'told' is no JSON"),
        ({"sent/a": torch.zeros(1)}, {"format": "fldrep-record", "told": "[1]"}, "'told' is no JSON"),
    ],
)
def test_a_damaged_record_is_told(tmp_path, tensors, metadata, told):
    from safetensors.torch import save_file

    save_file(tensors, tmp_path / "record.safetensors", metadata)
    with pytest.raises(DataError, match=told):
        read_record(tmp_path / "record.safetensors")
