"""What numbers and colours are taken for; cases that no sick set of ``sick.py`` has."""

from pathlib import Path

import pytest

from segprune.doctor.meaning import of_colours, of_numbers


def numbers(*stored: int, classes: list[str] | None = None, values: object = None) -> dict[str, object]:
    found = of_numbers(dict.fromkeys(stored, 9), classes, 255, values)
    return {key: value for problem in found for key, value in problem.keys.items()}


@pytest.mark.parametrize(
    ("stored", "values"),
    [
        ((0, 1, 2), None),
        ((0, 1, 2, 255), None),
        ((0, 255), {255: 1}),
        ((0, 85, 170, 255), {85: 1, 170: 2, 255: 3}),  # shades of four classes, up to white
        ((0, 128, 255), {128: 1}),  # not evenly far apart, so 255 is what is ignored
        ((1, 2, 255), {"shift": -1}),
        ((7, 26), {7: 0, 26: 1}),
    ],
)
def test_without_classes_the_numbers_are_counted(stored: tuple[int, ...], values: object) -> None:
    found = numbers(*stored)
    assert found.get("values") == values
    kept = [value for value in stored if value != 255 or (values and 255 in values)]  # type: ignore[operator]
    assert len(found["classes"]) == len(kept)  # type: ignore[arg-type]


def test_numbers_that_are_the_classes_need_nothing() -> None:
    assert numbers(0, 2, 255, classes=["a", "b", "c"]) == {}  # b may be absent; that is looked at elsewhere
    assert numbers(0, 7, classes=["a", "b"], values={7: 1}) == {}


def test_shades_are_no_classes() -> None:
    (problem,) = of_numbers(dict.fromkeys(range(0, 256, 3), 1), None, 255, None)
    assert problem.keys == {}
    assert "86 different numbers with gaps, as smoothed or compressed masks do" in problem.text
    assert len(numbers(*range(150))["classes"]) == 150  # type: ignore[arg-type]


SEEN = {0xFF0000: 10, 0x00FF00: 30}


def test_colours_without_names_get_names_by_their_colour(tmp_path: Path) -> None:
    (problem,) = of_colours(SEEN, None, tmp_path, None, None)
    assert problem.keys["colours"] == {"rgb_0_255_0": [0, 255, 0], "rgb_255_0_0": [255, 0, 0]}


def test_colours_of_given_classes_are_taken_by_their_pixels_and_that_is_said(tmp_path: Path) -> None:
    (problem,) = of_colours({**SEEN, 0: 1}, ["a", "b"], tmp_path, None, None)
    assert problem.keys == {"colours": {"a": [0, 255, 0], "b": [255, 0, 0], "ignore": [[0, 0, 0]]}}
    assert "Which class has which is not known" in problem.text


def test_a_table_that_lacks_a_colour_is_not_the_one(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("name,r,g,b\nred,255,0,0\n")
    assert "t.csv" not in of_colours(SEEN, None, tmp_path, None, None)[0].text
    (tmp_path / "t.csv").write_text("name,r,g,b\nred,255,0,0\ngrass,0,255,0\nvoid,0,0,0\n")
    (problem,) = of_colours(SEEN, None, tmp_path, None, None)
    assert (problem.keys["classes"], problem.keys["values"]) == (["red", "grass"], {"void": "ignore"})


def test_given_colours_give_the_classes(tmp_path: Path) -> None:
    (problem,) = of_colours(SEEN, None, tmp_path, {"r": [255, 0, 0], "g": [0, 255, 0]}, {"g": "ignore"})
    assert problem.keys == {"classes": ["r"]}
