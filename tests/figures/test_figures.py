"""What every figure must bear, and that each shows the numbers of its tables."""

import io
import itertools
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from matplotlib.collections import LineCollection
from PIL import Image

import fldrep
from fldrep import registry
from fldrep.analysis.rows import CELL
from fldrep.analysis.strongest import attack_outcomes
from fldrep.analysis.styles import OTHER, style_of, styles_text
from fldrep.config.reading import read_config
from fldrep.config.theory import TheorySettings
from fldrep.errors import ConfigError, DataError, UnknownName
from fldrep.figures import (
    accuracy_by_round,
    figures_of,
    naive_vs_adaptive,
    privacy_utility,
    reconstructions,
    render,
    theme,
)
from fldrep.plan.has import features_of
from fldrep.storage.gallery import original_key
from fldrep.storage.tensors import write_tensors
from fldrep.tables.attacks import ATTACKS
from fldrep.tables.final import FINAL
from fldrep.tables.training import TRAINING

CONVNET, LENET = ("cifar10", "convnet-16", "iid", 0), ("mnist", "lenet", "two-classes", 10)
GS, MIXED = ("gs", "gs-masked", "gs-drop"), ("dlg", "gs", "gs-masked")
FEW = ("none", "soteria-80", "compression-60")

CASES = {
    "one target": {"targets": 1, "defenses": FEW},
    "three targets": {"targets": 3},
    "twenty targets, diverged, restarts": {"targets": 20, "defenses": FEW, "restarts": 2, "diverged": 0.3},
    "all diverged": {"targets": 2, "defenses": FEW, "diverged": 1.0},
    "trained and not": {"targets": 3, "defenses": FEW, "attacks": MIXED, "settings": (CONVNET, LENET)},
    "one panel, no adaptive attack": {"targets": 9, "defenses": FEW, "attacks": ("dlg",), "settings": (LENET,)},
    "one defense, two seeds": {"targets": 4, "defenses": ("soteria-40",), "seeds": (0, 1)},
    "no undefended client": {"targets": 9, "defenses": ("soteria-40", "gaussian-2")},
}
TRAINED = (("cifar10", "convnet-16", "iid", 0), ("mnist", "lenet", "two-classes", 10))


FIGURES = registry.in_order("figure")
ANALYSES = {name: FINAL[name] for name in ("identifiability", "leakage", "certificate", "convergence")}
OF_ATTACKS = [name for name, figure in FIGURES.items() if not set(figure.words["reads"]) & set(ANALYSES)]


def drawn(name, **given):
    """The figure `name` of these tables."""
    return FIGURES[name].value(*(given[kind] for kind in FIGURES[name].words["reads"]))


def tables_of(synthetic, **case):
    attacks = synthetic.attack_table(**case)
    training = synthetic.training_table(
        TRAINED, case.get("defenses", tuple(synthetic.DEFENSES)), case.get("seeds", (0,))
    )
    return attacks, training, {name: value.numpy() for name, value in synthetic.pictures(attacks).items()}


@pytest.mark.parametrize(("name", "case"), list(itertools.product(OF_ATTACKS, CASES)))
def test_every_figure_is_whole(synthetic, assert_whole, name, case):
    """And the tables stay as they were."""
    attacks, training, gallery = tables_of(synthetic, **CASES[case])
    before = attacks.copy(deep=True), training.copy(deep=True)
    figure = drawn(name, attacks=attacks, training=training, gallery=gallery)
    pd.testing.assert_frame_equal(attacks, before[0])
    pd.testing.assert_frame_equal(training, before[1])
    assert_whole(figure)


@pytest.mark.parametrize("case", CASES)
def test_verdicts_by_attacks_alone_are_whole(synthetic, assert_whole, case):
    attacks, *_ = tables_of(synthetic, **CASES[case])
    before = attacks.copy(deep=True)
    assert_whole(
        drawn("verdicts", attacks=attacks, identifiability=pd.DataFrame(columns=ANALYSES["identifiability"].names))
    )
    pd.testing.assert_frame_equal(attacks, before)


