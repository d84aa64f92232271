"""Names as texts of a figure: plain, short, and different where the names are."""

from collections.abc import Iterable

_GAP = "..."


def plain(text: str, width: int = 40) -> str:
    """Text for a figure: without formulas and line breaks; of a long one the beginning and the end."""
    line = " ".join(text.split())
    if len(line) > width:
        tail = (width - len(_GAP)) // 2
        line = f"{line[: width - len(_GAP) - tail].rstrip()}{_GAP}{line[-tail:].lstrip()}"
    return line.replace("$", r"\$") or "-"


def labels(names: Iterable[str], width: int = 40) -> dict[str, str]:
    """Name -> its ``plain`` text, no longer than the width or than it takes for all texts to differ."""
    names = list(dict.fromkeys(names))
    found: dict[str, str] = {}
    for letters in range(width, 1 + max([width, *map(len, names)])):
        found = {name: plain(name, letters) for name in names}
        if len(set(found.values())) == len(names):
            break
    return found
