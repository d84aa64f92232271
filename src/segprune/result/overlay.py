"""Figure of images, their labels and what the networks see."""

from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
import torch
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from torch import Tensor

from segprune.dataset.contract import Batch
from segprune.result.difference import COLOURS, difference

_VOID = (0, 0, 0)
_PANEL_INCHES = 3.2
_NAMED = 30
"""So many classes a legend names at most, those of most pixels."""
_COLUMNS = 6
_ROW_INCHES = 0.22
_GAP = 0.04
"""Between two pictures, as a fraction of their height."""
Colour = tuple[int, int, int]


def overlay(
    images: Tensor,
    labels: Sequence[Tensor],
    predictions: Mapping[str, Tensor],
    *,
    palette: Sequence[Colour],
    ignore_index: int,
    classes: Sequence[str],
    is_stretched: bool = False,
) -> Figure:
    """One line per image: the image, its label, one prediction per network, and the last one's changes.

    The figure belongs to no global state; save it with ``png``.

    Args:
        images: (n, C, H, W) float in [0, 1].
        labels: n x (h, w) integer, 0..K-1 or the ignore index, which is drawn black.
        predictions: Title -> (n, h', w') integer, 0..K-1.
        palette: K colours, RGB 0..255.
        ignore_index: Label of unlabelled pixels.
        classes: K names.
        is_stretched: Whether the brightness of each image is stretched, as for numbers of 16 bits.
    """
    columns: dict[str, list[npt.NDArray[np.uint8]]] = {
        "image": [_image(image, is_stretched=is_stretched) for image in images],
        "truth": [_colours(label, palette, ignore_index) for label in labels],
    }
    columns |= {
        title: [_colours(classes_of, palette, ignore_index) for classes_of in values]
        for title, values in predictions.items()
    }
    if len(predictions) > 1:
        first, *_, last = predictions.values()
        columns[f"difference to {next(iter(predictions))}"] = [
            difference(*found, ignore_index=ignore_index) for found in zip(labels, first, last, strict=True)
        ]
    drawn = [*labels, *(classes_of for values in predictions.values() for classes_of in values)]
    entries = _entries(drawn, palette, ignore_index, classes)
    if len(predictions) > 1:
        entries |= {f"difference: {name}": colour for name, colour in COLOURS.items()}
    aspect = images.shape[-2] / images.shape[-1]
    lines = len(images) + _GAP * (len(images) - 1)
    figure = _figure(len(columns), lines, aspect, entries)
    panels = figure.subplots(1, len(columns), squeeze=False)[0]
    for axes, (title, pictures) in zip(panels, columns.items(), strict=True):
        axes.set_title(title)
        axes.imshow(_below_each_other(pictures), interpolation="nearest")
        axes.set_axis_off()
        axes.set(xticks=[], yticks=[])  # they would be laid out, although nobody sees them
    return figure