def test_a_config_draws_what_it_has_data_for():
    folder = Path(__file__).parents[2] / "config"
    everywhere = ["verdicts", "privacy_utility", "reconstructions", "accuracy_by_round", "naive_vs_adaptive"]
    assert figures_of(read_config(folder / "demo.yaml")) == [*everywhere, "identifiability"]
    assert figures_of(read_config(folder / "photo.yaml")) == [*everywhere, "photo"]
    tiny = read_config(Path(__file__).parents[1] / "workflow" / "tiny.yaml")
    assert figures_of(tiny) == [*everywhere, *ANALYSES]
    without = tiny.model_copy(update={"theory": TheorySettings(), "grid": tiny.grid[:3]})
    assert figures_of(without) == everywhere


def test_a_config_says_what_figures_may_need():
    folder = Path(__file__).parents[2] / "config"
    assert features_of(read_config(folder / "demo.yaml")) == {"attacks", "trained", "identifiability"}
    assert features_of(read_config(folder / "photo.yaml")) == {"attacks", "photo"}
    everything = {"attacks", "trained", "several-updates", "leakage", "certificate", "accounting", "convergence"}
    assert features_of(read_config(folder / "cpu.yaml")) == everything
    known = everything | {"photo", "identifiability"}
    assert all(set(figure.words["needs"]) <= known for figure in FIGURES.values())


def test_each_figure_is_a_file_that_says_its_title_and_caption_without_being_imported():
    assert list(FIGURES)[:3] == ["verdicts", "privacy_utility", "reconstructions"]
    inputs = {*FINAL, "gallery"}
    for name, figure in FIGURES.items():
        assert figure.module == f"fldrep.figures.{name}"
        assert set(figure.words) == {"title", "caption", "reads", "needs", "order"}
        assert set(figure.words["reads"]) <= inputs


@pytest.mark.parametrize("name", FIGURES)
def test_empty_tables_give_a_figure_that_says_so(synthetic, name):
    attacks, training, _ = tables_of(synthetic, targets=1, defenses=FEW)
    none = {kind: pd.DataFrame(columns=table.names) for kind, table in ANALYSES.items()}
    figure = drawn(name, attacks=attacks[:0], training=training[:0], gallery={}, **none)
    assert "No" in figure.texts[0].get_text()


def test_render_writes_the_same_bytes_again_without_date_or_version(synthetic, tmp_path):
    attacks, training, _ = tables_of(synthetic, targets=2, defenses=FEW)
    inputs = {name: tmp_path / name for name in ("attacks", "training", "gallery", *ANALYSES)}
    ATTACKS.write(attacks, inputs["attacks"])
    TRAINING.write(training, inputs["training"])
    write_tensors(inputs["gallery"], synthetic.pictures(attacks))
    for name, table in ANALYSES.items():
        table.write(synthetic.analysis_tables()[name], inputs[name])
    settings = dict(mpl.rcParams)
    for name in FIGURES:
        first, second = tmp_path / "first.png", tmp_path / "second.png"
        render(name, inputs, first)
        render(name, inputs, second)
        assert first.read_bytes() == second.read_bytes()
        picture = Image.open(io.BytesIO(first.read_bytes()))
        assert set(picture.info) <= {"dpi"}
        assert picture.size[0] > 500
    assert dict(mpl.rcParams) == settings


def test_render_names_what_is_wrong(synthetic, tmp_path):
    with pytest.raises(UnknownName, match="accuracy_by_round"):
        render("privacy", {}, tmp_path / "x.png")
    with pytest.raises(ConfigError, match="needs --training"):
        render("accuracy_by_round", {"attacks": tmp_path / "a"}, tmp_path / "x.png")
    with pytest.raises(ConfigError, match="needs --gallery"):
        render("reconstructions", {"attacks": tmp_path / "a"}, tmp_path / "x.png")
    with pytest.raises(DataError, match=r"a\.parquet"):
        render("naive_vs_adaptive", {"attacks": tmp_path / "a.parquet"}, tmp_path / "x.png")
    (tmp_path / "g").write_text("no tensors")
    ATTACKS.write(synthetic.attack_table(1, ("gs",), FEW), tmp_path / "a.parquet")
    with pytest.raises(DataError, match="safetensors"):
        render("reconstructions", {"attacks": tmp_path / "a.parquet", "gallery": tmp_path / "g"}, tmp_path / "x.png")
    assert not (tmp_path / "x.png").exists()


