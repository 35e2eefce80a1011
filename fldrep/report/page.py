"""One self-contained page: figures, tables, settings, versions and times; it asks the network for nothing."""

import base64
from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd
import yaml

from fldrep.analysis.intervals import LEAST_FOR_INTERVAL
from fldrep.analysis.rows import RUN_OF_MODEL, chosen
from fldrep.analysis.words import number
from fldrep.atomic import atomic_write
from fldrep.config.whole import Config
from fldrep.errors import DataError
from fldrep.report.claims import claims_for_reading
from fldrep.report.html import rendered
from fldrep.report.tables import privacy_tables, training_tables, untrained_models
from fldrep.report.theory_tables import theory_tables
from fldrep.tables.accounting import ACCOUNTING
from fldrep.tables.attacks import ATTACKS
from fldrep.tables.certificate import CERTIFICATE
from fldrep.tables.claims import CLAIMS
from fldrep.tables.convergence import CONVERGENCE
from fldrep.tables.leakage import LEAKAGE
from fldrep.tables.training import TRAINING

PNG_START, PNG_END = b"\x89PNG\r\n\x1a\n", b"IEND\xaeB`\x82"
TITLES = {
    "privacy_utility": "Privacy against utility",
    "reconstructions": "What the attacker sees",
    "accuracy_by_round": "Accuracy by round",
    "naive_vs_adaptive": "Attacks that know of the defense",
    "batches": "Several images, several local steps",
    "photo": "The photo of the reference",
    "leakage": "Leakage of representations",
    "certificate": "The certificate of theorem 1",
    "convergence": "The convergence of theorem 2",
}


def write_page(
    config: Config,
    attacks: Path | str,
    training: Path | str,
    claims: Path | str,
    analyses: Mapping[str, Path],
    figures: Sequence[Path],
    provenance: Mapping[str, object],
    out_html: Path | str,
    captions: Path | str | None = None,
) -> None:
    """Write the report of a grid as one HTML file, whole or not at all.

    Args: attacks, training, claims: Parquet files of these tables of `tables`; analyses: those of leakage, certificate,
    convergence and accounting, by name; figures: PNG files in the order they are shown, each named after its figure;
    provenance: what made it, in the order shown (words, or a list or
    mapping of words); its keys `versions`, a mapping, and `rerun`, a list of commands, have places of their own;
    captions: a folder with the sentences NAME.rst of each figure.
    Errors: `DataError` for a table, figure or caption that cannot be read.
    """
    text = page_text(
        config.model_dump(mode="json"),
        ATTACKS.read(attacks),
        TRAINING.read(training),
        CLAIMS.read(claims),
        {table.name: table.read(analyses[table.name]) for table in (LEAKAGE, CERTIFICATE, CONVERGENCE, ACCOUNTING)},
        [_figure(Path(path), captions) for path in figures],
        provenance,
    )
    with atomic_write(Path(out_html)) as beside:
        beside.write_text(text, encoding="utf-8")


def page_text(
    config: Mapping,
    attacks: pd.DataFrame,
    training: pd.DataFrame,
    claims: pd.DataFrame,
    analyses: Mapping[str, pd.DataFrame],
    figures: Sequence[Mapping],
    provenance: Mapping,
) -> str:
    """The page as HTML; everything that comes from outside is escaped."""
    return rendered(
        "report.html.j2",
        name=config["name"],
        summary=summary(attacks, training),
        claims=claims_for_reading(claims),
        figures=figures,
        least=LEAST_FOR_INTERVAL,
        privacy=privacy_tables(attacks),
        training=training_tables(training),
        untrained=untrained_models(training),
        theory=theory_tables(analyses),
        times=times(attacks, training),
        facts={key: _words(value) for key, value in provenance.items() if key not in ("versions", "rerun")},
        versions=provenance.get("versions", {}),
        rerun=provenance.get("rerun", []),
        settings=yaml.safe_dump(dict(config), sort_keys=False, allow_unicode=True),
    )


def caption_of(name: str, folder: Path | str | None) -> str:
    """The sentences of NAME.rst in a folder; none without a folder. Errors: `DataError` naming the file."""
    if folder is None:
        return ""
    try:
        return " ".join((Path(folder) / f"{name}.rst").read_text(encoding="utf-8").split())
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{Path(folder) / name}.rst: no readable caption: {error}") from None


def summary(attacks: pd.DataFrame, training: pd.DataFrame) -> dict[str, int]:
    """How much was run: trained models, attacks on targets, and how many of those diverged."""
    picked = chosen(attacks)
    trained = training[training["round"] > 0]
    seeds = int(pd.concat([attacks["seed"], training["seed"]]).nunique())
    return {
        "models trained": len(trained[RUN_OF_MODEL].drop_duplicates()),
        "attacks on a target": len(picked),
        "diverged": int(picked["diverged"].sum()),
        "seeds" if seeds > 1 else "seed": seeds,
    }


def seconds_spent(attacks: pd.DataFrame, training: pd.DataFrame) -> dict[str, float]:
    """Seconds of computing, summed over jobs, by what they were spent on."""
    return {
        "local training (defense included)": float(training["train_s"].sum()),
        "defense inside training": float(training["defense_s"].sum()),
        "evaluation": float(training["evaluate_s"].sum()),
        **{f"attack {name}": float(rows["runtime_s"].sum()) for name, rows in attacks.groupby("attack")},
    }


def times(attacks: pd.DataFrame, training: pd.DataFrame) -> list[tuple[str, str]]:
    """`seconds_spent`, each in words."""
    return [(what, duration(seconds)) for what, seconds in seconds_spent(attacks, training).items()]


def duration(seconds: float) -> str:
    """Seconds in words.

    >>> duration(5.25), duration(200), duration(9000)
    ('5.25 s', '3 min 20 s', '2 h 30 min')
    """
    if seconds < 60:
        return f"{number(seconds)} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def _figure(path: Path, captions: Path | str | None) -> dict[str, str | int]:
    """A figure for the template: its title, its caption and its PNG in base64."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: no readable figure: {error.strerror}") from None
    if not content.startswith(PNG_START) or not content.endswith(PNG_END):
        raise DataError(f"{path}: not a whole PNG file; it begins with {content[:8]!r} and ends with {content[-8:]!r}")
    name = path.stem
    return {
        "name": name,
        "title": TITLES.get(name, name.replace("_", " ").capitalize()),
        "caption": caption_of(name, captions),
        "width": int.from_bytes(content[16:20], "big"),
        "height": int.from_bytes(content[20:24], "big"),
        "data": base64.b64encode(content).decode(),
    }


def _words(value: object) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {one}" for key, one in value.items())
    return ", ".join(map(str, value)) if isinstance(value, list | tuple | set) else str(value)
