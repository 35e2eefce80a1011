"""Which published attack an adaptive one strengthens."""

import pandas as pd

# The naive attacks that an adaptive one is a variant of, where its name does not say: the nearest one first.
VARIANT_OF = {"r-matching": ("gs",), "ensemble": ("gs", "dlg")}


def families(preset: str) -> tuple[str, ...]:
    """The naive attacks a preset is a variant of, the nearest first: by its name up to a suffix, or by `VARIANT_OF`.

    >>> families("gs-masked"), families("gs"), families("r-matching")
    (('gs',), ('gs',), ('gs',))
    """
    return VARIANT_OF.get(preset, (preset.partition("-")[0],))


def family(preset: str) -> str:
    """The naive attack a preset is nearest to."""
    return families(preset)[0]


def is_adaptive(preset: str) -> bool:
    """Whether the preset knows of the defense."""
    return preset not in families(preset)


def naive_counterpart(attacks: pd.DataFrame, attack: str) -> str | None:
    """The naive attack to set an adaptive one against: of its family, nearest in iterations; None if none was run."""
    own = attacks[attacks["attack"] == attack].iloc[0]
    for preset in families(own["preset"]):
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
