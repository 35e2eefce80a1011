"""Jacobian scores against the reference's loop: one backward pass a feature, parameter gradients included."""

from time import perf_counter

import pytest
import torch

from benchmarks.measuring import images, network, seconds
from benchmarks.twins import norms_by_loop
from fldrep.defenses.soteria.masks import mask_agreement, masks_of
from fldrep.defenses.soteria.rules import feature_scores
from fldrep.derivatives.jacobian import feature_norms, features_and_norms

WORDS = {"lenet": "LeNet", "convnet-16": "ConvNet-16", "convnet-64": "ConvNet-64"}
# estimator, network, times faster than the loop that it must be, features that the loop is timed on
SPEED = [
    ("exact", "lenet", 10, 256),
    ("exact", "convnet-64", 4, 16),
    ("variance", "lenet", 100, 256),
    ("variance", "convnet-16", 20, 72),
]


@pytest.mark.parametrize(("how", "name", "mark", "features"), SPEED)
def test_scores_against_the_loop(compare, how, name, mark, features):
    model, image = network(name), images(1)
    compare(
        f"{how} scores, {WORDS[name]}, one image",
        f"one backward pass a feature, timed on {features} of {model.head.in_features}",
        lambda: norms_by_loop(model, image, features),
        lambda: seconds(lambda: feature_norms(model, image, how)),
        mark=mark,
    )


@pytest.mark.parametrize(("name", "mark", "pairs"), [("lenet", 8, 5), ("convnet-64", 2, 2)])
def test_inverse_rule_against_the_exact_score(compare, name, mark, pairs):
    model, image = network(name, torch.float64), images(1, torch.float64)
    compare(
        f"inverse rule, {WORDS[name]}, float64",
        "the exact score",
        lambda: seconds(lambda: feature_scores(model, image)),
        lambda: seconds(lambda: feature_scores(model, image, "inverse")),
        mark=mark,
        at_most=True,
        pairs=pairs,
    )


@pytest.mark.parametrize("name", ["lenet", "convnet-16"])
def test_fast_scores_prune_what_the_exact_ones_do(report, name):
    model, image = network(name), images(1)
    features, exact = features_and_norms(model, image)
    scores = [
        torch.where(norms > 0, features.abs() / norms, 0) for norms in (exact, feature_norms(model, image, "variance"))
    ]
    found = {}
    for rate in (0.4, 0.6, 0.8):
        masks = [masks_of(score, exact > 0, rate, "ratio") for score in scores]
        found[f"{rate:.0%}"] = mask_agreement(*masks).item()
    words = ", ".join(f"{agreed:.3f} at {rate}" for rate, agreed in found.items())
    report(f"Agreement of variance with exact scores, {WORDS[name]}, untrained", words, "at least 0.95")
    assert min(found.values()) >= 0.95


def test_scores_on_a_gpu(compare, skip):
    work = "exact scores, ConvNet-64, one image, GPU"
    if not torch.cuda.is_available():
        skip(work, "no GPU here", mark=50)
    model, image = network("convnet-64"), images(1)
    there, moved = network("convnet-64", device="cuda"), image.cuda()

    def now() -> float:
        torch.cuda.synchronize()
        return perf_counter()

    against, fast = (
        "one backward pass a feature on the CPU, timed on 16",
        lambda: seconds(lambda: feature_norms(there, moved), now),
    )
    compare(work, against, lambda: norms_by_loop(model, image, 16), fast, mark=50)
