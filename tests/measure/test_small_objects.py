import numpy as np
import torch
from numpy.typing import NDArray

from segprune.measure.small_objects import small_object_counts, small_objects

VOID = 255


def image(*rows: list[int]) -> NDArray[np.int16]:
    return np.array(rows, np.int16)


LABEL = image(
    [1, 1, 0, 0, 0, 2],
    [1, 0, 0, 0, 2, 0],  # 2 and 2 touch at a corner
    [0, 0, 0, 0, 0, 0],
    [0, 0, VOID, 1, 0, 1],
)  # 24 px: class 1 in parts of 3, 1 and 1, class 2 in one of 2, class 0 in one of 16


def objects(area: float) -> NDArray[np.int32]:
    return small_objects(LABEL, LABEL != VOID, area=area)


def sizes(area: float) -> list[int]:
    return sorted(np.bincount(objects(area).ravel())[1:].tolist())


def recalled(
    prediction: NDArray[np.int16], label: NDArray[np.int16], numbers: NDArray[np.int32]
) -> list[int]:
    sizes = torch.from_numpy(np.bincount(numbers.ravel())[1:])
    found: list[int] = small_object_counts(
        torch.from_numpy(prediction == label), torch.from_numpy(numbers), sizes
    ).tolist()
    return found


def test_objects_are_connected_parts_of_one_class_below_the_area() -> None:
    assert sizes(1.0) == [1, 1, 2, 3, 16]
    assert sizes(3 / 24) == [1, 1, 2]  # smaller than 3 px: 3 is not
    assert sizes(4 / 24) == [1, 1, 2, 3]
    assert sizes(1 / 24) == []


def test_every_object_has_one_number_and_void_has_none() -> None:
    found = objects(4 / 24)
    assert len(np.unique(found[:2, :2][LABEL[:2, :2] == 1])) == 1
    assert found[0, 5] == found[1, 4] != 0
    assert found[3, 2] == found[2, 0] == 0
    assert len({found[3, 3], found[3, 5], found[0, 0], found[0, 5]}) == 4


def test_an_object_is_recalled_with_half_of_its_pixels() -> None:
    prediction = np.zeros_like(LABEL)
    prediction[0, 0] = 1  # 1 of 3: lost
    prediction[0, 5] = 2  # 1 of 2: found
    prediction[3, 3] = 1  # 1 of 1: found; [3, 5] is lost
    assert recalled(prediction, LABEL, objects(4 / 24)) == [4, 2]
    prediction[0, 1] = 1  # 2 of 3: found
    assert recalled(prediction, LABEL, objects(4 / 24)) == [4, 3]


def test_an_image_without_small_objects_counts_none() -> None:
    assert recalled(LABEL, LABEL, objects(1 / 24)) == [0, 0]
    void = np.full((2, 2), VOID, np.int16)
    assert not small_objects(void, void != VOID, area=1.0).any()
