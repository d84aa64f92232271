"""Decoded pairs from files, kept in memory after the first look where they fit."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segprune.dataset.augment import Pixels
from segprune.dataset.decode import read_image, read_mask
from segprune.dataset.mask_code import MaskCode
from segprune.dataset.pairing import Pair
from segprune.dataset.shared_memory import Memory, memory
from segprune.errors import DataError

RGB = 3
"""Bytes of a pixel of an image of 8 bits."""


def decoded_bytes(sizes_hw: Sequence[tuple[int, int]], pixel_bytes: int = RGB) -> int:
    """Memory that pairs of these sizes take, in bytes.

    Args:
        sizes_hw: (H, W) in px of each.
        pixel_bytes: Of a pixel of the image; that of the label is one more.
    """
    return sum(_even(height * width * (pixel_bytes + 1)) for height, width in sizes_hw)


def _even(count: int) -> int:
    """So that numbers of two bytes begin where processors like them."""
    return count + count % 2


def first_within(sizes_hw: Sequence[tuple[int, int]], most_bytes: int, pixel_bytes: int = RGB) -> int:
    """How many pairs, from the first on, take at most so much memory together."""
    total = np.cumsum([decoded_bytes([size], pixel_bytes) for size in sizes_hw])
    return int(np.searchsorted(total, most_bytes, side="right"))


class FileSource:
    """Image (H, W, C) uint8 or uint16 and label (H, W) uint8 of each pair.

    Each of the first ``kept`` pairs is decoded once. The memory is shared with forked loader workers, so more
    workers do not take more of it. With a name, jobs that run at the same time and processes that train together
    share it too; without, a copy of the object that is sent to another process has a memory of its own.

    Attributes:
        memory: Of the kept pairs; None: there are none.
    """

    memory: Memory | None
    _bytes: Pixels | None

    def __init__(  # noqa: PLR0913 - all but three by name
        self,
        pairs: Sequence[Pair],
        sizes_hw: Sequence[tuple[int, int]],
        code: MaskCode,
        *,
        upright: bool,
        kept: int,
        bands: int = 3,
        bits: int = 8,
        name: str | None = None,
    ) -> None:
        """Remember what to decode; nothing is read yet.

        Args:
            pairs: The N files.
            sizes_hw: Their N sizes in px, as checked.
            code: What the stored values of masks stand for.
            upright: Whether files are turned as their EXIF tags say.
            kept: How many pairs, from the first on, stay in memory once they are decoded.
            bands: Of the images.
            bits: Of their numbers, as checked.
            name: A digest of all that decides the kept pixels; None: nobody else has them.
        """
        self._pairs = tuple(pairs)
        self._sizes_hw = tuple(sizes_hw)
        self._code, self._upright = code, upright
        self._bands, self._dtype = bands, np.dtype(np.uint8 if bits == 8 else np.uint16)
        pixel_bytes = bands * self._dtype.itemsize
        ends = np.cumsum(
            [_even(kept), *(decoded_bytes([size], pixel_bytes) for size in self._sizes_hw[:kept])]
        )
        self._starts = tuple(int(end) for end in ends)
        self._name = name
        self._open()

    def __len__(self) -> int:
        return len(self._pairs)

    def __getitem__(self, index: int) -> tuple[NDArray[Any], Pixels]:
        if self._bytes is None or index >= len(self._starts) - 1:
            return self._decode_image(index), self._decode_label(index)
        image, label = self._kept(self._bytes, index)
        if not self._bytes[index]:
            image[:], label[:] = self._decode_image(index), self._decode_label(index)
            self._bytes[index] = 1
        return image, label

    def label(self, index: int) -> Pixels:
        """(H, W) uint8; from memory if the pair is there, else from the label file alone, which is not kept."""
        if self._bytes is not None and index < len(self._starts) - 1 and self._bytes[index]:
            return self._kept(self._bytes, index)[1]
        return self._decode_label(index)

    def __getstate__(self) -> dict[str, object]:
        return {**self.__dict__, "memory": None, "_bytes": None}

    def __setstate__(self, state: dict[str, object]) -> None:
        self.__dict__.update(state)
        # elsewhere it is a loader worker that gets a copy, and there are many of them
        if sys.platform == "linux":
            self._open()

    def _open(self) -> None:
        """Have the memory; its first bytes say which pairs are there; all that decode a pair write the same."""
        self.memory = memory(self._starts[-1], self._name) if len(self._starts) > 1 else None
        self._bytes = np.frombuffer(self.memory.bytes, np.uint8) if self.memory else None

    def _kept(self, memory: Pixels, index: int) -> tuple[NDArray[Any], Pixels]:
        """Where image and label of a pair are in memory."""
        height, width = self._sizes_hw[index]
        place = memory[self._starts[index] : self._starts[index + 1]]
        pixels = height * width
        end = pixels * self._bands * self._dtype.itemsize
        image, label = place[:end].view(self._dtype), place[end : end + pixels]
        return image.reshape(height, width, self._bands), label.reshape(height, width)

    def _decode_image(self, index: int) -> NDArray[Any]:
        path = self._pairs[index].image
        return self._of_checked_size(index, path, read_image(path, upright=self._upright, bands=self._bands))

    def _decode_label(self, index: int) -> Pixels:
        path = self._pairs[index].label
        stored = read_mask(path, self._code.kind, upright=self._upright)
        return self._code(self._of_checked_size(index, path, stored))

    def _of_checked_size(self, index: int, path: Path, pixels: NDArray[Any]) -> NDArray[Any]:
        if pixels.shape[:2] != self._sizes_hw[index]:
            height, width = self._sizes_hw[index]
            raise DataError(
                f"{path} was {width}x{height} when it was checked and has changed since; start again"
            )
        return pixels
