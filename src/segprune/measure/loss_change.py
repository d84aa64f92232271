"""The oracle: how the loss really changes when channels are removed."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from segprune import stop
from segprune.dataset.contract import Batch
from segprune.graph.group import ChannelGroup
from segprune.graph.silence import without
from segprune.graph.units import first_of, together
from segprune.measure.agreement import Channel, Values
from segprune.measure.eval_mode import eval_mode
from segprune.model.contract import SegmentationNet

Removal = Mapping[str, Sequence[int]]
"""Group name -> channels that are removed together; ``{}`` removes nothing."""
Loss = Callable[[Sequence[Tensor], Tensor], Tensor]
"""(logits of every head, each (N, K, H, W); label (N, h, w)) -> scalar."""
LEAST_PER_GROUP = 8
"""With fewer probed channels, a layer says little about a ranking within it."""


def sample_channels(groups: Sequence[ChannelGroup], samples: int, seed: int) -> tuple[Channel, ...]:
    """``samples`` channels drawn without replacement, or all if there are fewer; a larger draw holds a smaller one.

    Groups get ``LEAST_PER_GROUP`` channels each, in a drawn order until ``samples`` are spent; any rest is spread
    in proportion to their sizes. The result is in the order of the groups, channels ascending. Of channels that go
    only together, the first one stands for all.
    """
    draw = np.random.default_rng(seed)
    turns = draw.permutation(len(groups)).tolist()
    queue: list[tuple[float, int, int, int, int]] = []
    for number, (group, turn) in enumerate(zip(groups, turns, strict=True)):
        first = first_of(group).tolist()
        for rank, unit in enumerate(draw.permutation(len(first)).tolist()):
            depth = 0.0 if rank < LEAST_PER_GROUP else rank / len(first)
            queue.append((depth, turn, rank, number, first[unit]))
    chosen = sorted((number, channel) for *_, number, channel in sorted(queue)[:samples])
    return tuple((groups[number].name, channel) for number, channel in chosen)


def loss_changes(
    net: SegmentationNet,
    groups: Sequence[ChannelGroup],
    probed: Sequence[Channel],
    batches: Sequence[Batch],
    loss: Loss,
    copies: int,
) -> Values:
    """(P,) loss without one channel minus the loss with all; arguments as in ``mean_losses``.

    Source: the oracle of Molchanov et al. 2019, arXiv:1906.10771. Differs: in evaluation mode, and signed.
    """
    removals: list[Removal] = [{}, *({name: (channel,)} for name, channel in probed)]
    losses = mean_losses(net, groups, removals, batches, loss, copies)
    changes: Values = losses[1:] - losses[0]
    return changes


def joint_loss_change(
    net: SegmentationNet,
    groups: Sequence[ChannelGroup],
    removed: Removal,
    batches: Sequence[Batch],
    loss: Loss,
) -> float:
    """Loss without all these channels at once minus the loss with all."""
    silenced, whole = mean_losses(net, groups, [removed, {}], batches, loss, copies=1).tolist()
    return float(silenced - whole)


def mean_losses(
    net: SegmentationNet,
    groups: Sequence[ChannelGroup],
    removals: Sequence[Removal],
    batches: Sequence[Batch],
    loss: Loss,
    copies: int,
) -> Values:
    """(R,) loss of the deployed head without the channels of each removal, mean over the batches.

    Channels are set to zero, with those that go only with them, behind every layer that makes them or passes them
    on; for every network that passes ``graph.cut.mask_error`` that is the same as cutting them. The network runs in
    evaluation mode and stays as it is.

    Args:
        net: On the device of the batches.
        groups: All groups that the removals name; others do no harm.
        removals: Each is tried by itself.
        batches: Labelled images.
        loss: Of the deployed head alone.
        copies: Removals tried in one forward pass; changes speed and memory, and the losses only by rounding.
    """
    of = {group.name: group for group in groups}
    removals = [{name: together(of[name], gone) for name, gone in removal.items()} for removal in removals]
    copies = min(copies, len(removals))
    sums = np.zeros(len(removals))
    with eval_mode(net), torch.no_grad(), torch.autocast(batches[0].image.device.type, enabled=False):
        for start in tqdm(range(0, len(removals), copies), "oracle", unit="pass", leave=False, disable=None):
            tried = list(removals[start : start + copies])
            # Every pass has the same shape, since a convolution may round differently in another shape.
            padding: list[Removal] = [{}] * (copies - len(tried))
            with without(net, groups, [*tried, *padding]):
                for image, label in batches:
                    stop.if_asked()
                    logits = net(torch.cat([image] * copies)).chunk(copies)  # copies times (N, K, H, W)
                    losses = torch.stack([loss([one], label) for one in logits[: len(tried)]])
                    sums[start : start + copies] += losses.double().cpu().numpy()
    return sums / len(batches)
