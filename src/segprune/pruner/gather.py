"""From the values of single layers to one value per channel of a group."""

from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

import torch
from torch import Tensor, nn

from segprune.errors import ConfigError, TrainingError
from segprune.graph.group import ChannelGroup, Member, Scores
from segprune.graph.layers import Conv, is_depthwise
from segprune.model.contract import SegmentationNet

ConvTranspose = nn.modules.conv._ConvTransposeNd
BatchNorm = nn.modules.batchnorm._BatchNorm
SCALING = (BatchNorm, nn.GroupNorm)
"""Norms with a scale for each channel."""
Found = TypeVar("Found")


def producers(net: SegmentationNet, group: ChannelGroup) -> list[tuple[Member, nn.Module]]:
    """The convolutions and linear layers that make the channels of the group.

    Depthwise ones are left out, and those that only rescale the channels, as in squeeze-and-excitation.

    No weight criterion counts depthwise filters: they say how a channel is blurred, and lie in series with the
    filters that make it, not beside them.

    Raises:
        ConfigError: A channel of the group that no such layer makes.
    """
    pairs = [(member, net.get_submodule(member.layer)) for member in group.members if member.axis == "out"]
    found: list[tuple[Member, nn.Module]] = [
        (member, layer)
        for member, layer in pairs
        if isinstance(layer, Conv | nn.Linear) and not is_depthwise(layer)
    ]
    made = carried([member for member, _ in found], group.size)
    if not made.all():
        raise ConfigError(
            f"group {group.name}: channel {int((~made).nonzero()[0])} of {group.size} is made by no "
            "convolution or linear layer, so no filter can be scored. Protect the group from pruning."
        )
    return found


def norms(net: SegmentationNet, group: ChannelGroup) -> list[tuple[Member, nn.Module]]:
    """The batch and group norms among the group's members."""
    pairs = [(member, net.get_submodule(member.layer)) for member in group.members if member.axis == "out"]
    return [(member, layer) for member, layer in pairs if isinstance(layer, SCALING)]


def map_layers(net: SegmentationNet, group: ChannelGroup) -> list[tuple[Member, nn.Module]]:
    """The layers whose outputs are the group's feature maps, before any activation.

    Its norms; where they do not carry every channel, the layers that make the channels.

    Raises:
        ConfigError: A channel of the group that neither a norm carries nor a convolution makes.
    """
    found = norms(net, group)
    if not carried([member for member, _ in found], group.size).all():
        found = producers(net, group)
    return found


def of_running(
    group: ChannelGroup, members: Sequence[Member], found: Mapping[str, Found]
) -> list[tuple[Member, Found]]:
    """The values of the members; those whose layer never ran are left out.

    Args:
        group: Whose members they are.
        members: The layers of ``map_layers``.
        found: Name of a layer that ran -> its value.

    Raises:
        ConfigError: A channel that no layer which ran carries.
    """
    ran = [(member, found[member.layer]) for member in members if member.layer in found]
    if not carried([member for member, _ in ran], group.size).all():
        raise ConfigError(
            f"group {group.name}: none of its layers {', '.join(member.layer for member in members)} runs in "
            "all_logits, so it has no feature maps. Take a criterion that reads weights for this network, e.g. "
            "pruner=l1."
        )
    return ran


def carried(members: Sequence[Member], size: int) -> Tensor:
    """(C,) bool: which channels of the group at least one of the members carries."""
    mask = torch.zeros(size, dtype=torch.bool)
    for member in members:
        mask |= covered(member, size)
    return mask


def covered(member: Member, size: int) -> Tensor:
    """(C,) bool: which channels of the group the member carries."""
    mask = torch.zeros(size, dtype=torch.bool)
    mask[member.root] = True
    return mask


def root_sum(values: Tensor, member: Member, size: int) -> Tensor:
    """(M_layer,) values of a layer's own positions -> (C,) sums per channel of the group, else 0."""
    return values.new_zeros(size).index_add_(0, member.root, values[member.own])


def position_mean(values: Sequence[tuple[Member, Tensor]], size: int) -> Tensor:
    """Per layer the values of its own positions -> (C,) float64 means over all positions that carry a channel.

    Args:
        values: Layers that together carry every channel, each with (M_layer,) float64 values.
        size: C.
    """
    total = torch.stack([root_sum(value, member, size) for member, value in values]).sum(0)
    count = torch.stack([torch.bincount(member.root, minlength=size) for member, _ in values]).sum(0)
    return total / count


