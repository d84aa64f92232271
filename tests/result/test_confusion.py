import io

import numpy as np
import pytest
import torch
from PIL import Image

from segprune.result.confusion import confusion_figure, confusion_table

COUNTS = torch.tensor([[6, 2, 0], [1, 3, 0], [0, 0, 0]])
CLASSES = ["road", "pole", "bike"]


def test_the_table_has_the_counts_of_every_network_and_true_class() -> None:
    table = confusion_table(CLASSES, {"dense": COUNTS, "pruned": 2**40 * COUNTS})
    assert list(table) == ["stage", "class", "as road", "as pole", "as bike"]
    assert table.iloc[1].tolist() == ["dense", "pole", 1, 3, 0]
    assert table.iloc[3].tolist() == ["pruned", "road", 6 * 2**40, 2 * 2**40, 0]
    assert len(table) == 6


def test_the_figure_says_shares_of_each_true_class_by_name() -> None:
    figure = confusion_figure(CLASSES, {"dense": COUNTS, "finetuned": COUNTS})
    dense, finetuned, _ = figure.axes
    assert [ax.get_title() for ax in (dense, finetuned)] == ["dense", "finetuned"]
    assert [text.get_text() for text in dense.texts] == ["75", "25", "25", "75"]
    assert [label.get_text() for label in dense.get_yticklabels()] == CLASSES
    shares = dense.images[0].get_array()
    assert np.array_equal(np.ma.filled(shares, np.nan)[:2], [[75, 25, 0], [25, 75, 0]])
    assert np.isnan(np.ma.filled(shares, np.nan)[2]).all()  # no label holds it


def test_a_share_below_half_a_percent_is_not_shown_as_none() -> None:
    figure = confusion_figure(["a", "b"], {"dense": torch.tensor([[999, 1], [0, 5]])})
    ax, bar = figure.axes
    assert [text.get_text() for text in ax.texts] == ["100", "100"]
    (dots,) = ax.collections
    assert dots.get_offsets().tolist() == [[1, 0]]  # not at [0, 1], where there is none
    assert (ax.get_xlim(), ax.get_ylim()) == ((-0.5, 1.5), (1.5, -0.5))
    assert "dot: less than 0.5" in bar.get_ylabel()


def test_classes_that_begin_alike_have_different_names() -> None:
    names = [f"construction--barrier--{what}--horizontal" for what in ("curb", "fence")]
    ax = confusion_figure(names, {"dense": torch.eye(2, dtype=torch.int64)}).axes[0]
    assert len({label.get_text() for label in ax.get_yticklabels()}) == 2


@pytest.mark.slow
def test_many_classes_have_no_numbers_and_the_figure_can_be_drawn() -> None:
    names = [f"class with a very long name {index}" for index in range(60)]
    figure = confusion_figure(names, {"dense": torch.eye(60, dtype=torch.int64)})
    assert not figure.axes[0].texts
    assert figure.axes[0].get_yticklabels()[0].get_text() == "class wi...name 0"
    file = io.BytesIO()
    figure.savefig(file, dpi=20)
    assert min(Image.open(file).size) > 100
