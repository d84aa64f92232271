"""What the stored numbers or colours of masks stand for."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from segprune.dataset.augment import Pixels
from segprune.dataset.labels import Colour

Stored = NDArray[np.int32]
"""(H, W): the number that a mask stores for each pixel, or its colour as ``packed``."""
Kind = Literal["numbers", "colours"]


def packed(colour: Colour) -> int:
    """An RGB colour as one number, 0xRRGGBB."""
    red, green, blue = colour
    return red << 16 | green << 8 | blue


def as_text(value: int, kind: Kind) -> str:
    """A stored value as people write it: ``7``, or ``[64, 0, 128]``."""
    return str([value >> 16, value >> 8 & 255, value & 255]) if kind == "colours" else str(value)


@dataclass(frozen=True)
class MaskCode:
    """How the stored values of masks become labels.

    Attributes:
        kind: Whether masks store numbers (gray, palette index, .npy) or colours.
        labels: Stored value -> label. A colour that is not listed has none; a number that is not listed is its own
            label, raised by ``shift``.
        shift: Of numbers that are not listed.
    """

    kind: Kind = "numbers"
    labels: Mapping[int, int] = field(default_factory=dict)
    shift: int = 0

    def label_of(self, stored: int) -> int | None:
        """The label of a stored value, or None if it has none."""
        if stored in self.labels:
            return self.labels[stored]
        is_label = self.kind == "numbers" and stored + self.shift >= 0
        return stored + self.shift if is_label else None

    def __call__(self, stored: Stored) -> Pixels:
        """(H, W) stored values, all of them with a label in 0..255 -> (H, W) uint8 labels."""
        others = stored + self.shift
        if not self.labels:
            return others.astype(np.uint8)
        listed, labels = self._sorted
        place = np.minimum(np.searchsorted(listed, stored), len(listed) - 1)
        return np.where(listed[place] == stored, labels[place], others).astype(np.uint8)

    @property
    def record(self) -> list[object] | None:
        """All that changes a label, as plain JSON values; None if the stored numbers are the labels."""
        is_plain = self.kind == "numbers" and not self.labels and not self.shift
        shift = [self.shift] if self.shift else []
        return None if is_plain else [self.kind, sorted(map(list, self.labels.items())), *shift]

    @cached_property
    def _sorted(self) -> tuple[Stored, Stored]:
        """The listed values, rising, and their labels."""
        listed = sorted(self.labels)
        return np.array(listed, np.int32), np.array([self.labels[value] for value in listed], np.int32)
