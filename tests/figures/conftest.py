"""What is asked of every figure."""

import itertools

import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg


@pytest.fixture(scope="session")
def assert_whole():
    """A check of a figure: nothing is cut off, no label lies on another panel, and no panel is empty."""

    def check(figure):
        assert figure.axes or figure.texts
        assert all(ax.lines or ax.images or ax.collections or ax.containers for ax in figure.axes)
        panels, others = boxes_of(figure)
        for box in (*panels, *others):
            assert min(box.x0, box.y0, figure.bbox.x1 - box.x1, figure.bbox.y1 - box.y1) > -1, box
        for one, other in itertools.combinations(panels, 2):
            width = min(one.x1, other.x1) - max(one.x0, other.x0)
            height = min(one.y1, other.y1) - max(one.y0, other.y0)
            assert min(width, height) <= 2, (one, other)

    return check


def boxes_of(figure):
    """What panels (with their labels) and legends cover, and what free texts do, in dots."""
    from fldrep.figures import theme

    with theme.theme():
        renderer = FigureCanvasAgg(figure).get_renderer()
        figure.draw_without_rendering()
    panels = [artist.get_tightbbox(renderer) for artist in (*figure.axes, *figure.legends)]
    return panels, [text.get_window_extent(renderer) for text in figure.texts]