def blended(
    items: Sequence[Batch],
    *,
    palette: Sequence[Colour],
    ignore_index: int,
    classes: Sequence[str],
    is_stretched: bool = False,
) -> Figure:
    """Images with their labels laid over them, four in a line.

    Args:
        items: Image (C, H, W) float in [0, 1] and label (H, W) of each, all of one size.
        palette: K colours, RGB 0..255.
        ignore_index: Label of unscored pixels, which are drawn black.
        classes: K names.
        is_stretched: Whether the brightness of each image is stretched, as for numbers of 16 bits.
    """
    columns = min(4, len(items))
    lines = -(-len(items) // columns)
    aspect = items[0].image.shape[-2] / items[0].image.shape[-1]
    entries = _entries([item.label for item in items], palette, ignore_index, classes)
    figure = _figure(columns, lines, aspect, entries)
    for axes in figure.subplots(lines, columns, squeeze=False).flat:
        axes.set_axis_off()
    for axes, item in zip(figure.axes, items, strict=False):
        image = _image(item.image, is_stretched=is_stretched)
        both = 0.5 * image + 0.5 * _colours(item.label, palette, ignore_index)
        axes.imshow(both.astype(np.uint8), interpolation="nearest")
    return figure


def _image(image: Tensor, *, is_stretched: bool = False) -> npt.NDArray[np.uint8]:
    """(C, H, W) in [0, 1] -> (H, W, 3) 0..255: the first three bands, or one band in gray."""
    shown = image.detach()[:3] if len(image) > 2 else image.detach()[:1].expand(3, -1, -1)
    shown = _stretched(shown) if is_stretched else shown
    pixels = shown.clamp(0, 1).mul(255).round().permute(1, 2, 0)  # (H, W, 3)
    return pixels.cpu().numpy().astype(np.uint8)


def _stretched(image: Tensor) -> Tensor:
    """(3, H, W) whose bands run from 0 to 1 between their 2nd and 98th percentile: numbers of 16 bits are dark."""
    flat = image.flatten(1)
    low, high = (torch.quantile(flat[:, :: _every(flat)], at, dim=1)[:, None, None] for at in (0.02, 0.98))
    return (image - low) / (high - low).clamp_min(1e-6)


def _every(flat: Tensor) -> int:
    """So that at most a million values are ranked."""
    return 1 + flat.shape[1] // 1_000_000


def _colours(classes_of: Tensor, palette: Sequence[Colour], ignore_index: int) -> npt.NDArray[np.uint8]:
    """(H, W) classes -> (H, W, 3) colours."""
    values = classes_of.cpu().numpy()
    colours = np.array([*palette, _VOID], dtype=np.uint8)  # (K + 1, 3)
    picture: npt.NDArray[np.uint8] = colours[np.where(values == ignore_index, len(palette), values)]
    return picture


def _below_each_other(pictures: Sequence[npt.NDArray[np.uint8]]) -> npt.NDArray[np.uint8]:
    """One picture (H, W, 3) of several, with white between them; all get the size of the first.

    A panel for each would take most of the time that the figure does.
    """
    height, width, _ = pictures[0].shape
    white = np.full((max(1, round(_GAP * height)), width, 3), 255, dtype=np.uint8)
    lines: list[npt.NDArray[np.uint8]] = []
    for picture in pictures:
        rows, columns = (
            np.arange(shown) * size // shown
            for shown, size in zip((height, width), picture.shape[:2], strict=True)
        )
        lines += [white, picture[rows[:, None], columns]]
    return np.concatenate(lines[1:])


def _entries(
    drawn: Sequence[Tensor], palette: Sequence[Colour], ignore_index: int, classes: Sequence[str]
) -> dict[str, Colour | None]:
    """Name -> colour of what is drawn, in the order of the classes; of many, those of most pixels."""
    found = Counter[int]()
    for classes_of in drawn:
        values, pixels = np.unique(classes_of.cpu().numpy(), return_counts=True)
        found.update(dict(zip(values.tolist(), pixels.tolist(), strict=True)))
    has_void = found.pop(ignore_index, 0) > 0
    named = sorted(value for value, _ in found.most_common(_NAMED))
    entries: dict[str, Colour | None] = {classes[value]: palette[value] for value in named}
    if rest := len(found) - len(named):
        entries[f"and {rest} others"] = None
    return entries | ({"void": _VOID} if has_void else {})


def _figure(columns: int, lines: float, aspect: float, entries: Mapping[str, Colour | None]) -> Figure:
    """An empty figure with room for the panels and for the legend below them."""
    height = _PANEL_INCHES * aspect * lines + _ROW_INCHES * (2 + -(-len(entries) // _COLUMNS))
    figure = Figure(figsize=(_PANEL_INCHES * columns, height), layout="constrained")
    handles = [
        Patch(
            facecolor=f"#{bytes(colour).hex()}" if colour else "none",
            edgecolor="grey" if colour else "none",
            label=name,
        )
        for name, colour in entries.items()
    ]
    figure.legend(
        handles=handles, loc="outside lower center", ncols=min(len(handles), _COLUMNS), frameon=False
    )
    return figure
