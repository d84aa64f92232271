"""Checks of weights and transforms from a file, before a network takes them.

A cut removes whole channels and changes nothing else, so most damage and most forgeries are seen.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from segprune.errors import CheckpointError
from segprune.graph.dependency import TRACE_SIZE_HW
from segprune.graph.group import PrunePlan
from segprune.graph.layers import Conv
from segprune.measure.eval_mode import eval_mode
from segprune.model.contract import SegmentationNet
from segprune.shortage import shortage
from segprune.transform.contract import Transform
from segprune.transform.cut import Cut


def refuse_other_tensors(net: SegmentationNet, weights: Mapping[str, Tensor], *, source: Path) -> None:
    """Compare weights with those of the network before its last cuts; a cut shortens the first two axes only.

    A name that only one of them has is refused later, by the strict load, which lists all such names.

    Raises:
        CheckpointError: A tensor is larger, or has other axes or another number format.
    """
    for name, whole in net.state_dict().items():
        if name not in weights:
            continue
        dtype, shape = weights[name].dtype, weights[name].shape
        is_part = all(1 <= here <= there for here, there in zip(shape[:2], whole.shape[:2], strict=False))
        is_alike = len(shape) == whole.dim() and shape[2:] == whole.shape[2:] and dtype == whole.dtype
        if not is_part or not is_alike:
            raise CheckpointError(
                f"{source} holds {name!r} of shape {tuple(shape)} and {dtype}, which no cut makes of shape "
                f"{tuple(whole.shape)} and {whole.dtype}; it belongs to another architecture. Choose the model "
                "and dataset that the checkpoint was made with."
            )


def refuse_not_finite(weights: Mapping[str, Tensor], *, source: Path) -> None:
    """Look for infinities and NaN.

    Raises:
        CheckpointError: There is one.
    """
    for name, tensor in weights.items():
        if not tensor.isfinite().all():
            raise CheckpointError(
                f"{source}: {name!r} holds values that are not finite, so nothing can be measured on this network. "
                "Its training diverged: lower the learning rate, lengthen the warm-up, or set grad_clip."
            )


def widths(net: nn.Module) -> dict[str, int]:
    """Output channels of every layer that a plan can name."""
    layers = ((name, layer) for name, layer in net.named_modules() if isinstance(layer, Conv | nn.Linear))
    return {
        name: layer.out_channels if isinstance(layer, Conv) else layer.out_features for name, layer in layers
    }


def refuse_other_plans(
    plans: Sequence[PrunePlan], dense: Mapping[str, int], now: Mapping[str, int], *, source: Path
) -> None:
    """Check that plans lead from the widths of a network to those that the loaded one has.

    Args:
        plans: The cuts, in order.
        dense: Layer -> width before them.
        now: Layer -> width of the loaded weights.
        source: Where they are from.

    Raises:
        CheckpointError: They cut channels that are not there, or leave other widths.
    """
    left = dict(dense)
    for plan in plans:
        refuse_absent(plan, left, source=source)
        for name, channels in plan.items():
            left[name] -= len(channels)
    cut = {name for plan in plans for name, channels in plan.items() if channels}
    for name in sorted(cut or left):  # without a cut, every width is that of the dense network
        if left[name] != now[name]:
            raise CheckpointError(
                f"{source}: the cuts leave {left[name]} channels of {name!r}, the weights have {now[name]}; "
                "these files are not from one checkpoint"
            )


def refuse_absent(plan: PrunePlan, left: Mapping[str, int], *, source: Path) -> None:
    """Check that a plan cuts channels that are there.

    Args:
        plan: The cut.
        left: Layer -> width before it.
        source: Where it is from.

    Raises:
        CheckpointError: It names a layer or a channel that is not there.
    """
    for name, channels in plan.items():
        if name not in left:
            raise CheckpointError(f"{source}: a cut names {name!r}, which is no layer of the network")
        if list(channels) != sorted({c for c in channels if 0 <= c < left[name]}):
            raise CheckpointError(
                f"{source}: a cut removes the channels {list(channels)[:8]} of {name!r}; they must be ascending, "
                f"from 0 to {left[name] - 1}"
            )


def replayed(net: SegmentationNet, made_by: Transform, *, source: Path) -> SegmentationNet:
    """The network after a transform that a file names.

    Raises:
        CheckpointError: The network cannot be transformed so.
    """
    if isinstance(made_by, Cut):
        refuse_absent(made_by.plan, widths(net), source=source)
    try:
        return made_by.replay(net)
    except Exception as error:  # whatever somebody's transform raises
        if shortage(error, lambda _: None):
            raise
        raise CheckpointError(
            f"{source} was made by a transform of kind {made_by.kind!r} that cannot be replayed on this network "
            f"({type(error).__name__}: {error}). Choose the model and dataset that the checkpoint was made with."
        ) from error


def refuse_misfit(net: SegmentationNet, classes: Sequence[str] | None, *, source: Path) -> None:
    """Run a loaded network once on a small image; if that is too small for it, on one of its images' size.

    Args:
        net: The network, with its weights.
        classes: The classes of its logits, as the file says; None when it says nothing.
        source: Where they are from.

    Raises:
        CheckpointError: Its layers do not fit each other, or a head has another number of classes.
    """
    try:
        heads = _heads(net, TRACE_SIZE_HW)
    except RuntimeError as error:
        try:
            heads = _heads(net, net.image_hw or TRACE_SIZE_HW)
        except RuntimeError:
            reason = str(error).split("\n")[0]
            raise CheckpointError(f"{source} holds layers that do not fit each other: {reason}") from error
    if classes is not None and set(heads) != {len(classes)}:
        raise CheckpointError(f"{source} has logits for {heads} classes, but names {len(classes)}")


def _heads(net: SegmentationNet, size_hw: tuple[int, int]) -> list[int]:
    """The number of classes of every head, by a run on an image of this size."""
    image = torch.zeros(1, net.bands, *size_hw, dtype=net.mean.dtype)
    with eval_mode(net), torch.no_grad():
        return [logits.shape[1] for logits in net.all_logits(image)]