def test_figures_are_made_without_torch():
    """Their environment has none."""
    import subprocess
    import sys

    modules = ", ".join(f"fldrep.figures.{name}" for name in FIGURES)
    code = f"import sys, fldrep.storage.gallery, {modules}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def whiskers(ax):
    """Ends of the vertical intervals of a panel."""
    lines = [segment for one in ax.collections if isinstance(one, LineCollection) for segment in one.get_segments()]
    return [tuple(line[:, 1]) for line in lines if line[0, 0] == line[1, 0] and line[0, 1] != line[1, 1]]


@pytest.mark.parametrize(("targets", "expected"), [(7, 0), (8, 3)])
@pytest.mark.parametrize("settings", [CONVNET, LENET])
def test_privacy_intervals_need_eight_targets(synthetic, targets, expected, settings):
    attacks, training, _ = tables_of(
        synthetic,
        targets=targets,
        attacks=("gs" if settings == CONVNET else "dlg",),
        defenses=FEW,
        settings=(settings,),
    )
    (ax,) = privacy_utility.draw(attacks, training).axes
    assert len(whiskers(ax)) == expected


def test_privacy_markers_stand_at_median_error_and_last_accuracy(synthetic):
    attacks, training, _ = tables_of(
        synthetic, targets=5, attacks=("dlg",), defenses=FEW, settings=(LENET,), restarts=2
    )
    training.loc[training["round"] < 10, "test_accuracy"] = 0.99  # earlier rounds do not matter
    (ax,) = privacy_utility.draw(attacks, training).axes
    markers = {
        (line.get_xdata()[0], line.get_ydata()[0]) for line in ax.lines if line.get_markersize() == privacy_utility.SIZE
    }
    last = training[(training["round"] == 10) & (training["dataset"] == "mnist")].set_index("defense")["test_accuracy"]
    medians = attacks[attacks["is_best_restart"]].groupby("defense")["mse_pixel"].median()
    assert markers == {(last[name], medians[name]) for name in FEW}
    assert "round 10" in ax.get_xlabel()


def test_an_untrained_model_shows_defenses_with_their_live_rate_and_no_accuracy(synthetic):
    attacks, training, _ = tables_of(synthetic, targets=3, attacks=("gs",), defenses=(*FEW, "soteria-script-60"))
    (ax,) = privacy_utility.draw(attacks, training).axes
    ticks = [label.get_text() for label in ax.get_xticklabels()]
    assert ticks == ["none", "soteria-80 (live 80 %)", "soteria-script-60 (live 25 %)", "compression-60"]
    assert "not trained" in ax.get_xlabel()


def test_lines_of_no_information_are_the_medians_over_targets(synthetic):
    attacks, training, _ = tables_of(synthetic, targets=3, attacks=("gs",), defenses=FEW)
    (ax,) = privacy_utility.draw(attacks, training).axes
    levels = {line.get_ydata()[0] for line in ax.lines if line.get_linestyle() in ("--", ":")}
    assert levels == {attacks["grey_mse_pixel"].median(), attacks["class_mean_mse_pixel"].median()}


def test_all_attacks_of_a_setting_are_in_one_panel_the_strongest_filled_and_the_published_hollow(synthetic):
    attacks, training, _ = tables_of(synthetic, targets=3, defenses=FEW)
    by = {name: attacks["attack"].eq(name) & attacks["defense"].eq("soteria-80") for name in GS}
    attacks["recovered"] = by["gs-masked"]
    attacks["certified"] = by["gs-masked"]
    attacks["ssim"] = attacks["recovered"] * 0.9
    (ax,) = privacy_utility.draw(attacks, training).axes
    level = {name: attacks[rows]["mse_pixel"].median() for name, rows in by.items()}
    at = [line for line in ax.lines if list(line.get_xdata()) == [1]]
    marks = {line.get_ydata()[0]: line for line in at if line.get_markersize() == privacy_utility.SIZE}
    assert set(marks) == {level["gs"], level["gs-masked"]}
    assert marks[level["gs"]].get_markerfacecolor() == "white"
    assert marks[level["gs-masked"]].get_markerfacecolor() != "white"
    assert [line.get_ydata()[0] for line in at if line.get_markersize() == privacy_utility.RING] == [level["gs-masked"]]
    assert [line.get_ydata()[0] for line in at if line.get_marker() == "."] == [level["gs-drop"]]


