"""The attack jobs' rows with the errors of their images."""

from fldrep.tables.attack_runs import ATTACK_IDENTITY, ATTACK_OUTCOME
from fldrep.tables.table import Column, Table

IMAGE_METRICS = ("mse", "mse_pixel", "psnr_db", "ssim")


def _image_columns(prefix: str, whose: str) -> tuple[Column, ...]:
    return (
        Column(prefix + "mse", "float", f"mean squared error of {whose}, normalised space", "data set std squared"),
        Column(
            prefix + "mse_pixel", "float", f"mean squared error of {whose}, clamped to [0, 1]", "pixel range squared"
        ),
        Column(prefix + "psnr_db", "float", f"peak signal-to-noise ratio of {whose}, pixels, data range 1", "dB"),
        Column(prefix + "ssim", "float", f"structural similarity of {whose}, gaussian weights, sigma 1.5"),
    )


ATTACKS = Table(
    "attacks",
    3,
    (
        *ATTACK_IDENTITY,
        *ATTACK_OUTCOME,
        Column("match", "int", "which reconstruction of its update is set against the target, by least mse_pixel"),
        *(
            Column(c.name, c.type, c.meaning, c.unit, null=True)
            for c in _image_columns("", "the reconstruction (empty where it is not finite)")
        ),
        Column("recovered", "bool", "ssim at or above the config's threshold"),
        *_image_columns("grey_", "a constant image at the data set's mean: the uninformed baseline"),
        *_image_columns("class_mean_", "the mean training image of the target's class: the uninformed baseline"),
    ),
)
