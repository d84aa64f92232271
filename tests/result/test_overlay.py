from pathlib import Path

import numpy as np
import torch
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

from segprune.dataset.contract import Batch
from segprune.result.difference import COLOURS
from segprune.result.overlay import blended, overlay

PALETTE = ((10, 20, 30), (200, 100, 0), (0, 255, 0))
CLASSES = ("road", "sky", "pole")


def figure_of_two() -> Figure:
    # labels are twice as large as the images
    label = torch.tensor([[0, 1, 2, 255], [255, 2, 1, 0]]).expand(2, 2, 4)
    return overlay(
        torch.tensor([0.0, 0.5, 2.0]).view(1, 3, 1, 1).expand(2, 3, 1, 2),
        label,
        {"dense": torch.zeros(2, 2, 4, dtype=torch.int64), "pruned": torch.full((2, 2, 4), 2)},
        palette=PALETTE,
        ignore_index=255,
        classes=CLASSES,
    )


def pictures(figure: Figure) -> list[np.ndarray]:
    return [np.asarray(axes.images[0].get_array()) for axes in figure.axes]


def test_each_image_has_a_line_and_each_network_a_column() -> None:
    figure = figure_of_two()
    titles = ["image", "truth", "dense", "pruned", "difference to dense"]
    assert [axes.get_title() for axes in figure.axes] == titles
    for picture, height in zip(pictures(figure), (1, 2, 2, 2, 2), strict=True):
        above, gap, below = np.split(picture, [height, height + 1])
        assert above.tolist() == below.tolist()
        assert (gap == 255).all()


def test_pictures_of_other_sizes_are_shown_as_large_as_the_first() -> None:
    labels = [torch.tensor([[0, 1], [2, 255]]), torch.tensor([[0, 1, 2], [2, 1, 0], [0, 0, 0]])]
    figure = overlay(torch.zeros(2, 3, 1, 2), labels, {}, palette=PALETTE, ignore_index=255, classes=CLASSES)
    first, _, second = np.split(pictures(figure)[1], [2, 3])
    assert first.tolist() == [[list(PALETTE[0]), list(PALETTE[1])], [list(PALETTE[2]), [0, 0, 0]]]
    # the rows 0 and 1, the columns 0 and 1 of three
    assert second.tolist() == [[list(PALETTE[0]), list(PALETTE[1])], [list(PALETTE[2]), list(PALETTE[1])]]


def test_the_difference_is_that_of_the_last_network_to_the_first() -> None:
    # the label's first line is 0, 1, 2, void; dense says 0 everywhere, pruned 2
    found = pictures(figure_of_two())[4][0].tolist()
    assert found == [
        list(COLOURS["lost"]),
        list(COLOURS["another mistake"]),
        list(COLOURS["gained"]),
        [0, 0, 0],
    ]


def test_classes_have_their_palette_colours_and_void_is_black() -> None:
    truth = pictures(figure_of_two())[1]
    assert truth[0].tolist() == [list(PALETTE[0]), list(PALETTE[1]), list(PALETTE[2]), [0, 0, 0]]
    dense, pruned = pictures(figure_of_two())[2:4]
    assert (dense[:2] == PALETTE[0]).all()
    assert (pruned[:2] == PALETTE[2]).all()


def test_images_are_drawn_as_they_are_and_clipped_to_their_range() -> None:
    # 0.5 * 255 = 127.5, rounded to the even neighbour 128
    assert pictures(figure_of_two())[0][:1].tolist() == [[[0, 128, 255], [0, 128, 255]]]


def test_the_legend_names_every_class_and_void_in_its_colour() -> None:
    (legend,) = figure_of_two().legends
    changes = [f"difference: {name}" for name in COLOURS]
    assert [text.get_text() for text in legend.get_texts()] == [*CLASSES, "void", *changes]
    for patch, colour in zip(legend.get_patches(), [*PALETTE, (0, 0, 0), *COLOURS.values()], strict=True):
        assert np.allclose(to_rgb(patch.get_facecolor()), np.array(colour) / 255)


def legend_of(*labels: list[int], classes: tuple[str, ...]) -> list[str]:
    items = [Batch(torch.zeros(3, 1, len(label)), torch.tensor([label])) for label in labels]
    palette = [(k, k, k) for k in range(len(classes))]
    (legend,) = blended(items, palette=palette, ignore_index=255, classes=classes).legends
    return [text.get_text() for text in legend.get_texts()]


def test_the_legend_names_what_is_there_and_of_many_classes_the_largest() -> None:
    assert legend_of([2, 2, 0], [2, 0, 0], classes=CLASSES) == ["road", "pole"]
    many = tuple(f"c{k}" for k in range(40))
    large = [k for k in range(5, 40) for _ in range(2)]
    assert legend_of([*range(5), *large, 255], classes=many)[-2:] == ["and 10 others", "void"]
    assert not {"c0", "c4"} & {*legend_of([*range(5), *large], classes=many)}


def test_the_figure_can_be_saved_without_a_display(tmp_path: Path) -> None:
    figure_of_two().savefig(tmp_path / "overlay.png", dpi=40)
    assert (tmp_path / "overlay.png").read_bytes().startswith(b"\x89PNG")


def test_masks_lie_over_their_images_four_in_a_line() -> None:
    item = Batch(torch.full((3, 1, 2), 0.5), torch.tensor([[1, 255]]))  # 0.5 is drawn as 128
    figure = blended([item] * 5, palette=PALETTE, ignore_index=255, classes=CLASSES)
    assert len(figure.axes) == 8
    shown = [axes.images[0].get_array().tolist() for axes in figure.axes if axes.images]
    assert shown == [[[[164, 114, 64], [64, 64, 64]]]] * 5  # halves of both
