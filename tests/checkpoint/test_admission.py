from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
from torch import Tensor

from segprune.checkpoint.admission import (
    refuse_misfit,
    refuse_not_finite,
    refuse_other_plans,
    refuse_other_tensors,
    widths,
)
from segprune.errors import CheckpointError
from segprune.graph.cut import cut, fit_shapes
from tests.toys import CLASSES, TOYS, Depthwise, Plain, Upsampling, toy

HERE = Path("some/checkpoint")


def test_widths_are_output_channels_of_convolutions() -> None:
    # as written in tests/toys.py; the transposed one turns 6 channels into 5
    assert widths(Plain()) == {"first.0": 6, "second.0": 5, "bare": 4, "head": 4}
    assert widths(Upsampling()) == {"fine.0": 4, "coarse.0": 6, "up.0": 5, "head": 4}
    assert widths(torch.nn.ModuleDict({"linear": torch.nn.Linear(2, 7)})) == {"linear": 7}


@pytest.mark.parametrize("kind", TOYS)
def test_every_network_and_every_cut_of_it_is_admitted(kind: type) -> None:
    plan = {next(iter(widths(kind()))): (0,)}
    net, dense = cut(toy(kind), plan), kind()
    refuse_other_tensors(dense, net.state_dict(), source=HERE)
    refuse_not_finite(net.state_dict(), source=HERE)
    refuse_other_plans([plan], widths(dense), widths(net), source=HERE)
    refuse_misfit(net, [str(i) for i in range(CLASSES)], source=HERE)
    refuse_misfit(net, None, source=HERE)


@pytest.mark.parametrize(
    ("name", "tensor", "message"),
    [
        (
            "bare.weight",
            torch.zeros(5, 5, 1, 1),
            r"'bare\.weight' of shape \(5, 5, 1, 1\) .* no cut makes of .*\(4, 5, 1",
        ),
        ("bare.weight", torch.zeros(4, 6, 1, 1), r"shape \(4, 6, 1, 1\)"),
        ("bare.weight", torch.zeros(0, 5, 1, 1), r"shape \(0, 5, 1, 1\)"),
        ("bare.weight", torch.zeros(4, 5, 3, 3), r"shape \(4, 5, 3, 3\)"),
        ("bare.weight", torch.zeros(4, 5), r"shape \(4, 5\)"),
        ("bare.weight", torch.zeros(()), r"shape \(\)"),
        ("bare.bias", torch.zeros(4, 1), r"shape \(4, 1\)"),
        ("bare.bias", torch.zeros(4, dtype=torch.float64), r"torch\.float64, which .* and torch\.float32"),
        ("first.1.num_batches_tracked", torch.zeros(1, dtype=torch.int64), r"shape \(1,\) .* of shape \(\)"),
    ],
)
def test_what_no_cut_makes_is_refused(name: str, tensor: Tensor, message: str) -> None:
    weights = {**Plain().state_dict(), name: tensor}
    with pytest.raises(
        CheckpointError, match=rf"some/checkpoint holds .*{message}.*belongs to another architecture"
    ):
        refuse_other_tensors(Plain(), weights, source=HERE)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_a_value_that_is_not_finite_is_named(value: float) -> None:
    net = toy(Plain)
    net.first[1].running_var[2] = value
    with pytest.raises(CheckpointError, match=r"'first\.1\.running_var' holds values that are not finite"):
        refuse_not_finite(net.state_dict(), source=HERE)


NOW: Mapping[str, int] = {"a": 4, "b": 3}
DENSE: Mapping[str, int] = {"a": 7, "b": 3}


@pytest.mark.parametrize(
    "plans", [[{"a": (0, 3, 6)}], [{"a": (6,)}, {"a": (0, 5)}], [{"a": (0,), "b": ()}] * 3]
)
def test_plans_that_lead_to_the_weights_are_admitted(plans: list[dict[str, tuple[int, ...]]]) -> None:
    # 7 channels without 3 are 4; the second plan counts in what the first has left, 0 to 5
    refuse_other_plans(plans, DENSE, NOW, source=HERE)


@pytest.mark.parametrize(
    ("plans", "message"),
    [
        ([{"../../a": (0, 1, 2)}], r"names '\.\./\.\./a', which is no layer"),
        ([{"a": (-1, 0, 1)}], r"channels \[-1, 0, 1\] of 'a'; they must be ascending, from 0 to 6"),
        ([{"a": (0, 0, 1)}], r"channels \[0, 0, 1\]"),
        ([{"a": (1, 0, 2)}], r"channels \[1, 0, 2\]"),
        ([{"a": (5, 6, 7)}], r"channels \[5, 6, 7\]"),
        ([{"a": (6,)}, {"a": (0, 6)}], r"channels \[0, 6\] of 'a'; they must be ascending, from 0 to 5"),
        ([{"a": (0, 1)}], r"leave 5 channels of 'a', the weights have 4"),
        ([], r"leave 7 channels of 'a', the weights have 4"),
        ([{"a": (), "b": ()}], r"leave 7 channels of 'a', the weights have 4"),
        ([{"a": (0, 1, 2), "b": (0,)}], r"leave 2 channels of 'b', the weights have 3"),
    ],
)
def test_plans_that_lead_elsewhere_are_refused(plans: list[dict[str, tuple[int, ...]]], message: str) -> None:
    with pytest.raises(CheckpointError, match=rf"some/checkpoint: .*{message}"):
        refuse_other_plans(plans, DENSE, NOW, source=HERE)


def test_layers_that_do_not_fit_each_other_are_refused() -> None:
    net = Depthwise()
    weights = {**net.state_dict(), "project.0.weight": torch.zeros(5, 7, 1, 1)}  # it reads 8 channels
    fit_shapes(net, weights)
    with pytest.raises(CheckpointError, match=r"some/checkpoint holds layers that do not fit each other.*7"):
        refuse_misfit(net, None, source=HERE)


def test_another_number_of_classes_is_refused() -> None:
    with pytest.raises(CheckpointError, match=r"has logits for \[4\] classes, but names 3"):
        refuse_misfit(Plain(), ["a", "b", "c"], source=HERE)


def test_a_network_is_only_looked_at() -> None:
    net = toy(Plain).train()
    net.second.eval()
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    refuse_misfit(net, None, source=HERE)
    assert all(torch.equal(tensor, before[name]) for name, tensor in net.state_dict().items())
    assert (net.training, net.second.training) == (True, False)
