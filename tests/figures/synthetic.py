"""Attack and training tables as a grid would make them, from plain random numbers; pictures to go with them."""

import numpy as np
import pandas as pd
import torch

from fldrep.config.presets import variant_of
from fldrep.storage.gallery import gallery_key, original_key
from fldrep.tables.attacks import ATTACKS
from fldrep.tables.identifiability import IDENTIFIABILITY
from fldrep.tables.training import TRAINING

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
    dataset, model, partition, round, *update = setting
    method, rule, rate, std, live = DEFENSES[defense]
    mse = LEVEL[method][attack] * (1 + 0.05 * target) * float(np.exp(rng.normal(0, 0.35)))
    lost = bool(rng.random() < share)
    grey, class_mean = 1.0 + 0.02 * target, 0.8 + 0.02 * target
    errors = (np.nan,) * 4 if lost and rng.random() < 0.5 else (mse * (1e9 if lost else 1), mse / 16, 12.0, 1 - mse / 2)
    return {
        "dataset": dataset, "model": model, "partition": partition, "round": round, "seed": seed, "defense": defense,
        **dict(zip(("update_kind", "images_per_update", "local_steps"), update or ("single", 1, 1), strict=True)),
        "match": 0, "method": method, "rule": rule, "rate": rate, "std": std, "attack": attack, "preset": attack,
        "variant_of": " ".join(variant_of(attack)), "member": "",
        "label_strategy": "optimised" if attack == "dlg" else "known", "block": target // 8, "target": target,
        "restart": restart, "is_best_restart": restart == 0, "client": target, "index": 10 * target,
        "label": target % 10,
        "label_found": target % 10, "iterations": 100, "initial_distance": 1.0, "gradient_distance": 0.1,
        "diverged": lost, "certified": False, "refused": "",
        "live_pruned": live, "norm2_removed": None if live is None else 0.9 * live,
        "runtime_s": 1.5, "device": "cpu float32", "problems_at_once": 64, "judged_by": "", "code": "0123456789abcdef",
        **dict(zip(("mse", "mse_pixel", "psnr_db", "ssim"), errors, strict=True)),
        "recovered": not lost and 1 - mse / 2 >= 0.5,
        "grey_mse": grey, "grey_mse_pixel": grey / 16, "grey_psnr_db": 12.0, "grey_ssim": 0.1,
        "class_mean_mse": class_mean, "class_mean_mse_pixel": class_mean / 16, "class_mean_psnr_db": 13.0,
        "class_mean_ssim": 0.2,
    }  # fmt: skip


def training_table(
    runs=(("cifar10", "convnet-16", "iid", 0), ("mnist", "lenet", "iid", 10)), defenses=tuple(DEFENSES), seeds=(0,)
) -> pd.DataFrame:
    """Rows of `TRAINING`: each run (data set, model, partition, rounds) under each defense."""
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
                        "test_images": 10_000, "held_out_accuracy": None,
                        "test_accuracy": float(np.clip(best + rng.normal(0, 0.01), 0, 1)), "test_loss": 1.0,
                        "update_norm": 0.5, "lr": 0.1, "clients": 10, "train_s": 1.0, "defense_s": 0.25,
                        "evaluate_s": 0.5, "dense_bytes": 60_000, "sent_bytes": 45_000.0, "nonzero_pruned": live,
                        "norm_estimator": "variance" if method == "soteria" else "",
                        "agreement": 0.95 if method == "soteria" else None, "code": "0123456789abcdef",
                    })  # fmt: skip
    return pd.DataFrame(rows)[TRAINING.names]


def pictures(attacks: pd.DataFrame) -> dict[str, torch.Tensor]:
    """A gallery for the chosen rows: a smooth picture, and it again under as much noise as its MSE says."""
    found = {}
    for row in attacks[attacks["is_best_restart"]].itertuples():
        channels, height, width = SHAPES[row.dataset]
        x, y = torch.meshgrid(torch.linspace(0, 1, height), torch.linspace(0, 1, width), indexing="ij")
        picture = torch.stack(
            [0.5 + 0.4 * torch.sin(6 * x * (c + 1) + row.target) * torch.cos(5 * y) for c in range(channels)]
        )
        noise = torch.randn(picture.shape, generator=torch.Generator().manual_seed(row.target))
        found[original_key(row)] = picture
        found[gallery_key(row)] = picture + noise * 0.25 * (row.mse if row.mse == row.mse else 1e9) ** 0.5
    return found


RUN = {"dataset": "mnist", "model": "lenet", "partition": "iid"}


def of_run(defense, seed=0) -> dict:
    """The columns `RUN` of a defense of `DEFENSES`."""
    method, rule, rate, std, _ = DEFENSES[defense]
    return {**RUN, "defense": defense, "method": method, "rule": rule, "rate": rate, "std": std, "seed": seed}


