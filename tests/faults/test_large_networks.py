"""A network of 86 million weights goes through what the small ones of tests/models/test_any_module.py do."""

import pytest
import torch
from torch.nn.functional import cross_entropy
from torchvision.models import vit_b_16

import fldrep


@pytest.mark.long
def test_a_vision_transformer_goes_through_update_mask_and_five_steps_of_gs():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = vit_b_16(num_classes=10, image_size=64).eval()
        torch.nn.init.normal_(model.heads.head.weight, std=0.02)  # zeros as it comes
    image, label = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(1)), torch.tensor([3])
    before = {name: value.clone() for name, value in model.state_dict().items()}
    update = fldrep.client_update(model, image, label)
    names, parameters = zip(*model.named_parameters(), strict=True)
    assert list(update) == list(names)
    expected = torch.autograd.grad(cross_entropy(model(image), label), parameters)
    for name, value in zip(names, expected, strict=True):
        torch.testing.assert_close(update[name][0], value, rtol=1e-3, atol=1e-5)
    kept = fldrep.column_mask(model, image, 0.4)
    assert (~kept).sum() == round(0.4 * 768)
    found = fldrep.reconstruct(model, update, label, "gs", 5, shape=(3, 64, 64))
    assert found.iterations.item() == 5
    assert found.images.isfinite().all()
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
