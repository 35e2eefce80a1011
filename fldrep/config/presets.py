"""The built-in attacks and defenses, before a config changes them.

A job is told the values it uses, so a changed value makes again the jobs of the presets that have it, and no other.
"""

from typing import Any

GS = {
    "objective": "cosine",
    "optimiser": "signed-adam",
    "labels": "known",
    "iterations": 24_000,
    "total_variation": 1e-4,
}
GAUSS_NEWTON = {
    "objective": "balanced-l2",
    "compares": "surviving",
    "optimiser": "levenberg-marquardt",
    "labels": "known",
    "iterations": 60,
    "start": 0.2,
    "variant_of": ["dlg"],
    "needs": ["smooth"],
}
CLOSED_FORM = {
    "objective": "balanced-l2",
    "compares": "surviving",
    "optimiser": "layer-by-layer",
    "labels": "known",
    "iterations": 30,
    "variant_of": ["dlg"],
}
GS_SPECTRAL = {
    "objective": "cosine",
    "optimiser": "adam-spectral",
    "labels": "known",
    "iterations": 150,
    "start": 0.5,
    "variant_of": ["gs"],
}
DLG = {"objective": "l2", "optimiser": "lbfgs", "labels": "optimised", "iterations": 300}

# What each is made of, as a config would say it; keys that are not here have the values that the parts give them.
# `variant_of`: the published attacks that it strengthens, the nearest first.
ATTACK_PRESETS: dict[str, dict[str, Any]] = {
    "dlg": DLG,
    "idlg": {**DLG, "labels": "inferred"},
    "gs": GS,
    "gs-masked": {**GS, "compares": "surviving", "variant_of": ["gs"]},
    "gs-drop": {**GS, "compares": "without-head", "variant_of": ["gs"]},
    "gs-pruned": {**GS, "compares": "surviving", "through_mask": True, "variant_of": ["gs"]},
    "gs-l2": {**GS, "objective": "relative-l2", "variant_of": ["gs"]},
    "gs-averaged": {**GS, "repeats": 16, "variant_of": ["gs"]},
    "gs-spectral": GS_SPECTRAL,
    "gs-spectral-masked": {**GS_SPECTRAL, "compares": "surviving", "needs": []},
    "gs-spectral-drop": {**GS_SPECTRAL, "compares": "without-head"},
    "gs-spectral-pruned": {**GS_SPECTRAL, "compares": "surviving", "through_mask": True},
    "gs-spectral-averaged": {**GS_SPECTRAL, "repeats": 16},
    "gs-spectral-statistics": {**GS_SPECTRAL, "batch_statistics": 1.0},
    "dlg-scaled": {**DLG, "objective": "scaled-l2", "variant_of": ["dlg"]},
    "dlg-masked": {**DLG, "compares": "surviving", "variant_of": ["dlg"]},
    "dlg-pruned": {**DLG, "compares": "surviving", "through_mask": True, "variant_of": ["dlg"]},
    "r-matching": {**GS, "compares": "representation", "variant_of": ["gs"]},
    "closed-form": {
        **CLOSED_FORM,
        "needs": ["one-image", "one-step", "head-bias", "whole-body", "exact", "invertible"],
    },
    "closed-form-pruned": {**CLOSED_FORM, "through_mask": True},
    "closed-form-below": {
        **CLOSED_FORM,
        "compares": "all",
        "below_linear": True,
        "labels": "inferred",
        "needs": ["one-image", "one-step", "inner-linear", "whole-body", "exact"],
    },
    "gs-spectral-below": {**GS_SPECTRAL, "below_linear": True, "labels": "inferred"},
    "gauss-newton": GAUSS_NEWTON,
    "imprint": {"objective": "cosine", "optimiser": "imprint", "labels": "inferred", "iterations": 1},
    "learned": {"objective": "cosine", "optimiser": "learned", "labels": "inferred", "iterations": 40},
    "r-matching-spectral": {**GS_SPECTRAL, "compares": "representation"},
    "ensemble": {
        **GS,
        "compares": "surviving",
        "members": [
            "closed-form",
            "closed-form-pruned",
            "gs",
            "gs-masked",
            "gs-drop",
            "gs-spectral-masked",
            "r-matching",
            "r-matching-spectral",
            "gs-l2",
            "dlg",
            "dlg-scaled",
            "dlg-masked",
        ],
        "feature_weight": 1.0,
        "variant_of": ["gs", "dlg"],
    },
}

ATTACK_SOURCES = {
    "dlg": "Zhu et al. 2019, arXiv:1906.08935, with the values of the reference notebook",
    "idlg": "Zhao et al. 2020, arXiv:2001.02610",
    "gs": "Geiping et al. 2020, arXiv:2003.14053, with the values of github.com/JonasGeiping/invertinggradients",
    "gs-masked": "Li et al. 2022, CVPR: the public mask applied to the trial gradient",
    "gs-drop": "Balunović et al. 2022, ICLR: the defended layer left out",
    "gs-pruned": "this project: the trial is pruned as the client's image was",
    "gs-l2": "this project: the squared distance is the likelihood of Gaussian noise",
    "gs-averaged": "this project: the mean of updates of the same images, each with its own noise",
    "gs-spectral": "this project: Adam in units of what natural images have, a 1/f spectrum and weak colours",
    "gs-spectral-masked": "this project, as gs-spectral; Li et al. 2022, CVPR: the public mask applied to the trial",
    "gs-spectral-drop": "this project, as gs-spectral; Balunović et al. 2022, ICLR: the defended layer left out",
    "gs-spectral-pruned": "this project, as gs-spectral: the trial is pruned as the client's image was",
    "gs-spectral-averaged": "this project, as gs-spectral: the mean of updates of the same images",
    "gs-spectral-statistics": "Yin et al. 2021, arXiv:2104.07586; Huang et al. 2021, arXiv:2112.00059; as gs-spectral",
    "dlg-scaled": "this project: the scale of clipping is fitted at each step",
    "dlg-masked": "Li et al. 2022, CVPR: the public mask applied to the trial gradient",
    "dlg-pruned": "this project: the trial is pruned as the client's image was",
    "r-matching": "this project: r is read off the last layer's gradient and matched besides",
    "closed-form": "Zhu and Blaschko 2021 (R-GAP), arXiv:2010.07733; through the mask: this project",
    "closed-form-pruned": "this project, as closed-form: in the network without the pruned features",
    "closed-form-below": "Balunović et al. 2022, ICLR, by their code: weight over bias; then as closed-form",
    "gs-spectral-below": "Scheliga et al. 2022, arXiv:2208.04767: without the gradients behind noise; as gs-spectral",
    "gauss-newton": "this project: Levenberg-Marquardt on what the public mask leaves",
    "imprint": "Fowl et al. 2022, arXiv:2110.13057",
    "learned": "Wu et al. 2023, arXiv:2210.10880",
    "r-matching-spectral": "this project, as gs-spectral: r is matched besides",
    "ensemble": "after AutoAttack, Croce and Hein 2020, arXiv:2003.01690",
}

OLD_ATTACKS = {"strongest": "ensemble"}  # names that presets had


def variant_of(preset: str) -> tuple[str, ...]:
    """The published attacks that a preset strengthens, the nearest first; empty for a published one. Old names too.

    >>> variant_of("gs-masked"), variant_of("strongest"), variant_of("idlg")
    (('gs',), ('gs', 'dlg'), ())
    """
    return tuple(ATTACK_PRESETS[OLD_ATTACKS.get(preset, preset)].get("variant_of", ()))
