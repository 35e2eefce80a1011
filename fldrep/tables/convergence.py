"""Theorem 2, a row a run and round."""

from fldrep.tables.columns import CODE
from fldrep.tables.table import Column, Table

CONVERGENCE = Table(
    "convergence",
    1,
    (
        Column("dataset", "str", "data set"),
        Column("partition", "str", "name of the partition in the config"),
        Column("seed", "int", "repetition of the grid"),
        Column("mask", "str", "name of the mask"),
        Column("kind", "str", "none, soteria (deterministic, ratio rule) or random (unbiased)"),
        Column("rate", "float", "columns pruned", "share in [0, 1)"),
        Column("repetition", "int", "run with draws of its own"),
        Column("round", "int", "rounds done", "rounds"),
        Column("steps", "int", "local steps done", "steps"),
        Column("gap", "float", "F(w) - F* of this repetition", "nats"),
        Column("bound", "float", "bound on the mean gap without a mask (Li et al. 2020)", "nats"),
        Column("bound_defended", "float", "the same with constants enlarged by the mask", "nats"),
        Column("bound_covers", "bool", "the theorem covers the mask (it is unbiased)"),
        Column("floor", "float", "proven lower limit of the gap, from columns never updated", "nats"),
        Column("crossing", "float", "steps after which bound_defended is below the floor", "steps", null=True),
        Column("projected", "float", "local steps that left the ball", "share in [0, 1]"),
        Column("clients", "int", "all clients, N", "clients"),
        Column("sampled", "int", "clients of a round, K", "clients"),
        Column("local_steps", "int", "local steps of a round, E", "steps"),
        Column("smoothness", "float", "L of every client's loss"),
        Column("convexity", "float", "mu, the weight of L2"),
        Column("variance", "float", "largest sigma_k^2"),
        Column("variance_defended", "float", "largest sigma_k^2 with the mask's term"),
        Column("gradient_square", "float", "G^2 inside the ball"),
        Column("gradient_square_defended", "float", "G^2 with the mask's term"),
        Column("heterogeneity", "float", "Gamma = F* - sum p_k F_k*", "nats"),
        Column("distance_square", "float", "||w_1 - w*||^2"),
        Column("optimum", "float", "the least loss, F*", "nats"),
        CODE,
    ),
)
