"""The tables of the theory stage: columns, types, units and meanings."""

from fldrep.records import RUN, Column, Table

CODE = Column("code", "str", "digest of the code that made the row")
ROUND = Column("round", "int", "checkpoint looked at; 0 is the untrained model", "rounds")


def _correlation(name: str, meaning: str) -> Column:
    return Column(name, "float", f"mean over the classes present of {meaning}", "correlation in [-1, 1]", null=True)


def _share(name: str, meaning: str) -> Column:
    return Column(name, "float", f"share of the batch's labels found {meaning}", "share in [0, 1]")


LEAKAGE = Table(
    "leakage",
    1,
    (
        *RUN,
        ROUND,
        Column("batch_size", "int", "images in the update", "images"),
        Column("batch", "int", "number of the batch; the same images under every defense"),
        Column("client", "int", "client that holds the batch"),
        Column("classes_present", "int", "different labels in the batch", "classes"),
        _correlation("correlation", "Pearson's correlation of dL/dW over dL/db with the class's mean representation"),
        _correlation("correlation_kept", "the same over features whose column of dL/dW was sent"),
        _correlation("correlation_centred", "the same with the mean representation of public images taken off both"),
        _correlation("correlation_public", "the correlation that mean has by itself: the no-information line"),
        _share("label_accuracy", "from dL/db alone"),
        _share("label_accuracy_public", "from dL/db by an attacker with labelled public images"),
        _share("label_accuracy_even", "by an even guess: the no-information line"),
        CODE,
    ),
)

CONSTANTS = {
    "local": "the Jacobian's norm at X, as in the paper",
    "segment": "the largest Jacobian norm at points from X to X', an estimate",
    "layers": "the product of the layers' norms, a proven constant",
    "any": "the proven constant, less ||f(X') - r'||, so for any attacker",
}

CERTIFICATE = Table(
    "certificate",
    1,
    (
        *RUN,
        ROUND,
        Column("attack", "str", "name of the attack in the config"),
        Column("target", "int", "number of the attacked image"),
        Column("restart", "int", "initial point"),
        Column("representation_change", "float", "||r - r'||, r' being what the defense leaves of r = f(X)"),
        Column("premise_gap", "float", "||f(X') - r'||, which the theorem takes to be 0", null=True),
        Column("premise_holds", "bool", "premise_gap at most 1 % of representation_change", null=True),
        Column("distance", "float", "||X - X'|| as measured", "norm of the network's input", null=True),
        Column(
            "farthest", "float", "distance of the farthest image with pixels in [0, 1]", "norm of the network's input"
        ),
        *(
            Column(f"norm_{name}", "float", meaning, null=name == "segment")
            for name, meaning in CONSTANTS.items()
            if name != "any"
        ),
        *(
            Column(f"bound_{name}", "float", f"bound by {meaning}", "norm of the network's input", null=True)
            for name, meaning in CONSTANTS.items()
        ),
        *(Column(f"holds_{name}", "bool", f"distance is at least bound_{name}", null=True) for name in CONSTANTS),
        CODE,
    ),
)

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
        Column("clients", "int", "N", "clients"),
        Column("sampled", "int", "K clients a round", "clients"),
        Column("local_steps", "int", "E", "steps"),
        Column("smoothness", "float", "L of every client's loss"),
        Column("convexity", "float", "mu, the weight of L2"),
        Column("variance", "float", "largest sigma_k^2"),
        Column("variance_defended", "float", "largest sigma_k^2 with the mask's term"),
        Column("gradient_square", "float", "G^2 inside the ball"),
        Column("gradient_square_defended", "float", "G^2 with the mask's term"),
        Column("heterogeneity", "float", "Gamma = F* - sum p_k F_k*", "nats"),
        Column("distance_square", "float", "||w_1 - w*||^2"),
        Column("optimum", "float", "F*", "nats"),
        CODE,
    ),
)

ACCOUNTING = Table(
    "accounting",
    1,
    (
        *RUN,
        Column("clip", "float", "L2 norm an update is scaled down to", "gradient entries", null=True),
        Column("server", "str", "each-update (sees what each client sends) or sum-only (secure aggregation)"),
        Column("neighbours", "str", "what differs between two inputs that must look alike"),
        Column("sampling", "str", "how clients are drawn"),
        Column("rounds", "int", "federated rounds", "rounds"),
        Column("clients", "int", "N", "clients"),
        Column("sampled", "int", "K clients a round", "clients"),
        Column("participations", "int", "rounds accounted to a client where each update is seen", "rounds"),
        Column("noise_multiplier", "float", "standard deviation of the noise / sensitivity", null=True),
        Column("delta", "float", "delta"),
        Column("epsilon", "float", "epsilon spent by a client over the run at delta", null=True),
        Column("epsilon_pure", "float", "epsilon at delta 0 (Laplace noise)", null=True),
        Column("guarantee", "str", "the guarantee in words"),
        CODE,
    ),
)
