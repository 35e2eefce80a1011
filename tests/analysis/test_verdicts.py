"""Every verdict of an image and of a cell, from small tables made for it."""

import numpy as np
import pandas as pd
import pytest

from fldrep.analysis import verdicts
from fldrep.analysis.floors import RECOGNISED, least_floor, times_undefended
from fldrep.analysis.verdicts import CREDITED, VERDICTS, cell_verdicts, counts_text, image_verdicts
from fldrep.tables.attacks import ATTACKS
from fldrep.tables.identifiability import IDENTIFIABILITY

SETTING = (("mnist", "lenet", "iid", 0),)
NO_ATTACKS = pd.DataFrame(columns=ATTACKS.names)
NOT_LOOKED = pd.DataFrame(columns=IDENTIFIABILITY.names)
JUST_ABOVE = np.nextafter(RECOGNISED, 1)


@pytest.fixture
def attacked(synthetic):
    """Attacks on 4 images: a table in which those of given numbers are found, by SSIM, and no other."""

    def make(defense, found=(), attack="gs", targets=4, restarts=1):
        rows = synthetic.attack_table(targets, (attack,), (defense,), SETTING, restarts=restarts)
        yes = rows["target"].isin(found)
        return rows.assign(recovered=yes, ssim=np.where(yes, 0.9, 0.1))

    return make


@pytest.fixture
def floors(synthetic):
    """A table of floors by defense, the same for both priors and all images."""

    def make(levels, targets=4):
        rows = synthetic.identifiability_table(levels, targets)
        level = rows["defense"].map(levels).astype(float)
        return rows.assign(floor=level, floor_spectral=level)

    return make


def of(images, defense):
    """The verdicts of the images of a defense, in order."""
    return images.loc[images["defense"] == defense, "verdict"].tolist()


@pytest.mark.parametrize(
    ("plain", "floor", "verdict"),
    [
        (0.01, RECOGNISED, verdicts.NOT_FOUND),  # at the threshold an image is recognised
        (0.01, JUST_ABOVE, verdicts.NOT_IDENTIFIABLE),
        (JUST_ABOVE / CREDITED, JUST_ABOVE, verdicts.NOT_IDENTIFIABLE),  # twice
        (np.nextafter(JUST_ABOVE / CREDITED, 1), JUST_ABOVE, verdicts.NOT_EVEN_UNDEFENDED),  # hardly less than twice
        (0.9, 1.0, verdicts.NOT_EVEN_UNDEFENDED),
        (1e-14, 2e-12, verdicts.NOT_FOUND),  # many times the undefended floor, and far below the threshold
    ],
)
def test_an_image_that_is_not_found_goes_by_its_floor(attacked, floors, plain, floor, verdict):
    images = image_verdicts(attacked("gaussian-2"), floors({"none": plain, "gaussian-2": floor}))
    assert of(images, "gaussian-2") == [verdict] * 4
    own = images[images["defense"] == "gaussian-2"]
    assert (own["reason"] == "").all()
    np.testing.assert_allclose(own["times"], floor / plain)


@pytest.mark.parametrize("floor", [0.01, 5.0])
def test_what_is_found_is_found_whatever_its_floor(attacked, floors, floor):
    images = image_verdicts(attacked("gaussian-2", found=[1]), floors({"none": 0.001, "gaussian-2": floor}))
    other = verdicts.NOT_FOUND if floor < RECOGNISED else verdicts.NOT_IDENTIFIABLE
    assert of(images, "gaussian-2") == [other, verdicts.FOUND, other, other]
    assert images.loc[images["found"], "found_by"].tolist() == ["gs"]


def test_an_update_that_determines_nothing_leaves_the_whole_prior(attacked, floors):
    table = floors({"none": 0.01, "compression-90": None})
    nothing = table["defense"].eq("compression-90")
    table.loc[nothing, ["rank", "reason"]] = [0, ""]
    images = image_verdicts(attacked("compression-90"), table.assign(prior_std=2.0))
    assert of(images, "compression-90") == [verdicts.NOT_IDENTIFIABLE] * 4
    assert images.loc[images["defense"] == "compression-90", "floor"].tolist() == [4.0] * 4


