"""What an attack job writes: a row a target and restart."""

from fldrep.tables.columns import CODE, RUN
from fldrep.tables.table import Column, Table

ATTACK_IDENTITY = (
    *RUN,
    Column("round", "int", "checkpoint attacked; 0 is the untrained model", "rounds"),
    Column("update_kind", "str", "what the client sent: name of the update in the config"),
    Column("images_per_update", "int", "images an update holds", "images"),
    Column("local_steps", "int", "steps of local SGD behind an update; 1 for a gradient", "steps"),
    Column("attack", "str", "name of the attack in the config"),
    Column("preset", "str", "built-in attack whose values it has but for its own; its name if it is none of them"),
    Column("variant_of", "str", "published attacks that it strengthens, the nearest first; empty for a published one"),
    Column("label_strategy", "str", "known, inferred or optimised"),
    Column("block", "int", "job the target was attacked in"),
    Column("target", "int", "number of the attacked image"),
    Column("restart", "int", "initial point"),
)


ATTACK_OUTCOME = (
    Column(
        "is_best_restart",
        "bool",
        "this restart has the smallest gradient distance of the target's update, diverged last",
    ),
    Column("client", "int", "client that holds the image"),
    Column("index", "int", "position of the image in the training set"),
    Column("label", "int", "true class"),
    Column("member", "str", "which attack of an ensemble found it, empty for any other", null=True),
    Column("label_found", "int", "class the attack used or found, in the table `attacks` for the matched image"),
    Column("iterations", "int", "optimiser steps done", "steps"),
    Column("initial_distance", "float", "gradient distance of the initial point", null=True),
    Column("gradient_distance", "float", "gradient distance of the result", null=True),
    Column("diverged", "bool", "not finite, or the gradient distance ended above its initial value"),
    Column(
        "certified",
        "bool",
        "the update itself shows that the image found is the one behind it: no other near by gives it; false where the"
        " attack cannot tell",
        null=True,
    ),
    Column("refused", "str", "why there is no image; empty where there is one", null=True),
    Column(
        "live_pruned", "float", "share of live features pruned in the target's update", "share in [0, 1]", null=True
    ),
    Column("norm2_removed", "float", "share of the squared norm of r removed", "share in [0, 1]", null=True),
    Column("runtime_s", "float", "seconds of the block's attack / (targets x restarts)", "seconds"),
    Column("device", "str", "device and precision"),
    Column(
        "problems_at_once", "int", "updates x restarts worked at once, as asked or as fitted into memory", "problems"
    ),
    CODE,
)


# What an attack job writes; the metrics stage adds the images' errors and makes ATTACKS of it.
ATTACK_RUNS = Table("attack_runs", 4, (*ATTACK_IDENTITY, *ATTACK_OUTCOME))
