"""The dense network of a trail: whether it is there, and its shapes if it is not."""

from segprune.model.contract import SegmentationNet
from segprune.model.initial import weights_to_come
from segprune.stage.contract import Context
from segprune.stage.state import NetState


def is_orphan(first: NetState) -> bool:
    """Whether the dense network of a trail's first one is known but not there, so that it is in no trail."""
    return first.ancestry is not None and bool(first.ancestry.steps)


def shell(ctx: Context) -> SegmentationNet:
    """The dense network with its shapes; its weights do not matter."""
    with weights_to_come():
        return ctx.build().to(ctx.hardware.device)
