"""The common look of the report's figures: one colour and mark per method, and text without formulas."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from segprune.result.label import labels, plain
from segprune.tracking.color import color

KEPT, REMOVED = "#3b6ea5", "#d9a441"
_SIGN_INCH, _LETTER_INCH = 0.6, 0.075
"""Width of a mark with the space around it in a legend, and of a letter of 8 points."""
_LINE_INCH, _USUAL_LINES = 0.17, 3
"""Height of a line of a legend, and how many lines the figures have room for."""
_MARKERS = "osD^vPX<>hp8"
_GREYS = {"dense": 0.1, "half": 0.3, "l1": 0.5, "random": 0.75}
"""What others are compared with; hues are for those that are compared."""


@dataclass(frozen=True, kw_only=True)
class Where:
    """What the numbers of a figure were measured on.

    Attributes:
        dataset: Name of the dataset.
        split: Name of the scored split.
        size_hw: Height and width of the network's input in pixels.
    """

    dataset: str
    split: str
    size_hw: tuple[int, int]

    @property
    def miou(self) -> str:
        """Label of an axis of mIoU."""
        return f"mIoU on {self.data} (%)"

    @property
    def data(self) -> str:
        """Dataset, split and input size."""
        return plain(f"{self.dataset} {self.split}, {self.size_hw[0]}x{self.size_hw[1]} px")


def hue(method: str, ratio: float = 0.45) -> str:
    """The colour of a method, for other methods than controls that of the tracking UI; a larger ratio is darker."""
    if method in _GREYS:
        level = round(255 * (_GREYS[method] + 0.25 * (0.45 - ratio)))
        return f"#{level:02x}{level:02x}{level:02x}"
    return color(method, ratio)


def marker(method: str, methods: Iterable[str]) -> str:
    """A mark that tells the methods apart without colour; a star is the dense network."""
    if method == "dense":
        return "*"
    order = sorted(set(methods) - {"dense"})
    return _MARKERS[order.index(method) % len(_MARKERS)]


def legend_below(figure: Figure, axes: Sequence[Axes]) -> None:
    """One legend for all axes, below them, of the whole names; the figure grows by what the legend needs."""
    entries = {
        name: handle for ax in axes for handle, name in zip(*ax.get_legend_handles_labels(), strict=True)
    }
    if entries:
        texts = labels(entries).values()
        widest = max(1.8, _SIGN_INCH + _LETTER_INCH * max(map(len, texts)))
        columns = min(len(entries), max(1, int(figure.get_figwidth() // widest)))
        rows = -(-len(entries) // columns)
        figure.set_figheight(figure.get_figheight() + _LINE_INCH * max(0, rows - _USUAL_LINES))
        figure.legend(
            list(entries.values()),
            list(texts),
            loc="outside lower center",
            ncols=columns,
            frameon=False,
            fontsize=8,
        )


def empty(ax: Axes, reason: str) -> None:
    """Write in place of a plot why there is none."""
    ax.text(0.5, 0.5, reason, ha="center", va="center", transform=ax.transAxes, color="#666666")
    ax.set_xticks([])
    ax.set_yticks([])
