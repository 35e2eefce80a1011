"""Attack and utility tables as a grid would make them, from plain random numbers; pictures to go with them."""

import numpy as np
import pandas as pd
import torch

from fldrep.gallery import gallery_key, original_key
from fldrep.records import ATTACKS, UTILITY

DEFENSES = {
    "none": ("none", "", None, None, None),
    "soteria-40": ("soteria", "ratio", 0.4, None, 0.4),
    "soteria-80": ("soteria", "ratio", 0.8, None, 0.8),
    "soteria-script-60": ("soteria", "reference-script", 0.6, None, 0.25),
    "compression-60": ("compression", "", 0.6, None, None),
    "compression-90": ("compression", "", 0.9, None, None),
    "gaussian-2": ("gaussian", "", None, 0.01, None),
    "laplace-2": ("laplace", "", None, 0.01, None),
}
LEVEL = {  # a typical MSE by method and attack
    "none": {"gs": 0.2, "dlg": 0.005, "idlg": 0.004},
    "soteria": {"gs": 1.3, "gs-masked": 0.4, "gs-drop": 0.45, "dlg": 0.9, "idlg": 0.8},
    "compression": {"gs": 0.5, "gs-masked": 0.3, "dlg": 0.3, "idlg": 0.2},
    "gaussian": {"gs": 0.6, "dlg": 0.9, "idlg": 0.8},
    "laplace": {"gs": 0.7, "dlg": 1.1, "idlg": 1.0},
}
SHAPES = {"mnist": (1, 28, 28), "cifar10": (3, 32, 32)}


def attack_table(
    targets=3,
    attacks=("gs", "gs-masked", "gs-drop"),
    defenses=tuple(DEFENSES),
    settings=(("cifar10", "convnet-16", "iid", 0),),
    seeds=(0,),
    restarts=1,
    diverged=0.0,
) -> pd.DataFrame:
    """Rows of `ATTACKS`, every attack that suits a defense; `diverged` is the share of rows that diverged."""
    rng = np.random.default_rng(0)
    rows = [
        _attack_row(rng, setting, seed, attack, defense, target, restart, diverged)
        for setting in settings
        for seed in seeds
        for attack in attacks
        for defense in defenses
        if attack in LEVEL[DEFENSES[defense][0]]
        for target in range(targets)
        for restart in range(restarts)
    ]
    return pd.DataFrame(rows)[ATTACKS.names]


def _attack_row(rng, setting, seed, attack, defense, target, restart, share) -> dict:
    dataset, model, partition, round = setting
    method, rule, rate, std, live = DEFENSES[defense]
    mse = LEVEL[method][attack] * (1 + 0.05 * target) * float(np.exp(rng.normal(0, 0.35)))
    lost = bool(rng.random() < share)
    grey, class_mean = 1.0 + 0.02 * target, 0.8 + 0.02 * target
    errors = (np.nan,) * 4 if lost and rng.random() < 0.5 else (mse * (1e9 if lost else 1), mse / 16, 12.0, 1 - mse / 2)
    return {
        "dataset": dataset, "model": model, "partition": partition, "round": round, "seed": seed, "defense": defense,
        "method": method, "rule": rule, "rate": rate, "std": std, "attack": attack, "preset": attack,
        "label_strategy": "optimised" if attack == "dlg" else "known", "block": target // 8, "target": target,
        "restart": restart, "chosen": restart == 0, "client": target, "index": 10 * target, "label": target % 10,
        "label_found": target % 10, "iterations": 100, "initial_distance": 1.0, "gradient_distance": 0.1,
        "diverged": lost, "live_rate": live, "energy_removed": None if live is None else 0.9 * live,
        "runtime_s": 1.5, "device": "cpu float32", "chunk": 64, "code": "0123456789abcdef",
        **dict(zip(("mse", "mse_pixel", "psnr_db", "ssim"), errors, strict=True)),
        "recovered": not lost and 1 - mse / 2 >= 0.5,
        "grey_mse": grey, "grey_mse_pixel": grey / 16, "grey_psnr_db": 12.0, "grey_ssim": 0.1,
        "class_mean_mse": class_mean, "class_mean_mse_pixel": class_mean / 16, "class_mean_psnr_db": 13.0,
        "class_mean_ssim": 0.2,
    }  # fmt: skip


def utility_table(
    runs=(("cifar10", "convnet-16", "iid", 0), ("mnist", "lenet", "iid", 10)), defenses=tuple(DEFENSES), seeds=(0,)
) -> pd.DataFrame:
    """Rows of `UTILITY`: each run (data set, model, partition, rounds) under each defense."""
    rng = np.random.default_rng(1)
    cost = {"none": 0, "soteria": 0.02, "compression": 0.05, "gaussian": 0.12, "laplace": 0.2}
    rows = []
    for dataset, model, partition, rounds in runs:
        for defense in defenses:
            method, rule, rate, std, live = DEFENSES[defense]
            for seed in seeds:
                for round in range(rounds + 1):
                    best = 0.1 + (0.8 - cost[method]) * (1 - np.exp(-round / 3))
                    rows.append({
                        "dataset": dataset, "model": model, "partition": partition, "defense": defense,
                        "method": method, "rule": rule, "rate": rate, "std": std, "seed": seed, "round": round,
                        "test_images": 10_000,
                        "test_accuracy": float(np.clip(best + rng.normal(0, 0.01), 0, 1)), "test_loss": 1.0,
                        "update_norm": 0.5, "lr": 0.1, "clients": 10, "train_s": 1.0, "defense_s": 0.25,
                        "evaluate_s": 0.5, "dense_bytes": 60_000, "sent_bytes": 45_000.0, "live_rate": live,
                        "train_scores": "variance" if method == "soteria" else "",
                        "agreement": 0.95 if method == "soteria" else None, "code": "0123456789abcdef",
                    })  # fmt: skip
    return pd.DataFrame(rows)[UTILITY.names]


def pictures(attacks: pd.DataFrame) -> dict[str, torch.Tensor]:
    """A gallery for the chosen rows: a smooth picture, and it again under as much noise as its MSE says."""
    found = {}
    for row in attacks[attacks["chosen"]].itertuples():
        channels, height, width = SHAPES[row.dataset]
        x, y = torch.meshgrid(torch.linspace(0, 1, height), torch.linspace(0, 1, width), indexing="ij")
        picture = torch.stack(
            [0.5 + 0.4 * torch.sin(6 * x * (c + 1) + row.target) * torch.cos(5 * y) for c in range(channels)]
        )
        noise = torch.randn(picture.shape, generator=torch.Generator().manual_seed(row.target))
        found[original_key(row)] = picture
        found[gallery_key(row)] = picture + noise * 0.25 * (row.mse if row.mse == row.mse else 1e9) ** 0.5
    return found
