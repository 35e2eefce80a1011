import numpy as np
import pytest
import torch

from fldrep.defenses.compression import largest_entries
from fldrep.defenses.face import defend
from fldrep.models.updates import Update, client_update


def test_golden_compression(golden_case):
    model, images, labels, golden = golden_case
    update = client_update(model, images, labels)
    sent = defend(update, "compression", rate=0.6)
    for number, (name, _) in enumerate(model.named_parameters()):
        norms = update[name].flatten(1).norm(dim=1)
        np.testing.assert_allclose(norms, golden["gradient_norms"][:, number], rtol=1e-4)
        kept = sent[name].flatten(1)
        np.testing.assert_array_equal((kept != 0).sum(1), golden["compressed60_nonzero"][:, number])
        np.testing.assert_allclose(kept.norm(dim=1), golden["compressed60_norms"][:, number], rtol=1e-4)
        smallest = torch.where(kept != 0, kept.abs(), torch.inf).amin(1)
        assert (smallest.numpy() >= golden["compressed60_thresholds"][:, number] * (1 - 1e-4)).all()


@pytest.mark.parametrize("rate", [0, 0.1, 0.6, 0.9, 1])
def test_each_tensor_of_each_client_is_cut_at_numpys_percentile(rate):
    draw = torch.Generator().manual_seed(0)
    update = {"a": torch.randn(3, 7, 5, generator=draw).double(), "b": 100 * torch.randn(3, 4, generator=draw).double()}
    sent = defend(update, "compression", rate=rate)
    for name, values in update.items():
        for one, found in zip(values.numpy(), sent[name].numpy(), strict=True):
            expected = np.where(np.abs(one) < np.percentile(np.abs(one), 100 * rate), 0, one)
            np.testing.assert_array_equal(found, expected)


def test_the_update_given_is_left_as_it_was():
    update = Update({"a": torch.arange(10.0).view(1, 10)})
    sent = defend(update, "compression", rate=0.5)
    assert update["a"].count_nonzero() == 9
    assert sent["a"].count_nonzero() == 5
    assert sent.defended == "all"


def test_tensors_beyond_the_limit_of_quantile_are_cut():
    values = torch.arange(1, 17_000_001, dtype=torch.float32).view(1, -1)
    assert largest_entries(values, 0.25).count_nonzero() == 12_750_000
