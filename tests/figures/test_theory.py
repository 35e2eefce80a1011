"""The figures of the theory stage: each marker and line is the number of its table that it says it is."""

import numpy as np
import pandas as pd
import pytest
from matplotlib.collections import LineCollection
from matplotlib.colors import to_rgb

from fldrep.analysis.verdicts import cell_verdicts, counts_text, image_verdicts
from fldrep.figures import certificate, convergence, identifiability, leakage, theme, verdicts
from fldrep.tables.attacks import ATTACKS

CORRELATION = {1: 1.0, 4: 0.8, 32: 0.6}
BOTH = ("none", "soteria-80")
INK = theme.INK


def markers(ax, colour, size=7.5, hollow=False):
    """Points of the markers of a colour, in the order of drawing: a list a line."""
    found = [one for one in ax.lines if one.get_markersize() == size and one.get_marker() not in ("None", "x", ".")]
    own = [one for one in found if tuple(np.round(one.get_color(), 6)) == tuple(np.round(colour, 6))]
    return [one.get_xydata().tolist() for one in own if (one.get_markerfacecolor() == "white") == hollow]


def bars(ax):
    return [one for one in ax.collections if isinstance(one, LineCollection)]


def level(ax, colour):
    """Heights of the horizontal lines of a colour."""
    return [one.get_ydata()[0] for one in ax.lines if one.get_color() == colour and len(set(one.get_ydata())) == 1]


# ---- identifiability


FLOORS = {"none": 0.01, "soteria-80": 0.011, "gaussian-2": 0.3, "laplace-2": None}


@pytest.fixture
def attacked(synthetic):
    return synthetic.attack_table(targets=3, settings=(("mnist", "lenet", "iid", 0),))


def test_identifiability_markers_are_medians_of_the_floors(synthetic, attacked):
    table = synthetic.identifiability_table(FLOORS)
    floors, shares = identifiability.draw(table, attacked).axes
    styles = theme.defense_styles(table)
    for place, (name, floor) in enumerate(FLOORS.items()):
        filled, hollow = (markers(floors, styles[name].colour, 8.5, hollow=one) for one in (False, True))
        if floor is None:
            assert (filled, hollow) == ([], [])
            continue
        assert filled == [[pytest.approx([floor * 1.035, place])]]
        assert hollow == [[pytest.approx([floor / 10, place])]]
    assert [text.get_text() for text in floors.texts] == ["rounded"]
    assert [text.get_text() for text in shares.texts] == ["89 % by 10,000 entries, n = 8"] * 3
    assert len(bars(floors)) == 2 * 3, "the intervals of both floors"


def test_identifiability_shows_the_nearest_attack_beside_the_floor(synthetic, attacked):
    ax, _ = identifiability.draw(synthetic.identifiability_table(FLOORS), attacked).axes
    shown = [tuple(one.get_xydata()[0]) for one in ax.lines if one.get_marker() == "|"]
    own = attacked[attacked["is_best_restart"] & ~attacked["diverged"]]
    least = own.groupby(["defense", "attack"])["mse"].median().groupby("defense").min()
    assert shown == [(least[name], place) for place, name in enumerate(FLOORS) if FLOORS[name]]
    other = identifiability.draw(synthetic.identifiability_table(FLOORS, rounds=(5,)), attacked).axes[0]
    assert not [one for one in other.lines if one.get_marker() == "|"], "attacks of another round"


# ---- verdicts


def test_bars_of_verdicts_are_the_counts_of_their_cells(synthetic, attacked):
    table = synthetic.identifiability_table(FLOORS, targets=3)
    (ax,) = verdicts.draw(attacked, table).axes
    cells = cell_verdicts(image_verdicts(attacked, table))
    assert [tick.get_text() for tick in ax.get_yticklabels()] == cells["defense"].tolist()
    assert [text.get_text() for text in ax.texts] == [counts_text(cell) for _, cell in cells.iterrows()]
    shown = [(bar.get_facecolor()[:3], round(bar.get_width())) for bar in ax.patches if bar.get_width()]
    counts = [(verdicts.COLOURS[name], cell[name]) for _, cell in cells.iterrows() for name in verdicts.COLOURS]
    assert shown == [(to_rgb(colour), count) for colour, count in counts if count]
    assert sum(count for _, count in shown) == 3 * len(cells)


