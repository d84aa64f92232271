"""Digests that tell whether the items of a role are still the same."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from segprune.dataset.augment import Augmentation, Pixels
from segprune.dataset.contract import Identity
from segprune.dataset.labels import LabelSpace


def identify(
    contents: Mapping[str, Sequence[object]],
    *,
    space: LabelSpace,
    code: Sequence[object] | None,
    augmentation: Augmentation,
    size_hw: tuple[int, int],
    seed: int,
    bands: int = 3,
) -> Identity:
    """The digests of a dataset's roles.

    Args:
        contents: Roles ``fit``, ``select`` and ``report`` -> digests of their pairs, in the order of the items;
            an empty ``select``: there is none.
        space: What the labels mean. Its palette is for figures and does not count.
        code: What the stored values of masks stand for, as plain values; ``None``: each is its own label.
        augmentation: Of the training items, at the size of the pipeline.
        size_hw: (H, W) in px of the other items.
        seed: The run's seed.
        bands: As which the images are read.
    """
    meaning = {"classes": space.classes, "ignore_index": space.ignore_index, "code": code, "bands": bands}

    def evaluation(role: str) -> str:
        return digest(view="evaluation", contents=contents[role], size_hw=size_hw, **meaning)

    return Identity(
        fit=digest(
            view="fit", contents=contents["fit"], augmentation=augmentation.options, seed=seed, **meaning
        ),
        calibration=digest(view="calibration", contents=contents["fit"], size_hw=size_hw, **meaning),
        select=evaluation("select") if contents["select"] else None,
        report=evaluation("report"),
    )


def counts_file(cache_dir: Path, identity: Identity, read_by: str) -> Path:
    """Where the counts of the classes in the training labels are kept: for each content, size and reader a file.

    Args:
        cache_dir: The folder of all that is kept.
        identity: Of the dataset.
        read_by: Which code makes pixels of what the identity tells apart.
    """
    return cache_dir / "label_counts" / f"{identity.calibration[:24]}-{read_by}.json"


def digest(**parts: object) -> str:
    """Hex sha256 over named JSON values, independent of their order."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def pixels_sha256(*arrays: Pixels) -> str:
    """Hex sha256 over shapes and contents of uint8 arrays."""
    sha256 = hashlib.sha256()
    for array in arrays:
        sha256.update(str(array.shape).encode())
        sha256.update(np.ascontiguousarray(array).data)
    return sha256.hexdigest()
