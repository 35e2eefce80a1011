"""Recovery against images an update and local steps, from synthetic tables."""

import numpy as np
import pytest

from fldrep.analysis.rows import chosen, converged
from fldrep.figures import batches

ONE = ("cifar10", "convnet-16", "iid", 0)
KINDS = (("single", 1, 1), ("of-2", 2, 1), ("of-4", 4, 1), ("of-4-twice", 4, 2))
DEFENSES = ("none", "soteria-80")


@pytest.fixture
def table(synthetic):
    return synthetic.attack_table(32, ("gs",), DEFENSES, settings=tuple((*ONE, *kind) for kind in KINDS), diverged=0.1)


def test_a_sweep_is_over_one_number(table):
    by_images, by_steps = batches.sweeps(table)
    assert (by_images.axis, set(by_images.rows["update_kind"])) == ("images_per_update", {"single", "of-2", "of-4"})
    assert (by_steps.axis, set(by_steps.rows["update_kind"])) == ("local_steps", {"of-4", "of-4-twice"})
    assert batches.sweeps(table[table["update_kind"] == "of-4"]) == []


def test_each_marker_is_the_median_or_the_share_of_its_cell(table):
    figure = batches.draw(table)
    assert len(figure.axes) == 4
    for left, right, sweep in zip(figure.axes[::2], figure.axes[1::2], batches.sweeps(table), strict=True):
        markers = [[line for line in ax.lines if line.get_marker() not in ("None", "")] for ax in (left, right)]
        for number, defense in enumerate(DEFENSES):
            rows = sweep.rows[sweep.rows["defense"] == defense]
            median = converged(rows).groupby(sweep.axis)["mse_pixel"].median()
            share = chosen(rows).groupby(sweep.axis)["recovered"].mean()
            np.testing.assert_allclose(markers[0][number].get_ydata(), median)
            np.testing.assert_allclose(markers[1][number].get_ydata(), share)
        assert [text.get_text() for text in left.get_xticklabels()] == [str(value) for value in median.index]


def test_intervals_need_eight_updates(table):
    few = table[table["target"] < 16]
    (_, right, *_) = batches.draw(few).axes
    bars = [one for one in right.collections if len(one.get_segments())]
    assert len(bars) == 2 * 2, "16 targets are 16 updates of one image and 8 of two, but 4 of four"
