"""The figure of one photo: our points at both rates, and the reference's numbers beside them."""

import numpy as np
import pandas as pd
import pytest

from fldrep.analysis.styles import style_of
from fldrep.figures import photo
from fldrep.tables.attacks import ATTACKS

RULES = ("ratio", "inverse", "reference-notebook", "reference-script")


@pytest.fixture
def attacks(synthetic) -> pd.DataFrame:
    """The grid of config/photo.yaml at two rates."""
    whole = synthetic.attack_table(1, ("gs",), ("none", "soteria-40", "compression-60"), (("photo", "c", "alone", 0),))
    plain, soteria, compression = whole.to_dict("records")
    rows = [plain, *(compression | {"defense": f"c-{x}", "rate": x, "mse": x} for x in (0.4, 0.8))]
    for rule in RULES:
        rows += [
            soteria | {"defense": f"{rule}-{x}", "rule": rule, "rate": x, "live_pruned": x / 2, "mse": 1 + x}
            for x in (0.8, 0.4)
        ]
    return pd.DataFrame(rows)[ATTACKS.names]


def points(ax, colour, line: str) -> list[tuple[float, float]]:
    """Marked points of a colour under this kind of line."""
    found = [one for one in ax.lines if one.get_color() == colour and one.get_linestyle() == line]
    return sorted((x, y) for one in found if one.get_marker() != "None" for x, y in one.get_xydata().tolist())


def test_each_rule_stands_at_its_nominal_and_at_its_effective_rates(attacks):
    left, right = photo.draw(attacks).axes
    for rule in RULES:
        colour = style_of("soteria").of_rule(rule)[1]
        np.testing.assert_allclose(points(left, colour, "None"), [(0.4, 1.4), (0.8, 1.8)])
        np.testing.assert_allclose(points(right, colour, "None"), [(0.2, 1.4), (0.4, 1.8)])
    compression = style_of("compression").colour
    np.testing.assert_allclose(points(left, compression, "None"), [(0.4, 0.4), (0.8, 0.8)])
    assert points(right, compression, "None") == []


def test_the_references_ten_numbers_stand_beside_nominal_rates_alone(attacks):
    left, right = photo.draw(attacks).axes
    script, compression = style_of("soteria").of_rule("reference-script")[1], style_of("compression").colour
    assert points(left, script, "--") == [(0.4, 0.10), (0.5, 0.75), (0.6, 0.97), (0.7, 1.19), (0.8, 1.49)]
    assert points(left, compression, "--") == [(0.4, 0.09), (0.5, 0.12), (0.6, 0.36), (0.7, 0.41), (0.8, 0.71)]
    assert points(right, script, "--") == points(right, compression, "--") == []


def test_both_panels_show_the_grey_image_and_the_undefended_client(attacks):
    plain = attacks[attacks["method"] == "none"]
    for ax in photo.draw(attacks).axes:
        levels = {line.get_ydata()[0] for line in ax.lines if len(set(line.get_ydata())) == 1}
        assert {plain["grey_mse"].iloc[0], plain["class_mean_mse"].iloc[0], plain["mse"].iloc[0]} <= levels


def test_a_diverged_attack_is_hollow_and_carries_no_line(attacks):
    lost = attacks["defense"] == "ratio-0.8"
    left, _ = photo.draw(attacks.assign(diverged=lost)).axes
    ours = [line for line in left.lines if line.get_color() == style_of("soteria").of_rule("ratio")[1]]
    hollow = [line for line in ours if line.get_markerfacecolor() == "white"]
    assert [line.get_xydata().tolist() for line in hollow] == [[[0.8, 1.8]]]
    joined = [line.get_xydata().tolist() for line in ours if line.get_linestyle() == "-"]
    assert joined == [[[0.4, 1.4]]]


def test_nothing_is_cut_off_and_other_data_sets_are_left_out(attacks, synthetic, assert_whole):
    figure = photo.draw(pd.concat([attacks, synthetic.attack_table(2)], ignore_index=True))
    assert len(figure.axes) == 2
    assert_whole(figure)
