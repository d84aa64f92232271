import math
from functools import partial

import pytest
import torch
from torch import nn

from segprune.pruner.gates import find_gates
from segprune.pruner.markov import (
    chunk_of_rank,
    frozen_statistics,
    gated,
    keep_chances,
    sampled_chunks,
    shift_scores,
)
from tests.pruner.surgery import kill, network_of, traced, whole
from tests.toys import TOYS, Bypass, Normed, Plain, toy, toy_batches

LOGITS = torch.tensor([math.log(3), 0.0, -math.log(3)], dtype=torch.float64)


def test_chances_of_the_worked_example() -> None:
    # p = (3/4, 1/2, 1/4): 3/4, 3/8, 3/32
    torch.testing.assert_close(keep_chances(LOGITS), torch.tensor([1, 0.75, 0.375, 0.09375]).double())


def test_gradients_of_the_expected_width_of_the_worked_example() -> None:
    logits = LOGITS.clone().requires_grad_()
    keep_chances(logits).sum().backward()
    # d/da_i = (1 - p_i) * (P_i + ... + P_3): .25 * 1.21875, .5 * .46875, .75 * .09375
    assert logits.grad is not None
    torch.testing.assert_close(logits.grad, torch.tensor([0.3046875, 0.234375, 0.0703125]).double())


def test_expected_cost_rises_with_a_common_shift_of_all_gates() -> None:
    # 1x1 convolutions 3 -> C1 -> C2 -> 2 on one pixel: 3 E[C1] + E[C1] E[C2] + 2 E[C2], C1 by the chain above,
    # C2 with p = 1/2 three times, so that E[C2] = 1 + 1/2 + 1/4 + 1/8
    second = torch.zeros(3, dtype=torch.float64)
    costs = []
    for shift in (-4, -1, 0, 1, 4):
        one, two = (float(keep_chances(logits + shift).sum()) for logits in (LOGITS, second))
        costs.append(3 * one + one * two + 2 * two)
    assert costs == pytest.approx([6.268, 10.052, 14.566, 21.441, 34.638], abs=1e-3)


def test_chances_never_rise_and_go_to_all_or_the_first_chunk() -> None:
    chances = keep_chances(torch.randn(9, generator=torch.Generator().manual_seed(0)))
    assert (chances.diff() <= 0).all()
    assert torch.equal(keep_chances(torch.full((3,), 100.0)), torch.ones(4))
    assert torch.equal(keep_chances(torch.full((3,), -200.0)), torch.tensor([1.0, 0, 0, 0]))


def test_chunks_are_even() -> None:
    assert chunk_of_rank(7, 3).tolist() == [0, 0, 0, 1, 1, 2, 2]
    assert chunk_of_rank(2, 10).tolist() == [0, 1]
    assert chunk_of_rank(1, 10).tolist() == [0]
    assert torch.bincount(chunk_of_rank(64, 10)).tolist() == [7] * 4 + [6] * 6


def test_draws_follow_the_chain() -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        drawn = torch.tensor([sampled_chunks(LOGITS) for _ in range(4000)])
    for chunks, chance in zip((2, 3, 4), (0.75, 0.375, 0.09375), strict=True):
        share = float((drawn >= chunks).double().mean())
        assert abs(share - chance) < 4 * math.sqrt(chance * (1 - chance) / 4000)


def widths(logits: torch.Tensor, size: int, shift: float) -> int:
    counts = torch.bincount(chunk_of_rank(size, len(logits) + 1)).double()
    return round(float((keep_chances(logits + shift) * counts).sum()))


@pytest.mark.parametrize("shift", [-6.0, -1.0, 0.0, 0.7, 4.0])
def test_cutting_the_ranking_anywhere_gives_the_rounded_widths_of_one_common_shift(shift: float) -> None:
    generator = torch.Generator().manual_seed(1)
    groups = {size: torch.randn(min(size, 10) - 1, generator=generator).double() for size in (5, 12, 40)}
    for size, logits in groups.items():
        rank = torch.randperm(size, generator=generator)
        kept = shift_scores(logits, rank) >= -shift
        assert int(kept.sum()) == widths(logits, size, shift)
        assert set(rank[kept].tolist()) == set(range(int(kept.sum())))


