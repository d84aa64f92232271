from collections.abc import Callable

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from segprune.graph.channels import FIXED
from segprune.graph.rules import RULES, pointwise, rule_of, unknown
from tests.graph.test_follow import followed


def after(run: Callable[[Tensor], Tensor], *shape: int) -> tuple[list[list[int] | None], set[int]]:
    """Per axis of a result the channels 0.. of the input's second axis (-1: fixed), and which of these stay."""
    x = torch.empty(*shape, device="meta")
    channels, follow = followed(x)
    with follow:
        result = run(x)
    found, axes = channels.resolved(), list[list[int] | None]()
    for axis in follow.known(result).axes:
        axes.append([int(unit) - 1 for unit in found.units[axis]] if isinstance(axis, np.ndarray) else None)
    stay = {channel for channel in range(shape[1]) if int(found.units[channel + 1]) in found.reasons}
    return axes, stay


ALL = {0, 1, 2, 3}


@pytest.mark.parametrize(
    ("run", "axes", "stay"),
    [
        (lambda x: F.relu(x).flip(1), [None, [3, 2, 1, 0], None, None], set()),
        (lambda x: x.permute(0, 2, 3, 1), [None, None, None, [0, 1, 2, 3]], set()),
        (lambda x: torch.cat([x[:, :, :1], x[:, :, 1:]], 2), [None, [0, 1, 2, 3], None, None], set()),
        (lambda x: torch.cat([x, x], 1), [None, [0, 1, 2, 3] * 2, None, None], set()),
        (lambda x: F.pad(x, (0, 0, 1, 1)), [None, [0, 1, 2, 3], None, None], set()),
        (lambda x: F.pad(x, (0, 0, 0, 0, 1, 0)), [None, [FIXED - 1, 0, 1, 2, 3], None, None], set()),
        (lambda x: x.mean((2, 3)), [None, [0, 1, 2, 3]], set()),
        (lambda x: x.sum(1), [None, None, None], set()),
        (lambda x: x.mean(1), [None, None, None], ALL),
        (lambda x: x.softmax(1), [None, None, None, None], ALL),
        (lambda x: x.softmax(3), [None, [0, 1, 2, 3], None, None], set()),
        (lambda x: x[:, 1:3], [None, [1, 2], None, None], ALL),
        (lambda x: x.flatten(2).transpose(1, 2), [None, None, [0, 1, 2, 3]], set()),
        (
            lambda x: F.adaptive_avg_pool2d(x, 2).flatten(1),
            [None, [c for c in range(4) for _ in range(4)]],
            set(),
        ),
        (lambda x: F.interpolate(x, scale_factor=2), [None, [0, 1, 2, 3], None, None], set()),
        (lambda x: x.unfold(2, 2, 2), [None] * 5, ALL),
        (lambda x: x + torch.ones(1, 4, 1, 1, device="meta"), [None, [0, 1, 2, 3], None, None], set()),
        (lambda x: x + torch.arange(4, device="meta")[:, None, None], [None, [0, 1, 2, 3], None, None], ALL),
        (lambda x: x * x[:, :1].expand_as(x), [None, [0, 1, 2, 3], None, None], ALL),
    ],
)
def test_what_operations_make_of_channels(
    run: Callable[[Tensor], Tensor], axes: list[list[int] | None], stay: set[int]
) -> None:
    assert after(run, 2, 4, 6, 5) == (axes, stay)


def test_channels_that_split_into_an_axis_of_two_go_by_twos_and_come_back() -> None:
    axes, stay = after(lambda x: x.view(2, 2, 3, 5).transpose(1, 2).reshape(2, 6, 5), 2, 6, 5)
    assert (axes, stay) == ([None, [0, 0, 1, 1, 2, 2], None], set())


def test_a_flattened_map_that_is_folded_again_has_its_channels() -> None:
    assert after(lambda x: x.flatten(1).view(2, 6, 4, 5), 2, 6, 4, 5) == (
        [None, [0, 1, 2, 3, 4, 5], None, None],
        set(),
    )


def test_products_unite_what_they_sum_over_and_hand_on_the_rest() -> None:
    axes, stay = after(lambda x: x.transpose(1, 2) @ x, 2, 4, 5)
    assert (axes, stay) == ([None, None, None], set())
    axes, stay = after(lambda x: x @ x.transpose(1, 2), 2, 4, 5)
    assert (axes, stay) == ([None, [0, 1, 2, 3], [0, 1, 2, 3]], set())
    axes, stay = after(
        lambda x: torch.einsum("ncp,cd->ndp", x, torch.arange(12.0).view(4, 3).to("meta")), 2, 4, 5
    )
    assert (axes, stay) == ([None, None, None], {0, 1, 2, 3})


def test_an_operation_without_a_rule_keeps_what_it_reads() -> None:
    assert rule_of("a_new_one", is_pointwise=False) is unknown
    assert rule_of("a_new_one", is_pointwise=True) is pointwise
    assert rule_of("upsample_trilinear3d", is_pointwise=False) not in (unknown, pointwise)


def test_every_rule_is_of_an_operation_that_torch_has() -> None:
    absent = [
        name
        for name in RULES
        if not hasattr(torch.ops.aten, name) and not hasattr(torch.ops.aten, f"{name}_")
    ]
    assert absent == []
