"""From attack jobs to one table: the errors of every reconstruction, beside those of an attacker who knows nothing."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path

import pandas as pd
import torch
from torch import Tensor

from fldrep.analysis.styles import styles_text
from fldrep.config.jobs import MetricsJob
from fldrep.machine.progress import log_each
from fldrep.metrics.assignment import matches
from fldrep.metrics.images import compare_pixels
from fldrep.models.normalisation import Normalisation
from fldrep.plan.grid import Grid
from fldrep.storage import places
from fldrep.storage.gallery import gallery_key, original_key
from fldrep.storage.tensors import read_tensors, write_tensors
from fldrep.tables.attack_runs import ATTACK_IDENTITY, ATTACK_RUNS
from fldrep.tables.attacks import ATTACKS, attacks_here
from fldrep.tables.final import FINAL
from fldrep.tables.table import Table
from fldrep.tables.training import TRAINING

GALLERY_TARGETS = 8
PICTURES = ("originals", "images")  # what an attack job keeps of each block
UNINFORMED = ("class_means", "mean", "std")  # what is known of a data set without an update


def collect(job: MetricsJob, results: Path, tables: Mapping[str, Path], gallery: Path, code: str = "") -> None:
    """Write the tables and the gallery of a grid whose jobs' files lie under `results`.

    Args: tables: where each table of `FINAL` goes; one that no entry asks for is written empty; code: digest of the
    code that judges, recorded in the table `attacks`.
    """
    jobs = Grid(job.grid, job.seeds, job.block, job.convergence)
    blocks = [
        (ATTACK_RUNS.read(results / block.path(places.ATTACK_RUNS)), results / block.path(places.RECONSTRUCTIONS))
        for block in jobs.blocks()
    ]
    uninformed = {
        name: read_tensors(results / places.IMAGES.format(dataset=name), UNINFORMED) for name in jobs.datasets()
    }
    files = {TRAINING.name: [run.path(places.TRAINING) for run in jobs.runs], **jobs.analyses()}
    found = {name: gathered(FINAL[name], [results / file for file in own]) for name, own in files.items()}
    telling = partial(log_each, desc="metrics", unit="job")
    found[ATTACKS.name] = judge(blocks, uninformed, job.metrics.recovered_ssim, telling).assign(judged_by=code)
    for name, table in {**FINAL, ATTACKS.name: attacks_here()}.items():
        rows = found[name]
        if "method" in rows:
            rows.attrs["styles"] = styles_text(rows["method"])
        table.write(rows, tables[name])
    write_tensors(gallery, pick_gallery(blocks, min(job.seeds)))


def gathered(table: Table, files: Sequence[Path]) -> pd.DataFrame:
    """The rows of several files of one table, in their order; of no file, no rows."""
    return pd.concat([table.read(file) for file in files]) if files else pd.DataFrame(columns=table.names)


def judge(
    blocks: Sequence[tuple[pd.DataFrame, Path]],
    uninformed: dict[str, dict[str, Tensor]],
    recovered_ssim: float,
    progress: Callable[[Sequence], Iterable] = iter,
) -> pd.DataFrame:
    """The table `attacks`, but for who judged.

    Args: blocks: each job's table `attack_runs` and the file of its reconstructions; uninformed: for each data set the
    tensors of `UNINFORMED`; progress: gives the blocks back, and may tell of each.
    """
    if not blocks:
        return pd.DataFrame(columns=attacks_here().names)
    judged = [_judge_block(*matched(rows, read_tensors(path, PICTURES)), uninformed) for rows, path in progress(blocks)]
    table = pd.concat(judged, ignore_index=True)
    table["recovered"] = table["ssim"] >= recovered_ssim
    return table.sort_values([column.name for column in ATTACK_IDENTITY], ignore_index=True)


def matched(rows: pd.DataFrame, tensors: dict[str, Tensor]) -> tuple[pd.DataFrame, dict[str, Tensor]]:
    """A block with every reconstruction, and the label it was made with, in the place of the target it is set against.

    Tensors: `originals` (T, C, H, W), `images` (T, R, C, H, W). Rows get the column `match`.
    """
    held, first = int(rows["images_per_update"].iloc[0]), rows["target"].min()
    place, restart = torch.tensor((rows["target"] - first).to_numpy()), torch.tensor(rows["restart"].to_numpy())
    match = matches(tensors["images"], tensors["originals"], held)
    source = torch.arange(len(match)).unsqueeze(1) // held * held + match
    labels = torch.empty_like(match)
    labels[place, restart] = torch.tensor(rows["label_found"].to_numpy())
    restarts = torch.arange(match.shape[1])
    rows = rows.assign(
        match=match[place, restart].numpy(), label_found=labels[source, restarts][place, restart].numpy()
    )
    return rows, {**tensors, "images": tensors["images"][source, restarts]}


def _judge_block(
    rows: pd.DataFrame, tensors: dict[str, Tensor], uninformed: dict[str, dict[str, Tensor]]
) -> pd.DataFrame:
    """Rows of one block with the errors of its images. Tensors: `originals` (T, C, H, W), `images` (T, R, C, H, W)."""
    known = uninformed[rows["dataset"].iloc[0]]
    normalisation = Normalisation.of(known["mean"], known["std"])
    place = torch.tensor((rows["target"] - rows["target"].min()).to_numpy())
    originals = tensors["originals"][place]
    guesses = {
        "": tensors["images"][place, torch.tensor(rows["restart"].to_numpy())],
        "grey_": torch.tensor(normalisation.mean).view(-1, 1, 1).expand_as(originals),
        "class_mean_": known["class_means"][torch.tensor(rows["label"].to_numpy())],
    }
    judged = [compare_pixels(guess, originals, normalisation).add_prefix(prefix) for prefix, guess in guesses.items()]
    return pd.concat([rows.reset_index(drop=True), *judged], axis=1)


def pick_gallery(blocks: Sequence[tuple[pd.DataFrame, Path]], seed: int) -> dict[str, Tensor]:
    """Originals and chosen reconstructions of the first targets of one seed, pixels (C, H, W), by `storage.gallery`."""
    shown: dict[str, Tensor] = {}
    for rows, path in blocks:
        wanted = rows[rows["is_best_restart"] & (rows["target"] < GALLERY_TARGETS) & (rows["seed"] == seed)]
        if wanted.empty:
            continue
        tensors, first = matched(rows, read_tensors(path, PICTURES))[1], rows["target"].min()
        for row in wanted.itertuples():
            shown[gallery_key(row)] = tensors["images"][row.target - first, row.restart]
            shown[original_key(row)] = tensors["originals"][row.target - first]
    return shown
