"""Overrides as Hydra reads them, whatever their values hold."""

import re
from collections.abc import Mapping
from typing import Any

_PLAIN = re.compile(r"[\w./+*-]*[\w./*-]")
_WORDS = {"null", "true", "false", "nan", "inf"}
"""Texts that Hydra reads as something else than a text."""


def override(key: str, value: Any) -> str:
    """``key=value`` in Hydra's grammar; for a shell, ``shlex.quote`` comes on top."""
    return f"{key}={_value(value)}"


def _value(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{_key(name)}: {_value(one)}" for name, one in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ",".join(map(_value, value)) + "]"
    if isinstance(value, int | float):
        return str(value).lower()
    text = str(value)
    is_plain = _PLAIN.fullmatch(text) and text.isascii() and text.lower() not in _WORDS
    is_number = re.fullmatch(r"[+-]?[\d_.]+(e[+-]?\d+)?", text, re.IGNORECASE)
    if is_plain and not is_number:
        return text
    # a backslash is one of its own unless a quote follows
    return '"' + re.sub(r'(\\*)("|$)', lambda found: 2 * found[1] + found[2].replace('"', '\\"'), text) + '"'


def _key(name: object) -> str:
    """A key of a mapping, which Hydra does not take in quotes."""
    return re.sub(r"[^\w./+* -]", lambda found: f"\\{found[0]}", str(name))