def identifiability_table(floors, targets=8, rank=700, rounds=(0,), **columns) -> pd.DataFrame:
    """Rows of the table `identifiability`: a floor a defense, None where there is no rank."""
    return pd.DataFrame([
        {
            **of_run(defense), "round": round, "update_kind": "single", "images_per_update": 1, "local_steps": 1,
            "target": target, "client": target, "index": target, "label": 0, "entries": 10_000, "unknowns": 784,
            **dict.fromkeys(("rank", "undetermined", "sigma_min", "sigma_median", "floor", "floor_spectral")),
            "threshold": None, "jacobian": "", "prior_std": 1.0, "reason": "rounded", "code": "0123456789abcdef",
            **({} if floor is None else {
                "rank": rank, "undetermined": 1 - rank / 784, "sigma_min": 1e-6, "sigma_median": 1e-3,
                "floor": floor * (1 + 0.01 * target), "floor_spectral": floor / 10, "threshold": 1e-6,
                "jacobian": "exact", "reason": "",
            }), **columns,
        }
        for defense, floor in floors.items() for round in rounds for target in range(targets)
    ])[IDENTIFIABILITY.names]  # fmt: skip


def leakage_table(correlation, public=0.9, defenses=("none",), rounds=(0, 5), sizes=(1, 32), batches=8) -> pd.DataFrame:
    """Rows of the table `leakage`: a correlation a batch size, `public` without a gradient."""
    return pd.DataFrame([
        {
            **of_run(defense), "round": round, "batch_size": size, "batch": batch, "client": batch,
            "classes_present": 2, "correlation": correlation[size] + 1e-4 * batch, "correlation_kept": 0.9,
            "correlation_centred": 0.5, "correlation_public": public, "label_accuracy": 0.9,
            "label_accuracy_public": 0.95, "label_accuracy_even": 0.3, "code": "0123456789abcdef",
        }
        for defense in defenses for round in rounds for size in sizes for batch in range(batches)
    ])  # fmt: skip


def certificate_table(distance, bound=1.0, targets=8, defense="soteria-80") -> pd.DataFrame:
    """Rows of the table `certificate`: for each attack a measured distance, against one bound."""
    return pd.DataFrame([
        {
            **of_run(defense), "round": 0, "update_kind": "single", "attack": attack, "target": target, "restart": 0,
            "representation_change": 2.0, "premise_gap": 0.5, "premise_holds": False, "distance": measured,
            "farthest": 20.0, "norm_local": 2.0, "norm_segment": 3.0, "norm_layers": 50.0, "bound_local": bound,
            "bound_segment": bound / 2, "bound_layers": bound / 25, "bound_any": bound / 50,
            "holds_local": measured >= bound, "holds_segment": measured >= bound / 2,
            "holds_layers": measured >= bound / 25, "holds_any": True, "code": "0123456789abcdef",
        }
        for attack, measured in distance.items() for target in range(targets)
    ])  # fmt: skip


def convergence_table(gap, bound=1.0, floor=0.0, kind="soteria", repetitions=8) -> pd.DataFrame:
    """Rows of the table `convergence`: one mask and none, two rounds."""
    return pd.DataFrame([
        {
            "dataset": "mnist", "partition": "iid", "seed": 0, "mask": mask, "kind": mask.split("-")[0],
            "rate": 0.0 if mask == "none" else 0.4, "repetition": repetition, "round": round, "steps": 10 * round,
            "gap": gap / round, "bound": bound / 2, "bound_defended": bound, "bound_covers": mask != "soteria-40",
            "floor": floor if mask != "none" else 0.0, "crossing": 500.0 if floor else None, "projected": 0.0,
            "clients": 10, "sampled": 5, "local_steps": 5, "smoothness": 1.0, "convexity": 0.1, "variance": 1.0,
            "variance_defended": 1.0, "gradient_square": 1.0, "gradient_square_defended": 1.0, "heterogeneity": 0.1,
            "distance_square": 1.0, "optimum": 1.0, "code": "0123456789abcdef",
        }
        for mask in ("none", f"{kind}-40") for round in (1, 2) for repetition in range(repetitions)
    ])  # fmt: skip


def accounting_table(epsilon, defense="gaussian-2") -> pd.DataFrame:
    """Rows of the table `accounting`: both servers, one epsilon or none."""
    return pd.DataFrame([
        {
            **of_run(defense), "clip": None if epsilon is None else 1.0, "server": server,
            "neighbours": "one client's data replaced", "sampling": "10 of 100 clients a round", "rounds": 10,
            "clients": 100, "sampled": 10, "participations": 10, "noise_multiplier": 1.0, "delta": 1e-3,
            "epsilon": epsilon, "epsilon_pure": None,
            "guarantee": "no guarantee: without clipping" if epsilon is None else f"({epsilon}, 0.001)-DP",
            "code": "0123456789abcdef",
        }
        for server in ("each-update", "sum-only")
    ])  # fmt: skip


def analysis_tables() -> dict[str, pd.DataFrame]:
    """Every table of the theory stage, small."""
    return {
        "identifiability": identifiability_table({"none": 0.01, "soteria-80": 0.05, "gaussian-2": 0.5}),
        "leakage": leakage_table({1: 1.0, 32: 0.7}, defenses=("none", "soteria-80")),
        "certificate": certificate_table({"gs": 2.0, "gs-masked": 0.6}),
        "convergence": convergence_table(0.1, floor=0.01),
        "accounting": accounting_table(3.5),
    }
