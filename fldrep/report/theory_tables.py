"""The page's tables of the theory: leakage, the two theorems and privacy spent, as text, each number with its n."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import pandas as pd

from fldrep.analysis.intervals import Estimate, mean_interval, median_interval, share_interval
from fldrep.analysis.rows import LEAST_FLOOR, SETTING, bounded, defenses_in_order, targets_of
from fldrep.analysis.words import interval_text, nominal_text, number, setting_text
from fldrep.report.tables import TextTable
from fldrep.tables.certificate import CONSTANTS


@dataclass(frozen=True)
class Analysis:
    """The tables of one analysis: its title, a few sentences on how to read them, and at least one table."""

    title: str
    note: str
    tables: list[TextTable]


LEAKAGE_HEADS = [
    ("defense", "name of the defense in the config"),
    ("round", "checkpoint looked at; 0 is the untrained model"),
    ("images", "images a batch"),
    ("n", "batches, of all seeds, that have a correlation"),
    (
        "correlation",
        "of dL/dW over dL/db with the class's mean representation, mean over the classes of a batch: median over "
        "batches [95 % bootstrap interval, from 8 on]; * the interval of the lead is not above 0",
    ),
    ("public mean", "no information: the correlation of the mean representation of public images, median"),
    ("lead", "correlation - that of the public mean on the same batch: median [interval]"),
    ("features sent", "the correlation over the features whose column of dL/dW was sent: median"),
    ("centred", "the correlation with the public mean taken off both sides: median"),
    ("labels found", "share of a batch's labels found from dL/db alone: median"),
    ("with public images", "the same by an attacker with labelled public images"),
    ("even guess", "no information: the same by an even guess"),
]

BOUND_NAMES = {"local": "bound, local", "segment": "estimate", "layers": "bound, layers", "any": "bound, any attacker"}

CERTIFICATE_HEADS = [
    ("attack", "name of the attack in the config"),
    ("defense", "name of the defense in the config"),
    ("n", "reconstructions judged: something was pruned, and the reconstruction is finite"),
    ("left out", "reconstructions of updates in which nothing was pruned, or that are not finite"),
    ("distance", "measured ||X - X'||, norm of the network's input: median [95 % bootstrap interval over targets]"),
    ("farthest", "distance of the farthest image with pixels in [0, 1], median"),
    *(
        head
        for name, words in BOUND_NAMES.items()
        for head in (
            (words, f"bound by {CONSTANTS[name]}: median"),
            ("holds", f"where the distance is at least the {words}"),
        )
    ),
    ("premise", "where f(X') is r' up to 1 % of ||r - r'||, as the theorem assumes"),
]

CONVERGENCE_HEADS = [
    ("mask", "what is done to each gradient"),
    ("n", "runs, of all seeds, each with draws of its own"),
    ("clients", "of a round, of all"),
    ("local steps", "in a round, E"),
    ("steps", "local steps done at the end"),
    ("gap before", "F(w) - F* before training, nats: a bound above it tells nothing"),
    ("gap", "F(w) - F* at the end, nats: mean over runs [95 % bootstrap interval, from 8 runs on]"),
    ("bound", "on the mean gap at the end, without a mask (Li et al. 2020), mean over seeds"),
    ("with the mask's term", "the same with constants enlarged by the mask"),
    ("holds", "kept rounds whose mean gap is at most the bound with the mask's term"),
    ("covered", "whether the theorem covers the mask: an unbiased one, or none"),
    ("floor", "proven lower limit of the gap, from weights that are never updated, nats"),
    ("broken after", "steps after which the bound with the mask's term is below the floor"),
    ("sigma²", "largest variance of a client's gradients, without / with the mask's term"),
    ("G²", "bound on the squared norm of gradients, without / with the mask's term"),
]

ACCOUNTING_HEADS = [
    ("model", "name of the model in the config"),
    ("partition", "name of the partition in the config"),
    ("defense", "name of the defense in the config"),
    (
        "server",
        "each-update: sees what every client sends; sum-only: sees only the sum (secure aggregation, not run here)",
    ),
    ("guarantee", "what a client may rely on over the whole training, against the replacement of its whole data"),
    ("epsilon", "spent over the training, at this delta"),
    ("delta", "probability that the guarantee with epsilon fails"),
    ("pure epsilon", "the same with a delta of 0, where there is one"),
    ("noise", "standard deviation of the noise on each gradient entry"),
    ("clip", "L2 norm that an update is scaled down to"),
    ("multiplier", "standard deviation of the noise / what replacing a client's data moves at most"),
    ("rounds", "federated rounds"),
    ("part in", "rounds that the client takes part in, at most"),
    ("sampling", "how clients are drawn"),
]


def theory_tables(analyses: Mapping[str, pd.DataFrame]) -> list[Analysis]:
    """The analyses that have rows. Args: analyses: the tables of `tables` by the names of `ANALYSES`."""
    return [
        Analysis(title, note, make(analyses[name]))
        for name, (title, note, make) in ANALYSES.items()
        if len(analyses[name])
    ]


def _tables(rows: pd.DataFrame, by: list[str], row_of: Callable[..., list[list[str]]], heads: list, words: int) -> list:
    """One table for each value of `by`."""
    return [
        TextTable(setting_text(key) if by == SETTING else " · ".join(key), heads, row_of(own), words)
        for key, own in rows.groupby(by)
    ]


def leakage_tables(leakage: pd.DataFrame) -> list[TextTable]:
    """One table a data set, model and partition, one row a defense, round and batch size."""
    return _tables(leakage, ["dataset", "model", "partition"], _leakage_rows, LEAKAGE_HEADS, 1)


def _leakage_rows(rows: pd.DataFrame) -> list[list[str]]:
    order = _place_of(rows)
    cells = sorted(rows.groupby(["defense", "round", "batch_size"]), key=lambda item: (order[item[0][0]], *item[0][1:]))
    return [_leakage_row(*key, cell) for key, cell in cells]


def _leakage_row(defense: str, round: int, size: int, cell: pd.DataFrame) -> list[str]:
    found = median_interval(cell["correlation"].dropna())
    lead = median_interval((cell["correlation"] - cell["correlation_public"]).dropna())
    beaten = found.n and not (lead.median > 0 if lead.low is None else lead.low > 0)
    return [
        defense,
        str(round),
        str(size),
        str(found.n),
        estimate_text(found) + (" *" if beaten else ""),
        number(cell["correlation_public"].median()),
        estimate_text(lead, "+"),
        *(number(cell[column].median()) for column in ("correlation_kept", "correlation_centred")),
        *(number(cell[f"label_accuracy{one}"].median(), "share") for one in ("", "_public", "_even")),
    ]


def certificate_tables(certificate: pd.DataFrame) -> list[TextTable]:
    """One table a setting, one row an attack and defense."""
    return _tables(certificate, SETTING, _certificate_rows, CERTIFICATE_HEADS, 2)


def _certificate_rows(rows: pd.DataFrame) -> list[list[str]]:
    order = _place_of(rows)
    cells = sorted(rows.groupby(["attack", "defense"]), key=lambda item: (item[0][0], order[item[0][1]]))
    return [_certificate_row(*key, cell) for key, cell in cells]


def _certificate_row(attack: str, defense: str, cell: pd.DataFrame) -> list[str]:
    judged = bounded(cell)
    bounds = [
        text
        for name in CONSTANTS
        for text in (number(judged[f"bound_{name}"].median()), _count(judged[f"holds_{name}"], targets_of(judged)))
    ]
    return [
        attack,
        defense,
        str(len(judged)),
        str(len(cell) - len(judged)),
        estimate_text(median_interval(judged["distance"], groups=targets_of(judged))),
        number(judged["farthest"].median()),
        *bounds,
        _count(judged["premise_holds"], targets_of(judged)),
    ]


def _count(outcomes: pd.Series, targets: pd.Series) -> str:
    """How many are true, of how many, with the interval of the share where there is one."""
    share = share_interval(outcomes.astype(bool), groups=targets)
    if not share.n:
        return "–"
    interval = "" if share.low is None else f" [{number(share.low, 'share')}, {number(share.high, 'share')}]"
    return f"{int(outcomes.astype(bool).sum())} of {share.n}{interval}"


def convergence_tables(convergence: pd.DataFrame) -> list[TextTable]:
    """One table a data set and partition, one row a mask."""
    return _tables(convergence, ["dataset", "partition"], _convergence_rows, CONVERGENCE_HEADS, 1)


def _convergence_rows(rows: pd.DataFrame) -> list[list[str]]:
    return [_convergence_row(mask, cell) for mask, cell in rows.groupby("mask", sort=False)]


def _convergence_row(mask: str, cell: pd.DataFrame) -> list[str]:
    first, last = (cell[cell["round"] == end] for end in (cell["round"].min(), cell["round"].max()))
    means = cell.groupby(["seed", "round"])[["gap", "bound_defended"]].mean()
    holds = means["gap"] <= means["bound_defended"]
    seeds = last.groupby("seed").first()
    one = last.iloc[0]
    limited = seeds["floor"].max() > LEAST_FLOOR
    return [
        mask,
        str(len(last)),
        f"{one['sampled']} of {one['clients']}",
        str(one["local_steps"]),
        str(one["steps"]),
        number(first["gap"].mean()),
        estimate_text(mean_interval(last["gap"])),
        number(seeds["bound"].mean()),
        number(seeds["bound_defended"].mean()),
        f"{int(holds.sum())} of {len(holds)}",
        "yes" if last["bound_covers"].all() else "no: biased",
        number(seeds["floor"].mean()) if limited else "–",
        number(seeds["crossing"].median()) if limited else "–",
        *(
            f"{number(seeds[constant].mean())} / {number(seeds[f'{constant}_defended'].mean())}"
            for constant in ("variance", "gradient_square")
        ),
    ]


def accounting_tables(accounting: pd.DataFrame) -> list[TextTable]:
    """One table a data set, one row a model, partition, defense and server; seeds that spend the same are one row."""
    return _tables(accounting, ["dataset"], _accounting_rows, ACCOUNTING_HEADS, 5)


def _accounting_rows(rows: pd.DataFrame) -> list[list[str]]:
    rows = rows.drop_duplicates([name for name in rows if name not in ("seed", "code")])
    rows = rows.assign(_place=rows["defense"].map(_place_of(rows)))
    ordered = rows.sort_values(["model", "partition", "_place", "server"])
    return [_accounting_row(row) for row in ordered.itertuples()]


def _accounting_row(row) -> list[str]:
    return [
        row.model,
        row.partition,
        row.defense,
        row.server,
        row.guarantee,
        number(row.epsilon),
        number(row.delta),
        number(row.epsilon_pure),
        nominal_text(None, row.std),
        number(row.clip),
        number(row.noise_multiplier),
        str(row.rounds),
        str(row.participations),
        row.sampling,
    ]


def estimate_text(estimate: Estimate, sign: str = "") -> str:
    """A median, or mean, with its interval, where there is one.

    >>> estimate_text(Estimate(8, 1.0, 0.5, 2.0)), estimate_text(Estimate(3, 1.0), "+")
    ('1.00 [0.500, 2.00]', '+1.00')
    """
    low, high = (float("nan") if end is None else end for end in (estimate.low, estimate.high))
    return interval_text(estimate.median, low, high, sign)


def _place_of(rows: pd.DataFrame) -> dict[str, int]:
    """The place of each defense in the order in which defenses are shown."""
    return {name: place for place, name in enumerate(defenses_in_order(rows)["defense"])}


# The analyses of the theory stage in the order of the page: title, how to read its tables, and what makes them.
ANALYSES: dict[str, tuple[str, str, Callable[[pd.DataFrame], list[TextTable]]]] = {
    "leakage": (
        "Leakage of representations",
        "Row c of the last layer's weight gradient over entry c of its bias gradient, set against the true mean "
        "representation of class c. The mean representation of public images takes no gradient: a star marks "
        "what does not lead it.",
        leakage_tables,
    ),
    "certificate": (
        "Certificate (theorem 1)",
        "How far a reconstruction must be from the image, against how far it is. The bound by the norm at X is the "
        "paper's; the norm sampled on the way is an estimate; those by the layers' norms are proven.",
        certificate_tables,
    ),
    "convergence": (
        "Convergence (theorem 2)",
        "Softmax regression by FedAvg, whose constants and least loss can be computed. A deterministic mask is a "
        "bias, which the theorem does not cover.",
        convergence_tables,
    ),
    "accounting": (
        "Privacy spent",
        "The (epsilon, delta) that one client spends over a training, where its noise guarantees anything: without "
        "clipping there is no guarantee, however strong the noise.",
        accounting_tables,
    ),
}