def test_settings_without_a_defense_are_left_out_where_others_have_one(synthetic):
    attacks, training, _ = tables_of(synthetic, targets=3, attacks=("gs", "dlg"), settings=(CONVNET, LENET))
    plain = attacks[(attacks["dataset"] == "cifar10") | (attacks["method"] == "none")]
    assert len(privacy_utility.draw(attacks, training).axes) == 2
    assert len(privacy_utility.draw(plain, training).axes) == 1
    assert len(privacy_utility.draw(plain[plain["method"] == "none"], training).axes) == 2


@pytest.mark.parametrize("error", ["mse", "mse_pixel"])
def test_the_error_shown_can_be_chosen_and_is_named(synthetic, error):
    attacks, training, _ = tables_of(synthetic, targets=3, defenses=FEW)
    expected = attacks[(attacks["defense"] == "none") & (attacks["attack"] == "gs")][error].median()
    privacy, naive = privacy_utility.draw(attacks, training, error), naive_vs_adaptive.draw(attacks, error)
    assert (
        next(line for line in privacy.axes[0].lines if line.get_markersize() == privacy_utility.SIZE).get_ydata()[0]
        == expected
    )
    assert next(line for line in naive.axes[0].lines if line.get_markersize() == 8.5).get_xdata()[0] == expected
    name = {"mse": "MSE (normalised)", "mse_pixel": "MSE (pixels, clamped to [0, 1])"}[error]
    assert name in privacy.axes[0].get_ylabel()
    assert name in naive.axes[0].get_xlabel()


def test_the_undefended_line_is_that_of_one_attack_the_strongest(synthetic):
    attacks = synthetic.attack_table(5, ("gs", "gs-masked", "dlg"), FEW)
    attacks.loc[attacks["attack"] == "dlg", ["preset", "variant_of"]] = ["own", "gs"]  # far better than gs here
    figure = naive_vs_adaptive.draw(attacks)
    plain = attacks[attacks["method"] == "none"].groupby("attack")["mse_pixel"].median()
    [line] = [one for one in figure.axes[0].lines if one.get_color() == theme.INK and one.get_linewidth() == 1.1]
    assert line.get_xdata()[0] == plain.min() == plain["dlg"]


def test_diverged_targets_are_counted_and_a_defense_where_all_did_has_a_cross(synthetic):
    attacks, training, _ = tables_of(synthetic, targets=4, attacks=("gs",), defenses=FEW)
    attacks.loc[(attacks["defense"] == "soteria-80") & (attacks["target"] < 2), "diverged"] = True
    attacks.loc[attacks["defense"] == "compression-60", "diverged"] = True
    (ax,) = privacy_utility.draw(attacks, training).axes
    assert [line.get_xdata() for line in ax.lines if line.get_marker() == "x"] == [[2]]
    assert "n = 4 (0–4 diverged)" in ax.get_title(loc="left")


def test_a_target_has_one_row_with_the_published_and_the_strongest_attack_beside_the_original(synthetic):
    attacks = synthetic.attack_table(1, GS, ("none", "soteria-80"))
    attacks["recovered"] = attacks["attack"].eq("gs-drop")
    attacks["ssim"] = attacks["recovered"] * 0.9
    gallery = {name: value.numpy() for name, value in synthetic.pictures(attacks).items()}
    figure = reconstructions.draw(attacks, gallery)
    assert len(figure.axes) == 4  # original; undefended; soteria under both
    heads = [text.get_text() for text in figure.texts if "by gs" in text.get_text()]
    assert heads == ["none\nby gs", "soteria-80\nnominal 80 %\nby gs", "soteria-80\nnominal 80 %\nby gs-drop"]