def test_every_setting_that_either_table_has_is_a_panel_of_verdicts(synthetic, attacked, assert_whole):
    table = synthetic.identifiability_table(FLOORS, rounds=(5,))
    figure = verdicts.draw(attacked, table)
    assert_whole(figure)
    titles = [ax.get_title(loc="left") for ax in figure.axes]
    assert titles == ["mnist · lenet · iid · round 0", "mnist · lenet · iid · round 5"]
    nothing = verdicts.draw(attacked[:0], table[:0])
    assert not nothing.axes
    assert_whole(nothing)


# ---- leakage


@pytest.fixture
def leaked(synthetic):
    """Two defenses at two rounds; Soteria's correlation is half as large, and its label accuracy too."""
    table = synthetic.leakage_table(CORRELATION, defenses=BOTH, rounds=(0, 5), sizes=tuple(CORRELATION), batches=8)
    table.loc[table["batch"] == 7, ["correlation", "label_accuracy"]] = 0.1  # far off, so that a mean is no median
    defended, later = table["method"] == "soteria", table["round"] == 5
    table.loc[~defended, "correlation_kept"] = table.loc[~defended, "correlation"]
    table.loc[defended, ["correlation", "label_accuracy"]] *= 0.5
    table.loc[later, ["correlation", "correlation_kept"]] *= 0.9
    return table


def test_leakage_is_shown_by_batch_size_and_by_round(leaked):
    figure = leakage.draw(leaked)
    titles = [ax.get_title(loc="left") for ax in figure.axes]
    place = "mnist · lenet · iid"
    assert titles == [f"{place} · round 5, n = 8", f"{place} · batches of 32, n = 8"] * 2
    ticks = [[tick.get_text() for tick in ax.get_xticklabels()] for ax in figure.axes]
    assert ticks == [["1", "4", "32"], ["0", "5"]] * 2


def test_leakage_markers_are_medians_over_batches(leaked):
    by_size, by_round, labels, _ = leakage.draw(leaked).axes
    styles = theme.defense_styles(leaked)
    for defense in BOTH:
        rows = leaked[leaked["defense"] == defense]
        for ax, axis, own, column in (
            (by_size, "batch_size", rows[rows["round"] == 5], "correlation"),
            (by_round, "round", rows[rows["batch_size"] == 32], "correlation"),
            (labels, "batch_size", rows[rows["round"] == 5], "label_accuracy"),
        ):
            (points,) = markers(ax, styles[defense].colour)
            np.testing.assert_allclose([y for _, y in points], own.groupby(axis)[column].median())


def test_hollow_is_what_was_sent_and_only_where_it_says_something_else(leaked):
    by_size, *_ = leakage.draw(leaked).axes
    styles = theme.defense_styles(leaked)
    (sent,) = markers(by_size, styles["soteria-80"].colour, hollow=True)
    np.testing.assert_allclose([y for _, y in sent], 0.9 * 0.9)
    assert markers(by_size, styles["none"].colour, hollow=True) == []


def test_leakage_shows_what_takes_no_gradient(leaked):
    leaked["correlation_public"] = 0.3 + 0.01 * leaked["batch_size"]
    by_size, _, labels, _ = leakage.draw(leaked).axes
    lines = [[one for one in ax.lines if one.get_color() == theme.GREY] for ax in (by_size, labels)]
    assert [len(one) for one in lines] == [1, 1]
    np.testing.assert_allclose(lines[0][0].get_ydata()[1:-1], [0.31, 0.34, 0.62])
    np.testing.assert_allclose(lines[1][0].get_ydata(), 0.3)


@pytest.mark.parametrize(("batches", "intervals"), [(7, 0), (8, 3)])
def test_leakage_intervals_need_eight_batches(synthetic, batches, intervals):
    table = synthetic.leakage_table(CORRELATION, rounds=(0,), sizes=tuple(CORRELATION), batches=batches)
    table["correlation_kept"] = table["correlation"]
    ax, _ = leakage.draw(table).axes
    assert len(bars(ax)) == intervals
    points = [line for line in ax.lines if line.get_marker() == "."]
    assert [len(line.get_ydata()) for line in points] == ([] if intervals else [batches] * 3)