def filter_rows(layer: nn.Module, weight: Tensor) -> Tensor:
    """(C_out, D) float64 CPU: one row per filter of the layer's weight, or of a gradient in its shape.

    A transposed convolution keeps its outputs in dim 1, per block of ``groups``.
    """
    rows = weight.detach().cpu().double()
    if isinstance(layer, ConvTranspose):
        # (C_in, C_out / groups, kh, kw) -> (groups, C_in / groups, C_out / groups, kh, kw)
        blocks = rows.view(layer.groups, -1, *rows.shape[1:])
        rows = blocks.transpose(1, 2).flatten(0, 1)  # (C_out, C_in / groups, kh, kw)
    return rows.reshape(len(rows), -1)


def root_filters(layer: nn.Module, member: Member, size: int) -> Tensor:
    """(C, D) float64 CPU: the filters of a producer for each channel of the group; 0 where it has none.

    A channel at several positions of the layer has their filters one behind the other.
    """
    rows = filter_rows(layer, layer.get_parameter("weight"))[member.own]  # (M, D)
    count = torch.bincount(member.root, minlength=size)
    order = torch.argsort(member.root, stable=True)
    first = count.cumsum(0) - count
    nth = torch.empty_like(order)
    # 0 for the first position of a channel, 1 for its second
    nth[order] = torch.arange(len(order)) - first[member.root[order]]
    joint = rows.new_zeros(size, int(count.max()), rows.shape[1])
    joint[member.root, nth] = rows
    return joint.flatten(1)


def coupled_mean(values: Sequence[Tensor], masks: Sequence[Tensor]) -> Tensor:
    """The mean of the scores of every layer that makes a channel, each layer counting alike.

    The scores of each layer are divided by their mean first, and the result is multiplied by the mean of these
    means, so that the scores of a single layer stay raw. A layer whose scores are all 0 adds 0.

    Args:
        values: Per layer (C,) float64, not negative, 0 where the layer does not carry the channel.
        masks: Per layer (C,) bool, whether it does.

    Source: none; the papers on filter norms do not say how to join the filters of a residual stream.
    """
    if len(values) == 1:
        return values[0]
    means = torch.stack([value[mask].mean() for value, mask in zip(values, masks, strict=True)])  # (L,)
    relative = torch.stack(list(values)) / torch.where(means > 0, means, 1.0)[:, None]  # (L, C)
    return relative.sum(0) / torch.stack(list(masks)).sum(0) * means.mean()


def filter_scores(
    net: SegmentationNet, group: ChannelGroup, of_filters: Callable[[Tensor], Tensor]
) -> Tensor:
    """(C,) float64: ``coupled_mean`` of what ``of_filters`` makes of the filters (C, -1) of every maker.

    Raises:
        ConfigError: A channel that no convolution makes.
    """
    makers = producers(net, group)
    return coupled_mean(
        [of_filters(root_filters(layer, member, group.size)) for member, layer in makers],
        [covered(member, group.size) for member, _ in makers],
    )


def mean_one(score: Tensor) -> Tensor:
    """(C,) not negative -> divided by its mean; all 0 stays 0."""
    mean = score.mean()
    return score / mean if mean > 0 else score


def refuse_unscored(pruner: str, found: Mapping[str, str]) -> None:
    """Check that a criterion was asked for no group that it cannot work on.

    Args:
        pruner: Its name.
        found: As ``Partial.unscored`` gives them.

    Raises:
        ConfigError: It was.
    """
    if found:
        named = "; ".join(f"{name} ({reason})" for name, reason in found.items())
        raise ConfigError(
            f"pruner {pruner}: it cannot score {named}. Leave such groups out, or take another criterion, e.g. "
            "pruner=taylor."
        )


def checked(scores: Scores) -> Scores:
    """The scores, all of them finite.

    Raises:
        TrainingError: A score that is not finite.
    """
    for name, score in scores.items():
        wrong = (~score.isfinite()).nonzero().flatten().tolist()
        if wrong:
            raise TrainingError(
                f"group {name}: the score of channel {wrong[0]} is {float(score[wrong[0]])}; the weights "
                "or gradients behind it are not finite. Train the network with a lower learning rate."
            )
    return scores
