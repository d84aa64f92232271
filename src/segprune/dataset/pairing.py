"""Finding image and label files that belong together."""

import fnmatch
import glob
import logging
import os
import re
import unicodedata
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from segprune.dataset.facts import refuse
from segprune.errors import DataError

log = logging.getLogger(__name__)


class Pair(NamedTuple):
    """An image file and its label file.

    Attributes:
        name: The part that the two file names share, relative to the folder of the split, with ``/``; of letters
            and their accents as one sign.
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


PICTURES = (".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp", ".ppm")
"""How names of images usually end."""
Suffixes = tuple[tuple[str, ...], tuple[str, ...]]
"""How names of images and of labels may end; the rest is the same for both files of a pair."""


def list_pairs(
    images: Path,
    labels: Path,
    *,
    suffixes: Suffixes,
    layout: str,
    limit: int | None = None,
    only: Sequence[str] | None = None,
    where: str | None = None,
) -> tuple[Pair, ...]:
    """The pairs of two folders and their subfolders, in the order of their names.

    Args:
        images: Folder of images.
        labels: Folder of labels; may be that of the images.
        suffixes: How names of images and of labels end.
        layout: What is expected, for the messages.
        limit: Only the first so many; ``None``: all.
        only: Patterns of the names that are taken, with ``*`` for anything; ``None``: all are.
        where: The key that names the folders, if suffixes are keys too.

    Raises:
        DataError: A folder is missing, cannot be listed, holds no such file or leads into itself, a file has no
            partner, or two files have one name.
    """
    image_files, label_files = _both(images, labels, suffixes, layout)
    if only is not None:
        image_files, label_files = _taken(only, image_files, label_files, where or layout)
    if where is not None:
        _tell_of_others(images, suffixes[0] + (suffixes[1] if images == labels else ()))
    refuse(
        [
            f"{image_files[name]} has no label {_expected(labels, name, suffixes[1])}; "
            + _remedy("label", labels, name, is_key=where is not None)
            for name in sorted(image_files.keys() - label_files.keys())
        ]
        + [
            f"{label_files[name]} has no image {_expected(images, name, suffixes[0])}; "
            + _remedy("image", images, name, is_key=where is not None)
            for name in sorted(label_files.keys() - image_files.keys())
        ]
    )
    return tuple(Pair(name, image_files[name], label_files[name]) for name in sorted(image_files))[:limit]


def _tell_of_others(folder: Path, endings: tuple[str, ...]) -> None:
    """Say which pictures of a folder of images have none of the endings, such as .PNG beside .png."""
    others = [
        path.name
        for path in files_below(folder)
        if path.suffix.lower() in PICTURES and not path.name.endswith(endings)
    ]
    if others:
        log.warning(
            "%s holds %d other pictures, which are not used, such as %s; if they are images, add their ending to "
            "dataset.image_suffix",
            *(folder, len(others), min(others)),
        )


def matched(images: Path, labels: Path, suffixes: Suffixes) -> tuple[Pair, ...]:
    """The pairs of two folders; files without a partner are left out. Raises as ``list_pairs``."""
    image_files, label_files = _both(images, labels, suffixes, "")
    both = sorted(image_files.keys() & label_files.keys())
    return tuple(Pair(name, image_files[name], label_files[name]) for name in both)


def pairs_of_list(
    images: Path, labels: Path, file: Path, *, suffixes: Suffixes, layout: str
) -> tuple[Pair, ...]:
    """The pairs that a text file names, one a line, in its order; further files of the folders are left alone.

    A line may have more columns behind the name, as in Oxford-IIIT Pet, such as the path of the label; folders
    before the name, down to that of the images, are left out. A line that begins with # is a comment.

    Args:
        images: Folder of images.
        labels: Folder of labels.
        file: Each line is the name of an image in ``images``, with or without its suffix.
        suffixes: As of ``list_pairs``.
        layout: Likewise.

    Raises:
        DataError: The file cannot be read or is empty, or a line names no pair, or one that was named before.
    """
    try:
        lines = [line.strip() for line in _composed(file.read_text(encoding="utf-8-sig")).splitlines()]
    except (OSError, ValueError) as error:
        raise DataError(
            f"{file} cannot be read ({error}); it must be a text of one image name a line"
        ) from error
    named = [(number, line) for number, line in enumerate(lines, 1) if line and not line.startswith("#")]
    if not named:
        raise DataError(f"{file} names no image; it must have one image name a line")
    image_files, label_files = _both(images, labels, suffixes, layout)
    found: dict[str, Pair] = {}
    faults = []
    for number, line in named:
        names = list(_names(line, _composed(images.name), suffixes[0]))
        has_file = (
            line.split()[0].lower().endswith((*suffixes[0], *PICTURES))
        )  # so further columns are not its name
        name = next((name for name in names if name in image_files), names[-1 if has_file else 0])
        other = "" if name == names[0] else line.split()[-1]  # a line that is a name has no further columns
        if name in found:
            fault = f"{line} is there twice; remove one"
        elif name not in image_files or name not in label_files:
            place = (images, name, suffixes[0]) if name not in image_files else (labels, name, suffixes[1])
            lacking = images / name if name.lower().endswith(PICTURES) else _expected(*place)
            fault = f"there is no {lacking}; restore it or remove the line"
        elif other.endswith(suffixes[1]) and Path(other).name != _composed(label_files[name].name):
            fault = (
                f"the label of {name} would be {label_files[name]} and not {other}; give a table of both as "
                "dataset.pairs=pairs.csv"
            )
        else:
            found[name] = Pair(name, image_files[name], label_files[name])
            continue
        faults.append(f"{file}, line {number}: {fault}")
    refuse(faults)
    return tuple(found.values())


def _names(line: str, folder: str, suffixes: tuple[str, ...]) -> Iterator[str]:
    """What a line of a list may name: all of it, its first column, that without the folders before the name."""
    first = line.split(maxsplit=1)[0]
    yield from (_without_suffix(name, suffixes) for name in (line, first, first.rpartition(f"{folder}/")[2]))


def _without_suffix(line: str, suffixes: tuple[str, ...]) -> str:
    return next((line.removesuffix(end) for end in suffixes if line.endswith(end)), line)


def _both(
    images: Path, labels: Path, suffixes: Suffixes, layout: str
) -> tuple[dict[str, Path], dict[str, Path]]:
    """Name -> file, of the images and of the labels."""
    ours, theirs = suffixes
    is_shared = images == labels
    return (
        _files(images, ours, theirs if is_shared else (), layout),
        _files(labels, theirs, ours if is_shared else (), layout),
    )


def _composed(text: str) -> str:
    """A text with one sign for a letter and its accent; systems write file names with one or with two."""
    return unicodedata.normalize("NFC", text)


def as_stored(path: Path) -> Path:
    """The file of that name, however its accents are written; the path as it is if there is none."""
    forms = (Path(unicodedata.normalize(form, str(path))) for form in ("NFC", "NFD"))
    return next((one for one in (path, *forms) if one.is_file()), path)


def _expected(folder: Path, name: str, suffixes: tuple[str, ...]) -> str:
    return " or ".join(str(folder / (name + suffix)) for suffix in suffixes)


def _taken(
    only: Sequence[str], images: dict[str, Path], labels: dict[str, Path], where: str
) -> tuple[dict[str, Path], dict[str, Path]]:
    """Of both, those whose name fits a pattern."""
    only = [*map(_composed, only)]
    idle = [pattern for pattern in only if not fnmatch.filter(images, pattern)]
    names = ", ".join(map(repr, idle))
    told = f"{where}.only has {names}, which is the name of no image; the first one is {min(images)!r}"
    if len(idle) == len(only):
        raise DataError(f"{told}. Correct it, with * for anything")
    if idle:
        log.warning("%s", told)
    is_taken = re.compile("|".join(map(fnmatch.translate, only))).match
    return tuple({name: path for name, path in files.items() if is_taken(name)} for files in (images, labels))  # type: ignore[return-value]


def _remedy(part: str, folder: Path, name: str, *, is_key: bool) -> str:
    """What to do about a missing partner: name the ending of a file that has the name with another one."""
    other = {"label": "image", "image": "label"}[part]
    key = {"label": "dataset.mask_suffix", "image": "dataset.image_suffix"}[part]
    place = (folder / name).parent
    near = (
        sorted(path for path in place.glob(f"{glob.escape(Path(name).name)}*") if path.is_file())
        if is_key
        else []
    )
    if near:
        ending = near[0].name.removeprefix(Path(name).name)
        return f"there is {near[0]}: if that is it, give {key}={ending}, or add that to a list: {key}=[...]"
    return f"add the {part} or remove the {other}"


def _files(
    folder: Path, suffixes: tuple[str, ...], partners: tuple[str, ...], layout: str
) -> dict[str, Path]:
    """Name without suffix -> file; ``partners`` are the suffixes of the partners, if they share the folder."""
    if not os.path.isdir(folder):
        raise DataError(f"{folder} is missing. Expected: {layout}. Set dataset.root=/path/to/it")
    found: dict[str, Path] = {}
    for path in files_below(folder):
        composed = _composed(path.name)
        ends = [end for end in suffixes if composed.endswith(end)]
        longer = [
            end for end in partners if composed.endswith(end) and any(end.endswith(own) for own in ends)
        ]
        if ends and not longer:
            if path.name.encode(errors="ignore").decode() != path.name:
                raise DataError(
                    f"{str(path)!r} has a name that is not valid UTF-8; rename it and its partner"
                )
            name = _composed(path.relative_to(folder).as_posix()).removesuffix(max(ends, key=len))
            if found.setdefault(name, path) != path:
                raise DataError(f"{path} and {found[name]} have one name; remove or rename one of them")
    if not found:
        others = Counter(path.suffix for path in files_below(folder) if path.suffix)
        held = "".join(f" It holds {count} *{ending}." for ending, count in others.most_common(3))
        wanted = " or ".join(f"*{suffix}" for suffix in suffixes)
        raise DataError(
            f"{folder} holds no {wanted}.{held} Expected: {layout}. Set dataset.root=/path/to/it"
            + (" or the suffix" if "fit: " in layout else "")
        )
    return found


def files_below(folder: Path) -> Iterator[Path]:
    """All files below a folder, but those whose name, or that of a folder on the way, begins with a dot.

    Such are the ``._name.png`` that macOS leaves next to name.png, and ``.ipynb_checkpoints``.

    Raises:
        DataError: A folder cannot be listed, or two are one through a symbolic link.
    """
    seen: dict[str, str] = {}  # real path of each listed folder -> the path that led to it
    for place, folders, names in os.walk(folder, onerror=_refuse_unlisted, followlinks=True):
        folders[:] = [name for name in folders if not name.startswith(".")]
        first = seen.setdefault(os.path.realpath(place), place)
        if first != place:
            raise DataError(
                f"{place} and {first} are one folder, through a symbolic link; its files would count twice: remove "
                "the link"
            )
        yield from (Path(place, name) for name in names if not name.startswith("."))


def _refuse_unlisted(error: OSError) -> None:
    raise DataError(
        f"{error.filename} cannot be listed ({error.strerror}); make it readable, or move it elsewhere"
    ) from error
