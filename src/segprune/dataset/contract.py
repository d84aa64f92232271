"""What a dataset gives to the rest of the program."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, NamedTuple, Protocol, runtime_checkable

import torch
from torch import Tensor


class Batch(NamedTuple):
    """Images and labels, as one item (no N axis) or as a batch.

    Attributes:
        image: (N, C, H, W) float32, RGB or other bands in [0, 1]. Networks normalise by themselves, with the mean
            and std their weights were made for, or with those of ``Bands``.
        label: (N, H, W) of any integer type, 0..K-1 or the dataset's ``ignore_index``. In the report and select
            roles its H and W are the label's own, which may differ from the image's.
    """

    image: Tensor
    label: Tensor

    def on(self, device: torch.device) -> "Batch":
        """A batch (with N axis) where a network is: the image channels last, the label int64.

        The label becomes int64 there, so that of labels in uint8 one byte a pixel travels and not eight.
        """
        image = self.image.to(device, memory_format=torch.channels_last, non_blocking=True)
        return Batch(image, self.label.to(device, non_blocking=True).long())


class Items(Protocol):
    """Random access to single items; a ``torch.utils.data.Dataset`` with a length."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> Batch: ...


@runtime_checkable
class LabelReader(Protocol):
    """Items that can give a label without reading its image; ``isinstance`` tells which items can."""

    def label(self, index: int, /) -> Tensor:
        """(H, W), bit for bit the label of the item with this index."""
        ...


@dataclass(frozen=True, kw_only=True)
class Bands:
    """Images other than RGB of 8 bits.

    Attributes:
        count: Bands of an image.
        bits: 8 or 16; the largest number of so many bits is 1 for the network.
        mean: Of each band, in [0, 1].
        std: Likewise, above 0.
    """

    count: int
    bits: int
    mean: tuple[float, ...]
    std: tuple[float, ...]


@dataclass(frozen=True)
class Identity:
    """Hex digests, one per role, of everything that can change an item of the role or the meaning of its label.

    Where files and caches are, how much stays in memory and what the other roles are does not count.

    Attributes:
        fit: Contents of the training files, label space, augmentation with its size, seed.
        calibration: Contents of the training files, label space, ``size_hw``.
        select: As calibration, of the files that choose the epoch; ``None``: there are none.
        report: As calibration, of the files that are reported.
    """

    fit: str
    calibration: str
    select: str | None
    report: str


@dataclass(frozen=True, kw_only=True)
class RoleSummary:
    """The images and labels of one role.

    Attributes:
        images: How many.
        sizes: ``<width>x<height>`` in px -> images.
        modes: Kind of pixel, as Pillow names it -> images.
        stored: Value or colour in the masks, as text -> pixels; what it stands for is said by ``dataset.values``.
        pixels: Of each class, K of them.
        ignored: Pixels that are never scored.
    """

    images: int
    sizes: Mapping[str, int]
    modes: Mapping[str, int]
    stored: Mapping[str, int]
    pixels: tuple[int, ...]
    ignored: int

    def absent(self, classes: Sequence[str]) -> list[str]:
        """The classes that no label of this role holds."""
        return [name for name, count in zip(classes, self.pixels, strict=True) if not count]


@dataclass(frozen=True, kw_only=True)
class SegData:
    """One segmentation dataset with its roles.

    Attributes:
        name: Short name, for run names and reports.
        classes: K names; label k means ``classes[k]``.
        palette: K colours, RGB 0..255, for figures.
        ignore_index: Label of pixels that are never scored; not in 0..K-1.
        size_hw: (H, W) in px of the image in evaluation, and of MACs and latency.
        fit: Training items, augmented. Its index is ``epoch * len(fit) + i``: the same index always gives
            the same item, whatever the order, the worker or the restart.
        calibration: The training images without augmentation, image and label at ``size_hw``. Scores and BN
            re-estimation read it.
        select: Chooses the best epoch; ``None``: the last epoch counts.
        report: Only the eval stage reads it.
        report_split: Name of the split behind ``report``, e.g. ``test``.
        identity: Digests of what the items of each role depend on.
        report_frames: How many report images follow another one like frames of a video, by their file names; see
            ``frames.in_a_row``.
        summary: What each role holds, by its name.
        files: Which file serves which role, as the CSV that ``dataset.pairs`` reads; empty: there are no files.
        decoding: How often an image is decoded from its file: ``none``: there are no files; ``once``: all stay in
            memory; ``often``: some do not.
        bands: What images are if not RGB of 8 bits, and how networks normalise them.
        label_counts: File that keeps how often each class occurs in the training labels; ``None``: not kept.
    """

    name: str
    classes: tuple[str, ...]
    palette: tuple[tuple[int, int, int], ...]
    ignore_index: int
    size_hw: tuple[int, int]
    fit: Items
    calibration: Items
    select: Items | None
    report: Items
    report_split: str
    identity: Identity
    report_frames: int = 0
    summary: Mapping[str, RoleSummary] = field(default_factory=dict)
    files: str = ""
    decoding: Literal["none", "once", "often"] = "none"
    bands: Bands | None = None
    label_counts: Path | None = None

    @property
    def bands_count(self) -> int:
        """Bands of an image."""
        return self.bands.count if self.bands else 3


def same_shape(items: Sequence[Batch]) -> bool:
    """Whether the items can be stacked into one batch."""
    return len({(item.image.shape, item.label.shape) for item in items}) <= 1
