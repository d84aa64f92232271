import pytest
import torch
from torch import nn

from segprune.errors import ConfigError
from segprune.pruner.mapped import ranks, refuse_unmapped
from tests.pruner.surgery import network_of, whole


def test_layers_that_give_no_maps_are_named():
    net = network_of(nn.Flatten(2), nn.Conv1d(3, 2, 1), nn.BatchNorm1d(2))
    image = torch.zeros(1, 3, 2, 4)
    with pytest.raises(
        ConfigError, match=r"^pruner me: .* 1 of 1 layers .* none: 2 \(BatchNorm1d\)\. .*pruner=taylor\.$"
    ):
        refuse_unmapped(net, [whole(2, "1", "2")], image, "me")
    net = network_of(nn.Conv2d(3, 2, 1), nn.BatchNorm2d(2))
    refuse_unmapped(net, [whole(2, "0", "1")], image, "me")
    assert not any(module._forward_hooks for module in net.modules())


def test_layers_that_never_run_have_no_rank_and_others_each_of_theirs():
    net = network_of(nn.Conv2d(3, 2, 1), nn.Flatten(1))
    net.add_module("idle", nn.Conv2d(3, 2, 1))
    layers = {name: net.get_submodule(name) for name in ("0", "1", "idle")}
    assert ranks(net, layers, torch.zeros(1, 3, 2, 4)) == {"0": {4}, "1": {2}}
    with pytest.raises(ConfigError, match="none of its layers idle runs"):
        refuse_unmapped(net, [whole(2, "idle")], torch.zeros(1, 3, 2, 4), "me")
