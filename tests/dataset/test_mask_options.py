import json

import pytest

from segprune.dataset.labels import LabelSpace, made_palette
from segprune.dataset.mask_code import packed
from segprune.dataset.mask_options import mask_code
from segprune.errors import ConfigError

SPACE = LabelSpace(classes=("ground", "road", "car"), palette=made_palette(3), ignore_index=255)
COLOURS = {"ground": (0, 0, 0), "road": [(1, 1, 1), (2, 2, 2)], "ignore": (9, 9, 9)}


@pytest.mark.parametrize(
    ("to", "label"), [("road", 1), (1, 1), ("ignore", 255), (255, 255), (0, 0), ("ground", 0)]
)
def test_a_number_stands_for_a_class_its_number_or_ignore(to, label):
    assert mask_code(SPACE, {7: to}, None).label_of(7) == label


@pytest.mark.parametrize("to", ["street", 3, -1])
def test_a_value_for_no_class_is_refused_with_the_classes(to):
    with pytest.raises(
        ConfigError, match=rf"dataset.values names {to!r}, which is no class; use one of ground, road"
    ):
        mask_code(SPACE, {7: to}, None)


def test_numbers_that_are_not_listed_are_shifted_but_what_is_ignored_stays():
    code = mask_code(SPACE, {0: "ignore", "shift": -1}, None)
    assert [code.label_of(value) for value in (0, 1, 3, 255)] == [255, 0, 2, 255]
    with pytest.raises(ConfigError, match=r"dataset.values.shift is 'car'; it must be a whole number"):
        mask_code(SPACE, {"shift": "car"}, None)


def test_several_colours_of_a_class_and_of_what_is_ignored():
    code = mask_code(SPACE, {}, COLOURS)
    assert code.labels == {0: 0, packed((1, 1, 1)): 1, packed((2, 2, 2)): 1, packed((9, 9, 9)): 255}


def test_a_name_of_the_colours_is_mapped_by_values():
    code = mask_code(SPACE, {"kerb": "road", "sign": "ignore"}, {"kerb": (1, 1, 1), "sign": (2, 2, 2)})
    assert code.labels == {packed((1, 1, 1)): 1, packed((2, 2, 2)): 255}


FILES = {
    "a.csv": "name,r,g,b\nground,0,0,0\n road , 1, 1, 1\n\nroad,2,2,2\nignore,9,9,9\n",
    "b.csv": "ground,0,0,0\nroad,1,1,1\nroad,2,2,2\nignore,9,9,9",
    "label_colors.txt": "0 0 0\tground\n1 1 1\t\troad\r\n2   2 2 road\n9 9 9\tignore\n",  # as with CamVid
    "labelmap.txt": "# label:color_rgb:parts:actions\nground:0,0,0::\nroad:1,1,1::\nroad:2,2,2::\nignore:9,9,9::\n",
    "c.json": json.dumps(COLOURS),
    "d.json": json.dumps(
        [{"name": "ground", "r": 0, "g": 0, "b": 0}, {"name": "road", "color": [1, 1, 1]},
         {"name": "road", "color": [2, 2, 2]}, {"name": "ignore", "color": [9, 9, 9]}]
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", FILES)
def test_colours_from_a_file_are_those_that_are_given(tmp_path, name):
    (tmp_path / name).write_text(FILES[name])
    assert mask_code(SPACE, {}, tmp_path / name) == mask_code(SPACE, {}, COLOURS)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("missing.csv", None),
        ("a.csv", ""),
        ("a.csv", "name,r,g,b\nroad,1,1"),
        ("a.csv", "road,1,1,256"),
        ("a.csv", "road,red,0,0\nroad,blue,0,0"),
        ("a.json", "{"),
        ("a.json", '{"road": [1, 2]}'),
        ("a.json", '[{"name": "road"}]'),
        ("a.json", "3"),
    ],
)
def test_a_file_that_holds_no_colours_is_refused(tmp_path, name, text):
    if text is not None:
        (tmp_path / name).write_text(text)
    with pytest.raises(
        ConfigError, match=rf"dataset.colours=.*{name} cannot be read .*columns name, r, g, b"
    ):
        mask_code(SPACE, {}, tmp_path / name)


def test_a_colour_of_two_names_is_refused():
    with pytest.raises(ConfigError, match=r"dataset.colours gives \[1, 1, 1\] to 'road' and to 'car'"):
        mask_code(SPACE, {}, {"road": (1, 1, 1), "car": (1, 1, 1)})


def test_a_name_that_is_no_class_is_refused_with_a_remedy_that_works():
    with pytest.raises(
        ConfigError, match=r"names 'kerb', which is no class; .*'dataset.values=\{kerb: ignore\}'"
    ):
        mask_code(SPACE, {}, {"kerb": (1, 1, 1)})
    assert mask_code(SPACE, {"kerb": "ignore"}, {"kerb": (1, 1, 1)}).label_of(packed((1, 1, 1))) == 255


def test_a_name_in_values_that_has_no_colour_is_refused():
    with pytest.raises(ConfigError, match=r"dataset.values names 'kerb', which dataset.colours does not"):
        mask_code(SPACE, {"kerb": "road"}, COLOURS)
    with pytest.raises(ConfigError, match=r"dataset.values names 'kerb', but masks store numbers"):
        mask_code(SPACE, {"kerb": "road"}, None)
