import copy

import pytest
import torch
from torch.nn.functional import cross_entropy

from fldrep.config.defenses import defense_settings
from fldrep.config.train import TrainSettings
from fldrep.defenses.client import Client
from fldrep.defenses.defended import defense_of
from fldrep.defenses.soteria.masks import column_mask
from fldrep.models.updates import client_update
from fldrep.seeds import generator
from fldrep.train.client import local_batches, local_gradient, share_pruned, tensor_bytes, train_client
from fldrep.train.federation import copy_of

ONE_STEP = TrainSettings(rounds=1, batch_size=60, lr=0.05)
UNDEFENDED = defense_settings()


def sent_by(small, model, defense=UNDEFENDED, settings=ONE_STEP, client=3, round=1, name="named"):
    federation = small.federation(copy.deepcopy(model), defense, settings, name)
    return train_client(federation, copy_of(model.state_dict()), client, round)


def test_update_of_one_full_batch_step_is_the_gradient_an_attack_sees(small, lenet):
    shard = small.shards[3]
    pixels = ((small.data.train_images[shard].float() / 255).double() - 0.4) / 0.3
    seen = client_update(lenet, pixels.unsqueeze(0), small.data.train_labels[shard].unsqueeze(0))
    sent = sent_by(small, lenet)
    for name, gradient in seen.items():
        torch.testing.assert_close(sent.tensors[name], gradient[0], rtol=1e-9, atol=1e-11)
    assert sent.report.images == 16


@pytest.mark.parametrize(
    "defense",
    [
        {"method": "soteria", "rate": 0.0},
        {"method": "soteria", "rate": 0.0, "prune": "representation"},
        {"method": "compression", "rate": 0.0},
        {"method": "gaussian", "std": 0.0},
        {"method": "laplace", "std": 0.0},
    ],
    ids=lambda d: d["method"] + d.get("prune", ""),
)
@pytest.mark.parametrize("name", ["lenet", "normed"])
def test_a_defense_of_strength_zero_is_no_defense(small, defense, name, request):
    model = request.getfixturevalue(name)
    scores = {"norm_estimator": "exact"} if defense["method"] == "soteria" and name == "normed" else {}
    settings = defense_settings(**defense, **scores)
    plain = small.train(model)
    zero = small.train(model, settings)
    for one, other in zip(plain.history, zero.history, strict=True):
        for key in ("test_accuracy", "test_loss", "update_norm", "clients"):
            assert one[key] == other[key]


def test_noise_is_of_the_std_asked_and_named_by_client_round_and_defense(small, lenet):
    clean = sent_by(small, lenet)
    defense = defense_settings(method="gaussian", std=0.3)
    noisy = sent_by(small, lenet, defense)
    noise = torch.cat([(noisy.tensors[name] - value).flatten() for name, value in clean.tensors.items()])
    assert noise.std().item() == pytest.approx(0.3, rel=0.05)
    assert noise.mean().item() == pytest.approx(0, abs=0.01)
    again = sent_by(small, lenet, defense)
    assert all(torch.equal(value, again.tensors[name]) for name, value in noisy.tensors.items())
    for changed in ({"name": "other"}, {"round": 2}):
        other = sent_by(small, lenet, defense, **changed)
        clean_other = sent_by(small, lenet, **changed)
        assert not torch.equal(
            other.tensors["head.bias"] - clean_other.tensors["head.bias"],
            noisy.tensors["head.bias"] - clean.tensors["head.bias"],
        )


def test_batches_are_the_same_under_every_defense(small, lenet, monkeypatch):
    seen = {}

    def recording(images, train, order):
        batches = list(local_batches(images, train, order))
        seen.setdefault(current, []).append([batch.tolist() for batch in batches])
        return iter(batches)

    monkeypatch.setattr("fldrep.train.client.local_batches", recording)
    for current, defense in enumerate(
        [
            {},
            {"method": "soteria", "rate": 0.5},
            {"method": "gaussian", "std": 0.1},
            {"method": "compression", "rate": 0.9},
        ]
    ):
        small.train(lenet, defense_settings(**defense), defense_name=f"defense-{current}")
    assert seen[0] == seen[1] == seen[2] == seen[3]


def test_local_batches_cover_the_shard_in_a_new_order_each_epoch():
    settings = TrainSettings(local_epochs=2, batch_size=4)
    batches = [b.tolist() for b in local_batches(10, settings, torch.Generator().manual_seed(0))]
    assert [len(batch) for batch in batches] == [4, 4, 2, 4, 4, 2]
    first, second = ([position for batch in epoch for position in batch] for epoch in (batches[:3], batches[3:]))
    assert sorted(first) == sorted(second) == list(range(10))
    assert first != second


def test_soteria_masks_columns_of_the_last_weight_and_nothing_else(small, lenet):
    defense = defense_settings(method="soteria", rate=0.5)
    clean, masked = sent_by(small, lenet), sent_by(small, lenet, defense)
    shard = small.shards[3]
    pixels = ((small.data.train_images[shard].float() / 255).double() - 0.4) / 0.3
    kept = column_mask(lenet, pixels, 0.5, per="batch", how="variance")
    features = lenet.head.in_features
    assert kept.sum() == features - features // 2
    for name, value in clean.tensors.items():
        expected = value * kept if name == "head.weight" else value
        torch.testing.assert_close(masked.tensors[name], expected, rtol=1e-9, atol=1e-11)
    assert masked.report.nonzero_pruned == pytest.approx(0.5)
    assert clean.report.nonzero_pruned is None
    assert masked.report.defense_s > clean.report.defense_s


