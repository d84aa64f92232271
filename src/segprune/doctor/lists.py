"""What text files in a data set say of the roles of its images: lists of names, and tables of pairs."""

import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from segprune.dataset.pair_file import ROLES, read_pairs
from segprune.dataset.pairing import Pair, pairs_of_list
from segprune.doctor.case import silent
from segprune.doctor.layout import Place, held
from segprune.errors import DataError

Pairs = Sequence[Pair]
_TABLES = (".csv", ".tsv")
_TEXTS = (".txt", ".lst", *_TABLES)
_ROLES = {"train": "fit", "val": "select", "dev": "select", "test": "report"}
_MOST_BYTES = 10**8


@dataclass(frozen=True, kw_only=True)
class Said:
    """What a table says, or several files of a role each.

    Attributes:
        files: Role -> the file that names its images, relative to the root.
        roles: Role -> its pairs; those of a table without roles are under ``""``. A list with faults has none.
        is_list: Whether the files are lists of names, which are read with the folders of a place.
    """

    files: Mapping[str, str]
    roles: Mapping[str, Pairs]
    is_list: bool


def said_by_texts(root: Path, places: Sequence[Place], ours: Path) -> tuple[Said | None, list[str]]:
    """What says which image is whose, and why each text file that names images does not, where nothing does.

    Args:
        root: Folder of the data set.
        places: Where its images are; lists are read with a single one alone.
        ours: Folder of tables that the doctor wrote, which are left alone.
    """
    naming = {
        file: lines for file, lines in _naming(root, places) if file.parent.absolute() != ours.absolute()
    }
    why = {
        file: f"{file}: "
        + ("no other role has one" if _role(file) else "its name has none of train, val, test")
        for file in naming
    }
    return next(_said(root, places, naming, why), None), list(why.values())


def _said(
    root: Path, places: Sequence[Place], naming: Mapping[Path, int], why: dict[Path, str]
) -> Iterator[Said]:
    """A table of roles, lists or tables with roles in their names, a table without roles: what there is."""
    tables = dict(_tables(root, naming, why))
    for file, roles in tables.items():
        if "fit" in roles and len(roles) > 1:
            yield _as_said(root, {role: (file, pairs) for role, pairs in roles.items()}, is_list=False)
    readers: dict[bool, Callable[[Path], Pairs | None]] = {
        True: lambda file: _listed(root, places, file, naming[file], why),
        False: lambda file: tables.get(file, {}).get(""),
    }
    for is_list, read in readers.items():
        found = _by_name(naming, read, why)
        if "fit" in found and len(found) > 1:
            yield _as_said(root, found, is_list=is_list)
    for file, roles in tables.items():
        if "" in roles:
            yield _as_said(root, {"": (file, roles[""])}, is_list=False)


def _as_said(root: Path, found: Mapping[str, tuple[Path, Pairs]], *, is_list: bool) -> Said:
    return Said(
        files={role: file.relative_to(root).as_posix() for role, (file, _) in found.items()},
        roles={role: pairs for role, (_, pairs) in found.items()},
        is_list=is_list,
    )


def _naming(root: Path, places: Sequence[Place]) -> Iterator[tuple[Path, int]]:
    """Text files of which at least half of the lines name a picture, short names first, and how many lines."""
    ends = {end for place in places for end in (*place.image_suffix, *place.mask_suffix)}
    known = set[str]()
    for _, names in held(root):
        for name in names:
            known |= {name, os.path.splitext(name)[0], *(name.removesuffix(end) for end in ends)} - {""}
    texts = [root / folder / name for folder, names in held(root, _TEXTS) for name in names]
    for file in sorted(texts, key=lambda text: (len(text.name), text)):
        lines = [line for line in _text(file).splitlines() if line.strip() and not line.startswith("#")]
        if lines and 2 * sum(not known.isdisjoint(_names(line)) for line in lines) >= len(lines):
            yield file, len(lines)


def _text(file: Path) -> str:
    """What a file holds, whatever its encoding may be; of one that cannot be read or is huge, nothing."""
    try:
        if file.stat().st_size > _MOST_BYTES:
            return ""
        return file.read_text(encoding="utf-8-sig", errors="replace").replace("\0", "")  # of UTF-16
    except OSError:
        return ""


def _names(line: str) -> Iterator[str]:
    """The names of files that a line may hold, without folders."""
    for cell in (*re.split(r"[,;\t]", line), *line.split()):
        yield re.split(r"[/\\]", cell.strip().strip('"'))[-1]


def _role(file: Path) -> str | None:
    word = re.search("|".join(_ROLES), file.stem.lower())
    return _ROLES[word[0]] if word else None


def _tables(
    root: Path, files: Iterable[Path], why: dict[Path, str]
) -> Iterator[tuple[Path, Mapping[str, Pairs]]]:
    for file in files:
        try:
            with silent():
                roles = read_pairs(file, root)
        except DataError as error:
            if file.suffix.lower() in _TABLES:
                why[file] = _first(error)
        else:
            if "" not in roles:
                why[file] = f"{file}: it has the role {', '.join(roles)} alone"
            yield file, roles


def _listed(
    root: Path, places: Sequence[Place], file: Path, lines: int, why: dict[Path, str]
) -> Pairs | None:
    """The pairs of a list; none if a few of its lines have faults, which loading tells; None: it is no list."""
    if len(places) != 1:
        why[file] = f"{file}: lists are read with one folder of images, and there are {len(places)}"
        return None
    (place,) = places
    suffixes = place.image_suffix, place.mask_suffix
    try:
        return pairs_of_list(root / place.images, root / place.masks, file, suffixes=suffixes, layout="")
    except DataError as error:
        if 0 < 2 * len(error.faults) < lines:
            return ()
        why[file] = _first(error)
        return None


def _by_name(
    files: Iterable[Path], read: Callable[[Path], Pairs | None], why: dict[Path, str]
) -> dict[str, tuple[Path, Pairs]]:
    """Role -> the first file whose name says that role and whose images no other role has."""
    found: dict[str, tuple[Path, Pairs]] = {}
    for role in ROLES:
        for file in files:
            if role in found or _role(file) != role or (pairs := read(file)) is None:
                continue
            other = next((one for one, theirs in found.values() if not {*pairs}.isdisjoint(theirs)), None)
            if other:
                why[file] = f"{file}: it names images of {other} too"
            else:
                found[role] = file, pairs
    return found


def _first(error: DataError) -> str:
    return (error.faults or (str(error),))[0]
