import pytest
import torch
from torch import nn

from fldrep.config.defenses import defense_settings
from fldrep.defenses.client import Client
from fldrep.defenses.defended import defended_gradient, defense_of
from fldrep.defenses.top_k import largest


def test_by_hand():
    assert largest(torch.tensor([[1.0, -3.0, 2.0, 0.5], [0.0, 0.0, 0.0, 9.0]]), 0.5).tolist() == [
        [0.0, -3.0, 2.0, 0.0],
        [0.0, 0.0, 0.0, 9.0],
    ]
    assert largest(torch.tensor([[1.0, -1.0, 1.0]]), 1.0).count_nonzero() == 1


@pytest.mark.parametrize("rate", [0.0, 0.3, 0.9, 1.0])
def test_as_many_entries_are_sent_as_asked(rate):
    values = torch.randn(2, 4, 5, generator=torch.Generator().manual_seed(0))
    assert largest(values, rate).flatten(1).count_nonzero(dim=1).tolist() == [max(1, round(20 * (1 - rate)))] * 2


def test_what_is_sent_over_rounds_and_the_memory_add_up_to_what_was_to_be_sent(make_network):
    model = make_network(nn.Flatten(), shape=(3, 4, 4))
    defense = defense_of(defense_settings("top-k", rate=0.9))
    random, memory = torch.Generator().manual_seed(0), defense.memory(model)
    wanted, sent = dict.fromkeys(memory, 0), dict.fromkeys(memory, 0)
    for _ in range(5):
        update = {name: torch.randn(1, *one.shape, generator=random, dtype=one.dtype) for name, one in memory.items()}
        given = {name: one.clone() for name, one in update.items()}
        client = Client(model, memory=memory)
        found = defense.on_update(update, client)
        memory = client.memory
        wanted = {name: one + update[name][0] for name, one in wanted.items()}
        sent = {name: one + found[name][0] for name, one in sent.items()}
        assert all(torch.equal(one, given[name]) for name, one in update.items())
        for name, one in wanted.items():
            torch.testing.assert_close(sent[name] + memory[name], one)
            assert not (memory[name] * found[name][0]).any()


def test_before_an_attack_the_memory_counts_and_stays(make_network, draw_images):
    model = make_network(nn.Flatten())
    defense = defense_of(defense_settings("top-k", rate=0.5))
    plain = {name: torch.zeros_like(one)[None] for name, one in defense.memory(model).items()}
    kept = {name: torch.ones_like(one) for name, one in defense.memory(model).items()}
    client = Client(model, draw_images(1), torch.tensor([0]), memory=kept)
    sent = defended_gradient(defense, client, plain)
    assert all((one.sum() == round(one.numel() / 2)) for one in sent.values())
    assert all((one == 1).all() for one in kept.values())
    assert (sent.defended, sent.distorted) == ("all", True)