def test_pruning_the_representation_is_the_gradient_of_the_pruned_loss(lenet):
    g = torch.Generator().manual_seed(0)
    images = torch.rand(6, 1, 12, 12, generator=g, dtype=torch.float64)
    labels = torch.randint(0, 4, (6,), generator=g)
    kept = torch.rand(lenet.head.in_features, generator=g) < 0.5
    defense = defense_of(defense_settings("soteria", rate=0.5, prune="representation"))
    model = copy.deepcopy(lenet)
    defense.on_model(model)
    defense.kept = kept
    gradient, features = local_gradient(model, images, labels)
    gradient = defense.on_step(gradient, Client())
    pruned_head = lenet.head.weight.detach().clone()
    pruned_head[:, ~kept] = 0  # the same logits, by pruning the weight
    weights = {name: value.detach() for name, value in lenet.named_parameters()} | {"head.weight": pruned_head}
    for value in weights.values():
        value.requires_grad_()
    logits = torch.func.functional_call(lenet, weights, (images,))
    expected = dict(zip(weights, torch.autograd.grad(cross_entropy(logits, labels), [*weights.values()]), strict=True))
    for name, value in gradient.items():
        twin = expected[name] * kept if name == "head.weight" else expected[name]
        torch.testing.assert_close(value, twin, rtol=1e-10, atol=1e-14)
    torch.testing.assert_close(features, lenet.features(images))
    plain, _ = local_gradient(lenet, images, labels)
    assert not torch.allclose(plain["head.bias"], gradient["head.bias"])


@pytest.mark.filterwarnings("ignore:.torch.jit.script. is deprecated:FutureWarning")
def test_random_scores_are_drawn_by_name(small, lenet):
    defense = defense_settings(method="soteria", rate=0.5, norm_estimator="jvp")
    one, same = sent_by(small, lenet, defense), sent_by(small, lenet, defense)
    other = sent_by(small, lenet, defense, name="other")
    masks = [sent.tensors["head.weight"].ne(0).any(0) for sent in (one, same, other)]
    assert torch.equal(masks[0], masks[1])
    assert not torch.equal(masks[0], masks[2])


def test_masks_do_not_touch_batch_norm(small, normed):
    defense = defense_settings(method="soteria", rate=0.5, norm_estimator="exact")
    clean = sent_by(small, normed)
    masked = sent_by(small, normed, defense)
    for name, _ in normed.named_buffers():
        assert torch.equal(clean.tensors[name], masked.tensors[name]), name


def test_buffers_are_sent_undefended(small, normed):
    clean = sent_by(small, normed)
    noisy = sent_by(small, normed, defense_settings(method="gaussian", std=1.0))
    buffers = [name for name, _ in normed.named_buffers()]
    assert "body.1.running_mean" in buffers
    assert all(torch.equal(clean.tensors[name], noisy.tensors[name]) for name in buffers)
    assert clean.tensors["body.1.num_batches_tracked"] == 1


def test_bytes_are_of_the_smaller_form(small, lenet):
    dense = 4 * sum(value.numel() for value in lenet.parameters())
    assert sent_by(small, lenet).report.sent_bytes == dense
    compressed = sent_by(small, lenet, defense_settings(method="compression", rate=0.9))
    entries = sum(int((value != 0).sum()) for value in compressed.tensors.values())
    assert compressed.report.sent_bytes <= 8 * entries
    assert compressed.report.sent_bytes == pytest.approx(0.2 * dense, rel=0.05)
    half = torch.zeros(10)
    half[:5] = 1
    assert tensor_bytes(half) == 40
    half[4] = 0
    assert tensor_bytes(half) == 32


def test_history_has_the_bytes(small, lenet):
    trained = small.train(lenet, defense_settings(method="compression", rate=0.9))
    entries = sum(value.numel() for value in lenet.parameters())
    assert [row["dense_bytes"] for row in trained.history] == [4 * entries] * 3
    assert trained.history[0]["sent_bytes"] == 0
    assert trained.history[1]["sent_bytes"] == pytest.approx(0.8 * entries, rel=0.05)


def test_share_pruned_counts_what_any_image_uses():
    features = torch.tensor([[1.0, 0.0, 0.0, 2.0], [0.0, 3.0, 0.0, 1.0]])
    assert share_pruned(features, torch.tensor([False, True, False, True])).item() == pytest.approx(1 / 3)
    assert share_pruned(torch.zeros(2, 4), torch.tensor([False] * 4)).item() == 0


@pytest.mark.parametrize("momentum", [None, 0.9])
def test_local_steps_with_momentum_are_those_of_torch(small, lenet, momentum):
    settings = TrainSettings(rounds=1, batch_size=5, local_epochs=2, lr=0.05, momentum=momentum)
    sent = sent_by(small, lenet, settings=settings)
    federation, model = small.federation(copy.deepcopy(lenet), UNDEFENDED, settings, "named"), copy.deepcopy(lenet)
    shard = small.shards[3]
    images, labels = federation.inputs(small.data.train_images[shard]), small.data.train_labels[shard]
    optimiser = torch.optim.SGD(model.parameters(), lr=0.05, momentum=momentum or 0)
    for batch in local_batches(len(shard), settings, generator("batches", *federation.identity, 3, 1)):
        optimiser.zero_grad()
        cross_entropy(model(images[batch]), labels[batch]).backward()
        optimiser.step()
    before = lenet.state_dict()
    for name, value in model.named_parameters():
        torch.testing.assert_close(sent.tensors[name], (before[name] - value.detach()) / 0.05, rtol=1e-6, atol=1e-9)
