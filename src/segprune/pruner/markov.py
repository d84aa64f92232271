"""Markov gates: channel k of a group stays only if channel k - 1 does, each step with a learnt probability.

Channels are ordered once and dealt into chunks; the first chunk always stays, every further one has a logit.
Source: DMCP, arXiv:2005.03354.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial

import torch
from torch import Tensor, nn

from segprune.graph.layers import is_depthwise
from segprune.pruner.gates import Gate

WIDEST_SHIFT = 100.0
"""Beyond a shift of this size every sigmoid is 0 or 1."""


def chunk_of_rank(size: int, chunks: int) -> Tensor:
    """(C,) int64: chunk 0, 1, ... of the channel with rank 0, 1, ...; chunks differ by at most one channel."""
    parts = torch.arange(size).tensor_split(min(chunks, size))
    return torch.cat([torch.full_like(part, index) for index, part in enumerate(parts)])


def keep_chances(logits: Tensor) -> Tensor:
    """(M - 1,) logits of the conditional probabilities -> (M,) probability that each chunk stays.

    Hand-worked: logits (ln 3, 0, -ln 3) have p = (3/4, 1/2, 1/4), hence (1, 3/4, 3/8, 3/32).
    """
    return torch.cat([logits.new_ones(1), logits.sigmoid().cumprod(0)])


def sampled_chunks(logits: Tensor) -> int:
    """Number of chunks that stay in one draw from the chain; uses the global generator."""
    stays = torch.rand(len(logits), dtype=torch.float64) < logits.detach().cpu().double().sigmoid()
    return 1 + int(stays.long().cumprod(0).sum())


def shift_scores(logits: Tensor, rank: Tensor) -> Tensor:
    """(M - 1,) logits, (C,) rank of each channel -> (C,) float64 scores; higher = keep.

    A group's width is its expected one, rounded, after a shift of its logits that all groups share. A channel's
    score is minus the shift at which it comes in, so that ranking all channels of all groups together and cutting
    anywhere gives the widths of one common shift. The first chunk has scores above all others.
    """
    size = len(rank)
    chunk = chunk_of_rank(size, len(logits) + 1)
    logits = logits.detach().cpu().double()
    widths = (
        torch.arange(size, dtype=torch.float64) + 0.5
    )  # rank r comes in where the expected width passes r + 1/2
    low, high = torch.full((size,), -WIDEST_SHIFT).double(), torch.full((size,), WIDEST_SHIFT).double()
    counts = torch.bincount(chunk, minlength=len(logits) + 1).double()
    for _ in range(64):
        middle = (low + high) / 2
        conditional = (logits[None, :] + middle[:, None]).sigmoid()  # (C, M - 1)
        expected = counts[0] + (conditional.cumprod(1) * counts[1:]).sum(1)
        low, high = torch.where(expected < widths, middle, low), torch.where(expected < widths, high, middle)
    by_rank = torch.where(chunk == 0, 3 * WIDEST_SHIFT - torch.arange(size) / size, -high)
    return by_rank[rank]


@contextmanager
def gated(gates: Mapping[str, Sequence[Gate]], factors: Mapping[str, Tensor]) -> Iterator[None]:
    """Multiply the channels of every group by (C,) factors wherever they enter the network.

    A channel that passes several gates in a row is multiplied once: in training mode a norm undoes the gate
    before it, and of the output of a depthwise convolution only its own bias is multiplied.
    """
    with ExitStack() as hooks:
        for name, factor in factors.items():
            for gate in gates[name]:
                hooks.enter_context(gate.layer.register_forward_hook(partial(_scale, gate, factor)))
        yield


def _scale(gate: Gate, factor: Tensor, _layer: nn.Module, _inputs: object, output: Tensor) -> Tensor:
    member = gate.member
    axis = -1 if isinstance(gate.layer, nn.Linear) else 1
    full = factor.new_ones(output.shape[axis])
    full = full.index_copy(0, member.own.to(factor.device), factor[member.root.to(factor.device)])
    # (C_layer,) -> (1, C_layer, 1, ...), but for a linear layer, whose outputs lie along the last axis
    full = full if axis == -1 else full.view(1, -1, *[1] * (output.dim() - 2))
    # in the precision of the factors, since their gradient is a sum over all pixels
    if is_depthwise(gate.layer):
        bias = gate.layer.get_parameter("bias").to(output.dtype).view_as(full)
        return (output + (full - 1) * bias).to(output.dtype)
    return (output * full).to(output.dtype)


@contextmanager
def frozen_statistics(net: nn.Module) -> Iterator[None]:
    """Batch norms in training mode use the batch's statistics but leave their running ones alone."""
    norms = [layer for layer in net.modules() if isinstance(layer, nn.modules.batchnorm._BatchNorm)]
    tracked = [norm for norm in norms if norm.track_running_stats]
    try:
        for norm in tracked:
            norm.track_running_stats = False
        yield
    finally:
        for norm in tracked:
            norm.track_running_stats = True
