import torch

from fldrep.attack.differentiated import differentiated
from fldrep.attack.regularisers.total_variation import total_variation


def images(*shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def test_total_variation_is_that_of_a_loop_over_pixels(twins):
    x = images(4, 1, 3, 5, 7)
    expected = torch.stack([twins.variation(one[0]) for one in x])
    torch.testing.assert_close(total_variation(x)[0], expected)


def test_total_variation_of_a_batch_is_the_mean_over_its_images():
    x = images(2, 3, 1, 4, 6)
    expected = total_variation(x.flatten(0, 1).unsqueeze(1))[0].view(2, 3).mean(1)
    torch.testing.assert_close(total_variation(x)[0], expected)


def test_the_derivative_is_that_of_autograd():
    x = images(3, 2, 3, 5, 4)
    x[0, 0, 0, 1] = x[0, 0, 0, 0]  # equal neighbours: the derivative of |0| is taken as 0
    _, expected = differentiated(lambda images: total_variation(images)[0], x)
    torch.testing.assert_close(total_variation(x)[1], expected)