def test_accuracy_has_a_line_a_seed_or_a_median_with_a_band(synthetic):
    run = (("mnist", "lenet", "iid", 3),)
    few = synthetic.training_table(run, ("none",), seeds=range(7))
    (ax,) = accuracy_by_round.draw(few).axes
    assert (len(ax.lines), len(ax.collections)) == (7, 0)
    np.testing.assert_array_equal(ax.lines[2].get_ydata(), few[few["seed"] == 2]["test_accuracy"])
    many = synthetic.training_table(run, ("none",), seeds=range(8))
    (ax,) = accuracy_by_round.draw(many).axes
    assert (len(ax.lines), len(ax.collections)) == (1, 1)
    np.testing.assert_allclose(ax.lines[0].get_ydata(), many.groupby("round")["test_accuracy"].median())


def test_accuracy_leaves_out_models_that_were_not_trained(synthetic):
    figure = accuracy_by_round.draw(synthetic.training_table(TRAINED, FEW))
    assert [ax.get_title(loc="left") for ax in figure.axes] == ["mnist · lenet · two-classes"]


def test_comparisons_put_the_naive_attack_first_and_keep_what_was_not_adapted_to(synthetic):
    lines = naive_vs_adaptive.comparisons(synthetic.attack_table(1, (*GS, "dlg"), (*FEW, "gaussian-2")))
    assert list(lines.itertuples(index=False, name=None)) == [
        ("none", "gs", ""),
        ("soteria-80", "gs", ""),
        ("soteria-80", "gs-drop", "gs"),
        ("soteria-80", "gs-masked", "gs"),
        ("compression-60", "gs", ""),
        ("compression-60", "gs-masked", "gs"),
        ("gaussian-2", "gs", ""),
    ]


def test_differences_are_paired_by_target_and_the_median_is_of_the_differences(synthetic):
    attacks = synthetic.attack_table(3, ("gs", "gs-masked"), ("soteria-80",))
    attacks["mse_pixel"] = [1.0, 2.0, 6.0, 0.5, 1.9, 0.0]  # differences -0.5, -0.1, -6: median -0.5, of medians -1.5
    left, right = naive_vs_adaptive.draw(attacks).axes
    marker = next(line for line in right.lines if line.get_markersize() == 8.5)
    assert marker.get_xdata()[0] == -0.5
    points = next(line for line in right.lines if line.get_marker() == ".")
    np.testing.assert_allclose(sorted(points.get_xdata()), [-6, -0.5, -0.1])
    assert not [one for one in right.collections if isinstance(one, LineCollection)]
    joined = [line.get_xdata() for line in left.lines if len(line.get_xdata()) == 2 and line.get_linewidth() == 0.6]
    np.testing.assert_allclose(sorted(map(tuple, joined)), [(1.0, 0.5), (2.0, 1.9), (6.0, 0.0)])


@pytest.mark.parametrize(("targets", "expected"), [(7, 0), (8, 1)])
def test_paired_intervals_need_eight_targets(synthetic, targets, expected):
    right = naive_vs_adaptive.draw(synthetic.attack_table(targets, ("gs", "gs-masked"), ("none", "soteria-80"))).axes[1]
    assert len([one for one in right.collections if isinstance(one, LineCollection)]) == expected


