"""Figure of images, their labels and what the networks see."""

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


def overlay(
    images: Tensor,
    labels: Sequence[Tensor],
    predictions: Mapping[str, Tensor],
    *,
    palette: Sequence[tuple[int, int, int]],
    ignore_index: int,
    classes: Sequence[str],
    is_stretched: bool = False,
) -> Figure:
    """One line per image: the image, its label, one prediction per network, and the last one's changes.

    The figure belongs to no global state; save it with ``figure.savefig(path)``.

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
    aspect = images.shape[-2] / images.shape[-1]
    size = (_PANEL_INCHES * len(columns), _PANEL_INCHES * aspect * len(images) + 1.0)
    figure = Figure(figsize=size, layout="constrained")
    axes = figure.subplots(len(images), len(columns), squeeze=False)
    for column, (title, pictures) in enumerate(columns.items()):
        axes[0, column].set_title(title)
        for line, picture in enumerate(pictures):
            axes[line, column].imshow(picture, interpolation="nearest")
            axes[line, column].set_axis_off()
    _add_legend(figure, palette, classes, COLOURS if len(predictions) > 1 else {})
    return figure


def blended(
    items: Sequence[Batch],
    *,
    palette: Sequence[tuple[int, int, int]],
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
    size = (_PANEL_INCHES * columns, _PANEL_INCHES * aspect * lines + 1.0)
    figure = Figure(figsize=size, layout="constrained")
    for axes in figure.subplots(lines, columns, squeeze=False).flat:
        axes.set_axis_off()
    for axes, item in zip(figure.axes, items, strict=False):
        image = _image(item.image, is_stretched=is_stretched)
        both = 0.5 * image + 0.5 * _colours(item.label, palette, ignore_index)
        axes.imshow(both.astype(np.uint8), interpolation="nearest")
    _add_legend(figure, palette, classes, {})
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


def _colours(
    classes_of: Tensor, palette: Sequence[tuple[int, int, int]], ignore_index: int
) -> npt.NDArray[np.uint8]:
    """(H, W) classes -> (H, W, 3) colours."""
    values = classes_of.cpu().numpy()
    colours = np.array([*palette, _VOID], dtype=np.uint8)  # (K + 1, 3)
    picture: npt.NDArray[np.uint8] = colours[np.where(values == ignore_index, len(palette), values)]
    return picture


def _add_legend(
    figure: Figure,
    palette: Sequence[tuple[int, int, int]],
    classes: Sequence[str],
    differences: Mapping[str, tuple[int, int, int]],
) -> None:
    changes = [(f"difference: {name}", colour) for name, colour in differences.items()]
    entries = [*zip(classes, palette, strict=True), ("void", _VOID), *changes]
    handles = [
        Patch(facecolor=f"#{bytes(colour).hex()}", edgecolor="grey", label=name) for name, colour in entries
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=min(len(handles), 6), frameon=False)