def test_the_first_chunk_scores_above_all_others_and_a_better_rank_above_a_worse() -> None:
    score = shift_scores(LOGITS, torch.arange(8))
    assert (score.diff() < 0).all()
    assert score[1] > 200
    assert score[2] <= 100


@pytest.mark.parametrize("kind", [*TOYS, Bypass, partial(Normed, partial(nn.InstanceNorm2d, affine=True))])
def test_open_gates_change_no_bit_and_closed_ones_are_the_cut(kind) -> None:
    net, (batch, _), groups = toy(kind), toy_batches(), traced(kind)
    gates = find_gates(net, groups, batch.image, "gate")
    with torch.no_grad():
        plain = net(batch.image)
        with gated(gates, {group.name: torch.ones(group.size) for group in groups}):
            assert torch.equal(net(batch.image), plain)
        for group in groups:
            factor = torch.ones(group.size)
            factor[1] = 0.0
            with gated(gates, {group.name: factor}):
                closed = net(batch.image)
            dead = toy(kind)
            kill(dead, group, channel=1)
            torch.testing.assert_close(closed, dead(batch.image), rtol=1e-4, atol=1e-5)
        assert torch.equal(net(batch.image), plain)


def test_a_gate_on_a_linear_layer_is_on_its_last_axis() -> None:
    layer = nn.Linear(3, 2)
    net = network_of(layer)
    inputs = torch.rand(1, 2, 2, 3)  # (N, H, W, C)
    gates = find_gates(net, [whole(2, "0")], inputs, "gate")
    with torch.no_grad():
        plain = layer(inputs)
        with gated(gates, {"0": torch.tensor([1.0, 0.25])}):
            assert torch.equal(net(inputs), plain * torch.tensor([1.0, 0.25]))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_a_channel_that_passes_a_depthwise_convolution_is_multiplied_once(dtype: torch.dtype) -> None:
    maker, passing = nn.Conv2d(3, 2, 1), nn.Conv2d(2, 2, 3, padding=1, groups=2)
    net = network_of(maker, nn.ReLU(), passing)
    gates = find_gates(net, [whole(2, "0", "2")], torch.rand(1, 3, 8, 8), "gate")
    assert [gate.layer for gate in gates["0"]] == [maker, passing]
    image = torch.rand(1, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    with torch.no_grad(), torch.autocast("cpu", dtype, enabled=dtype == torch.float16):
        plain = net(image)
        for factors in ([1.0, 0.0], [0.5, 0.25]):
            with gated(gates, {"0": torch.tensor(factors)}):
                found = net(image)
            assert found.dtype == dtype
            expected = plain * torch.tensor(factors, dtype=dtype).view(1, 2, 1, 1)
            eps = torch.finfo(dtype).eps
            torch.testing.assert_close(found, expected, rtol=4 * eps, atol=4 * eps)
            assert torch.equal(found[expected == 0], expected[expected == 0])


def test_the_gradient_of_a_factor_is_not_summed_in_half_precision() -> None:
    # 300 * 300 pixels of 1: the sum is beyond the largest number of half precision, 65504
    net = network_of(nn.Conv2d(1, 2, 1))
    image, factor = torch.ones(1, 1, 300, 300), torch.ones(2, requires_grad=True)
    nn.init.ones_(net.get_submodule("0").weight)
    nn.init.zeros_(net.get_submodule("0").bias)
    gates = find_gates(net, [whole(2, "0")], image, "gate")
    with torch.autocast("cpu", torch.float16), gated(gates, {"0": factor}):
        output = net(image)
    assert output.dtype == torch.float16
    output.float().sum().backward()
    assert factor.grad is not None
    assert factor.grad.tolist() == [90000, 90000]


def test_frozen_statistics_are_used_but_not_changed() -> None:
    net, (batch, _) = toy(Plain).train(), toy_batches()
    before = {name: value.clone() for name, value in net.named_buffers()}
    with torch.no_grad(), frozen_statistics(net):
        frozen = net(batch.image)
    assert all(torch.equal(value, before[name]) for name, value in net.named_buffers())
    with torch.no_grad():
        assert torch.equal(frozen, net(batch.image))
    assert not torch.equal(net.first[1].running_mean, before["first.1.running_mean"])
    assert all(norm.track_running_stats for norm in net.modules() if isinstance(norm, nn.BatchNorm2d))
