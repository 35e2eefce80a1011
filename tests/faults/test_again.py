"""The same config again, its jobs in another order: the same numbers, bit for bit."""

from pathlib import Path

import pytest

TINY = Path(__file__).parents[1] / "workflow/tiny.yaml"
LAST_FIRST = "results/tiny/attack/mnist/convnet-4/iid/soteria-60/seed-0/round-0/single/gs-masked/block-0.parquet"

pytestmark = pytest.mark.long


def test_a_second_run_in_another_order_gives_the_same_bits(snakemake, numbers, finished, tmp_path):
    for targets in ([LAST_FIRST], []):
        again = snakemake("--cores", 1, "--configfile", TINY, "--", *targets, folder=tmp_path, source=finished.source)
        assert again.code == 0, again.text[-3000:]
        assert (tmp_path / LAST_FIRST).exists()
    expected = numbers(finished.folder)
    assert len([name for name in expected if "/attack/" in name]) == 10, "tables and images of five attack jobs"
    assert numbers(tmp_path) == expected