def test_the_undefended_client_is_credited_with_nothing(attacked, floors):
    assert of(image_verdicts(attacked("none"), floors({"none": 0.5})), "none") == [verdicts.NOT_EVEN_UNDEFENDED] * 4


def test_certified_is_found_at_any_ssim_and_a_null_is_not_certified(attacked):
    rows = attacked("none").assign(certified=[True, False, None, False], mse_pixel=[1e-5, 1e-5, 1e-5, 0.1])
    images = image_verdicts(rows, NOT_LOOKED)
    assert images["found"].tolist() == images["certified"].tolist() == [True, False, False, False]


def test_a_certified_image_that_is_not_the_clients_own_is_not_found(attacked):
    """A defense that changes the images themselves sends the update of others, which are solved for."""
    rows = attacked("none").assign(certified=True, mse_pixel=[1e-5, 1e-3, 0.1, 0.1])
    images = image_verdicts(rows, NOT_LOOKED)
    assert images["certified"].tolist() == [True] * 4
    assert images["found"].tolist() == [True, False, False, False]


def test_the_ssim_of_who_knows_nothing_finds_no_image(attacked):
    rows = attacked("none", found=range(4)).assign(class_mean_ssim=[0.2, 0.9, 0.95, 0.89])
    assert image_verdicts(rows, NOT_LOOKED)["found"].tolist() == [True, False, False, True]


def test_the_restart_that_is_handed_in_counts(attacked):
    rows = attacked("none", found=[0], restarts=2)
    rows.loc[rows["restart"] == 0, "is_best_restart"] = False
    rows.loc[rows["restart"] == 1, ["is_best_restart", "recovered"]] = [True, False]
    assert not image_verdicts(rows, NOT_LOOKED)["found"].any()


def test_attacks_together_find_what_one_of_them_finds(attacked):
    both = pd.concat([attacked("soteria-80", found=[0, 1]), attacked("soteria-80", found=[1], attack="gs-masked")])
    images = image_verdicts(both, NOT_LOOKED)
    assert images["found_by"].tolist() == ["gs", "gs, gs-masked", "", ""]
    assert (images["attacks"] == 2).all()


@pytest.mark.parametrize(
    ("levels", "change", "reason"),
    [
        (None, {}, verdicts.NOT_ASKED),
        ({"none": 0.01, "laplace-2": None}, {}, "rounded"),  # the stage's own
        ({"laplace-2": 0.5}, {}, verdicts.NO_UNDEFENDED_FLOOR),
        ({"none": None, "laplace-2": 0.5}, {}, verdicts.NO_UNDEFENDED_FLOOR),
        ({"none": 0.01, "laplace-2": 0.5}, {"floor": None, "floor_spectral": None}, verdicts.NO_FLOOR),
    ],
)
def test_where_identifiability_is_not_known_attacks_alone_decide(attacked, floors, levels, change, reason):
    table = floors(levels).assign(**change) if levels else NOT_LOOKED
    images = image_verdicts(attacked("laplace-2", found=[0]), table)
    assert of(images, "laplace-2") == [verdicts.FOUND_BY_ATTACKS, *[verdicts.NOT_FOUND_BY_ATTACKS] * 3]
    assert set(images.loc[images["defense"] == "laplace-2", "reason"]) == {reason}


def test_a_recognised_image_needs_no_undefended_floor(attacked, floors):
    assert of(image_verdicts(attacked("gaussian-2"), floors({"gaussian-2": 0.01})), "gaussian-2") == (
        [verdicts.NOT_FOUND] * 4
    )


def test_images_that_were_not_attacked_and_those_not_looked_at(attacked, floors):
    table = floors({"none": 0.01, "laplace-2": None}, targets=2)
    images = image_verdicts(attacked("none"), table)
    assert of(images, "none") == [verdicts.NOT_FOUND] * 2 + [verdicts.NOT_FOUND_BY_ATTACKS] * 2
    assert of(images, "laplace-2") == [verdicts.NOT_LOOKED_AT] * 2
    assert of(image_verdicts(NO_ATTACKS, table), "none") == [verdicts.NOT_ATTACKED] * 2
    refused = attacked("none").assign(refused="ReLU")
    assert of(image_verdicts(refused, table), "none") == [verdicts.NOT_ATTACKED] * 2 + [verdicts.NOT_LOOKED_AT] * 2


