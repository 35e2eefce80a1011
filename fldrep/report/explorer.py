"""The explorer of the page: every kept picture beside its numbers, and plots in which a click shows the image."""

from collections.abc import Mapping
from functools import cache

import altair as alt
import numpy as np
import pandas as pd
import vl_convert

from fldrep.analysis.accuracy import OF_RUNS, accuracy_of_runs
from fldrep.analysis.rows import CELL, ERROR, ROUNDING, SETTING, chosen, defenses_in_order
from fldrep.analysis.styles import styles_in
from fldrep.analysis.uninformed import UNINFORMED
from fldrep.analysis.verdicts import IMAGE, image_verdicts, is_found
from fldrep.analysis.words import nominal_text
from fldrep.report.pictures import address, picture_of
from fldrep.storage.gallery import gallery_key, original_key

PICTURES_LIMIT = 6_000_000  # characters of all pictures: the page stays under 15 MB
# What is chosen, the outer choices first: the key of a row and the label of the control.
CONTROLS = {
    "dataset": "data set",
    "model": "network",
    "partition": "split",
    "update_kind": "update",
    "round": "round",
    "method": "defense",
    "rate": "rate",
    "attack": "attack",
    "seed": "seed",
    "target": "target",
}
ONLY_HERE = {"original_key", "rebuilt_key", "order"}  # columns that the page does not need
METRICS = {ERROR: "MSE (pixels)", "ssim": "SSIM", "psnr_db": "PSNR, dB", "mse": "MSE (normalised)"}
OUTCOMES = {True: "found the image", False: "did not find the image"}
GREY = "#6d747c"  # readable on light ground, which charts have in the dark too


def explorer(tables: Mapping[str, pd.DataFrame], pictures: Mapping[str, np.ndarray]) -> dict | None:
    """What the template needs: `data`, which becomes JSON, and `note`, on the pictures; None without attacks.

    Args: the final tables by name; pictures: the gallery.
    """
    if tables["attacks"].empty:
        return None
    rows = explored(tables)
    addresses, places = _addresses(rows, pictures)
    told = rows.assign(**places)
    speaking = told[told["found"] & told["rebuilt"].notna() & told["is_defended"]]
    data = {
        "first": int((speaking if len(speaking) else told)["id"].iloc[0]),
        "controls": CONTROLS,
        "metrics": METRICS,
        "columns": {name: [_plain(one) for one in told[name]] for name in told if name not in ONLY_HERE},
        "pictures": addresses,
        "charts": {name: chart.to_dict() for name, chart in charts(tables["attacks"]).items()},
    }
    return {"data": data, "note": _note(int(told["rebuilt"].notna().sum()), len(told))}


def _note(shown: int, rows: int) -> str:
    """How many reconstructions the page has as pictures."""
    if not shown:
        return "No reconstruction is in this file as a picture; the numbers are there for all."
    if shown == rows:
        return f"All {rows} reconstructions are in this file as pictures."
    return (
        f"A sample of {shown} of {rows} reconstructions is in this file as pictures, those of the first targets; "
        "the numbers are there for all."
    )


def _plain(value: object) -> object:
    """A value as JSON has it, numbers to 6 digits; None where it is missing or infinite."""
    if isinstance(value, bool | np.bool_):
        return bool(value)
    if isinstance(value, str | int | np.integer):
        return value if isinstance(value, str) else int(value)
    return float(f"{value:.6g}") if value is not None and np.isfinite(value) else None