def test_pictures_stand_where_they_belong(synthetic):
    attacks = synthetic.attack_table(3, ("gs",), ("none", "soteria-80"), restarts=2)
    gallery = {name: value.numpy() for name, value in synthetic.pictures(attacks).items()}
    figure = reconstructions.draw(attacks, gallery, targets=2)
    shown = [ax.images[0].get_array() for ax in figure.axes]
    assert len(shown) == 2 * 3
    first = next(attacks[attacks["target"] == 0].itertuples())
    np.testing.assert_allclose(shown[0], gallery[original_key(first)].transpose(1, 2, 0).clip(0, 1))
    np.testing.assert_allclose(
        shown[5], gallery["cifar10/convnet-16/iid/soteria-80/0/single/gs/0/1"].transpose(1, 2, 0).clip(0, 1)
    )
    texts = [text.get_text() for text in figure.texts]
    mse = attacks[(attacks["defense"] == "soteria-80") & (attacks["target"] == 1) & attacks["is_best_restart"]][
        "mse"
    ].iloc[0]
    assert f"MSE {mse:.3g}" in texts[-1]
    assert "live 80 %" in texts[-1]
    assert "soteria-80\nnominal 80 %\nby gs" in texts
    assert "grey 1.02 | 0.064\nclass 0.82 | 0.051" in texts


@pytest.mark.parametrize(("error", "star"), [(0.079, False), (0.08, True), (0.09, True), (0.11, True)])
def test_a_picture_must_beat_both_the_grey_image_and_the_class_mean_on_clamped_pixels(synthetic, error, star):
    attacks = synthetic.attack_table(1, ("gs",), ("none",))
    attacks = attacks.assign(mse=9.0, mse_pixel=error, grey_mse_pixel=0.1, class_mean_mse_pixel=0.08)
    figure = reconstructions.draw(attacks, synthetic.pictures(attacks))
    assert figure.texts[-1].get_text().splitlines()[0] == f"MSE 9 | {error:.2g}" + " *" * star


def test_a_diverged_picture_is_framed_and_has_no_error(synthetic):
    attacks = synthetic.attack_table(1, ("gs",), ("none", "soteria-80"))
    attacks.loc[attacks["defense"] == "soteria-80", ["diverged", "mse"]] = [True, np.nan]
    gallery = {name: value.numpy() for name, value in synthetic.pictures(attacks).items()}
    gallery["cifar10/convnet-16/iid/soteria-80/0/single/gs/0/0"][:] = np.nan
    figure = reconstructions.draw(attacks, gallery)
    assert figure.texts[-1].get_text().startswith("diverged")
    assert "MSE" not in figure.texts[-1].get_text()
    assert figure.axes[-1].images[0].get_array().max() == 0


def test_a_missing_picture_is_named(synthetic):
    attacks = synthetic.attack_table(1, ("gs",), ("none",))
    gallery = {
        name: value.numpy() for name, value in synthetic.pictures(attacks).items() if name.startswith("original")
    }
    with pytest.raises(DataError, match="cifar10/convnet-16/iid/none/0/single/gs/0/0"):
        reconstructions.draw(attacks, gallery)


def test_many_defenses_continue_in_another_band(synthetic):
    attacks = synthetic.attack_table(1, ("gs",), ("none",))
    rows = [
        attacks.assign(defense=f"soteria-{rate}", method="soteria", rule="ratio", rate=rate / 100)
        for rate in range(1, 12)
    ]
    attacks = pd.concat([attacks, *rows], ignore_index=True)
    gallery = {name: value.numpy() for name, value in synthetic.pictures(attacks).items()}
    figure = reconstructions.draw(attacks, gallery)
    assert len(figure.axes) == 12 + 2  # every defense once, the original once a band
    assert any("continued" in text.get_text() for text in figure.texts)


def test_styles_tell_defenses_apart(synthetic):
    styles = theme.defense_styles(synthetic.attack_table(1))
    assert list(styles) == list(synthetic.DEFENSES)
    looks = {(style.colour, style.marker) for style in styles.values()}
    assert len(looks) == len(styles)
    assert sum(styles["soteria-80"].colour) < sum(styles["soteria-40"].colour)  # the stronger, the darker


def test_built_in_colours_are_those_of_the_palette_for_the_colour_blind():
    styles = [style_of(method) for method in registry.built_in("defense")]
    used = {style.colour for style in (*styles, OTHER)}
    used |= {colour for style in styles for _, colour in style.rules.values()}
    assert used <= {*theme.COLOURS, theme.INK}
    looks = [(style.colour, style.marker) for style in styles]
    assert len(set(looks)) == len(looks), "two methods look the same"
    assert style_of("none").colour == theme.INK


