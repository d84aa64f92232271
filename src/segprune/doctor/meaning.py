"""A guess at what the stored numbers or colours of masks mean, and which keys say so."""

import contextlib
import itertools
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from segprune.dataset.mask_code import packed
from segprune.dataset.mask_options import read_colours
from segprune.dataset.mask_pixels import OBJECTS
from segprune.doctor.contract import Problem
from segprune.errors import ConfigError

Stored = Mapping[int, int]
"""Stored number, or colour as 0xRRGGBB -> pixels of all masks."""
MOST = 64
"""No guess is made of more numbers than these, unless they have no gap: they are shades, not classes."""
_MOST_CLASSES = 255
_NO_CLASSES = (
    "Either the masks were smoothed or compressed: export them again, without antialiasing and not as JPEG. "
    f"{OBJECTS}"
)
_VOID = re.compile(r"void|unlabel+ed|ignored?|unknown|outline|border", re.IGNORECASE)


def of_numbers(stored: Stored, classes: Sequence[str] | None, ignore: int, values: object) -> list[Problem]:
    """What to say of numbers: names where none are given, and values that make them 0, 1, 2 and so on.

    Args:
        stored: Of the masks of all roles.
        classes: As given; ``None``: they are missing.
        ignore: Number of what is never scored.
        values: As given; with any, numbers are left as they are.
    """
    if values:
        return [] if classes else [_named(_made(len({*_labels(values)})), "")]
    found = sorted(stored)
    steps = {later - earlier for earlier, later in itertools.pairwise(found)}
    is_stretched = (
        len(found) > 2 and found[0] == 0 and found[-1] == ignore == 255 and len(steps) == 1 and steps != {1}
    )
    is_binary = found == [0, ignore]
    ids = found if is_stretched or is_binary else [value for value in found if value != ignore]
    if len(ids) > MOST and len(ids) <= ids[-1]:
        return [
            Problem(
                text=f"the masks hold {len(ids)} different numbers with gaps, as smoothed or compressed masks do: "
                "export them again, without antialiasing and not as JPEG"
            )
        ]
    names = classes or (["background", "foreground"] if len(ids) == 2 else _made(len(ids)))
    problems = [] if classes else [_named(names, f"; the masks hold {_few(found)}")]
    if ids == list(range(len(ids))) and len(ids) <= len(names):
        return problems
    if len(ids) == len(names):
        return [*problems, _mapped(ids, names, is_white=ignore in ids)]
    if len(ids) == len(names) + 1 and ids[0] == 0 and ids == list(range(len(ids))):
        keys = {"values": {0: "ignore", "shift": -1}}
        text = (
            f"the masks hold 0..{ids[-1]}, one number more than there are classes: 0 may be what is ignored"
        )
        return [*problems, Problem(text=text, keys=keys)]
    foreign = [value for value in ids if not 0 <= value < len(names)]
    if foreign:
        text = (
            f"the masks hold {_few(foreign)}, which is no class of the {len(names)} that are given: it may be what "
            "is ignored; if it is a class, name it in dataset.classes"
        )
        problems.append(Problem(text=text, keys={"values": dict.fromkeys(foreign, "ignore")}))
    return problems


def of_colours(
    stored: Stored, classes: Sequence[str] | None, root: Path, colours: object, values: object
) -> list[Problem]:
    """What to say of colours: the file that names them, or names that are made.

    Args:
        stored: Of the masks of all roles.
        classes: As given; ``None``: they are missing.
        root: Folder where a file of colours may lie.
        colours: As given.
        values: As given.
    """
    seen = sorted(stored, key=lambda colour: -stored[colour])
    if colours:
        with contextlib.suppress(ConfigError):  # loading says it
            return _of_given(seen, classes, _given(root, colours), values)
        return []
    if len(seen) > _MOST_CLASSES:
        return [
            Problem(text=f"the masks hold {len(seen)} colours, more than there can be classes. {_NO_CLASSES}")
        ]
    file = next((file for file in sorted(root.rglob("*")) if _names_all(file, seen)), None)
    return [_of_table(file, root, classes) if file else _of_counts(seen, classes)]


def _given(root: Path, colours: object) -> dict[str, list[list[int]]]:
    """Name -> its colours, as they are given or stand in a file."""
    if isinstance(colours, Mapping):
        rows = [(name, one) for name, given in colours.items() for one in _several(given)]
    else:
        rows = [(name, list(colour)) for name, colour in read_colours(root / str(colours))]
    named: dict[str, list[list[int]]] = {}
    for name, colour in rows:
        named.setdefault(name, []).append(colour)
    return named


