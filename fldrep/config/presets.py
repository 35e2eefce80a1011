"""What each attack and each defense is, before a config changes it.

A job is told the values it uses, so a changed value makes again the jobs of the presets that have it, and no other.
"""

from typing import Any

# Keys absent from a preset are not used by it, and are refused.
LBFGS = {"iterations": 300, "lr": 1.0, "restarts": 1, "inner_iterations": 20, "history": 100}
SIGNED_ADAM = {"iterations": 24_000, "lr": 0.1, "restarts": 1, "total_variation": 1e-4, "box": True, "lr_decay": True}
ATTACK_PRESETS: dict[str, dict[str, Any]] = {
    "dlg": {"labels": "optimised", **LBFGS},
    "idlg": {"labels": "inferred", **LBFGS},
    "gs": {"labels": "known", **SIGNED_ADAM},
    "gs-masked": {"labels": "known", **SIGNED_ADAM},
    "gs-drop": {"labels": "known", **SIGNED_ADAM},
    "gs-pruned": {"labels": "known", **SIGNED_ADAM},
    "gs-l2": {"labels": "known", **SIGNED_ADAM},
    "gs-averaged": {"labels": "known", **SIGNED_ADAM, "repeats": 16},
    "dlg-scaled": {"labels": "optimised", **LBFGS},
    "dlg-masked": {"labels": "optimised", **LBFGS},
    "dlg-pruned": {"labels": "optimised", **LBFGS},
    "r-matching": {"labels": "known", **SIGNED_ADAM, "feature_weight": 1.0},
    "ensemble": {"labels": "known", **SIGNED_ADAM, "feature_weight": 1.0},
}
