import pytest
import torch
from torch.nn import utils

from segprune.model.copies import duplicate
from tests.toys import Plain


@pytest.mark.filterwarnings("ignore:.*weight_norm.* is deprecated")
def test_a_layer_that_keeps_a_computed_weight_is_copied_and_computes_its_own() -> None:
    net = Plain()
    utils.weight_norm(net.bare)
    image = torch.rand(1, 3, 8, 8)
    net(image).sum().backward()
    twin = duplicate(net.eval())
    assert torch.equal(twin(image), net(image))
    assert all(parameter.grad is None for parameter in twin.parameters())
    twin.bare.weight_g.data.mul_(2)
    assert not torch.equal(twin(image), net(image))
