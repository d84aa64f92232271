import torch

from segprune.distill.affinity import affinity, unit
from tests.distill.loss_laws import maps


def test_cosines_by_hand() -> None:
    features = torch.tensor([[1.0, 1.0, 0.0], [0.0, 1.0, 2.0]]).view(1, 2, 1, 3)
    root = 0.5**0.5
    assert torch.allclose(affinity(features)[0], torch.tensor([[1, root, 0], [root, 1, root], [0, root, 1]]))


def test_it_is_symmetric_with_ones_on_the_diagonal() -> None:
    found = affinity(maps(0, 2, 5, 3, 4))
    assert torch.equal(found, found.transpose(1, 2))
    assert torch.allclose(found.diagonal(dim1=1, dim2=2), torch.ones(()))


def test_a_vector_without_length_stays_and_moves_gently() -> None:
    features = torch.zeros(1, 2, 1, 2, requires_grad=True)
    unit(features).sum().backward()
    assert not unit(features).any()
    assert torch.equal(features.grad, torch.ones_like(features)) if features.grad is not None else False
