"""Jacobian scores against the reference's loop: one backward pass a feature, parameter gradients included.

Same weights, image and thread; medians of interleaved pairs. `make bench` collects the ratios.
"""

from statistics import median
from time import process_time

import pytest
import torch

from fldrep.defenses.jacobian import feature_norms, features_and_norms
from fldrep.defenses.soteria import feature_scores, mask_agreement, masks_of
from fldrep.models import build_model

NETWORKS = {
    "lenet": ("lenet", None, "uniform"),
    "convnet-16": ("convnet", 16, "default"),
    "convnet-64": ("convnet", 64, "default"),
}
# estimator, network, times faster than the loop that it must be, pairs, features that the loop is timed on
SPEED = [
    ("exact", "lenet", 10, 5, 768),
    ("exact", "convnet-64", 4, 5, 24),
    ("variance", "lenet", 100, 5, 768),
    ("variance", "convnet-16", 20, 5, 144),
]


def network(name: str, dtype: torch.dtype = torch.float32):
    architecture, width, init = NETWORKS[name]
    model = build_model(architecture, init=init, width=width, dtype=dtype).eval()
    return model, torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(0)).to(dtype) * 2 - 1


def norms_by_loop(model, image, features: int) -> float:
    """Seconds for all features, timed on some of them, spread evenly."""
    image = image.clone().requires_grad_()
    began = process_time()
    r = model.features(image)[0]
    for feature in range(0, len(r), len(r) // features):
        image.grad = None
        r[feature].backward(retain_graph=True)
        image.grad.norm()
    return (process_time() - began) * len(r) / features


def seconds(work) -> float:
    began = process_time()
    work()
    return process_time() - began


@pytest.fixture(autouse=True)
def one_thread():
    torch.set_num_threads(1)


@pytest.mark.parametrize(("how", "name", "line", "pairs", "features"), SPEED)
def test_scores_against_the_loop(benchmark, how, name, line, pairs, features):
    model, image = network(name)
    feature_norms(model, image, how)
    ratios = [
        norms_by_loop(model, image, features) / seconds(lambda: feature_norms(model, image, how)) for _ in range(pairs)
    ]
    benchmark.pedantic(feature_norms, (model, image, how), rounds=1)
    benchmark.extra_info.update(ratio=median(ratios), line=line, pairs=pairs)
    assert median(ratios) >= line


@pytest.mark.parametrize(("name", "line"), [("lenet", 8), ("convnet-64", 2)])
def test_inverse_rule_against_the_exact_score(benchmark, name, line):
    """Both in float64; here the ratio is how many times longer the inverse takes, at most `line`."""
    model, image = network(name, torch.float64)
    pairs = 5 if name == "lenet" else 1
    ratios = []
    for _ in range(pairs):
        exact = seconds(lambda: feature_scores(model, image))
        ratios.append(seconds(lambda: feature_scores(model, image, "inverse")) / exact)
    benchmark.pedantic(feature_scores, (model, image, "inverse"), rounds=1)
    benchmark.extra_info.update(ratio=median(ratios), line=line, pairs=pairs, at_most=True)
    assert median(ratios) <= line


@pytest.mark.parametrize("name", ["lenet", "convnet-16"])
def test_fast_scores_prune_what_the_exact_ones_do(benchmark, name):
    model, image = network(name)
    features, exact = features_and_norms(model, image)
    fast = benchmark(feature_norms, model, image, "variance")
    scores = [torch.where(norms > 0, features.abs() / norms, 0) for norms in (exact, fast)]
    for rate in (0.4, 0.6, 0.8):
        masks = [masks_of(score, exact > 0, rate, "ratio") for score in scores]
        agreement = mask_agreement(*masks).item()
        benchmark.extra_info[f"agreement at {rate:.0%}"] = agreement
        assert agreement >= 0.95
