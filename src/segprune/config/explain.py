"""Explains wrong values of a configuration: key, value, rule, remedy."""

import difflib
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pydantic import ValidationError
from pydantic.fields import FieldInfo
from typing_extensions import get_protocol_members, is_protocol

from segprune.config.renamed import renamed
from segprune.config.synonyms import meant

TYPES = re.compile(r" for <class '[^>]*'>| or (an )?instance of \w+")
"""What pydantic adds about the types of this program."""
LONGEST = 120
MOST_NAMED = 3
"""Missing keys of one place that have a line each."""


def explain(
    error: ValidationError, prefix: str, known: Mapping[str, FieldInfo], given: Mapping[str, Any]
) -> str:
    """One sentence per wrong key.

    Args:
        error: Of pydantic.
        prefix: What stands before its keys, with the dot.
        known: The keys of the outermost mapping, with what they take.
        given: That mapping.
    """
    rules: dict[str, list[str]] = {}
    lacking: dict[str, list[str]] = {}
    for problem in error.errors():
        loc, kind, rule = problem["loc"], problem["type"], problem["msg"]
        if kind == "missing" and isinstance(loc[-1], int):
            loc, kind, rule = loc[:-1], "too short", "input should have more values"
        *above, name = _place(loc, given, is_missing=kind == "missing")
        where = "".join(f"{part}." for part in (prefix.rstrip("."), *above) if part)
        if kind == "extra_forbidden":
            beside = list(known) if not above else [key for key in _inside(given, above) if key != name]
            close = difflib.get_close_matches(name, beside, n=1)
            hint = f". Did you mean {where}{close[0]}?" if close else "."
            there = f"there are {', '.join(beside)}{hint}"
            told = "" if where else meant(f"{name}={_inside(given, [name])}")
            rules[f"{where}{name} is not a key;"] = [renamed(f"{where}{name}") or told or there]
        elif kind == "missing":
            lacking.setdefault(where, []).append(name)
        else:
            value = _inside(given, [*above, name])
            wanted = known[name].annotation if name in known and not above else None
            rule = _lacks(value, wanted) or TYPES.sub("", rule[0].lower() + rule[1:]).replace("tuple", "list")
            what = f"{where}{name} is {spelled(value)}:"
            rules[what] = [*[f"{other.rstrip('.')}, or" for other in rules.get(what, [])], f"{rule}."]
    lines = [" ".join([what, *how]) for what, how in rules.items()]
    return "\n".join([*lines, *(line for where, names in lacking.items() for line in _missing(where, names))])


def _lacks(value: Any, wanted: Any) -> str:
    """What an object has not of the protocol that is wanted; empty where none is wanted, or it is plain data."""
    if isinstance(value, str | int | float | list | dict | None) or not is_protocol(wanted):
        return ""
    absent = sorted(name for name in get_protocol_members(wanted) if not hasattr(value, name))
    return f"it lacks {', '.join(absent)} of {wanted.__name__} in {wanted.__module__}" if absent else ""


def _missing(where: str, names: Sequence[str]) -> Iterator[str]:
    if len(names) <= MOST_NAMED:
        yield from (
            f"{where}{name} is missing; give {where}{name}=... on the command line." for name in names
        )
        return
    first, more = ", ".join(names[:MOST_NAMED]), len(names) - MOST_NAMED
    place = where.rstrip(".") or "the configuration"
    yield f"{place} lacks {first} and {more} more; give it the option of a group, or all of them."


def switches_for_numbers(given: Any, taken: Any, key: str) -> Iterator[str]:
    """One sentence per true or false that was taken for 1 or 0.

    Args:
        given: As in the configuration.
        taken: What pydantic made of it.
        key: Where it stands.
    """
    if isinstance(given, bool) and not isinstance(taken, bool):
        yield f"{key} is {spelled(given)}: input should be a number."
    elif isinstance(given, Mapping) and isinstance(taken, Mapping):
        for name in [name for name in given if name in taken]:
            yield from switches_for_numbers(given[name], taken[name], f"{key}.{name}")
    elif isinstance(given, list) and isinstance(taken, list | tuple):
        for place, (one, other) in enumerate(zip(given, taken, strict=True)):
            yield from switches_for_numbers(one, other, f"{key}.{place}")


def spelled(value: Any) -> str:
    """A value as YAML writes it, cut short where it is long."""
    text = {None: "null", True: "true", False: "false"}.get(value) if _is_word(value) else None
    text = text or repr(value)
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}..."


def _is_word(value: Any) -> bool:
    return value is None or isinstance(value, bool)


def _place(loc: Sequence[int | str], given: Any, *, is_missing: bool) -> list[str]:
    """Where a problem is: the parts of pydantic's place that are keys, not the branches of a union of types."""
    parts = []
    for depth, part in enumerate(loc):
        is_new = is_missing and depth == len(loc) - 1
        if isinstance(given, Mapping | list) and _has(given, part):
            given = given[part]  # type: ignore[index]
        elif not is_new:
            continue
        parts.append(str(part))
    return parts


def _has(given: Mapping[str, Any] | list[Any], part: int | str) -> bool:
    return part in given if isinstance(given, Mapping) else isinstance(part, int) and part < len(given)


def _inside(given: Any, parts: Sequence[str]) -> Any:
    """What stands at a place."""
    for part in parts:
        given = given[int(part)] if isinstance(given, list) else given[part]
    return given
