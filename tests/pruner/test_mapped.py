import torch
from torch import nn

from segprune.pruner.mapped import NO_MAPS, NOT_RUN, flat, ranks, unmapped
from tests.pruner.surgery import network_of, whole


def test_groups_whose_layers_give_no_maps_are_found() -> None:
    net = network_of(
        nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.Flatten(2), nn.Conv1d(4, 2, 1), nn.BatchNorm1d(2)
    )
    image = torch.zeros(1, 3, 2, 4)
    assert unmapped(net, [whole(4, "0", "1"), whole(2, "3", "4")], image) == {"3": NO_MAPS}
    assert unmapped(net, [whole(4, "0", "1")], image) == {}
    assert not any(module._forward_hooks for module in net.modules())


def test_layers_that_never_run_have_no_rank_and_others_each_of_theirs() -> None:
    net = network_of(nn.Conv2d(3, 2, 1), nn.Flatten(1))
    net.add_module("idle", nn.Conv2d(3, 2, 1))
    layers = {name: net.get_submodule(name) for name in ("0", "1", "idle")}
    found = ranks(net, layers, torch.zeros(1, 3, 2, 4))
    assert found == {"0": {4}, "1": {2}}
    assert flat(layers, layers, found) == ["1"]
    assert unmapped(net, [whole(2, "idle")], torch.zeros(1, 3, 2, 4)) == {"idle": NOT_RUN}
