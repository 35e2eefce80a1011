"""Theorem 1 at what attacks found."""

from fldrep.tables.columns import CODE, LOOKED_AT, RUN
from fldrep.tables.table import Column, Table

CONSTANTS = {
    "local": "the Jacobian's norm at X, as in the paper",
    "segment": "the largest Jacobian norm at points from X to X', an estimate",
    "layers": "the product of the layers' norms, a proven constant",
    "any": "the proven constant, less ||f(X') - r'||, so for any attacker",
}


CERTIFICATE = Table(
    "certificate",
    2,
    (
        *RUN,
        LOOKED_AT,
        Column("update_kind", "str", "what the client sent: name of the update in the config"),
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
