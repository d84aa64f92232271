import dataclasses
import re
import time

import pytest
import torch

from segprune.dataset.contract import Batch
from segprune.doctor.pace import pace
from tests.tiny import tiny_data


class Slow:
    """Items that take 20 ms the first time and 5 ms then."""

    def __init__(self) -> None:
        self.known = set[int]()

    def __len__(self) -> int:
        return 100

    def __getitem__(self, index: int) -> Batch:
        time.sleep(0.005 if index in self.known else 0.02)
        self.known.add(index)
        return Batch(torch.zeros(3, 1, 1), torch.zeros(1, 1))


@pytest.mark.parametrize("decoding", ["once", "often"])
def test_images_a_second_from_files_and_from_memory(decoding: str) -> None:
    items = Slow()
    told = pace(dataclasses.replace(tiny_data(), fit=items, decoding=decoding))
    numbers = [float(number) for number in re.findall(r"\d+\.\d", told)]
    assert 5 < numbers[0] <= 50
    assert len(items.known) == 16
    assert max(items.known) > 90
    if decoding == "once":
        assert numbers[0] < numbers[1] <= 200
    else:
        assert "decoded again in every epoch" in told
