import torch

from fldrep.attack.regularisers import total_variation, total_variation_slope


def images(*shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def test_total_variation_is_that_of_a_loop_over_pixels(twins):
    x = images(4, 1, 3, 5, 7)
    expected = torch.stack([twins.variation(one[0]) for one in x])
    torch.testing.assert_close(total_variation(x), expected)


def test_total_variation_of_a_batch_is_the_mean_over_its_images():
    x = images(2, 3, 1, 4, 6)
    expected = total_variation(x.flatten(0, 1).unsqueeze(1)).view(2, 3).mean(1)
    torch.testing.assert_close(total_variation(x), expected)


def test_slope_is_the_gradient():
    x = images(3, 2, 3, 5, 4)
    x[0, 0, 0, 1] = x[0, 0, 0, 0]  # equal neighbours: the slope of |0| is taken as 0
    variable = x.clone().requires_grad_()
    (expected,) = torch.autograd.grad(total_variation(variable).sum(), variable)
    torch.testing.assert_close(total_variation_slope(x), expected)
