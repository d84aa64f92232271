import math

import pytest
import torch

from segprune.graph.by_layer import compared
from segprune.graph.cut import cut, difference
from segprune.graph.group import PrunePlan
from segprune.graph.trace import trace
from segprune.model.contract import SegmentationNet
from tests.toys import TOYS, Depthwise, Plain, SqueezeExcite, toy


def differences(
    net: SegmentationNet, small: SegmentationNet, plan: PrunePlan
) -> tuple[float, list[tuple[str, float]]]:
    """Of the logits, and of every layer."""
    with compared(net, small, trace(net), plan) as layers:
        logits = difference(net, small, trace(net), plan, (16, 16))
    return logits, layers


@pytest.mark.parametrize("kind", [*TOYS, SqueezeExcite])
def test_every_layer_of_a_right_cut_makes_the_same(kind: type[SegmentationNet]) -> None:
    net = toy(kind).double()
    plan = {group.name: tuple(range(group.size - 1)) for group in trace(net)}
    logits, layers = differences(net, cut(net, plan), plan)
    assert logits < 1e-12
    assert all(error < 1e-12 for _, error in layers)


def test_layers_are_told_in_the_order_of_their_calls() -> None:
    net = toy(Depthwise).double()
    _, layers = differences(net, cut(net, {"expand.0": (3,)}), {"expand.0": (3,)})
    assert [name for name, _ in layers] == ["expand.0", "depthwise.0", "project.0", "head"]


def test_what_a_dead_channel_hides_from_the_logits_is_seen_before_it() -> None:
    net = toy(Plain).double()
    torch.nn.init.zeros_(net.bare.weight)
    small = cut(net, {"first.0": (0,)})
    logits, layers = differences(net, small, {"first.0": (1,)})
    assert logits < 1e-12
    found = dict(layers)
    assert min(found["first.0"], found["second.0"]) > 1e-3
    assert max(found["bare"], found["head"]) < 1e-12


def test_a_layer_of_another_width_differs_without_end() -> None:
    net = toy(Plain).double()
    _, layers = differences(net, cut(net, {"first.0": (0,)}), {"first.0": (0, 1)})
    assert dict(layers)["first.0"] == math.inf
    assert not any(layer._forward_hooks for layer in net.modules())
