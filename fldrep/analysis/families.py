"""Which published attack an adaptive one strengthens: what the rows say, whatever the attacks are called."""

import pandas as pd


def is_adaptive(rows: pd.DataFrame) -> pd.Series:
    """Whether each row's attack strengthens a published one. Args: rows with the column `variant_of`.

    >>> is_adaptive(pd.DataFrame({"variant_of": ["gs", "", "gs dlg"]})).tolist()
    [True, False, True]
    """
    return rows["variant_of"] != ""


def family(rows: pd.DataFrame) -> pd.Series:
    """The published attack that each row's attack is nearest to. Args: rows with `preset` and `variant_of`.

    >>> family(pd.DataFrame({"preset": ["gs-masked", "gs", "mine"], "variant_of": ["gs", "", "gs dlg"]})).tolist()
    ['gs', 'gs', 'gs']
    """
    return rows["variant_of"].str.partition(" ")[0].where(is_adaptive(rows), rows["preset"])


def naive_counterpart(attacks: pd.DataFrame, attack: str) -> str | None:
    """The published attack to set an adaptive one against: the nearest of those it strengthens that was run.

    Of several variants of one, that of nearest iterations; None if none was run.
    """
    own = attacks[attacks["attack"] == attack].iloc[0]
    for preset in own["variant_of"].split() or [own["preset"]]:
        naive = attacks[attacks["preset"] == preset]
        if len(naive):
            apart = (naive.groupby("attack")["iterations"].max() - own["iterations"]).abs()
            return apart.index[int(apart.argmin())]
    return None


def undefended(setting: pd.DataFrame, attack: str) -> pd.DataFrame:
    """The rows of the undefended client in one setting: under `attack`, or its naive counterpart if it was not run."""
    plain = setting[setting["method"] == "none"]
    if (plain["attack"] == attack).any():
        return plain[plain["attack"] == attack]
    naive = naive_counterpart(pd.concat([plain, setting[setting["attack"] == attack]]), attack)
    return plain[plain["attack"] == naive]
