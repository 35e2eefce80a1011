"""One self-contained page: figures, tables, settings, versions and times; it asks the network for nothing."""

import base64
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import yaml

from fldrep import registry
from fldrep.analysis.intervals import LEAST_FOR_INTERVAL
from fldrep.analysis.rows import RUN_OF_MODEL, chosen
from fldrep.analysis.words import TextTable, number
from fldrep.atomic import atomic_write
from fldrep.config.whole import Config
from fldrep.errors import DataError
from fldrep.report.claims_table import claims_for_reading
from fldrep.report.evidence import NOT_TESTABLE
from fldrep.report.explorer import explorer, vega
from fldrep.report.first_screen import first_screen
from fldrep.report.html import own_script, rendered
from fldrep.report.leaderboard import leaderboards
from fldrep.report.record import Record, digest, write_record
from fldrep.report.tables import analyses_for_reading, privacy_tables, threat_table, training_tables, untrained_models
from fldrep.report.verdicts import MEANINGS, verdicts_for_reading
from fldrep.storage.gallery import read_gallery
from fldrep.tables.attacks import ATTACKS, metrics_in
from fldrep.tables.claims import CLAIMS
from fldrep.tables.final import FINAL
from fldrep.tables.table import Column

PNG_START, PNG_END = b"\x89PNG\r\n\x1a\n", b"IEND\xaeB`\x82"


def write_page(
    config: Config,
    tables: Mapping[str, Path],
    claims: Path,
    figures: Sequence[Path],
    gallery: Path,
    provenance: Mapping[str, object],
    out_html: Path,
    out_record: Path,
) -> None:
    """Write the report of a grid as one HTML file, and the record of the run, each whole or not at all.

    Args: tables: the Parquet file of each table of `FINAL`; claims: that of the table `claims`; figures: PNG files in
    the order they are shown, each named after its figure; gallery: the pictures kept, by `storage.gallery`;
    provenance: what made it, in the order shown (words, or a list or mapping of words); its keys `versions`, a
    mapping, and `rerun`, a list of commands, have places of their own.
    Errors: `DataError` for a table or figure that cannot be read.
    """
    rows = {name: table.read(tables[name]) for name, table in FINAL.items()}
    besides = [one for one in metrics_in(ATTACKS.in_file(tables["attacks"]).columns) if one not in ATTACKS.columns]
    content = {path.stem: _png(path) for path in figures}
    text = page_text(
        config.model_dump(mode="json"),
        rows,
        CLAIMS.read(claims),
        [_figure(name, picture) for name, picture in content.items()],
        provenance,
        read_gallery(gallery),
        besides,
        threat_table(config, rows["attacks"]),
    )
    shown = {name: digest(picture) for name, picture in content.items()}
    write_record(Record(config, facts_of(provenance), dict(provenance.get("versions", {})), shown), out_record)
    with atomic_write(out_html) as beside:
        beside.write_text(text, encoding="utf-8")


def page_text(
    config: Mapping,
    tables: Mapping[str, pd.DataFrame],
    claims: pd.DataFrame,
    figures: Sequence[Mapping],
    provenance: Mapping,
    pictures: Mapping[str, np.ndarray],
    metrics: Sequence[Column] = (),
    threats: TextTable | None = None,
) -> str:
    """The page as HTML; everything that comes from outside is escaped.

    Args: pictures: the gallery; metrics: those of plug-ins; threats: whom the attacks assume.
    """
    attacks, training, claims_read = tables["attacks"], tables["training"], claims_for_reading(claims)
    return rendered(
        "report.html.j2",
        name=config["name"],
        screen=first_screen(tables, pictures),
        explorer=explorer(tables, pictures),
        scripts={"vega.js": vega(), "explorer.js": own_script("explorer.js")} if len(attacks) else {},
        leaderboards=leaderboards(tables, config),
        summary=summary(attacks, training),
        verdicts=verdicts_for_reading(tables),
        meanings_of_verdicts=MEANINGS,
        judged=[one for one in claims_read if _is_judged(one)],
        not_judged=[one for one in claims_read if not _is_judged(one)],
        figures=figures,
        least=LEAST_FOR_INTERVAL,
        privacy=privacy_tables(attacks, metrics),
        threats=threats,
        training=training_tables(training),
        untrained=untrained_models(training),
        theory=analyses_for_reading(tables),
        times=times(attacks, training),
        facts=facts_of(provenance),
        versions=provenance.get("versions", {}),
        rerun=provenance.get("rerun", []),
        settings=yaml.safe_dump(dict(config), sort_keys=False, allow_unicode=True),
    )


def _is_judged(claim: Mapping) -> bool:
    """Whether some cell of a claim could be judged. Args: one of `claims_for_reading`."""
    return any(one["verdict"] != NOT_TESTABLE for one in claim["verdicts"])


def facts_of(provenance: Mapping[str, object]) -> dict[str, str]:
    """What is said of the origin in words."""
    return {key: _words(value) for key, value in provenance.items() if key not in ("versions", "rerun")}


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


def _png(path: Path) -> bytes:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: no readable figure: {error.strerror}") from None
    if not content.startswith(PNG_START) or not content.endswith(PNG_END):
        raise DataError(f"{path}: not a whole PNG file; it begins with {content[:8]!r} and ends with {content[-8:]!r}")
    return content


def _figure(name: str, content: bytes) -> dict[str, str | int]:
    """A figure for the template: its title, its caption and its PNG in base64."""
    said = registry.entry("figure", name).words
    return {
        "name": name,
        "title": said["title"],
        "caption": said["caption"],
        "width": int.from_bytes(content[16:20], "big"),
        "height": int.from_bytes(content[20:24], "big"),
        "data": base64.b64encode(content).decode(),
    }


def _words(value: object) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {one}" for key, one in value.items())
    return ", ".join(map(str, value)) if isinstance(value, list | tuple | set) else str(value)
