import pytest

from segprune.dataset.labels import CAMVID, CITYSCAPES, LabelSpace, made_palette
from segprune.errors import ConfigError


def space(**changes):
    return LabelSpace(
        **({"classes": ("a", "b"), "palette": ((0, 0, 0), (1, 1, 1)), "ignore_index": 255} | changes)
    )


@pytest.mark.parametrize(("known", "count", "ignore"), [(CAMVID, 11, 11), (CITYSCAPES, 19, 255)])
def test_published_spaces_have_distinct_colours_and_ignore_outside_the_classes(known, count, ignore):
    assert len(known.classes) == len(set(known.palette)) == count
    assert known.ignore_index == ignore


def test_made_palette_is_the_pascal_voc_colour_map_without_black():
    # index 1 = bit 0 -> R bit 7; index 2 -> G; index 3 -> R and G; index 8 = bit 3 -> R bit 6
    assert made_palette(8)[:3] == ((128, 0, 0), (0, 128, 0), (128, 128, 0))
    assert made_palette(8)[7] == (64, 0, 0)
    assert len(set(made_palette(255))) == 255


def test_repeated_class_name_is_refused():
    with pytest.raises(ConfigError, match=r"dataset.classes names \['a'\] twice"):
        space(classes=("a", "a"))


def test_palette_of_another_length_is_refused():
    with pytest.raises(ConfigError, match=r"dataset.palette has 1 colours for 2 classes.*palette=null"):
        space(palette=((0, 0, 0),))


def test_ignore_index_that_is_a_class_is_refused():
    with pytest.raises(ConfigError, match=r"ignore_index is 1, which is class 'b'; use a value outside 0..1"):
        space(ignore_index=1)