def _several(given: Any) -> list[Any]:
    return given if given and isinstance(given[0], list | tuple) else [given]


def _of_given(
    seen: Sequence[int], classes: Sequence[str] | None, named: Mapping[str, list[list[int]]], values: object
) -> list[Problem]:
    problems = [] if classes else [_named(_kept_names(named, values), "")]
    known = {(red << 16) + (green << 8) + blue for parts in named.values() for red, green, blue in parts}
    rest = [colour for colour in seen if colour not in known]
    if rest:
        text = f"dataset.colours does not name {_few([_rgb(colour) for colour in rest])}"
        if len(rest) > MOST:
            return [*problems, Problem(text=f"{text}. {_NO_CLASSES}")]
        more = [*named.get("ignore", ()), *(list(_parts(colour)) for colour in rest)]
        keys = {"colours": {**named, "ignore": more}}
        text += ": they may be what is ignored; if they are a class, give them its name"
        problems.append(Problem(text=text, keys=keys))
    return problems


def _names_all(file: Path, seen: Sequence[int]) -> bool:
    """Whether a file is a table of colours that has all of these."""
    if file.suffix.lower() not in (".csv", ".json", ".txt"):
        return False
    try:
        named = read_colours(file)
    except ConfigError:
        return False
    return {packed(colour) for _, colour in named}.issuperset(seen)


def _of_table(file: Path, root: Path, classes: Sequence[str] | None) -> Problem:
    named = list(dict.fromkeys(name for name, _ in read_colours(file)))
    names = list(classes or [name for name in named if not _VOID.search(name)])
    text = f"the masks store colours, and {file} names them"
    keys = {"colours": file.relative_to(root).as_posix()}  # as it is read, below the root
    others = [name for name in named if name not in names and name != "ignore"]
    more: dict[str, Any] = {"values": dict.fromkeys(others, "ignore")} if others else {}
    if others:
        text += f"; what is no class is ignored: {_few(others)}"
    return Problem(text=text, keys={**keys, **({} if classes else {"classes": names}), **more})


def _of_counts(seen: Sequence[int], classes: Sequence[str] | None) -> Problem:
    """Names by how many pixels have each colour, which comes first."""
    names = list(classes or [_spelled(colour) for colour in seen])
    text = f"the masks store {len(seen)} colours: {_few([_rgb(colour) for colour in seen])}"
    given: dict[str, Any] = {name: list(_parts(colour)) for name, colour in zip(names, seen, strict=False)}
    if rest := [list(_parts(colour)) for colour in seen[len(names) :]]:
        given["ignore"] = rest
    if not classes:
        return Problem(text=text, keys={"colours": given, "classes": names})
    text += (
        ". Which class has which is not known: this takes them by their number of pixels, so look "
        "at data/masks.png and put them right"
    )
    return Problem(text=text, keys={"colours": given})


def _mapped(ids: Sequence[int], names: Sequence[str], *, is_white: bool) -> Problem:
    text = f"the masks hold {_few(ids)}, and classes are 0..{len(names) - 1}"
    if is_white:
        text += f": {ids[-1]} is dataset.ignore_index, so its pixels would not be used, but they look like a class"
    if ids == list(range(1, len(ids) + 1)):
        return Problem(text=text, keys={"values": {"shift": -1}})
    return Problem(
        text=text, keys={"values": {value: name for name, value in enumerate(ids) if value != name}}
    )


def _named(names: Sequence[str], what: str) -> Problem:
    return Problem(
        text=f"dataset.classes is missing{what}; these names are made up", keys={"classes": list(names)}
    )


def _made(count: int) -> list[str]:
    return [f"class_{number}" for number in range(max(2, count))]


def _labels(values: object) -> list[object]:
    kept = values.items() if isinstance(values, Mapping) else []
    return [to for stored, to in kept if to != "ignore" and stored != "shift"]


def _kept_names(names: Iterable[str], values: object) -> list[str]:
    meant = values if isinstance(values, Mapping) else {}
    return [name for name in dict.fromkeys(meant.get(name, name) for name in names) if name != "ignore"]


def _parts(colour: int) -> tuple[int, int, int]:
    return colour >> 16, colour >> 8 & 255, colour & 255


def _rgb(colour: int) -> str:
    return str(list(_parts(colour)))


def _spelled(colour: int) -> str:
    return "rgb_{}_{}_{}".format(*_parts(colour))


def _few(values: Sequence[object]) -> str:
    shown = ", ".join(map(str, values[:8]))
    return shown + (f" and {len(values) - 8} others" if len(values) > 8 else "")
