"""Finding image and label files that belong together."""

import os
from collections import Counter
from pathlib import Path
from typing import NamedTuple

from segprune.dataset.facts import refuse
from segprune.errors import DataError


class Pair(NamedTuple):
    """An image file and its label file.

    Attributes:
        name: The part that the two file names share, relative to the folder of the split, with ``/``.
    """

    name: str
    image: Path
    label: Path


def require_root(root: Path, layout: str) -> None:
    """Refuse a dataset root that is no folder.

    Raises:
        DataError: With the layout that is expected there.
    """
    if not os.path.isdir(root):  # unlike Path.is_dir, false for names that no disk can hold
        raise DataError(
            f"dataset.root={root} is not a folder. Expected: {layout}. Set dataset.root=/path/to/it"
        )


def list_pairs(
    images: Path, labels: Path, *, suffixes: tuple[str, str], layout: str, limit: int | None
) -> tuple[Pair, ...]:
    """The pairs of two folders and their subfolders, in the order of their names.

    Args:
        images: Folder of images.
        labels: Folder of labels; may be that of the images.
        suffixes: How names of images and of labels end; the rest is the same for both files of a pair.
        layout: What is expected, for the messages.
        limit: Only the first so many; ``None``: all.

    Raises:
        DataError: A folder is missing, cannot be listed, holds no such file or leads into itself, or a file has no
            partner.
    """
    image_suffix, label_suffix = suffixes
    is_shared = images == labels
    image_files = _files(images, image_suffix, label_suffix if is_shared else None, layout)
    label_files = _files(labels, label_suffix, image_suffix if is_shared else None, layout)
    refuse(
        [
            f"{image_files[name]} has no label {labels / (name + label_suffix)}; add the label or remove "
            "the image"
            for name in sorted(image_files.keys() - label_files.keys())
        ]
        + [
            f"{label_files[name]} has no image {images / (name + image_suffix)}; add the image or remove "
            "the label"
            for name in sorted(label_files.keys() - image_files.keys())
        ]
    )
    return tuple(Pair(name, image_files[name], label_files[name]) for name in sorted(image_files))[:limit]


def _files(folder: Path, suffix: str, other_suffix: str | None, layout: str) -> dict[str, Path]:
    """Name without suffix -> file; ``other_suffix`` is that of the partners, if they share the folder."""
    if not os.path.isdir(folder):
        raise DataError(f"{folder} is missing. Expected: {layout}. Set dataset.root=/path/to/it")
    excluded = other_suffix if other_suffix and other_suffix.endswith(suffix) else None
    found: dict[str, Path] = {}
    seen: dict[str, str] = {}  # real path of each listed folder -> the path that led to it
    for place, _, names in os.walk(folder, onerror=_refuse_unlisted, followlinks=True):
        first = seen.setdefault(os.path.realpath(place), place)
        if first != place:
            raise DataError(
                f"{place} and {first} are one folder, through a symbolic link; its files would count twice: remove "
                "the link"
            )
        for name in names:
            is_hidden = name.startswith(".")  # macOS leaves ._name.png next to name.png
            if name.endswith(suffix) and not is_hidden and not (excluded and name.endswith(excluded)):
                path = Path(place, name)
                if name.encode(errors="ignore").decode() != name:
                    raise DataError(
                        f"{str(path)!r} has a name that is not valid UTF-8; rename it and its partner"
                    )
                found[path.relative_to(folder).as_posix().removesuffix(suffix)] = path
    if not found:
        others = Counter(path.suffix for path in folder.rglob("*") if path.suffix)
        held = "".join(f" It holds {count} *{ending}." for ending, count in others.most_common(3))
        raise DataError(
            f"{folder} holds no *{suffix}.{held} Expected: {layout}. Set dataset.root=/path/to/it"
        )
    return found


def _refuse_unlisted(error: OSError) -> None:
    raise DataError(
        f"{error.filename} cannot be listed ({error.strerror}); make it readable, or move it elsewhere"
    ) from error