# ---- certificate


@pytest.fixture
def certified(synthetic):
    """Two attacks, one nearer than the paper's bound; one row that nothing was pruned of, one that is not finite."""
    table = synthetic.certificate_table({"gs": 2.0, "gs-masked": 0.6}, targets=9).astype({"holds_local": object})
    table.loc[table["target"] == 8, ["distance", "bound_segment"]] *= 0.9  # far off, so that a mean is no median
    table.loc[(table["attack"] == "gs") & (table["target"] == 0), ["bound_local", "holds_local"]] = [0.0, True]
    table.loc[(table["attack"] == "gs") & (table["target"] == 1), ["distance", "holds_local"]] = [np.nan, None]
    return table


def test_distances_and_bounds_are_medians_on_the_line_of_their_attack(certified):
    left, _ = certificate.draw(certified).axes
    assert [tick.get_text() for tick in left.get_yticklabels()] == ["soteria-80 · gs", "soteria-80 · gs-masked"]
    expected = {
        "measured": (2.0, 0.6),
        "local": (1, 1),
        "segment": (0.5, 0.5),
        "layers": (0.04,) * 2,
        "any": (0.02,) * 2,
    }
    for name, values in expected.items():
        found = [
            line for line in left.lines if line.get_color() == certificate.LOOKS[name][0] and len(line.get_xdata()) == 1
        ]
        np.testing.assert_allclose([line.get_xdata()[0] for line in found], values)
        assert [round(line.get_ydata()[0]) for line in found] == [0, 1]
    assert left.get_xscale() == "log"


def test_shares_count_where_a_bound_and_the_premise_hold(certified):
    _, right = certificate.draw(certified).axes
    shares = {
        name: [line.get_xdata()[0] for line in right.lines if line.get_color() == colour]
        for name, (colour, _) in certificate.LOOKS.items()
    }
    assert shares == {"measured": [0, 0], "local": [1, 0], "segment": [1, 1], "layers": [1, 1], "any": [1, 1]}
    assert [text.get_text() for text in right.texts] == ["n = 7", "n = 9"]


def test_certificate_intervals_need_eight_targets_and_restarts_are_no_targets(certified):
    left, right = certificate.draw(certified).axes
    assert len(bars(right)) == len(certificate.LOOKS), "9 targets have intervals, 7 have none"
    points = [line for line in left.lines if line.get_marker() == "."]
    assert [len(line.get_xdata()) for line in points] == [7] * len(certificate.LOOKS)
    few = certified[certified["target"] < 5]
    twice = pd.concat([few, few.assign(restart=1)])
    assert not bars(certificate.draw(twice).axes[1])


def test_a_bound_of_nothing_stands_at_the_edge(certified):
    certified["bound_any"] = 0.0
    left, _ = certificate.draw(certified).axes
    crosses = [line for line in left.lines if line.get_marker() == "x"]
    assert [line.get_color() for line in crosses] == [certificate.LOOKS["any"][0]] * 2


def test_no_valid_image_is_beyond_the_farthest(certified):
    left, _ = certificate.draw(certified).axes
    (line,) = [one for one in left.lines if one.get_color() == theme.GREY]
    assert line.get_xdata()[0] == 20.0
    assert left.get_xlim()[1] > 20


# ---- convergence


def test_gaps_bounds_and_floor_stand_at_their_numbers(synthetic):
    table = synthetic.convergence_table(0.1, bound=2.0, floor=0.01)
    table["gap"] += 0.001 * table["repetition"] ** 2  # so that the mean, which the theorem bounds, is not the median
    plain, masked = convergence.draw(table).axes
    colour = convergence.MASK_COLOURS["soteria"]
    own = table[table["mask"] == "soteria-40"]
    solid = [one for one in masked.lines if one.get_color() == colour and one.get_linewidth() == 1.8]
    np.testing.assert_allclose(solid[0].get_ydata(), own.groupby("steps")["gap"].mean())
    assert (level(masked, colour), level(masked, INK)) == ([2.0, 0.01], [1.0])
    assert level(plain, INK) == [1.0]
    assert len([one for one in masked.lines if one.get_color() == INK]) == 2, "the bound, and training without a mask"
    np.testing.assert_allclose(level(masked, theme.GREY), table.loc[table["steps"] == 10, "gap"].mean())
    assert masked.get_ylim() == plain.get_ylim()
    assert (masked.get_xscale(), masked.get_yscale()) == ("symlog", "log")


