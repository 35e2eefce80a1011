"""Defenses side by side on the same terms: what each costs, and what attackers find of its clients."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from fldrep.analysis.accuracy import OF_RUNS
from fldrep.analysis.families import is_adaptive
from fldrep.analysis.floors import RECOGNISED
from fldrep.analysis.intervals import Estimate, share_interval
from fldrep.analysis.rows import OF_DEFENSE, PAIR, last_rounds, rows_where
from fldrep.analysis.verdicts import image_verdicts, judged

COST = 0.01  # the most accuracy, as a share of images, that a setting of a defense may cost to be chosen


def leaderboard(attacks: pd.DataFrame, training: pd.DataFrame, identifiability: pd.DataFrame) -> pd.DataFrame:
    """A row a run (`OF_RUNS`) that was trained and attacked, by network; first those of whom least is found.

    Those that are `costly`, which lose more than `COST` on the images held out, stand after all others.

    Columns: `OF_DEFENSE`; `cost`, the accuracy lost on the test set, an `Estimate` of the mean over seeds, each beside
    the undefended run of its seed; `accuracy`, the mean; `published` and `found`, `Estimate`s of the share of clients
    whose image was found in some round, by a published attack and by any; `certified`, the number of those whose
    update an attack solved, with a certificate; `clients`, how many; `attack`, that which found most; `known` and
    `determined`: of how many images it is known whether the update determines them, and of how many it does; `time`,
    `bytes`: local training, and what a client sends, over those of the undefended run.
    """
    rows = judged(attacks).assign(published=lambda each: ~is_adaptive(each))
    costs, held_out = (paired_costs(training, f"{part}_accuracy") for part in ("test", "held_out"))
    images = image_verdicts(attacks, identifiability)
    board = pd.DataFrame(
        [
            {
                **dict(zip(OF_RUNS, run, strict=True)),
                **_outcome(own),
                **cost,
                "costly": bool(rows_where(held_out, OF_RUNS, run)["cost"].mean() > COST),
                **_determined(rows_where(images, OF_RUNS, run)),
            }
            for run, own in rows.groupby(OF_RUNS)
            if (cost := _cost(rows_where(costs, OF_RUNS, run)))
        ],
        columns=[*OF_RUNS, *OF_DEFENSE, *_OUTCOME, *_COST, *_DETERMINED],
    )
    medians = {name: board[name].map(lambda one: one.median) for name in ("found", "published", "cost")}
    order = board[[*OF_RUNS[:-1], "costly"]].assign(**medians).sort_values([*OF_RUNS[:-1], "costly", *medians])
    return board.loc[order.index].reset_index(drop=True)


_OUTCOME = ["published", "found", "certified", "clients", "attack"]
_COST = ["accuracy", "cost", "costly", "time", "bytes"]
_DETERMINED = ["known", "determined"]


def _outcome(rows: pd.DataFrame) -> dict[str, object]:
    """What attacks found of the clients of one run, whatever the round."""
    clients = rows.groupby(PAIR)
    by_published = rows["found"] & rows["published"]
    counts = rows[rows["found"]].groupby("attack").size()
    return {
        **rows.iloc[0][OF_DEFENSE].to_dict(),
        "published": share_interval(by_published.groupby([rows[name] for name in PAIR]).any()),
        "found": share_interval(clients["found"].any()),
        "certified": int(clients["certified"].any().sum()),
        "clients": clients.ngroups,
        "attack": counts.idxmax() if len(counts) else "",
    }


def paired_costs(training: pd.DataFrame, accuracy: str) -> pd.DataFrame:
    """The last round of each run and seed with `cost`: how much less accurate it is than the undefended of its seed.

    Args: accuracy: the column of the table `training` that is compared. NaN where either is missing.
    """
    last = last_rounds(training[training["round"] > 0])
    place = [*OF_RUNS[:-1], "seed"]
    plain = last[last["method"] == "none"].drop_duplicates(place).set_index(place)
    same = plain.reindex(pd.MultiIndex.from_frame(last[place]))
    return last.assign(
        accuracy=last[accuracy].astype(float),
        cost=same[accuracy].astype(float).to_numpy() - last[accuracy].astype(float),
        time=last["train_s"] / same["train_s"].to_numpy(),
        bytes=last["sent_bytes"] / same["sent_bytes"].to_numpy(),
    )


def _cost(seeds: pd.DataFrame) -> dict[str, object]:
    """What a run costs over its seeds; nothing where it was not trained."""
    if seeds.empty:
        return {}
    means = {name: float(seeds[name].mean()) for name in ("accuracy", "time", "bytes")}
    return {**means, "cost": mean_of_pairs(seeds["cost"])}


def mean_of_pairs(differences: Sequence[float]) -> Estimate:
    """The mean of differences within pairs, in the place of a median, and its 95 % interval by Student's t.

    >>> found = mean_of_pairs([0.01, 0.02, 0.03])
    >>> [round(value, 4) for value in (found.median, found.low, found.high)]
    [0.02, -0.0048, 0.0448]
    """
    from scipy import stats

    values = np.asarray(differences, dtype=float)
    mean = float(values.mean())
    if len(values) < 2:
        return Estimate(len(values), mean)
    half = float(stats.t.ppf(0.975, len(values) - 1) * values.std(ddof=1) / len(values) ** 0.5)
    return Estimate(len(values), mean, mean - half, mean + half)


def _determined(images: pd.DataFrame) -> dict[str, int]:
    known = images[images["reason"] == ""]
    return {"known": len(known), "determined": int((known["floor"] <= RECOGNISED).sum())}
