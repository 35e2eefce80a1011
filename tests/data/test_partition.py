"""Every split: no image twice, all dealt, seeded; and what each method promises besides."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from fldrep.config.partitions import PartitionSettings
from fldrep.data.partition import METHODS, dirichlet, iid, label_skew, shards_table, split
from fldrep.errors import ConfigError
from fldrep.tables.shards import SHARDS

MNIST_COUNTS = [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def labels_of(counts, seed=0):
    labels = torch.arange(len(counts)).repeat_interleave(torch.tensor(counts))
    return labels[torch.randperm(len(labels), generator=generator(seed))]


def assert_each_image_once(shards, labels):
    assert sorted(index for shard in shards for index in shard.tolist()) == list(range(len(labels)))
    for shard in shards:
        assert shard.dtype == torch.int64
        assert shard.tolist() == sorted(shard.tolist())


DEALS = {
    "iid": lambda labels, generator: iid(labels, 7, generator),
    "label-skew": lambda labels, generator: label_skew(labels, 7, 3, generator),
    "dirichlet": lambda labels, generator: dirichlet(labels, 7, 0.5, generator),
}


@pytest.mark.parametrize("method", DEALS)
def test_every_image_is_held_once(method):
    labels = labels_of([31, 40, 22, 35, 28])
    shards = DEALS[method](labels, generator())
    assert len(shards) == 7
    assert_each_image_once(shards, labels)


@pytest.mark.parametrize("method", DEALS)
def test_the_deal_follows_the_generator_and_nothing_else(method):
    labels = labels_of([31, 40, 22, 35, 28])
    once = DEALS[method](labels, generator(1))
    torch.manual_seed(99)
    np.random.seed(99)
    again, other = DEALS[method](labels, generator(1)), DEALS[method](labels, generator(2))
    assert all(torch.equal(a, b) for a, b in zip(once, again, strict=True))
    assert any(not torch.equal(a, b) for a, b in zip(once, other, strict=True))


@pytest.mark.parametrize(
    "deal_one_class", [lambda *a: label_skew(*a[:2], 1, a[2]), lambda *a: dirichlet(*a[:2], 1.0, a[2]), iid]
)
def test_the_images_of_a_class_are_shuffled_before_they_are_shared(deal_one_class):
    one, two = deal_one_class(torch.zeros(200), 2, generator())
    assert 60 < (one < 100).sum() + (two >= 100).sum() < 140  # in data set order it would be 0 or 200


def test_deal_passes_the_settings_on():
    labels = labels_of([20] * 5)
    found = split(labels, PartitionSettings(clients=4), generator())
    assert all(torch.equal(a, b) for a, b in zip(found, iid(labels, 4, generator()), strict=True))
    asked = PartitionSettings(method="label-skew", clients=6, classes_per_client=2)
    found = split(labels, asked, generator())
    assert all(torch.equal(a, b) for a, b in zip(found, label_skew(labels, 6, 2, generator()), strict=True))
    asked = PartitionSettings(method="dirichlet", clients=6, alpha=0.3)
    found = split(labels, asked, generator())
    assert all(torch.equal(a, b) for a, b in zip(found, dirichlet(labels, 6, 0.3, generator()), strict=True))
    assert set(METHODS) == {"iid", "label-skew", "dirichlet"}


def test_images_held_out_are_dealt_to_nobody():
    labels = labels_of([40, 60])
    for method in (
        {"method": "iid"},
        {"method": "label-skew", "classes_per_client": 1},
        {"method": "dirichlet", "alpha": 1},
    ):
        found = split(labels, PartitionSettings(clients=4, held_out=30, **method), generator())
        held = torch.cat(found).sort().values
        assert len(held) == len(held.unique()) == 70
        assert all(torch.equal(shard, shard.sort().values) for shard in found)
    other = split(labels, PartitionSettings(clients=4, held_out=30), generator(1))
    assert not torch.equal(torch.cat(other).sort().values, held)  # drawn, not the first or the last
    with pytest.raises(ConfigError, match=r"held_out=100: there are only 100 images"):
        split(labels, PartitionSettings(clients=4, held_out=100), generator())


# ---- iid


def test_iid_shares_are_equal():
    sizes = {len(shard) for shard in iid(labels_of([600] * 10), 100, generator())}
    assert sizes == {60}
    uneven = [len(shard) for shard in iid(labels_of([10, 13]), 5, generator())]
    assert uneven == [5, 5, 5, 4, 4]


def test_iid_clients_have_the_class_mix_of_the_whole():
    labels = labels_of([3000, 1000])
    shares = [labels[shard].float().mean().item() for shard in iid(labels, 40, generator())]
    deviation = (0.25 * 0.75 / 100) ** 0.5  # of a share in 100 images
    assert abs(np.mean(shares) - 0.25) < 1e-6
    assert 0.6 * deviation < np.std(shares) < 1.4 * deviation


def test_more_clients_than_images_is_refused():
    for method in (iid, lambda *a: dirichlet(a[0], a[1], 1.0, a[2])):
        with pytest.raises(ConfigError, match=r"clients=5: there are only 4 images"):
            method(torch.zeros(4), 5, generator())


# ---- label skew


@settings(max_examples=60, deadline=None)
@given(st.integers(2, 12), st.integers(1, 25), st.data())
def test_each_client_holds_exactly_so_many_classes(present, clients, data):
    each = data.draw(st.integers(1, present))
    if clients * each < present:
        clients = -(-present // each)
    counts = data.draw(st.lists(st.integers(clients, 60), min_size=present, max_size=present))
    labels = labels_of(counts)
    shards = label_skew(labels, clients, each, generator(data.draw(st.integers(0, 5))))
    assert_each_image_once(shards, labels)
    assert all(len(labels[shard].unique()) == each for shard in shards)
    holders = torch.tensor([sum(bool((labels[shard] == c).any()) for shard in shards) for c in range(present)])
    assert holders.max() - holders.min() <= 1


def test_two_classes_a_client_on_the_counts_of_mnist():
    labels = labels_of(MNIST_COUNTS)
    shards = label_skew(labels, 100, 2, generator())
    assert all(len(labels[shard].unique()) == 2 for shard in shards)
    assert_each_image_once(shards, labels)
    for label, count in enumerate(MNIST_COUNTS):
        held = [int((labels[shard] == label).sum()) for shard in shards]
        held = [n for n in held if n]
        assert len(held) == 20
        assert set(held) <= {count // 20, count // 20 + 1}
    pairs = {tuple(labels[shard].unique().tolist()) for shard in shards}
    assert len(pairs) > 30  # of 45: which classes meet is random


def test_the_larger_shares_do_not_always_go_to_the_first_clients():
    labels = labels_of([15] * 2)
    sizes = [[len(shard) for shard in label_skew(labels, 20, 1, generator(seed))] for seed in range(30)]
    assert len({tuple(s) for s in sizes}) > 20


@pytest.mark.parametrize(
    ("counts", "clients", "each", "told"),
    [
        ([9] * 10, 4, 2, r"clients=4 with classes_per_client=2 leaves 2 of 10 classes without a holder"),
        ([9] * 3, 4, 5, r"classes_per_client=5: the data set has only 3 classes"),
        ([9, 9, 2], 9, 2, r"gives class 2 6 holders, and it has only 2 images"),
    ],
)
def test_an_impossible_deal_by_classes_is_refused(counts, clients, each, told):
    with pytest.raises(ConfigError, match=told):
        label_skew(labels_of(counts), clients, each, generator())


# ---- dirichlet


def test_dirichlet_shares_are_equal():
    labels = labels_of([600] * 10)
    assert {len(shard) for shard in dirichlet(labels, 100, 0.1, generator())} == {60}


def _first_shares(alpha, counts, repeats, share):
    """Class proportions of the first client, whose draw no used-up class disturbs, over many deals."""
    labels = labels_of(counts)
    clients = sum(counts) // share
    found = [labels[dirichlet(labels, clients, alpha, generator(seed))[0]] for seed in range(repeats)]
    return np.array([np.bincount(one, minlength=len(counts)) / len(one) for one in found])


@pytest.mark.parametrize("alpha", [0.5, 3.0])
def test_the_first_clients_shares_have_the_moments_of_dirichlet_and_multinomial(alpha):
    """q ~ Dir(a p), share = multinomial(n, q) / n: mean p, variance p (1 - p) (1/n + (1 - 1/n) / (a + 1))."""
    counts, n, repeats = [300, 100], 40, 800
    shares = _first_shares(alpha, counts, repeats, n)[:, 1]
    variance = 0.25 * 0.75 * (1 / n + (1 - 1 / n) / (alpha + 1))
    assert abs(shares.mean() - 0.25) < 4 * (variance / repeats) ** 0.5
    assert shares.var() == pytest.approx(variance, rel=0.15)


def test_the_first_clients_shares_have_the_distribution_of_an_independent_draw():
    counts, n = [75, 75, 50], 20
    shares = _first_shares(1.0, counts, 600, n)[:, 2]
    random = np.random.default_rng(5)
    gammas = random.gamma(np.array([0.375, 0.375, 0.25]), size=(3000, 3))
    twin = np.array([random.multinomial(n, g / g.sum())[2] / n for g in gammas])
    assert stats.ks_2samp(shares, twin).pvalue > 0.01


def test_alpha_runs_from_one_class_a_client_to_iid():
    labels = labels_of([500] * 10)

    def mean_classes(alpha):
        return np.mean([len(labels[shard].unique()) for shard in dirichlet(labels, 50, alpha, generator())])

    spread = [mean_classes(alpha) for alpha in (1e-9, 0.1, 1.0, 10.0, 1e6)]
    assert spread == sorted(spread)
    assert spread[0] < 1.5
    assert spread[-1] > 9.9


def test_dirichlet_as_image_by_image_drawing_does_it():
    """The slow twin: one image at a time, a used-up class struck out, proportions renormalised; compared on means."""
    counts, clients, alpha, repeats = [12, 12, 12], 4, 2.0, 600
    labels = labels_of(counts)

    def twin(seed):
        random = np.random.default_rng(seed)
        left, held = np.array(counts), []
        for _ in range(clients):
            q = random.dirichlet(alpha * np.array(counts) / sum(counts))
            mine = np.zeros(3, int)
            for _ in range(sum(counts) // clients):
                open_q = np.where(left > 0, q, 0)
                label = random.choice(3, p=open_q / open_q.sum())
                left[label] -= 1
                mine[label] += 1
            held.append(mine)
        return [sorted(mine) for mine in held]

    def ours(seed):
        shards = dirichlet(labels, clients, alpha, generator(seed))
        return [sorted(np.bincount(labels[shard], minlength=3)) for shard in shards]

    found = np.array([ours(seed) for seed in range(repeats)])
    expected = np.array([twin(seed) for seed in range(repeats)])
    noise = (found.var(0) / repeats + expected.var(0) / repeats) ** 0.5
    assert (np.abs(found.mean(0) - expected.mean(0)) < 4 * noise + 1e-9).all()


@pytest.mark.parametrize("alpha", [0, -1.0, float("nan"), float("inf")])
def test_an_alpha_that_is_no_concentration_is_refused(alpha):
    with pytest.raises(ConfigError, match=r"alpha=.*: expected a number above 0"):
        dirichlet(torch.zeros(10), 2, alpha, generator())


# ---- the table


def test_the_table_says_who_holds_what(tmp_path):
    labels = torch.tensor([3, 1, 4, 1, 5])
    table = shards_table([torch.tensor([4, 0]), torch.tensor([], dtype=torch.int64), torch.tensor([2])], labels)
    assert table.columns.tolist() == SHARDS.names
    assert table.to_numpy().tolist() == [[0, 4, 5], [0, 0, 3], [2, 2, 4]]
    SHARDS.write(table, tmp_path / "shards.parquet")
    assert SHARDS.read(tmp_path / "shards.parquet").equals(table)
