"""The backbone and the head of a network, told by the names of its layers."""

from collections.abc import Sequence

BACKBONE, HEAD = "backbone", "head"
NAMES = frozenset({"backbone", "encoder"})
"""What the submodule before the head is called, as in torchvision, smp, transformers, and here."""


def parts_of(layers: Sequence[str]) -> list[str | None]:
    """``backbone`` or ``head`` for each layer of a network; None where no submodule is called like a backbone.

    Args:
        layers: Dotted names, of all layers in question.
    """
    inside = [not NAMES.isdisjoint(name.split(".")) for name in layers]
    return [(BACKBONE if one else HEAD) if any(inside) else None for one in inside]
