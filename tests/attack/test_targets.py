"""Which images are attacked, and from where attacks start: the same under every defense, rate and attack."""

from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from fldrep.attack.job import attack_block, initial_generator
from fldrep.config.jobs import AttackJob
from fldrep.errors import ConfigError
from fldrep.models.checkpoint import model_for, write_checkpoints
from fldrep.storage.imageset import ImageSet, mean_of_each_class
from fldrep.storage.places import Block, Run
from fldrep.storage.targets import choose_targets
from fldrep.storage.tensors import read_tensors
from fldrep.tables.attack_runs import ATTACK_RUNS
from fldrep.tables.shards import SHARDS

GOLDEN = Path(__file__).parent.parent / "golden" / "lenet.npz"


def shards(clients: int = 5, each: int = 4) -> pd.DataFrame:
    count = clients * each
    return pd.DataFrame(
        {"client": np.arange(count) % clients, "index": np.arange(count)[::-1], "label": np.arange(count) % 3}
    )


# ---- the choice


def test_a_target_is_an_image_of_its_client():
    table = shards()
    rows = {(row.client, row.index, row.label) for row in table.itertuples(index=False)}
    for target in choose_targets(table, list(range(20)), "mnist", "iid", 0):
        assert (target.client, target.index, target.label) in rows


def test_each_client_gives_one_image_before_any_gives_a_second_and_none_comes_twice():
    found = choose_targets(shards(), list(range(20)), "mnist", "iid", 0)
    assert len({target.index for target in found}) == 20
    for turn in range(4):
        assert {target.client for target in found[5 * turn : 5 * turn + 5]} == set(range(5))


def test_a_target_depends_on_its_number_and_not_on_what_else_is_asked_for():
    table = shards()
    whole = choose_targets(table, list(range(12)), "mnist", "iid", 0)
    assert [choose_targets(table, [number], "mnist", "iid", 0)[0] for number in range(12)] == whole
    assert choose_targets(table, [7, 3], "mnist", "iid", 0) == [whole[7], whole[3]]
    shuffled = table.sample(frac=1, random_state=0).sort_values(["client", "index"], ascending=[True, False])
    assert choose_targets(shuffled, list(range(12)), "mnist", "iid", 0) == whole


@pytest.mark.parametrize("identity", [("cifar10", "iid", 0), ("mnist", "two", 0), ("mnist", "iid", 1)])
def test_another_data_set_partition_or_seed_chooses_anew(identity):
    table = shards(50, 20)
    assert choose_targets(table, list(range(20)), *identity) != choose_targets(
        table, list(range(20)), "mnist", "iid", 0
    )


def test_the_choice_is_spread_over_a_clients_images():
    places = {choose_targets(shards(1, 50), [0], "mnist", "iid", seed)[0].index for seed in range(40)}
    assert len(places) > 20


def test_more_targets_than_images_are_refused_by_number():
    with pytest.raises(ConfigError, match=r"targets: number 20 asks client \d for more than its 4 images"):
        choose_targets(shards(), [20], "mnist", "iid", 0)


def test_an_update_holds_images_of_one_client_and_none_comes_twice():
    for images in (1, 2, 4):
        found = choose_targets(shards(), list(range(20)), "mnist", "iid", 0, images=images)
        assert len({target.index for target in found}) == 20
        updates = [found[start : start + images] for start in range(0, 20, images)]
        assert all(len({target.client for target in update}) == 1 for update in updates)
        assert {update[0].client for update in updates[:5]} == set(range(5)), "a client each before any comes again"


def test_an_update_of_several_images_starts_with_the_one_that_is_attacked_alone():
    alone = choose_targets(shards(), list(range(5)), "mnist", "iid", 0)
    four = choose_targets(shards(), list(range(20)), "mnist", "iid", 0, images=4)
    assert [(one.client, one.index) for one in four[::4]] == [(one.client, one.index) for one in alone]
    with pytest.raises(ConfigError, match=r"targets: number 4 asks client \d for more than its 4 images"):
        choose_targets(shards(), list(range(25)), "mnist", "iid", 0, images=5)


