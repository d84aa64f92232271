from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import utils

from segprune.model.copies import channels_last, duplicate, ready
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


def test_only_what_has_four_dimensions_is_laid_out_as_images_are() -> None:
    net = nn.Sequential(nn.Conv3d(3, 4, 3), nn.Flatten(2), nn.Conv1d(4, 5, 3), nn.Conv2d(3, 4, 3))
    before = [tensor.detach().clone() for tensor in net.parameters()]
    assert channels_last(net) is net
    assert net[3].weight.stride() == (27, 1, 9, 3)
    assert net[0].weight.is_contiguous()
    assert all(torch.equal(new, old) for new, old in zip(net.parameters(), before, strict=True))


def test_a_network_is_ready_in_evaluation_mode_and_laid_out_as_images_are() -> None:
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)).train()
    assert ready(net, torch.device("cpu")) is net
    assert not any(module.training for module in net.modules())
    assert net[0].weight.stride() == (27, 1, 9, 3)


class Keeps(Plain):
    """Keeps a map of its last pass by a hook, and reads it."""

    def __init__(self) -> None:
        super().__init__()
        self.kept: dict[str, list[Tensor]] = {}
        self.first.register_forward_hook(self.keep)

    def keep(self, module: nn.Module, inputs: Any, output: Tensor) -> None:
        self.kept["first"] = [output]

    def forward(self, image: Tensor) -> Tensor:
        return super().forward(image) + self.kept["first"][0].mean()


def test_maps_that_a_hook_keeps_are_copied_by_value() -> None:
    net = Keeps()
    image = torch.rand(1, 3, 8, 8)
    net(image).sum().backward()
    twin = duplicate(net.eval())
    assert torch.equal(twin(image), net(image))
    assert twin.kept["first"][0] is not net.kept["first"][0]
