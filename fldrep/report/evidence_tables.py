"""The tables of evidence from a GPU: agreement with the CPU, speed, attacks on CIFAR-10, the reference's figure.

A row that could not be measured is kept, with the reason in `status`.
"""

from fldrep.tables.table import Column, Table

MEASURED = "measured"

DEVICE = Column("device", "str", "device and precision of the row; empty where nothing was measured")
STATUS = Column("status", "str", f"{MEASURED}, or `not run` or `failed` and why")

DEFENSE = (
    Column("method", "str", "what the client's defense does: none, soteria, compression"),
    Column("rule", "str", "Soteria's ranking rule, empty for other methods"),
    Column("rate", "float", "nominal rate of pruning", "share in [0, 1]", null=True),
    Column("live_pruned", "float", "share of live features pruned in the update", "share in [0, 1]", null=True),
    Column("norm2_removed", "float", "share of the squared norm of r removed", "share in [0, 1]", null=True),
)

OUTCOME = (
    Column("initial_distance", "float", "gradient distance of the initial point", null=True),
    Column("gradient_distance", "float", "gradient distance of the result", null=True),
    Column("diverged", "bool", "not finite, or the gradient distance ended above its initial value", null=True),
    Column("mse", "float", "mean squared error, normalised space", "data set std squared", null=True),
    Column("mse_pixel", "float", "mean squared error, clamped to [0, 1]", "pixel range squared", null=True),
    Column("psnr_db", "float", "peak signal-to-noise ratio, pixels, data range 1", "dB", null=True),
    Column("ssim", "float", "structural similarity, gaussian weights, sigma 1.5", null=True),
    Column("grey_mse", "float", "`mse` of a constant grey image: no information", "data set std squared", null=True),
    Column("grey_mse_pixel", "float", "`mse_pixel` of a constant grey image", "pixel range squared", null=True),
    Column("step_s", "float", "one optimiser step of all problems worked at once", "seconds", null=True),
    Column("problems", "int", "problems worked at once", "problems", null=True),
)

AGREEMENT = Table(
    "agreement",
    1,
    (
        Column("kind", "str", "attack or score"),
        Column("name", "str", "preset of the attack, or Soteria's rule"),
        Column("estimator", "str", "how the score's Jacobian norms were had; empty for attacks"),
        Column("network", "str", "untrained network"),
        Column("dtype", "str", "precision on both sides"),
        Column("updates", "int", "updates attacked, or images scored"),
        Column("steps", "int", "optimiser steps of the attack", "steps", null=True),
        Column("start_apart", "float", "largest relative difference of the first gradient distance", null=True),
        Column("end_apart", "float", "largest relative difference of the last gradient distance", null=True),
        Column(
            "largest",
            "float",
            "largest difference to the CPU: of an image's entry in units of the data set's std, of a score over the"
            " largest score",
            null=True,
        ),
        Column("median", "float", "median of the same differences", null=True),
        Column("columns", "int", "columns pruned at 60 % by one side and not by the other", null=True),
        Column("waits", "int", "times the host waited for the GPU from one step to the next", null=True),
        Column("waits_where", "str", "lines that waited, or why this was not looked at"),
        Column("device_s", "float", "the work on the device, first use of each kernel included", "seconds", null=True),
        Column("cpu_s", "float", "the same work on the CPU", "seconds", null=True),
        DEVICE,
        STATUS,
    ),
)

SPEED = Table(
    "speed",
    1,
    (
        Column("attack", "str", "gs: one Adam step; dlg: one step of 20 iterations of L-BFGS"),
        Column("network", "str", "untrained network, float32"),
        Column("targets", "int", "targets attacked"),
        Column("mode", "str", "loop (over targets, with autograd and torch.optim), eager, compiled, graphs"),
        Column("steps", "int", "steps timed, after the first ones", "steps", null=True),
        Column("problems", "int", "targets worked at once; fewer than asked for where memory was short", null=True),
        Column("steps_per_s", "float", "steps of all targets a second", "1 / second", null=True),
        Column("target_steps_per_s", "float", "the same times the number of targets", "1 / second", null=True),
        Column("against_loop", "float", "target_steps_per_s over that of the loop on the same device", null=True),
        Column("warm_up_s", "float", "from the call to the first timed step, compiling included", "seconds", null=True),
        Column("gflop", "float", "products and convolutions of a step of one target", "GFLOP", null=True),
        Column("tflop_s", "float", "gflop times target_steps_per_s", "TFLOP / second", null=True),
        Column("peak_tflop_s", "float", "a large float32 matrix product here (no TF32)", "TFLOP / second", null=True),
        Column("peak_share", "float", "tflop_s over peak_tflop_s", "share", null=True),
        DEVICE,
        STATUS,
    ),
)

CIFAR10 = Table(
    "cifar10",
    1,
    (
        Column("network", "str", "network, float32"),
        Column("round", "int", "rounds of FedAvg behind the network; 0 is untrained", "rounds", null=True),
        Column("test_accuracy", "float", "of the network on the slice's test images", "share in [0, 1]", null=True),
        Column("attack", "str", "preset of the attack"),
        *DEFENSE,
        Column("target", "int", "position of the attacked image among the slice's training images", null=True),
        Column("label", "int", "its class, given to the attacker", null=True),
        Column("iterations", "int", "optimiser steps, the schedule scaled to them", "steps", null=True),
        *OUTCOME,
        DEVICE,
        STATUS,
    ),
)

PHOTO = Table(
    "photo",
    1,
    (
        Column("network", "str", "untrained network, float32"),
        Column("iterations", "int", "optimiser steps of GS, the schedule scaled to them", "steps"),
        *DEFENSE,
        Column("mode", "str", "eager, compiled, graphs"),
        *OUTCOME,
        Column("reference_mse", "float", "the reference's own at 24,000 steps", "data set std squared", null=True),
        DEVICE,
        STATUS,
    ),
)

TABLES = (AGREEMENT, SPEED, CIFAR10, PHOTO)
