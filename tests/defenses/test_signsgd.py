import torch

from fldrep.defenses.face import defend

UPDATE = {"a": torch.tensor([[[-3.0, 0.0], [1.0, 2.0]], [[4.0, 4.0], [-4.0, 4.0]]]), "b": torch.tensor([[-0.5], [0.0]])}


def test_by_hand():
    sent = defend(UPDATE, "signsgd")
    assert sent["a"].tolist() == [[[-1.5, 0.0], [1.5, 1.5]], [[4.0, 4.0], [-4.0, 4.0]]]
    assert sent["b"].tolist() == [[-0.5], [0.0]]
    one = defend(UPDATE, "signsgd", magnitude="one", scale=0.1)
    assert all(torch.equal(one[name], 0.1 * value.sign()) for name, value in UPDATE.items())


def test_the_mean_magnitude_of_each_tensor_stays():
    update = {"a": torch.randn(3, 5, 7, generator=torch.Generator().manual_seed(0)).double()}
    sent = defend(update, "signsgd")["a"]
    torch.testing.assert_close(sent.abs().mean((1, 2)), update["a"].abs().mean((1, 2)))
    assert torch.equal(sent.sign(), update["a"].sign())
