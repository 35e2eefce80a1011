import pytest
import torch

import fldrep
from fldrep.attack.observation import initial_point
from fldrep.seeds import generator


def start_of(made, target):
    image, logits = initial_point(generator("initial point", 0, target, 0), made.shape, (5,))
    return image, logits


@pytest.mark.parametrize(("inner", "steps", "history"), [(20, 2, 100), (10, 5, 6)])
@pytest.mark.parametrize(("preset", "labels"), [("dlg", "optimised"), ("dlg", "known"), ("idlg", "inferred")])
def test_attack_is_that_of_a_loop_with_autograd_and_torchs_lbfgs(preset, labels, inner, steps, history, lenet, twins):
    """To 1e-8 over 40 and 50 inner iterations, or to what the twin itself makes of a start moved by its rounding."""
    settings = {"label_strategy": labels, "inner_iterations": inner, "history": history}
    found = fldrep.reconstruct(lenet.model, lenet.update, lenet.labels, preset, steps, **settings)
    for target in range(3):
        image, logits = start_of(lenet, target)
        twin, moved = (
            twins.lbfgs(
                lenet.model,
                [value[target] for value in lenet.update.values()],
                start,
                logits,
                steps=steps,
                history=history,
                inner=inner,
                label=None if labels == "optimised" else lenet.labels[target],
            )
            for start in (image, image * (1 + 1e-15))
        )
        assert float(found.initial_distance[target, 0]) == pytest.approx(twin.initial, rel=1e-10)
        assert twin.final < twin.initial  # else the test would follow a path that diverges
        scale = twin.image.abs().max()
        limit = max(1e-8, 100 * float((moved.image - twin.image).abs().max() / scale))
        assert (found.images[target] - twin.image).abs().max() / scale < limit < 1e-5
        assert float(found.distance[target]) == pytest.approx(twin.final, rel=1e-6)
        if labels == "optimised":
            assert found.labels_found[target, 0] == twin.logits.argmax()


def test_a_long_attack_finds_the_image():
    model = fldrep.build_model("lenet", shape=(1, 8, 8), classes=4, init="uniform", seed=1, dtype=torch.float64)
    images = torch.rand(2, 1, 8, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    labels = torch.tensor([1, 3])
    update = fldrep.client_update(model, images, labels)
    found = fldrep.reconstruct(model, update, None, "dlg", 40, restarts=3)
    assert (found.images - images).abs().max() < 0.05
    assert found.labels_found[torch.arange(2), found.best_restart].tolist() == [1, 3]


def test_the_loop_ends_when_every_problem_has_converged():
    """Where nothing moves any more, later steps are not taken, and the result says how many were."""
    model = fldrep.build_model("softmax", shape=(1, 2, 2), classes=3, dtype=torch.float64)
    labels = torch.tensor([0, 2])
    update = fldrep.client_update(model, torch.ones(2, 1, 2, 2, dtype=torch.float64), labels)
    found = fldrep.reconstruct(model, update, labels, "idlg", 300)
    assert (found.distance < 1e-9).all()
    assert (found.iterations < 100).all()
