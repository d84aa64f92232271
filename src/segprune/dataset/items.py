"""The roles of a dataset as items: training, calibration and evaluation views of the same kind of source."""

from dataclasses import dataclass
from typing import Any, Protocol

from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from segprune.dataset.augment import (
    Augmentation,
    Pixels,
    as_batch_item,
    as_label,
    resize_image,
    resize_label,
)
from segprune.dataset.contract import Batch
from segprune.seed import derive


class Source(Protocol):
    """Random access to decoded pairs: image (H, W, C) uint8 or uint16 and label (H, W) uint8."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> tuple[NDArray[Any], Pixels]: ...

    def label(self, index: int, /) -> Pixels:
        """The label alone, without the work that its image takes."""
        ...


@dataclass(frozen=True, eq=False)
class ArraySource:
    """Pairs of one size in memory.

    Attributes:
        images: (N, H, W, 3) uint8 RGB.
        labels: (N, H, W) uint8.
    """

    images: Pixels
    labels: Pixels

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[Pixels, Pixels]:
        return self.images[index], self.labels[index]

    def label(self, index: int) -> Pixels:
        """(H, W) uint8, the pair's label."""
        return self[index][1]


@dataclass(frozen=True)
class FitItems(Dataset[Batch]):
    """Augmented training items; ``index = epoch * len + i`` fixes the item, whoever asks and in which order.

    Attributes:
        source: The N training pairs.
        augmentation: What is drawn anew in every epoch.
        seed: The run's seed, >= 0.
    """

    source: Source
    augmentation: Augmentation
    seed: int

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, index: int) -> Batch:
        if index < 0:
            raise IndexError(f"training item {index}: the index is epoch * {len(self)} + i, never negative")
        epoch, i = divmod(index, len(self.source))
        image, label = self.source[i]
        return as_batch_item(*self.augmentation(image, label, derive(self.seed, "augment", epoch, i)))


@dataclass(frozen=True)
class CalibrationItems(Dataset[Batch]):
    """Pairs without augmentation, image and label at ``size_hw``; labels can be read alone."""

    source: Source
    size_hw: tuple[int, int]

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, index: int) -> Batch:
        image, label = self.source[_within(index, len(self))]
        return as_batch_item(resize_image(image, self.size_hw), resize_label(label, self.size_hw))

    def label(self, index: int) -> Tensor:
        """(H, W) uint8, the item's label."""
        return as_label(resize_label(self.source.label(_within(index, len(self))), self.size_hw))


@dataclass(frozen=True)
class EvaluationItems(Dataset[Batch]):
    """Pairs without augmentation, image at ``size_hw`` and label at its own size."""

    source: Source
    size_hw: tuple[int, int]

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, index: int) -> Batch:
        image, label = self.source[_within(index, len(self))]
        return as_batch_item(resize_image(image, self.size_hw), label)


def _within(index: int, count: int) -> int:
    if not 0 <= index < count:
        raise IndexError(f"item {index} of {count}")
    return index
