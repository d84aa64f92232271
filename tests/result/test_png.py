import io
from collections.abc import Callable

import pytest
import torch
from matplotlib.figure import Figure

from segprune.result.confusion import confusion_figure
from segprune.result.overlay import overlay
from segprune.result.png import png

CLASSES = ("sky", "road", "a rather long name of a class")


def confusion() -> Figure:
    counts = {name: torch.arange(9).reshape(3, 3) for name in ("dense", "finetuned")}
    return confusion_figure(CLASSES, counts)


def prediction() -> Figure:
    images = torch.linspace(0, 1, 2 * 3 * 20 * 30).reshape(2, 3, 20, 30)
    labels = [torch.arange(600).reshape(20, 30) % 3] * 2
    found = {name: torch.stack(labels) for name in ("dense", "finetuned")}
    palette = [(0, 0, 0), (9, 99, 199), (255, 0, 0)]
    return overlay(images, labels, found, palette=palette, ignore_index=255, classes=CLASSES)


def plain() -> Figure:
    figure = Figure(dpi=150)
    figure.subplots().plot([0, 1], [1, 0])
    return figure


def tight() -> Figure:
    figure = Figure(layout="tight", dpi=72)
    figure.subplots().set_title("a title")
    return figure


@pytest.mark.parametrize("draw", [confusion, prediction, plain, tight])
def test_it_is_the_file_that_savefig_writes(draw: Callable[[], Figure]) -> None:
    buffer = io.BytesIO()
    draw().savefig(buffer, format="png", dpi=100)
    assert png(draw()) == buffer.getvalue()