def test_of_nothing_there_are_no_verdicts():
    cells = cell_verdicts(image_verdicts(NO_ATTACKS, NOT_LOOKED))
    assert cells.empty
    assert "verdict" in cells


def test_an_image_is_that_of_its_own_cell_and_seed(attacked, floors):
    table = pd.concat([floors({"none": 0.01}), floors({"none": 0.5}).assign(round=5)])
    other = pd.concat([attacked("none"), attacked("none", found=[2]).assign(seed=1)])
    images = image_verdicts(other, table)
    looked = images[images["reason"] == ""]
    assert looked.groupby("round")["verdict"].unique().map(list).to_dict() == {
        0: [verdicts.NOT_FOUND],
        5: [verdicts.NOT_EVEN_UNDEFENDED],
    }
    assert images.loc[images["found"], ["seed", "target"]].to_numpy().tolist() == [[1, 2]]


def test_floors_compared_are_the_least_of_both_priors(synthetic):
    table = synthetic.identifiability_table({"none": 1.0, "gaussian-2": 3.0}, targets=1)
    table["floor_spectral"] = [0.05, 2.0]
    assert least_floor(table).tolist() == [0.05, 2.0]
    assert times_undefended(table).tolist() == [1.0, 40.0]


@pytest.mark.parametrize(
    ("found", "floor", "verdict", "words"),
    [
        ([0], 0.01, verdicts.FOUND, "found 1 of 4; 3 identifiable, not found"),
        ([0], 0.5, verdicts.FOUND, "found 1 of 4; 3 not identifiable"),
        ([], 0.01, verdicts.NOT_FOUND, "found 0 of 4; 4 identifiable, not found"),
        ([], 0.5, verdicts.NOT_IDENTIFIABLE, "found 0 of 4; 4 not identifiable"),
        ([0, 1, 2, 3], 0.5, verdicts.FOUND, "found 4 of 4"),
        ([0], None, verdicts.FOUND_BY_ATTACKS, "found 1 of 4"),
        ([], None, verdicts.NOT_FOUND_BY_ATTACKS, "found 0 of 4"),
    ],
)
def test_a_cell_is_what_its_worst_image_is(attacked, floors, found, floor, verdict, words):
    images = image_verdicts(attacked("gaussian-2", found), floors({"none": 0.01, "gaussian-2": floor}))
    cell = cell_verdicts(images).set_index("defense").loc["gaussian-2"]
    assert (cell["verdict"], counts_text(cell)) == (verdict, words)
    assert (cell["images"], cell["attacked"], cell["found"]) == (4, 4, len(found))
    assert sum(cell[one] for one in VERDICTS) == 4


def test_one_image_that_its_update_shows_keeps_a_cell_from_being_hidden(attacked, floors):
    table = floors({"none": 0.01, "gaussian-2": 0.5})
    table.loc[table["defense"].eq("gaussian-2") & table["target"].eq(3), ["floor", "floor_spectral"]] = 0.05
    cell = cell_verdicts(image_verdicts(attacked("gaussian-2"), table)).iloc[-1]
    assert cell["verdict"] == verdicts.NOT_FOUND
    assert counts_text(cell) == "found 0 of 4; 1 identifiable, not found; 3 not identifiable"
    every = image_verdicts(NO_ATTACKS, table)
    assert counts_text(cell_verdicts(every).iloc[-1]) == "1 identifiable, not attacked; 3 not identifiable"


def test_defenses_stand_in_the_order_they_are_shown_and_the_share_of_found_has_an_interval(attacked, floors):
    table = floors({"gaussian-2": 0.5, "soteria-80": 0.01, "none": 0.01}, targets=8)
    cells = cell_verdicts(image_verdicts(attacked("soteria-80", found=range(5), targets=8), table))
    assert cells["defense"].tolist() == ["none", "soteria-80", "gaussian-2"]
    none, soteria, _ = cells["share"]
    assert (soteria.n, soteria.median, none.n) == (8, 0.625, 0)
    assert soteria.low < 0.625 < soteria.high
