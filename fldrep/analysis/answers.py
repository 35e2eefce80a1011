"""Whether each defense holds, to whom it falls and what it costs: one answer a defense over all settings of a grid."""

from dataclasses import dataclass

import pandas as pd

from fldrep.analysis.accuracy import OF_RUNS, accuracy_of_runs
from fldrep.analysis.rows import places_of_defenses, rows_where
from fldrep.analysis.strongest import attack_outcomes
from fldrep.analysis.verdicts import ANSWERS, DEFENDED, FALLS, VERDICTS, answer, cell_verdicts


@dataclass(frozen=True)
class Answer:
    """What is known of one defense, by the cell that is worst for the client.

    `said`: one of `verdicts.ANSWERS`; `cell`: a row of `verdicts.cell_verdicts`; `attack`: the strongest in that cell,
    empty where none was run; `variant_of`: the published attacks that this one strengthens; `found_by`: those that
    found images there, the strongest first; `settings`: in how many the defense was looked at, and in how many of
    these it `falls`; `cost`: a row of `accuracy.accuracy_of_runs`, of the same model where it was trained, else of the
    one that lost most; None where none was trained.
    """

    defense: str
    said: str
    cell: pd.Series
    attack: str
    variant_of: tuple[str, ...]
    found_by: tuple[str, ...]
    settings: int
    falls: int
    cost: pd.Series | None

    @property
    def is_undefended(self) -> bool:
        """Whether this is the client without a defense."""
        return self.cell["method"] == "none"


def answers(images: pd.DataFrame, attacks: pd.DataFrame, training: pd.DataFrame) -> list[Answer]:
    """An answer a defense, in the order they are shown, the client without one last.

    Args: images: from `verdicts.image_verdicts`; tables `tables.attacks` and `tables.training`.
    """
    cells = cell_verdicts(images)
    if cells.empty:
        return []
    outcomes, accuracy = attack_outcomes(attacks), accuracy_of_runs(training)
    places = places_of_defenses(images)
    given = [_answer(own, outcomes, accuracy) for _, own in cells.groupby("defense")]
    return sorted(given, key=lambda one: (one.is_undefended, places[one.defense]))


def _answer(cells: pd.DataFrame, outcomes: pd.DataFrame, accuracy: pd.DataFrame) -> Answer:
    worst = min((cell for _, cell in cells.iterrows()), key=_badness)
    own = rows_where(outcomes, DEFENDED, worst[DEFENDED])
    return Answer(
        worst["defense"],
        answer(worst),
        worst,
        next(iter(own["attack"]), ""),
        tuple(next(iter(own["variant_of"]), "").split()),
        tuple(own.loc[own["found"] > 0, "attack"]),
        len(cells),
        int((cells["verdict"].map(ANSWERS) == FALLS).sum()),
        _cost(worst, accuracy),
    )


def _badness(cell: pd.Series) -> tuple:
    """By what cells of a defense are compared, the worst for the client first: verdict, least share found, round."""
    share = cell["share"]
    return VERDICTS.index(cell["verdict"]), -(share.low or 0.0), -cell["found"], -cell["round"]


def _cost(cell: pd.Series, accuracy: pd.DataFrame) -> pd.Series | None:
    own = rows_where(accuracy, OF_RUNS, cell[OF_RUNS])
    if own.empty:
        own = accuracy[accuracy["defense"] == cell["defense"]].dropna(subset=["cost"]).nlargest(1, "cost")
    return None if own.empty else own.iloc[0]
