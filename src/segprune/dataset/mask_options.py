"""What a user says of masks, by ``dataset.values`` and ``dataset.colours``, as a mask code."""

import csv
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, TypeAdapter, ValidationError

from segprune.dataset.cells import cells
from segprune.dataset.labels import Colour, LabelSpace
from segprune.dataset.mask_code import MaskCode, as_text, packed
from segprune.errors import ConfigError

IGNORE = "ignore"
"""In the place of a class: pixels that are never scored."""
SHIFT = "shift"
"""In the place of a stored number: what is added to the numbers that are not listed."""
Byte = Annotated[int, Field(ge=0, le=255)]
RGB = tuple[Byte, Byte, Byte]
Colours = dict[str, RGB | list[RGB]]
"""Class, or ``ignore``, or any other name -> its colour or colours."""
_LINES = (
    re.compile(r"(?P<rgb>\d+\s+\d+\s+\d+)\s+(?P<name>\S.*)"),  # label_colors.txt of CamVid
    re.compile(r"(?P<name>[^:]+):(?P<rgb>\d+,\d+,\d+):[^:]*:[^:]*"),  # labelmap.txt of CVAT
)
"""Lines of text files with a name and its colour that are no table of four columns."""


def mask_code(
    space: LabelSpace, values: Mapping[int | str, int | str], colours: Colours | Path | None
) -> MaskCode:
    """What stored values stand for.

    Args:
        space: The classes.
        values: Stored number, or name of a colour -> class, its number, or ``ignore``; a number that is not listed
            stands for itself, raised by what ``shift`` gives.
        colours: Name -> colour or colours, given or in a file of ``name, r, g, b``; ``None``: masks store numbers.

    Raises:
        ConfigError: A name is no class, a colour has two names, or the file cannot be read.
    """
    if colours is None:
        names = [value for value in values if not isinstance(value, int) and value != SHIFT]
        if names:
            raise ConfigError(
                f"dataset.values names {names[0]!r}, but masks store numbers as long as dataset.colours is null; "
                "name the stored number, or give the colours"
            )
        labels = {
            int(stored): _label(to, space, "values") for stored, to in values.items() if stored != SHIFT
        }
        return _shifted(labels, values.get(SHIFT, 0), space)
    named = read_colours(colours) if isinstance(colours, Path) else _listed(colours)
    return MaskCode("colours", _of_colours(list(named), space, values))


def _shifted(labels: dict[int, int], shift: int | str, space: LabelSpace) -> MaskCode:
    if not isinstance(shift, int):
        raise ConfigError(f"dataset.values.shift is {shift!r}; it must be a whole number, such as -1")
    if shift:
        labels = {space.ignore_index: space.ignore_index, **labels}  # what is ignored stays so
    return MaskCode("numbers", labels, shift)


def _of_colours(
    named: Sequence[tuple[str, Colour]], space: LabelSpace, values: Mapping[int | str, int | str]
) -> dict[int, int]:
    unknown = [name for name in values if name not in dict(named)]
    if unknown:
        raise ConfigError(
            f"dataset.values names {unknown[0]!r}, which dataset.colours does not; allowed are its names"
        )
    labels: dict[int, int] = {}
    names: dict[int, str] = {}
    for name, colour in named:
        key = packed(colour)
        if names.setdefault(key, name) != name:
            raise ConfigError(
                f"dataset.colours gives {as_text(key, 'colours')} to {names[key]!r} and to {name!r}; every colour "
                "stands for one thing"
            )
        labels[key] = _label(values.get(name, name), space, "values" if name in values else "colours")
    return labels


def _label(to: int | str, space: LabelSpace, key: str) -> int:
    """The label of a class, its number, or ``ignore``."""
    if to in (IGNORE, space.ignore_index):
        return space.ignore_index
    if to in space.classes:
        return space.classes.index(str(to))
    if isinstance(to, int) and 0 <= to < len(space.classes):
        return to
    remedy = (
        ""
        if key == "values"
        else f", add it to dataset.classes, or give it a class by 'dataset.values={{{to}: ignore}}'"
    )
    raise ConfigError(
        f"dataset.{key} names {to!r}, which is no class; use one of {', '.join(space.classes)} or its number "
        f"0..{len(space.classes) - 1}, or {IGNORE}{remedy}"
    )


def _listed(colours: Colours) -> Iterator[tuple[str, Colour]]:
    for name, given in colours.items():
        yield from ((name, colour) for colour in (given if isinstance(given, list) else [given]))


def read_colours(file: Path) -> Iterator[tuple[str, Colour]]:
    """The colours of a table of four columns, of lines ``r g b name`` or ``name:r,g,b::``, or of a JSON.

    A JSON is ``{name: [r, g, b]}`` or a list of ``{name, color}``.

    Raises:
        ConfigError: It holds none.
    """
    try:
        text = file.read_text(encoding="utf-8-sig")
        is_text = file.suffix != ".json"
        rows = cells(text) if is_text else json.loads(text)
        found = (_of_lines(text) if is_text else []) or list(_rows(rows, is_csv=is_text))
        if not found:
            raise ValueError("it holds no colour")
        return iter(TypeAdapter(list[tuple[str, RGB]]).validate_python(found))
    except (OSError, ValueError, TypeError, KeyError, csv.Error, ValidationError) as error:
        reason = (
            f"{error.errors()[0]['msg']} in {error.errors()[0]['input']!r}"
            if isinstance(error, ValidationError)
            else error
        )
        raise ConfigError(
            f"dataset.colours={file} cannot be read ({reason}); it must be a CSV with the columns name, r, g, b, "
            'a text of lines "<r> <g> <b> <name>", or a JSON {"<name>": [<r>, <g>, <b>], ...}, with numbers 0..255'
        ) from error


def _of_lines(text: str) -> list[tuple[str, list[int]]]:
    """The colours of a text whose lines all have one of the forms of ``_LINES``, or none."""
    lines = [line.strip() for line in text.splitlines() if line.strip() and not line.startswith("#")]
    for form in _LINES:
        found = [form.fullmatch(line) for line in lines]
        if all(found):
            return [(one["name"], list(map(int, re.findall(r"\d+", one["rgb"])))) for one in found if one]
    return []


def _rows(rows: Any, *, is_csv: bool) -> Iterable[tuple[str, list[Any]]]:
    if is_csv:
        filled = [row for row in rows if any(row)]
        first = 0 if filled and all(cell.isdigit() for cell in filled[0][1:4]) else 1  # a line of titles
        return [(row[0], list(map(int, row[1:4]))) for row in filled[first:]]
    if isinstance(rows, Mapping):
        return [(name, colour) for name, given in rows.items() for colour in _each(given)]
    return [
        (row["name"], row.get("color") or row.get("colour") or [row["r"], row["g"], row["b"]]) for row in rows
    ]


def _each(given: Any) -> list[Any]:
    return given if given and isinstance(given[0], list) else [given]
