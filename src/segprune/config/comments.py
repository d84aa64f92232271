"""The comments of the YAML files, beside the keys of a composed configuration."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import yaml  # type: ignore[import-untyped]

_LINE = re.compile(r"^(?P<indent> *)(?P<key>[\w.-]+):(?P<value>[^#\n]*)(?:(?<= )# (?P<comment>.*))?$")
"""A key of a mapping; values of our files hold no #."""


def commented(text: str, comments: Mapping[str, str]) -> str:
    """YAML with the comment of each key behind its line.

    Args:
        text: A configuration as YAML, with other lines before and behind.
        comments: Dotted key -> comment.
    """
    lines = text.splitlines(keepends=True)
    places = dict(_keys(lines))
    return "".join(
        f"{line.rstrip()}  # {comments[places[number]]}\n" if places.get(number) in comments else line
        for number, line in enumerate(lines)
    )


def comments_of(conf: Path, overrides: Sequence[str]) -> Mapping[str, str]:
    """Dotted key -> comment, of the root and of the options that are chosen by default or by overrides.

    Args:
        conf: Folder of the YAML files.
        overrides: What was typed.
    """
    typed = dict(text.lstrip("+").split("=", 1) for text in overrides if "=" in text)
    found = dict(_comments(conf / "config.yaml", ""))
    for default in _defaults(conf / "config.yaml"):
        for place, option in default.items() if isinstance(default, dict) else ():
            group, _, package = place.partition("@")
            chosen = typed.get(place, option)
            if not place.startswith("override ") and chosen is not None:
                found |= _of_option(conf, group, str(chosen), package or group)
    return found


def _of_option(conf: Path, group: str, option: str, package: str) -> dict[str, str]:
    """The comments of a file, and of the files of its defaults where it has none."""
    path = conf / group / f"{option}.yaml"
    if not path.is_file():
        return {}
    found: dict[str, str] = {}
    for default in _defaults(path):
        if isinstance(default, str) and default != "_self_":
            found |= _of_option(conf, group, default, package)
    return found | dict(_comments(path, f"{package}."))


def _defaults(path: Path) -> list[dict[str, object] | str]:
    return (yaml.safe_load(path.read_text(encoding="utf-8")) or {}).get("defaults", [])  # type: ignore[no-any-return]


def _comments(path: Path, prefix: str) -> Iterator[tuple[str, str]]:
    lines = path.read_text(encoding="utf-8").splitlines()
    for number, key in _keys(lines):
        found = _LINE.match(lines[number])
        if found and found["comment"]:
            yield prefix + key, found["comment"]


def _keys(lines: Iterable[str]) -> Iterator[tuple[int, str]]:
    """Number of each line that has a key, and the dotted key."""
    above: list[tuple[int, str]] = []
    for number, line in enumerate(lines):
        if found := _LINE.match(line.rstrip("\n")):
            indent = len(found["indent"])
            while above and above[-1][0] >= indent:
                above.pop()
            above.append((indent, found["key"]))
            yield number, ".".join(key for _, key in above)