def explored(tables: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """One row a chosen reconstruction: what it is chosen by (`CONTROLS`, words), and what is shown of it.

    Columns besides: `id`, `defense`, `is_defended`, `setting`, `METRICS` and their values for each of `UNINFORMED`;
    `seen_error`, the error and at least that of rounding to 8 bits, as charts show it; `found` and, the
    same in words, `outcome`; `certified`, `diverged`, `refused`; `place` and `of`: its place by error among the targets
    of its cell that did not diverge, 1 the nearest to its image; `median` of these errors; `floor`, `times`, `verdict`
    and `reason` of the image; `accuracy` and `cost` of the training run.
    """
    attacks = tables["attacks"]
    rows = chosen(attacks).reset_index(drop=True)
    images = image_verdicts(attacks, tables["identifiability"])[[*IMAGE, "floor", "times", "verdict", "reason"]]
    rows = rows.drop(columns="verdict", errors="ignore").merge(images, how="left", on=IMAGE)
    rows = rows.merge(accuracy_of_runs(tables["training"])[[*OF_RUNS, "accuracy", "cost"]], how="left", on=OF_RUNS)
    usable = rows[ERROR].where(~rows["diverged"])
    cells = usable.groupby([rows[name] for name in [*CELL, "seed"]])
    order = {name: place for place, name in enumerate(defenses_in_order(rows)["defense"])}
    told = rows[["dataset", "model", "partition", "update_kind", "attack", "defense"]].assign(
        id=range(len(rows)),
        original_key=[original_key(row) for row in rows.itertuples()],
        rebuilt_key=[gallery_key(row) for row in rows.itertuples()],
        **{name: rows[name].astype(str) for name in ("round", "seed", "target")},
        method=[" · ".join(filter(None, key)) for key in zip(rows["method"], rows["rule"], strict=True)],
        rate=[f"{nominal_text(row.rate, row.std)} ({row.defense})" for row in rows.itertuples()],
        is_defended=rows["method"] != "none",
        setting=rows[SETTING].astype(str).agg(" · ".join, axis=1),
        order=rows["defense"].map(order),
        seen_error=rows[ERROR].clip(lower=ROUNDING),
        found=is_found(rows),
        outcome=is_found(rows).map(OUTCOMES),
        certified=rows["certified"].eq(True),
        place=cells.rank(method="min"),
        of=cells.transform("count"),
        median=cells.transform("median"),
        **{name: rows[name] for name in ("diverged", "refused", "floor", "times", "verdict", "reason")},
        **{name: rows[name] for name in ("accuracy", "cost", "live_pruned")},
        **{name: rows[name] for name in METRICS},
        **{f"{guess}_{name}": rows[f"{guess}_{name}"] for guess in UNINFORMED for name in METRICS},
    )
    return told.sort_values([*SETTING[:3], "update_kind", "round", "order", "attack", "seed", "id"], ignore_index=True)


def _addresses(rows: pd.DataFrame, pictures: Mapping[str, np.ndarray]) -> tuple[list[str], dict[str, list[int | None]]]:
    """Pictures as addresses, low targets first while they fit, and by row the places of its two among them."""
    addresses, place_of, size = [], {}, 0
    by_target = rows.iloc[np.argsort(rows["target"].astype(int), kind="stable")]
    for pair in by_target[["original_key", "rebuilt_key"]].itertuples(index=False):
        if not all(name in pictures for name in pair):
            continue
        new = {name: address(picture_of(pictures[name])) for name in pair if name not in place_of}
        size += sum(map(len, new.values()))
        if size > PICTURES_LIMIT:
            break
        for name, one in new.items():
            place_of[name] = len(addresses)
            addresses.append(one)
    both = [
        pair if None not in pair else (None, None)
        for pair in (
            (place_of.get(one.original_key), place_of.get(one.rebuilt_key)) for one in rows.itertuples(index=False)
        )
    ]
    return addresses, {"original": [one for one, _ in both], "rebuilt": [other for _, other in both]}


def charts(attacks: pd.DataFrame) -> dict[str, alt.LayerChart]:
    """Vega-Lite charts of rows that the page puts in: all images of a setting, trained or not, and those of a cell."""
    names = list(defenses_in_order(attacks)["defense"])
    methods = dict(zip(attacks["defense"], attacks["method"], strict=True))
    looks = styles_in(attacks)
    colours = alt.Scale(domain=names, range=[looks[methods[name]].colour for name in names])
    log = alt.Scale(type="log", domain=[ROUNDING / 2, 1], clamp=True, nice=False)
    axis = alt.Axis(format="~g", values=[10.0**power for power in range(-5, 1)])
    error = alt.Y("seen_error:Q", title="MSE (pixels); up: better for the client", scale=log, axis=axis)
    shape = alt.Shape("outcome:N", title="this attack", scale=alt.Scale(domain=list(OUTCOMES.values())))
    said = ["defense:N", "attack:N", "target:N", f"{ERROR}:Q", "ssim:Q", "outcome:N"]

    def scatter(x: alt.X) -> alt.LayerChart:
        base = alt.Chart(alt.NamedData("rows")).encode(x=x, y=error, tooltip=said)
        marks = base.mark_point(filled=True, size=70, opacity=0.75, cursor="pointer").encode(
            color=alt.Color("defense:N", scale=colours),
            shape=shape,
        )
        ring = base.transform_filter("datum.picked").mark_point(size=380, strokeWidth=3, color=GREY)
        line = alt.Chart(alt.NamedData("rows")).mark_rule(strokeDash=[4, 4], color=GREY)
        return _looks(
            (line.encode(y=f"median(grey_{ERROR}):Q") + ring + marks).properties(width="container", height=300)
        )

    strip = alt.Chart(alt.NamedData("cell")).encode(
        x=alt.X("seen_error:Q", title="MSE (pixels): all targets of this attack and defense", scale=log, axis=axis),
        tooltip=said,
    )
    ticks = strip.mark_tick(thickness=3, size=26, cursor="pointer").encode(
        color=alt.condition("datum.picked", alt.value("#d55e00"), alt.value(GREY))
    )
    return {
        "trained": scatter(alt.X("accuracy:Q", title="test accuracy with this defense", scale=alt.Scale(zero=False))),
        "untrained": scatter(
            alt.X("defense:N", title="model not trained: no accuracy", sort=names, axis=alt.Axis(labelAngle=-35))
        ),
        "cell": _looks(alt.layer(ticks).properties(width="container", height=40)),
    }


def _looks(chart: alt.LayerChart) -> alt.LayerChart:
    """The looks of a chart on light and on dark ground."""
    axis = {"labelColor": GREY, "titleColor": GREY, "gridColor": GREY, "gridOpacity": 0.25, "domainColor": GREY}
    legend = {"labelColor": GREY, "titleColor": GREY}
    return (
        chart.configure(background="transparent")
        .configure_axis(**axis)
        .configure_legend(**legend)
        .configure_view(stroke=None)
    )


@cache
def vega() -> str:
    """The JavaScript of Vega, Vega-Lite and Vega-Embed in the version that Altair's charts are of."""
    return vl_convert.javascript_bundle(vl_version=alt.SCHEMA_VERSION.lstrip("v").rpartition(".")[0])
