"""A defense with a memory of its own in federated training: kept for each client, in the checkpoints, over a kill."""

import pytest
import torch

from fldrep import registry
from fldrep.config.defenses import defense_settings
from fldrep.models.checkpoint import read_memory, write_checkpoints
from fldrep.train import fedavg
from fldrep.train.resume import load_progress, save_progress

COUNTS = '''
import fldrep
import torch

@fldrep.defense("counts")
class Counts(fldrep.Defense):
    """Sends the update, and keeps how often it did and what the last one was."""
    def memory(self, model):
        return {"calls": torch.zeros(())}
    def on_update(self, update, client):
        client.memory["calls"] = client.memory["calls"] + 1
        client.memory["last"] = update["head.bias"].clone()
        return update
'''


@pytest.fixture(scope="module", autouse=True)
def plugin(tmp_path_factory):
    path = tmp_path_factory.mktemp("plugin") / "counts.py"
    path.write_text(COUNTS)
    registry.load_plugins(path)
    yield
    del registry._ADDED["defense", "counts"], registry._VALUES["defense", "counts"]


def memories(checkpoint):
    return {name: value for name, value in checkpoint.items() if name.startswith("memory/")}


def test_memory_is_kept_for_each_client_from_round_to_round(small, lenet, settings):
    everyone = settings.model_copy(update={"fraction": 1.0, "checkpoints": [0, 1, 2]})
    trained = small.train(lenet, defense_settings("counts"), settings=everyone)
    assert memories(trained.checkpoints[0]) == {}
    for round in (1, 2):
        kept = memories(trained.checkpoints[round])
        assert {name for name in kept if name.endswith("calls")} == {f"memory/{client}/calls" for client in range(5)}
        assert all(value == round for name, value in kept.items() if name.endswith("calls"))


def test_workers_change_no_memory(small, lenet, settings):
    kept = settings.model_copy(update={"checkpoints": [2]})
    alone, together = (
        memories(small.train(lenet, defense_settings("counts"), settings=kept, workers=workers).checkpoints[2])
        for workers in (1, 2)
    )
    assert alone.keys() == together.keys()
    assert alone
    assert all(torch.equal(alone[name], together[name]) for name in alone)


def test_memory_survives_a_kill(small, lenet, settings, tmp_path, monkeypatch):
    """The run is stopped after its first round, and goes on from its file."""
    kept = settings.model_copy(update={"fraction": 1.0, "checkpoints": [2]})
    given = {"settings": kept, "resume": tmp_path / "resume.safetensors", "save_every_s": 0.0}
    whole = small.train(lenet, defense_settings("counts"), settings=kept)
    played = fedavg.play_round

    def stopping(*arguments):
        if arguments[4] == 2:
            raise KeyboardInterrupt
        return played(*arguments)

    monkeypatch.setattr(fedavg, "play_round", stopping)
    with pytest.raises(KeyboardInterrupt):
        small.train(lenet, defense_settings("counts"), **given)
    monkeypatch.setattr(fedavg, "play_round", played)
    again = small.train(lenet, defense_settings("counts"), **given)
    assert len(again.history) == len(whole.history) == 3
    for name, value in whole.checkpoints[2].items():
        assert torch.equal(again.checkpoints[2][name], value), name


def test_memory_is_read_by_round_and_client(tmp_path):
    state = {"w": torch.ones(2), "memory/3/last": torch.arange(2.0), "memory/31/last": torch.zeros(2)}
    write_checkpoints(tmp_path / "c.safetensors", {0: {"w": torch.ones(2)}, 4: state}, {})
    assert torch.equal(read_memory(tmp_path / "c.safetensors", 4, 3)["last"], torch.arange(2.0))
    assert read_memory(tmp_path / "c.safetensors", 0, 3) == {}
    assert read_memory(tmp_path / "c.safetensors", 4, 1) == {}


def test_progress_holds_the_memories(tmp_path, small, lenet):
    from fldrep.train.resume import Progress

    done = Progress(dict(lenet.state_dict()), [], {}, {"3/calls": torch.ones(())})
    save_progress(tmp_path / "p.safetensors", "key", done)
    assert load_progress(tmp_path / "p.safetensors", "key").memories == {"3/calls": torch.ones(())}
