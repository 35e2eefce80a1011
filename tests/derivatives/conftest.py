"""The slow twin of all Jacobian norms, and of gradient maps."""

import pytest
import torch

from fldrep.derivatives.trust import _warn_once
from fldrep.models.model import Model


@pytest.fixture
def backward_norms():
    """The reference's way: one backward pass a feature and image."""

    def norms(model: Model, images: torch.Tensor) -> torch.Tensor:
        found = []
        for image in images:
            leaf = image.clone().unsqueeze(0).requires_grad_()
            features = model.features(leaf.clone())[0]  # a first layer may work in place
            row = [torch.autograd.grad(feature, leaf, retain_graph=True)[0].norm() for feature in features]
            found.append(torch.stack(row))
        return torch.stack(found)

    return norms


@pytest.fixture(autouse=True)
def nothing_said():
    """What is said once is said in each test."""
    _warn_once.cache_clear()


def numbers(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.fixture(name="numbers")
def numbers_fixture():
    """Standard normal numbers of a shape, in float64: `numbers(*shape, seed)`."""
    return numbers


@pytest.fixture
def assert_same_map():
    """Two gradient maps give the same gradients, pullback and push: `assert_same_map(made, twin, images, soft)`."""

    def check(made, twin, images, soft):
        found, pull, push = made.linearise(images, soft)
        expected, twin_pull, twin_push = twin.linearise(images, soft)
        close(found, made.arrange(expected))
        v = {name: numbers(*value.shape, seed=7) for name, value in expected.items()}
        for one, other in zip(pull(made.arrange(v)), twin_pull(v), strict=True):
            torch.testing.assert_close(one, other)
        along, soft_along = numbers(*images.shape, seed=8), numbers(*soft.shape, seed=9)
        close(push(along), made.arrange(twin_push(along)))
        close(push(along, soft_along), made.arrange(twin_push(along, soft_along)))

    def close(found, expected):
        assert found.keys() == expected.keys()
        for name, value in found.items():
            torch.testing.assert_close(value, expected[name], msg=name)

    return check
