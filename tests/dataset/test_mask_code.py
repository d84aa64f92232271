import numpy as np
import pytest

from segprune.dataset.mask_code import MaskCode, as_text, packed

STORED = np.array([[0, 7, 26], [255, 7, 0]], np.int32)


def test_a_colour_is_one_number_and_back():
    assert packed((1, 2, 3)) == 0x010203
    assert as_text(0x010203, "colours") == "[1, 2, 3]"
    assert as_text(7, "numbers") == "7"


def test_numbers_are_their_own_labels_unless_they_are_listed():
    code = MaskCode("numbers", {7: 1, 26: 2, 255: 0})
    assert code(STORED).tolist() == [[0, 1, 2], [0, 1, 0]]
    assert [code.label_of(value) for value in (0, 7, 26, 255, 3)] == [0, 1, 2, 0, 3]
    assert MaskCode()(STORED).tolist() == STORED.tolist()


def test_labels_are_what_label_of_says_for_every_byte():
    code = MaskCode("numbers", {value: (value * 7) % 256 for value in range(0, 256, 3)})
    every = np.arange(256, dtype=np.int32).reshape(16, 16)
    assert code(every).ravel().tolist() == [code.label_of(value) for value in range(256)]


def test_numbers_that_are_not_listed_are_shifted_and_none_is_below_0():
    code = MaskCode("numbers", {0: 255, 255: 255}, shift=-1)
    assert code(np.array([[0, 1, 150, 255]], np.int32)).tolist() == [[255, 0, 149, 255]]
    assert [code.label_of(value) for value in (0, 1, 150, 255)] == [255, 0, 149, 255]
    assert MaskCode(shift=-1).label_of(0) is None
    assert MaskCode(shift=-1).record != MaskCode(shift=-2).record != MaskCode().record


def test_a_colour_that_is_not_listed_has_no_label():
    code = MaskCode("colours", {packed((128, 0, 0)): 4})
    assert code.label_of(packed((128, 0, 0))) == 4
    assert code.label_of(4) is None


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (MaskCode(), MaskCode("numbers", {7: 1})),
        (MaskCode("numbers", {7: 2}), MaskCode("numbers", {7: 1})),
        (MaskCode("colours", {7: 1}), MaskCode("numbers", {7: 1})),
    ],
)
def test_record_tells_codes_apart(one, other):
    assert one.record != other.record


def test_record_does_not_depend_on_the_order():
    assert MaskCode("numbers", {7: 1, 3: 0}).record == MaskCode("numbers", {3: 0, 7: 1}).record
    assert MaskCode().record is None