def test_titles_say_what_the_theorem_says_of_a_mask(synthetic):
    plain, masked = convergence.draw(synthetic.convergence_table(0.1, floor=0.01)).axes
    assert plain.get_title(loc="left") == "mnist · iid · none, n = 8\ncovered by the theorem"
    assert masked.get_title(loc="left") == (
        "mnist · iid · soteria-40, n = 8\nbiased, not covered; bound below the floor after 500 steps"
    )


@pytest.mark.parametrize(("repetitions", "lines", "bands"), [(7, 8, 0), (8, 1, 1)])
def test_runs_are_lines_until_they_have_an_interval(synthetic, repetitions, lines, bands):
    ax = convergence.draw(synthetic.convergence_table(0.1, kind="random", repetitions=repetitions)).axes[1]
    colour = convergence.MASK_COLOURS["random"]
    assert len([one for one in ax.lines if one.get_color() == colour and one.get_linestyle() == "-"]) == lines
    assert len(ax.collections) == bands


# ---- all


CASES = {
    "identifiability": (
        ("one target", lambda make: make.identifiability_table(FLOORS, targets=1)),
        ("no rank", lambda make: make.identifiability_table({"laplace-2": None})),
        ("floors of rounding", lambda make: make.identifiability_table({"none": 1e-14, "compression-90": 1.0})),
        ("two rounds", lambda make: make.identifiability_table(dict.fromkeys(make.DEFENSES, 0.1), rounds=(0, 5))),
    ),
    "leakage": (
        ("one batch", lambda make: make.leakage_table({1: 0.9}, rounds=(0,), sizes=(1,), batches=1)),
        ("no correlation", lambda make: make.leakage_table({1: np.nan, 2: 0.5}, rounds=(0,), sizes=(1, 2))),
        (
            "more defenses than stand side by side",
            lambda make: pd.concat(
                [
                    make.leakage_table({1: 1.0, 2: 0.9}, rounds=(0,), sizes=(1, 2)).assign(defense=f"none-{number}")
                    for number in range(leakage.SIDE_BY_SIDE + 1)
                ]
            ),
        ),
        ("every defense", lambda make: make.leakage_table({1: 1.0, 2: 0.9}, defenses=make.DEFENSES, sizes=(1, 2))),
    ),
    "certificate": (
        ("one target", lambda make: make.certificate_table({"gs": 2.0}, targets=1)),
        ("a constant of 0", lambda make: make.certificate_table({"gs": 2.0}, bound=np.inf)),
        (
            "two settings and defenses",
            lambda make: pd.concat(
                [
                    make.certificate_table({"gs": 2.0, "dlg": 30.0}, defense=name).assign(round=round)
                    for name in ("soteria-40", "soteria-80")
                    for round in (0, 10)
                ]
            ),
        ),
    ),
    "convergence": (
        ("one run", lambda make: make.convergence_table(0.1, repetitions=1)),
        ("a gap of 0", lambda make: make.convergence_table(0.0)),
        (
            "two partitions",
            lambda make: pd.concat(
                [
                    make.convergence_table(0.1, floor=0.01).assign(partition=name, crossing=123456.0)
                    for name in ("iid", "two-classes")
                ]
            ),
        ),
    ),
}


def identified(table):
    return identifiability.draw(table, pd.DataFrame(columns=ATTACKS.names))


DRAW = {
    "identifiability": identified,
    "leakage": leakage.draw,
    "certificate": certificate.draw,
    "convergence": convergence.draw,
}


@pytest.mark.parametrize(
    ("draw", "make"),
    [pytest.param(DRAW[name], make, id=f"{name}: {case}") for name in DRAW for case, make in CASES[name]],
)
def test_every_figure_of_the_theory_is_whole(synthetic, assert_whole, draw, make):
    table = make(synthetic)
    before = table.copy(deep=True)
    assert_whole(draw(table))
    pd.testing.assert_frame_equal(table, before)
