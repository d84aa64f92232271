import pytest

from segprune.dataset.frames import in_a_row


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        ([], 0),
        (["a", "b", "c"], 0),  # no numbers
        (["f08550", "f08580", "f08610"], 2),  # one clip at a steady rate
        (["f2", "f10", "f6"], 2),  # steps 4 and 4, whatever the order of the names
        (["a/1", "a/2", "b/1", "b/2", "b/3"], 3),  # two clips: 1 and 2
        (["f1", "f2", "f3", "f9", "f10"], 3),  # steps 1, 1, 6, 1
        (["f3", "f17", "f18", "f90"], 1),  # steps 14, 1, 72: each is as frequent as the others
        (["city_000000_000019", "city_000001_000019", "city_000002_000019"], 0),  # a clip each
        (["1_left", "2_left", "3_right"], 1),  # what comes after the number belongs to the clip
        (["2007_000033", "2007_000042", "2007_000061", "2007_000123"], 1),  # photographs: 9, 19, 62
    ],
)
def test_images_that_follow_another_by_the_usual_step(names: list[str], expected: int) -> None:
    assert in_a_row(names) == expected
