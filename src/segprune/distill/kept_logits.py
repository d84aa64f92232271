"""A teacher's logits of images that are the same in every epoch: computed once, read from disk."""

import hashlib
import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from torch import Tensor

from segprune.dataset.contract import Items
from segprune.errors import TrainingError

LOGITS, ABOUT = "logits.bin", "logits.json"
EPOCHS = 4
"""Epochs that ``changing`` looks at."""


class KeptLogits:
    """The logits of every training image, found by the image's content, in any order and in any batch.

    The file is mapped, not read: what the memory holds of it is the system's choice.
    """

    def __init__(self, folder: Path) -> None:
        """Open what ``write`` has written."""
        about = json.loads((folder / ABOUT).read_text(encoding="utf-8"))
        self._rows = {digest: row for row, digest in enumerate(about["images"])}
        shape = torch.Size((len(about["images"]), *about["shape"]))
        self._logits = torch.from_file(str(folder / LOGITS), shared=False, size=shape.numel()).view(shape)

    def __call__(self, images: Tensor) -> Tensor:
        """(N, C, H, W) in the host's memory -> (N, K, h, w) float32 there.

        Raises:
            TrainingError: The teacher has not seen one of the images.
        """
        found = [self._rows.get(digest(image)) for image in images]
        rows = [row for row in found if row is not None]
        if len(rows) < len(found):
            raise TrainingError(
                "teacher.cache_logits is true, but an image is not what it was in the first epoch, so the "
                "teacher's logits of it are not known. Give teacher.cache_logits=false, or leave out what changes "
                "images."
            )
        return self._logits[rows]


def write(folder: Path, batches: Iterator[tuple[Tensor, Tensor]]) -> None:
    """Write the logits of all images as raw numbers.

    Args:
        folder: Where the files go.
        batches: Images (N, C, H, W) in the host's memory, and their logits (N, K, h, w) float32, all of one size.
    """
    images: list[str] = []
    shape: Sequence[int] = ()
    with (folder / LOGITS).open("wb") as file:
        for image, logits in batches:
            images += map(digest, image)
            shape = logits.shape[1:]
            file.write(logits.cpu().contiguous().numpy().tobytes())
    about = {"images": images, "shape": list(shape)}
    (folder / ABOUT).write_text(json.dumps(about), encoding="utf-8")


def digest(image: Tensor) -> str:
    """SHA-256 of all numbers of an image (C, H, W)."""
    return hashlib.sha256(image.contiguous().numpy().tobytes()).hexdigest()


def changing(items: Items) -> bool:
    """Whether images differ between the first epochs, as they do with augmentation; some images are compared."""
    some = range(min(len(items), 4))
    return any(
        not torch.equal(items[index].image, items[epoch * len(items) + index].image)
        for index in some
        for epoch in range(1, EPOCHS)
    )
