"""What a dataset holds, as text."""

from collections.abc import Mapping, Sequence

from segprune.dataset.contract import RoleSummary


def as_text(summary: Mapping[str, RoleSummary], classes: Sequence[str]) -> str:
    """One line per role, then one per class with its share of each role's labelled pixels in percent."""
    lines = [_role_line(name, role) for name, role in summary.items()]
    width = max(len("% of labelled pixels"), *map(len, classes))
    lines.append(f"{'% of labelled pixels':<{width}}" + "".join(f"{name:>10}" for name in summary))
    for index, name in enumerate(classes):
        shares = "".join(f"{_share(role, index):>10}" for role in summary.values())
        lines.append(f"{name:<{width}}{shares}")
    return "\n".join(lines)


def _role_line(name: str, role: RoleSummary) -> str:
    every = sum(role.pixels) + role.ignored
    return (
        f"{name}: {role.images} images ({_few(role.modes)}), {_few(role.sizes)} px; "
        f"{100 * role.ignored / every:.1f} % of the pixels ignored; masks hold {_few(role.stored, 12)}"
    )


def _few(names: Mapping[str, int], most: int = 3) -> str:
    """The first names, and how many others there are."""
    rest = len(names) - most
    return ", ".join(list(names)[:most]) + (f" and {rest} others" if rest > 0 else "")


def _share(role: RoleSummary, index: int) -> str:
    labelled = sum(role.pixels)
    return f"{100 * role.pixels[index] / labelled:.2f}" if role.pixels[index] else "none"
