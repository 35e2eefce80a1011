"""The page opens on one answer a defense, by the setting that is worst for the client."""

import numpy as np
import pandas as pd

from fldrep.analysis.answers import answers
from fldrep.analysis.strongest import attack_outcomes
from fldrep.analysis.verdicts import FALLS, HOLDS, LEAKS, NOT_KNOWN, image_verdicts
from fldrep.report.first_screen import first_screen, lead
from fldrep.tables.identifiability import IDENTIFIABILITY

SETTINGS = (("mnist", "lenet", "iid", 0), ("mnist", "lenet", "iid", 10))
DEFENSES = ("none", "soteria-80", "compression-60", "gaussian-2")
NO_FLOORS = pd.DataFrame(columns=IDENTIFIABILITY.names)


def tables_of(synthetic, attacks, floors=NO_FLOORS):
    training = synthetic.training_table(SETTINGS[1:], DEFENSES, seeds=(0, 1))
    return {"attacks": attacks, "identifiability": floors, "training": training}


def grid(synthetic, found):
    """A grid in which attacks found the first so many targets. Args: found: by defense, attack and round."""
    attacks = synthetic.attack_table(8, ("gs", "gs-masked", "dlg"), DEFENSES, SETTINGS)
    count = [found.get(key, 0) for key in zip(attacks["defense"], attacks["attack"], attacks["round"], strict=True)]
    is_found = attacks["target"] < count
    return attacks.assign(recovered=is_found, ssim=is_found * 0.9)


def answered(tables):
    images = image_verdicts(tables["attacks"], tables["identifiability"])
    return {one.defense: one for one in answers(images, tables["attacks"], tables["training"])}


def test_the_worst_setting_speaks_for_a_defense_and_names_its_strongest_attack(synthetic):
    found = {("soteria-80", "gs-masked", 10): 3, ("soteria-80", "gs", 10): 1, ("soteria-80", "gs-masked", 0): 2}
    given = answered(tables_of(synthetic, grid(synthetic, found)))
    assert list(given) == ["soteria-80", "compression-60", "gaussian-2", "none"]
    one = given["soteria-80"]
    assert (one.said, one.attack, one.found_by) == (FALLS, "gs-masked", ("gs-masked", "gs"))
    assert (one.cell["round"], one.cell["found"], one.settings, one.falls) == (10, 3, 2, 2)
    assert given["compression-60"].said == NOT_KNOWN


def test_what_no_attack_found_leaks_where_its_update_determines_it_and_else_the_defense_holds(synthetic):
    floors = {"none": 0.01, "soteria-80": 0.011, "compression-60": 0.01, "gaussian-2": 5.0}
    floors = synthetic.identifiability_table(floors, 8, rounds=(0, 10))
    given = answered(tables_of(synthetic, grid(synthetic, {}), floors))
    assert (given["soteria-80"].said, given["gaussian-2"].said) == (LEAKS, HOLDS)
    assert lead(list(given.values())) == "Of 3 defenses 2 leak, 1 holds."
    fewer = {name: frame[frame["target"] < 7] for name, frame in (("a", grid(synthetic, {})), ("f", floors))}
    assert answered(tables_of(synthetic, fewer["a"], fewer["f"]))["gaussian-2"].said == NOT_KNOWN


def test_the_cost_is_the_accuracy_lost_by_the_median_over_seeds(synthetic):
    tables = tables_of(synthetic, grid(synthetic, {}))
    last = tables["training"][tables["training"]["round"] == 10].groupby("defense")["test_accuracy"].median()
    cost = answered(tables)["gaussian-2"].cost
    np.testing.assert_allclose(cost["cost"], last["none"] - last["gaussian-2"])
    row = next(row for row in first_screen(tables, {})["rows"] if row["defense"] == "gaussian-2")
    assert row["cost"] == f"−{100 * cost['cost']:.1f} points"
    assert row["picture"] is None


def test_the_strongest_attack_found_most_images_and_of_equals_has_the_least_error(synthetic):
    attacks = grid(synthetic, {("soteria-80", "dlg", 0): 1})
    outcomes = attack_outcomes(attacks).query("defense == 'soteria-80' and round == 0")
    assert outcomes["attack"].iloc[0] == "dlg"
    assert list(outcomes["error"][1:]) == sorted(outcomes["error"][1:])
    assert list(outcomes["strongest"]) == [True, False, False]
    assert outcomes.set_index("attack")["strongest_published"].to_dict() == {
        "dlg": True,
        "gs": False,
        "gs-masked": False,
    }


def test_all_defenses_of_a_setting_show_the_image_found_under_most_of_them(synthetic):
    attacks = grid(synthetic, {("soteria-80", "gs-masked", 10): 1, ("compression-60", "gs", 10): 1})
    shifted = attacks["target"].eq(2) & attacks["round"].eq(10) & attacks["attack"].eq("gs")
    attacks.loc[shifted, ["recovered", "ssim"]] = [True, 0.9]  # under every defense
    pictures = {name: value.numpy() for name, value in synthetic.pictures(attacks).items()}
    screen = first_screen(tables_of(synthetic, attacks), pictures)
    shown = {row["defense"]: row["picture"] for row in screen["rows"]}
    assert {one["target"] for one in shown.values()} == {"2"}
    assert {one["attack"] for one in shown.values()} == {"gs"}
    assert {one["said"] for one in shown.values()} == {"found by gs, SSIM 0.900"}
    assert all(one["original"].startswith("data:image/png;base64,") for one in shown.values())
