"""Pairs of images and masks as a CSV with the columns image, mask and role: read, and written of any dataset."""

import csv
import io
import logging
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from segprune.dataset.cells import cells
from segprune.dataset.facts import refuse
from segprune.dataset.pairing import Pair, as_stored
from segprune.errors import DataError

log = logging.getLogger(__name__)

ROLES = ("fit", "select", "report")
_WORDS = {
    **dict.fromkeys(("fit", "train", "training"), "fit"),
    **dict.fromkeys(("select", "val", "valid", "validation"), "select"),
    **dict.fromkeys(("report", "test"), "report"),
}
"""What people call a role."""
_FORM = "it must be a CSV whose first line is image,mask or image,mask,role"


def read_pairs(file: Path, root: Path) -> Mapping[str, tuple[Pair, ...]]:
    """Role -> its pairs, in the order of the lines; a file without roles has all of them under ``""``.

    Args:
        file: A CSV with a line of titles, parted by commas, semicolons or tabs; paths are relative to ``root``, or
            absolute.
        root: Folder that the files belong to.

    Raises:
        DataError: It cannot be read, names a file that is not there or an image twice, or a role that is none.
    """
    try:
        lines = cells(file.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError, csv.Error) as error:
        raise DataError(f"dataset.pairs={file} cannot be read ({error}); {_FORM}") from error
    titles = [title.lower() for title in lines[0]] if lines else []
    if not {"image", "mask"} <= {*titles} <= {"image", "mask", "role"} or len({*titles}) < len(titles):
        raise DataError(f"dataset.pairs={file} begins with {','.join(titles)!r}; {_FORM}")
    found: dict[str, list[Pair]] = {}
    seen: dict[str, int] = {}
    faults = []
    for number, line in enumerate(lines[1:], 2):
        row = dict(zip(titles, line, strict=False))
        if not any(row.values()):
            continue
        place = f"dataset.pairs={file}, line {number}"
        fault = _fault(row, titles, root)
        image, mask = (as_stored(root / row.get(part, "")) for part in ("image", "mask"))
        if fault is None and (first := seen.setdefault(os.path.realpath(image), number)) != number:
            fault = f"{row['image']} is in line {first} too; one image must not be there twice: remove a line"
        if fault:
            faults.append(f"{place}: {fault}")
            continue
        role = _WORDS[row["role"].lower()] if "role" in row else ""
        name = Path(row["image"]).with_suffix("").as_posix()
        found.setdefault(role, []).append(Pair(name, image, mask))
    refuse(faults)
    if not found:
        raise DataError(f"dataset.pairs={file} names no image; {_FORM}")
    _tell_of_shared(file, [pair for pairs in found.values() for pair in pairs])
    return {role: tuple(pairs) for role, pairs in found.items()}


def _tell_of_shared(file: Path, pairs: Sequence[Pair]) -> None:
    """Say which mask several images have: right for a camera that stands still, else a slip of the table."""
    uses = Counter(pair.label for pair in pairs)
    mask, images = uses.most_common(1)[0]
    if images > 1:
        log.warning("dataset.pairs=%s gives one mask to several images: %s to %d of them", file, mask, images)


def _fault(row: Mapping[str, str], titles: Sequence[str], root: Path) -> str | None:
    if len(row) < len(titles) or not (row["image"] and row["mask"]):
        return f"it has not a value for each of {', '.join(titles)}; complete or remove it"
    if "role" in row and row["role"].lower() not in _WORDS:
        return f"the role is {row['role']!r}; write fit, select or report (or train, val or test)"
    missing = next(
        (row[part] for part in ("image", "mask") if not as_stored(root / row[part]).is_file()), None
    )
    slashes = ", write / for \\" if missing and "\\" in missing else ""
    return f"there is no {root / missing}; restore it or remove the line{slashes}" if missing else None


def as_csv(roles: Mapping[str, Sequence[Pair]], root: Path) -> str:
    """The pairs of all roles as ``read_pairs`` reads them, with paths relative to ``root`` where they can be."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["image", "mask", "role"])
    for role, pairs in roles.items():
        writer.writerows([_within(pair.image, root), _within(pair.label, root), role] for pair in pairs)
    return text.getvalue()


def _within(path: Path, root: Path) -> str:
    return path.relative_to(root).as_posix() if path.is_relative_to(root) else str(path.absolute())