def test_a_table_carries_the_looks_of_a_method_that_is_not_known_here(synthetic, tmp_path):
    """A plug-in's defense is drawn as its entry says, in its place, where no plug-in is loaded."""
    attacks = synthetic.attack_table(1, ("gs",), ("none", "soteria-80", "compression-60", "gaussian-2"))
    stranger = attacks["defense"] == "compression-60"
    attacks.loc[stranger, ["defense", "method"]] = ["sign-2", "sign"]
    assert list(theme.defense_styles(attacks)) == ["none", "soteria-80", "gaussian-2", "sign-2"]
    assert theme.defense_styles(attacks)["sign-2"].marker == OTHER.marker
    attacks.attrs["styles"] = styles_text(attacks["method"]).replace(
        '"sign": {"order": 1000, "colour": "#949494", "marker": "*"',
        '"sign": {"order": 5, "colour": "red", "marker": "^"',
    )
    ATTACKS.write(attacks, tmp_path / "attacks.parquet")
    read = ATTACKS.read(tmp_path / "attacks.parquet")
    for table in (read, read[read["target"] == 0], pd.concat([rows for _, rows in read.groupby("attack")])):
        styles = theme.defense_styles(table)
        assert list(styles) == ["none", "sign-2", "soteria-80", "gaussian-2"]
        assert (styles["sign-2"].colour, styles["sign-2"].marker) == ((1, 0, 0), "^")


STRANGER = """
import fldrep

@fldrep.defense("words", colour="red")
class Words(fldrep.Defense):
    order, line = 7, ":"
"""


def test_a_plug_in_says_the_looks_of_its_method(plug_in):
    plug_in(STRANGER)
    assert (style_of("words").colour, style_of("words").order, style_of("words").line) == ("red", 7, ":")
    assert style_of("words").marker == fldrep.Defense.marker


@pytest.mark.parametrize(("defenses", "settings", "cells"), [(3, 1, 6), (8, 4, 64)])
def test_privacy_is_as_readable_with_sixty_cells_as_with_six(synthetic, assert_whole, defenses, settings, cells):
    """A panel a setting and a mark or dot a cell; panels are as large, and no word on another, however many."""
    names = tuple(synthetic.DEFENSES)[:defenses]
    places = tuple(("mnist", model, "iid", round) for model in ("lenet", "lenet-wide") for round in (0, 10))[:settings]
    attacks = synthetic.attack_table(8, ("gs", "dlg"), names, places)
    figure = privacy_utility.draw(attacks, synthetic.training_table((("mnist", "lenet", "iid", 10),), names))
    assert len(attacks.groupby(CELL)) == cells
    assert len(figure.axes) == settings
    assert_whole(figure)
    marks = [
        y
        for ax in figure.axes
        for line in ax.lines
        if line.get_marker() not in ("None", "") and line.get_markersize() != privacy_utility.RING
        for y in line.get_ydata()
    ]
    assert len(marks) == cells
    for ax in figure.axes:
        width, height = ax.get_position().size * figure.get_size_inches()
        assert width > 3.5
        assert height > 2
        boxes = [one.get_window_extent() for one in ax.get_yticklabels() if one.get_text()]
        assert not any(one.overlaps(other) for one, other in itertools.pairwise(boxes))


@pytest.mark.parametrize("defenses", [3, 8])
def test_reconstructions_have_one_row_a_target_however_many_defenses(synthetic, defenses):
    """The original and the undefended once, then each defense under the published and under the strongest attack."""
    attacks = synthetic.attack_table(2, ("gs", "gs-masked", "gs-drop"), tuple(synthetic.DEFENSES)[:defenses])
    figure = reconstructions.draw(attacks, {key: one.numpy() for key, one in synthetic.pictures(attacks).items()})
    rows = {round(ax.get_position().y0, 3) for ax in figure.axes}
    originals = sum(text.get_text() == "original" for text in figure.texts)
    assert len(rows) == 2 * originals, "a row a target in each band"
    strongest = attack_outcomes(attacks).query("strongest or strongest_published")
    assert len(figure.axes) == 2 * (originals + len(strongest))
