"""The page's tables of the theory: every cell by hand."""

import numpy as np
import pandas as pd
import pytest

from fldrep import registry
from fldrep.report.tables import analyses_for_reading
from fldrep.tables import certificate


def text_tables(name, rows):
    """What the page shows of the rows of an analysis."""
    return registry.value("analysis", name)(rows)


def by_head(table):
    """Rows as dictionaries; a head `holds` goes by the bound before it."""
    heads = [head for head, _ in table.heads]
    bounds = table.heads == certificate.HEADS
    named = [f"{heads[place - 1]} holds" if bounds and head == "holds" else head for place, head in enumerate(heads)]
    return [dict(zip(named, row, strict=True)) for row in table.rows]


def test_every_row_has_a_cell_for_each_head(synthetic):
    found = analyses_for_reading(synthetic.analysis_tables())
    assert [one.title for one in found] == [one.words["title"] for one in registry.in_order("analysis").values()]
    for analysis in found:
        for table in analysis.tables:
            assert {len(row) for row in table.rows} == {len(table.heads)}


def test_identifiability_by_hand(synthetic):
    floors = {"gaussian-2": 0.5, "laplace-2": None, "none": 0.01}
    table = synthetic.identifiability_table(floors, rounds=(0, 5))
    first, second = text_tables("identifiability", table.sample(frac=1, random_state=0))
    assert (first.title, second.title) == ("mnist · lenet · iid · round 0", "mnist · lenet · iid · round 5")
    none, gaussian, laplace = by_head(first)
    assert [row["defense"] for row in (none, gaussian, laplace)] == ["none", "gaussian-2", "laplace-2"]
    assert (none["n"], none["entries"], none["undetermined"][:6]) == ("8", "1.00e+04", "0.107 ")
    assert gaussian["times undefended"].startswith("50.0 [50.0")
    assert (gaussian["floor"][:5], gaussian["floor, 1/f"][:6]) == ("0.518", "0.0500")
    assert (laplace["n"], laplace["floor"], laplace["why not"]) == ("0", "–", "rounded")


def test_an_update_of_several_images_counts_once(synthetic):
    table = synthetic.identifiability_table({"none": 0.01}, targets=8, images_per_update=4)
    ((row,),) = [by_head(one) for one in text_tables("identifiability", table)]
    assert row["n"] == "2"


def test_leakage_by_hand(synthetic):
    leaked = synthetic.leakage_table({1: 1.0, 32: 0.7}, defenses=("soteria-80", "none"), batches=8)
    (table,) = text_tables("leakage", leaked.sample(frac=1, random_state=0))
    assert table.title == "mnist · lenet · iid"
    rows = by_head(table)
    order = [(name, round, size) for name in ("none", "soteria-80") for round in "05" for size in ("1", "32")]
    assert [(row["defense"], row["round"], row["images"]) for row in rows] == order
    leading, behind = rows[:2]
    assert (leading["n"], leading["public mean"], leading["features sent"]) == ("8", "0.900", "0.900")
    assert leading["correlation"].startswith("1.00 [1.00, ")
    assert not leading["correlation"].endswith("*")
    assert leading["lead"].startswith("+0.100 [")
    assert behind["correlation"].startswith("0.700 [")
    assert behind["correlation"].endswith(" *"), "behind the public mean"
    assert (behind["centred"], behind["labels found"], behind["with public images"], behind["even guess"]) == (
        "0.500", "90 %", "95 %", "30 %",
    )  # fmt: skip


def test_batches_without_a_correlation_are_not_counted(synthetic):
    leaked = synthetic.leakage_table({1: 1.0}, rounds=(0,), sizes=(1,), batches=9)
    leaked.loc[:1, "correlation"] = np.nan
    ((row,),) = [by_head(table) for table in text_tables("leakage", leaked)]
    assert (row["n"], "[" in row["correlation"]) == ("7", False)


def test_certificate_by_hand(synthetic):
    certified = synthetic.certificate_table({"gs": 2.0, "gs-masked": 0.6}, targets=9)
    certified.loc[(certified["attack"] == "gs") & (certified["target"] < 2), "bound_local"] = 0.0
    (table,) = text_tables("certificate", certified)
    assert table.title == "mnist · lenet · iid · round 0"
    gs, masked = by_head(table)
    assert (gs["attack"], gs["n"], gs["left out"], gs["distance"], gs["farthest"]) == ("gs", "7", "2", "2.00", "20.0")
    assert (gs["bound, local"], gs["bound, local holds"]) == ("1.00", "7 of 7")
    assert masked["distance"] == "0.600 [0.600, 0.600]"
    assert masked["bound, local holds"] == "0 of 9 [0 %, 30 %]"  # Wilson: 3.84 / (9 + 3.84)
    assert masked["estimate holds"] == "9 of 9 [70 %, 100 %]"
    assert (masked["bound, layers"], masked["bound, any attacker"]) == ("0.0400", "0.0200")
    assert masked["premise"].startswith("0 of 9")


def test_a_certificate_that_judges_nothing_has_no_numbers(synthetic):
    (table,) = text_tables("certificate", synthetic.certificate_table({"gs": 2.0}, bound=0.0))
    (row,) = by_head(table)
    assert (row["n"], row["left out"], row["distance"], row["bound, local"], row["premise"]) == (
        "0",
        "8",
        "–",
        "–",
        "–",
    )


def test_convergence_by_hand(synthetic):
    measured = synthetic.convergence_table(0.1, bound=0.08, floor=0.01)
    (table,) = text_tables("convergence", measured)
    none, masked = by_head(table)
    assert table.title == "mnist · iid"
    assert (masked["mask"], masked["n"], masked["clients"], masked["steps"]) == ("soteria-40", "8", "5 of 10", "20")
    assert (masked["gap before"], masked["gap"]) == ("0.100", "0.0500 [0.0500, 0.0500]")
    assert (masked["bound"], masked["with the mask's term"]) == ("0.0400", "0.0800")
    assert masked["holds"] == "1 of 2", "0.1 is above 0.08, 0.05 is not"
    assert (masked["covered"], masked["floor"], masked["broken after"]) == ("no: biased", "0.0100", "500")
    assert (none["covered"], none["floor"], none["broken after"]) == ("yes", "–", "–")
    assert (masked["sigma²"], masked["G²"]) == ("1.00 / 1.00", "1.00 / 1.00")


@pytest.mark.parametrize(
    ("epsilon", "told"),
    [(3.5, ("(3.5, 0.001)-DP", "3.50", "1.00")), (None, ("no guarantee: without clipping", "–", "–"))],
)
def test_accounting_by_hand(synthetic, epsilon, told):
    spent = synthetic.accounting_table(epsilon)
    (table,) = text_tables("accounting", pd.concat([spent, spent.assign(seed=1)]))
    rows = by_head(table)
    assert [row["server"] for row in rows] == ["each-update", "sum-only"], "seeds that spend the same are one row"
    row = rows[0]
    assert (row["guarantee"], row["epsilon"], row["clip"]) == told
    assert (row["delta"], row["sampling"], row["noise"]) == ("0.00100", "10 of 100 clients a round", "std 0.01")
    assert (row["rounds"], row["part in"], row["pure epsilon"]) == ("10", "10", "–")