# ---- the initial points


def first_draw(run: Run, target: int, restart: int) -> float:
    return torch.rand((), generator=initial_generator(run, target, restart), dtype=torch.float64).item()


def test_initial_points_know_the_target_the_restart_and_the_run_but_not_the_defense():
    base = Run("mnist", "lenet", "iid", "none", 0)
    assert first_draw(base, 1, 2) == first_draw(Run("mnist", "lenet", "iid", "soteria-60", 0), 1, 2)
    others = [Run("cifar10", "lenet", "iid", "none", 0), Run("mnist", "conv", "iid", "none", 0)]
    others += [Run("mnist", "lenet", "two", "none", 0), Run("mnist", "lenet", "iid", "none", 1)]
    draws = [first_draw(run, 1, 2) for run in (base, *others)] + [first_draw(base, 0, 2), first_draw(base, 1, 0)]
    assert len(set(draws)) == len(draws)


# ---- the whole job


DEFENSES = {
    "none": {},
    "soteria-40": {"method": "soteria", "rate": 0.4},
    "soteria-80": {"method": "soteria", "rate": 0.8},
    "compression-60": {"method": "compression", "rate": 0.6},
    "gaussian": {"method": "gaussian", "std": 0.1},
}
ATTACKS = {
    "dlg": {"preset": "dlg", "restarts": 2},
    "idlg": {"preset": "idlg", "restarts": 2},
    "gs": {"preset": "gs", "restarts": 2},
    "masked": {"preset": "gs-masked", "restarts": 2},
}
OTHERS = {
    "ensemble": {"preset": "ensemble"},
    "mine": {"objective": "l2", "optimiser": "signed-adam", "variant_of": ["dlg", "gs"]},
    "learned": {"preset": "learned", "hashed": 64, "width": 16, "restarts": 2},
    "imprint": {"preset": "imprint", "units": 256},
    "statistics": {"preset": "gs-spectral-statistics"},
}
PAIRS = [(defense, attack) for defense, attack in product(DEFENSES, ATTACKS) if attack != "masked" or "-" in defense]


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Four real images dealt to two clients, and the untrained LeNet of three seeds."""
    folder = tmp_path_factory.mktemp("job")
    golden = np.load(GOLDEN)
    images, labels = torch.tensor(golden["images"]).permute(0, 3, 1, 2), torch.tensor(golden["labels"])
    ImageSet(images, labels, images, labels, mean_of_each_class(images, labels, 10)).write(folder / "images", {})
    SHARDS.write(pd.DataFrame({"client": [0, 0, 1, 1], "index": range(4), "label": labels.numpy()}), folder / "shards")
    for seed in (0, 1):
        settings = job("none", "gs").model
        model = model_for(Run("cifar10", "lenet", "dealt", "none", seed), settings, ImageSet.read(folder / "images"))
        write_checkpoints(folder / f"checkpoints-{seed}", {0: model.state_dict()}, {})
    return folder


LENET = {"architecture": "lenet", "init": "uniform"}


def job(
    defense: str,
    attack: str,
    targets: tuple[int, ...] = (0, 1),
    iterations: int = 0,
    update: dict | None = None,
    model: dict | None = None,
) -> AttackJob:
    sections = {
        "model": model or LENET,
        "defense": DEFENSES[defense],
        "attack": {**(ATTACKS | OTHERS)[attack], "iterations": iterations},
        "update": update or {},
        "engine": {"device": "cpu"},
        "targets": list(targets),
    }
    return AttackJob.model_validate(sections)


def run_job(folder: Path, defense: str, attack: str, seed: int = 0, block: int = 0, **change):
    """The table and the tensors of one job."""
    where = Block(Run("cifar10", "lenet", "iid", defense, seed), 0, "single", attack, block)
    files = [folder / name for name in ("images", "shards", f"checkpoints-{seed}", "attack_runs", "found")]
    attack_block(where, job(defense, attack, **change), *files, code="ab")
    return ATTACK_RUNS.read(files[3]), read_tensors(files[4])


def test_no_iterations_return_the_same_initial_points_under_every_defense_and_attack(folder):
    expected_rows, expected = run_job(folder, "none", "gs")
    assert expected["images"].shape == (2, 2, 3, 32, 32)
    assert len({tuple(image.flatten()[:5].tolist()) for image in expected["images"].flatten(0, 1)}) == 4
    for defense, attack in PAIRS:
        rows, found = run_job(folder, defense, attack)
        assert torch.equal(found["images"], expected["images"]), (defense, attack)
        assert torch.equal(found["originals"], expected["originals"]), (defense, attack)
        for column in ("target", "client", "index", "label", "restart"):
            assert rows[column].tolist() == expected_rows[column].tolist(), (defense, attack, column)


def test_another_seed_gives_other_targets_or_other_points(folder):
    _, first = run_job(folder, "none", "gs")
    _, other = run_job(folder, "none", "gs", seed=1)
    assert not torch.equal(first["images"], other["images"])


def test_a_target_is_the_same_whatever_block_it_is_in(folder):
    rows, together = run_job(folder, "soteria-40", "gs", targets=(0, 1, 2))
    alone_rows, alone = run_job(folder, "soteria-40", "gs", targets=(2,), block=1)
    assert torch.equal(alone["images"][0], together["images"][2])
    assert torch.equal(alone["originals"][0], together["originals"][2])
    same = ["target", "client", "index", "label", "live_pruned", "norm2_removed"]
    assert alone_rows[same].values.tolist() == rows.loc[rows["target"] == 2, same].values.tolist()
    assert set(alone_rows["block"]) == {1}


def test_rows_say_what_was_done(folder):
    rows, found = run_job(folder, "soteria-40", "gs", iterations=3)
    assert rows["target"].tolist() == [0, 0, 1, 1]
    assert rows["restart"].tolist() == [0, 1, 0, 1]
    assert rows.groupby("target")["is_best_restart"].sum().tolist() == [1, 1]
    assert (rows["iterations"] == 3).all()
    assert rows["live_pruned"].between(0.39, 0.41).all()
    assert rows["norm2_removed"].between(0, 1).all()
    assert (rows["label"] == rows["label_found"]).all()
    best = rows.sort_values(["diverged", "gradient_distance"]).groupby("target").first()
    assert best["is_best_restart"].all()
    once = {"method": "soteria", "rule": "ratio", "rate": 0.4, "preset": "gs", "label_strategy": "known", "code": "ab"}
    for column, value in once.items():
        assert set(rows[column]) == {value}, column
    golden = np.load(GOLDEN)
    for place, target in enumerate((0, 1)):
        row = rows[rows["target"] == target].iloc[0]
        original = (found["originals"][place].permute(1, 2, 0) * 255).round().numpy()
        assert np.array_equal(original, golden["images"][row["index"]])
        assert row["label"] == golden["labels"][row["index"]]


@pytest.mark.parametrize(
    ("attack", "preset", "variant_of"),
    [("gs", "gs", ""), ("masked", "gs-masked", "gs"), ("ensemble", "ensemble", "gs dlg"), ("mine", "mine", "dlg gs")],
)
def test_rows_say_which_published_attack_theirs_strengthens(folder, attack, preset, variant_of):
    rows, _ = run_job(folder, "soteria-40", attack, targets=(0,), iterations=20 if attack == "ensemble" else 1)
    assert set(rows["preset"]) == {preset}
    assert set(rows["variant_of"]) == {variant_of}
    assert all(rows["member"] != "") if attack == "ensemble" else set(rows["member"]) == {""}


LOCAL = {"images": 2, "local_epochs": 2, "batch_size": 1, "lr": 0.05}


@pytest.mark.parametrize("update", [{"images": 2}, LOCAL], ids=["batch", "local steps"])
@pytest.mark.parametrize("defense", ["none", "soteria-40", "compression-60", "gaussian"])
def test_a_job_on_updates_of_several_images_has_a_row_an_image(folder, defense, update):
    rows, found = run_job(folder, defense, "gs", targets=(0, 1, 2, 3), iterations=2, update=update)
    assert found["images"].shape == (4, 2, 3, 32, 32)
    assert rows[["target", "restart"]].values.tolist() == [[target, one] for target in range(4) for one in (0, 1)]
    assert rows["client"].tolist() in ([0] * 4 + [1] * 4, [1] * 4 + [0] * 4)
    assert rows["index"].nunique() == 4
    assert set(rows["images_per_update"]) == {2}
    assert set(rows["local_steps"]) == {4 if update is LOCAL else 1}
    for _, together in rows.groupby(["client", "restart"]):
        assert (together[["gradient_distance", "is_best_restart", "diverged"]].nunique() == 1).all()
    assert (rows["label_found"] == rows["label"]).all(), "known labels are given in the order of the images"
    total = rows["runtime_s"].sum()
    assert rows["runtime_s"].tolist() == pytest.approx([total / 8] * 8)


def test_only_noise_knows_the_defenses_name(folder):
    from fldrep.defenses.sent import Batches, sent_updates

    images, asked = ImageSet.read(folder / "images"), job("none", "gs")
    run = Run("cifar10", "lenet", "iid", "none", 0)
    batches = Batches.of(run, asked.model, asked.update, [0], images, folder / "shards")
    model = model_for(run, asked.model, images).eval()

    def sent(name: str, method: str):
        where = Run("cifar10", "lenet", "iid", name, 0)
        return sent_updates(model, batches, where, job(method, "gs").defense, asked.update, [{}])

    assert torch.equal(sent("a", "soteria-40")["head.weight"], sent("b", "soteria-40")["head.weight"])
    assert torch.equal(sent("a", "gaussian")["head.weight"], sent("a", "gaussian")["head.weight"])
    assert not torch.equal(sent("a", "gaussian")["head.weight"], sent("b", "gaussian")["head.weight"])


@pytest.mark.parametrize("defense", ["none", "soteria-80", "gaussian"])
def test_a_server_that_learns_has_images_of_its_own_and_their_updates(folder, defense):
    rows, found = run_job(folder, defense, "learned", targets=(0, 1, 2), iterations=3)
    assert (rows["refused"] == "").all()
    assert (rows["iterations"] == 3).all()
    assert (rows["label"] == rows["label_found"]).all()
    assert torch.equal(found["images"][:, 0], found["images"][:, 1]), "restarts find the same"
    assert found["images"].min() > 0
    assert found["images"].max() < 1


@pytest.mark.parametrize("defense", ["none", "soteria-80"])
def test_an_active_server_attacks_clients_of_the_network_that_it_sent(folder, defense):
    rows, found = run_job(folder, defense, "imprint")
    assert (rows["refused"] == "").all()
    torch.testing.assert_close(found["images"][:, 0], found["originals"], atol=1e-4, rtol=0)


def test_clients_in_training_mode_send_statistics_that_an_attack_uses(folder):
    made, images = {"architecture": "convnet", "width": 2}, ImageSet.read(folder / "images")
    untrained = model_for(Run("cifar10", "lenet", "dealt", "none", 0), job("none", "gs", model=made).model, images)
    write_checkpoints(folder / "checkpoints-7", {0: untrained.state_dict()}, {})
    update = {"images": 2, "training_mode": True}
    for defense in ("none", "soteria-40", "gaussian"):
        rows, _ = run_job(folder, defense, "statistics", seed=7, iterations=1, update=update, model=made)
        assert (rows["refused"] == "").all(), defense
        assert (rows["iterations"] == 1).all()
    rows, _ = run_job(folder, "none", "statistics", seed=7, iterations=1, update={"images": 2}, model=made)
    assert rows["refused"].str.contains("comes without them").all()
