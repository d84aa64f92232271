"""How many of the pictures in the folder of a data set are used."""

import csv
import os
from collections import Counter
from pathlib import Path

from segprune.doctor.case import Case
from segprune.doctor.layout import held

_FOLDERS = 8
"""So many are named."""


def tell_of_unused(case: Case, root: Path, files: str) -> None:
    """Note how many images and masks below the root are used, and the folders of the others.

    Args:
        case: Gets the note.
        root: Folder of the data set.
        files: Those that are used, as ``SegData.files`` has them.
    """
    used = {
        os.path.realpath(root / path)
        for image, mask, _ in [*csv.reader(files.splitlines())][1:]
        for path in (image, mask)
    }
    count, others = 0, Counter[str]()
    for folder, names in held(root):
        count += len(names)
        others[folder] += sum(os.path.realpath(root / folder / name) not in used for name in names)
    left = [f"{number} in {folder}" for folder, number in others.most_common() if number]
    if not left:
        case.notes.append(f"all {count} images and masks in {root} are used")
        return
    more = f" and {len(left) - _FOLDERS} more folders" if len(left) > _FOLDERS else ""
    case.notes.append(
        f"{count - others.total()} of {count} images and masks in {root} are used; not used are "
        f"{', '.join(left[:_FOLDERS])}{more}"
    )
