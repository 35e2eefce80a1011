import math

import numpy as np
import pandas as pd
import pytest
import torch
from skimage.metrics import mean_squared_error, peak_signal_noise_ratio

from fldrep.errors import DataError, UnknownName
from fldrep.metrics.images import compare, compare_pixels
from fldrep.models.normalisation import Normalisation, normalisation_for

COLUMNS = ["mse", "mse_pixel", "psnr_db", "ssim"]


def some_pixels(images=4, channels=3, side=16, seed=0, spread=0.1):
    """Pictures in [0, 1] and others that leave the range, float64."""
    draw = torch.Generator().manual_seed(seed)
    pixels = torch.rand(images, channels, side, side, generator=draw, dtype=torch.float64)
    return pixels + spread * torch.randn(pixels.shape, generator=draw, dtype=torch.float64), pixels


def slow_ssim(one: np.ndarray, other: np.ndarray) -> float:
    """SSIM as Wang et al. define it, window by window, over every 11 x 11 window that fits; mean over channels."""
    distance = np.arange(-5, 6)
    bell = np.exp(-(distance[:, None] ** 2 + distance[None, :] ** 2) / (2 * 1.5**2))
    weights = bell / bell.sum()
    values = []
    for a, b in zip(one, other, strict=True):
        for top in range(a.shape[0] - 10):
            for left in range(a.shape[1] - 10):
                x, y = a[top : top + 11, left : left + 11], b[top : top + 11, left : left + 11]
                mx, my = (weights * x).sum(), (weights * y).sum()
                vx, vy = (weights * (x - mx) ** 2).sum(), (weights * (y - my) ** 2).sum()
                cov = (weights * (x - mx) * (y - my)).sum()
                c1, c2 = 0.01**2, 0.03**2
                values.append((2 * mx * my + c1) * (2 * cov + c2) / ((mx**2 + my**2 + c1) * (vx + vy + c2)))
    return float(np.mean(values))


@pytest.mark.parametrize("channels", [1, 3])
def test_ssim_equals_the_formula_window_by_window(channels):
    found, pixels = some_pixels(channels=channels)
    table = compare_pixels(found, pixels)
    slow = [slow_ssim(a, b) for a, b in zip(found.clamp(0, 1).numpy(), pixels.numpy(), strict=True)]
    np.testing.assert_allclose(table["ssim"], slow, rtol=0, atol=1e-12)


def test_pixel_errors_equal_scikit_image_on_clamped_pixels():
    found, pixels = some_pixels()
    table = compare_pixels(found, pixels)
    pairs = [(b, a.clip(0, 1)) for a, b in zip(found.numpy(), pixels.numpy(), strict=True)]
    np.testing.assert_allclose(table["mse_pixel"], [mean_squared_error(*pair) for pair in pairs], rtol=1e-13)
    np.testing.assert_allclose(
        table["psnr_db"], [peak_signal_noise_ratio(*pair, data_range=1) for pair in pairs], rtol=1e-13
    )


def test_the_normalised_error_is_not_clamped_and_divides_each_channel_by_its_variance():
    found, pixels = some_pixels(spread=2.0)
    std = normalisation_for(3, "cifar10").std
    by_hand = [
        sum(((found[n, c] - pixels[n, c]) ** 2).mean().item() / std[c] ** 2 for c in range(3)) / 3
        for n in range(len(found))
    ]
    np.testing.assert_allclose(compare_pixels(found, pixels)["mse"], by_hand, rtol=1e-12)


@pytest.mark.parametrize("normalisation", [None, "cifar10", "none", Normalisation((0.1, 0.2, 0.3), (0.5, 0.6, 0.7))])
def test_normalised_images_and_their_pixels_give_one_table(normalisation):
    found, pixels = some_pixels()
    constants = normalisation_for(pixels, normalisation)
    table = compare(constants.to_input(found), constants.to_input(pixels), normalisation)
    pd.testing.assert_frame_equal(table, compare_pixels(found, pixels, normalisation), rtol=1e-10)
    assert list(table) == COLUMNS


def test_one_row_by_hand():
    black, white = torch.zeros(1, 1, 11, 11), torch.ones(1, 1, 11, 11)
    half = compare(white / 2, black, "none").iloc[0]
    assert half["mse"] == half["mse_pixel"] == 0.25
    assert half["psnr_db"] == pytest.approx(10 * math.log10(4))
    assert half["ssim"] == pytest.approx(0.01**2 / (0.25 + 0.01**2))  # flat pictures: the luminance term alone
    outside = compare(3 * white, black, "none").iloc[0]
    assert (outside["mse"], outside["mse_pixel"]) == (9, 1)


