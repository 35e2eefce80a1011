"""The accounting job: what a training run spends of its clients' privacy."""

from pathlib import Path

from fldrep.config.jobs import AccountingJob
from fldrep.defenses.networks import untrained
from fldrep.storage.imageset import ImageSet
from fldrep.storage.places import Run
from fldrep.tables.accounting import ACCOUNTING
from fldrep.tables.shards import SHARDS
from fldrep.theory.accounting import accounting_rows


def accounting_job(run: Run, job: AccountingJob, images: Path, shards: Path, accounting: Path, code: str = "") -> None:
    """Table `accounting` of one training run, from its settings alone."""
    model = untrained(run, job.model, job.defense, ImageSet.read(images))
    rows = accounting_rows(
        job.defense,
        job.train,
        clients=SHARDS.read(shards)["client"].nunique(),
        entries=sum(values.numel() for values in model.parameters()),
        buffers_sent=any(True for _ in model.buffers()),
        delta=job.accounting.delta,
    )
    shared = {**run.columns(job.defense), "clip": getattr(job.defense, "clip", None), "code": code}
    ACCOUNTING.write([{**shared, **row} for row in rows], accounting)