def test_mnist_constants_fit_one_channel():
    zeros = torch.zeros(1, 1, 12, 12)
    assert compare_pixels(zeros + 0.30811, zeros)["mse"][0] == pytest.approx(1)


def test_identical_images_have_infinite_psnr():
    _, pixels = some_pixels(2)
    table = compare_pixels(pixels, pixels)
    assert (table["mse"] == 0).all()
    assert np.isposinf(table["psnr_db"]).all()
    np.testing.assert_allclose(table["ssim"], 1)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_what_is_not_finite_has_no_error_and_harms_no_neighbour(bad):
    found, pixels = some_pixels(3)
    alone = compare_pixels(found, pixels)
    found[1, 0, 5, 5] = bad
    table = compare_pixels(found, pixels)
    assert table.loc[1].isna().all()
    pd.testing.assert_frame_equal(table.loc[[0, 2]], alone.loc[[0, 2]])


def test_rows_do_not_depend_on_each_other():
    found, pixels = some_pixels(3)
    one_by_one = [compare_pixels(found[n : n + 1], pixels[n : n + 1]) for n in range(3)]
    pd.testing.assert_frame_equal(compare_pixels(found, pixels), pd.concat(one_by_one, ignore_index=True))


def test_inputs_keep_their_values_and_may_require_gradients():
    found, pixels = some_pixels(1)
    before = found.clone()
    compare(found.float().requires_grad_(), pixels.float())
    assert torch.equal(found, before)


def test_no_images_give_an_empty_table_with_its_columns():
    table = compare(torch.zeros(0, 3, 16, 16), torch.zeros(0, 3, 16, 16))
    assert (list(table), len(table)) == (COLUMNS, 0)


@pytest.mark.parametrize(
    ("found", "images", "words"),
    [
        ((2, 3, 16, 16), (2, 3, 16, 15), "16, 15"),
        ((3, 16, 16), (3, 16, 16), r"\(N, C, H, W\)"),
        ((1, 3, 10, 16), (1, 3, 10, 16), "11 pixels"),
    ],
)
def test_shapes_that_do_not_fit_are_named(found, images, words):
    with pytest.raises(DataError, match=words):
        compare(torch.zeros(found), torch.zeros(images))


def test_originals_must_be_finite_and_channels_known():
    with pytest.raises(DataError, match="not finite"):
        compare(torch.zeros(1, 1, 16, 16), torch.full((1, 1, 16, 16), math.nan))
    with pytest.raises(UnknownName, match="channels"):
        compare(torch.zeros(1, 2, 16, 16), torch.zeros(1, 2, 16, 16))


# ---- metrics of plug-ins

ABSOLUTE = """
import torch
import fldrep

@fldrep.metric("mean-absolute", unit="pixel range", larger_is_better=False, meaning="mean absolute error")
def absolute(images, originals):
    assert images.shape == originals.shape and images.min() >= 0 and images.max() <= 1
    scale = torch.ones((), dtype=images.dtype, requires_grad=True)
    return scale * (images - originals).abs().flatten(1).mean(1)

@fldrep.metric("largest", space="input", order=0)
def largest(images, originals):
    return [float(one) for one in (images - originals).abs().flatten(1).max(1).values]
"""


def test_metrics_of_a_plug_in_stand_after_the_four_and_change_none_of_them(plug_in):
    found, pixels = some_pixels(3)
    found[1, 0, 0, 0] = math.nan
    alone = compare_pixels(found, pixels, "none")
    assert plug_in(ABSOLUTE) == ["mean-absolute", "largest"]
    table = compare_pixels(found, pixels, "none")
    assert list(table) == [*COLUMNS, "largest", "mean_absolute"]
    pd.testing.assert_frame_equal(table[COLUMNS], alone)
    assert table.loc[1].isna().all()
    kept, clamped = [0, 2], found.clamp(0, 1)
    by_hand = (clamped - pixels)[kept].abs().flatten(1).mean(1)
    np.testing.assert_allclose(table["mean_absolute"][kept], by_hand)
    np.testing.assert_allclose(table["largest"][kept], (found - pixels)[kept].abs().flatten(1).max(1).values)


def test_a_metric_that_does_not_give_one_number_an_image_is_named(plug_in):
    plug_in("import fldrep\n@fldrep.metric('all-in-one')\ndef one(images, originals):\n    return images.mean()\n")
    with pytest.raises(DataError, match=r"metric 'all-in-one': returned shape \(\) for 2 images; expected one each"):
        compare_pixels(*some_pixels(2))
