import pytest
import torch
from torch import Tensor

from segprune.graph.engine import HybridIndex
from segprune.graph.parts import Part, Parting, _PartPruner, _Places

WHOLE = torch.arange(12.0).reshape(1, 6, 1, 2)


def test_a_part_knows_its_channels_by_hand_also_after_a_cut_of_the_part_before() -> None:
    widths = [3, 3]
    first, second = (Part(1, widths, index) for index in range(2))
    assert torch.equal(second(WHOLE), WHOLE[:, 3:])
    there, back = (_Places(second, is_back=is_back) for is_back in (False, True))
    channels = [HybridIndex(idx, 10 * idx) for idx in (1, 3, 5)]
    assert there(channels) == [HybridIndex(0, 30), HybridIndex(2, 50)]
    assert back(there(channels)) == channels[1:]
    _PartPruner().prune_out_channels(first, [1])
    assert there([HybridIndex(2, 2)]) == [HybridIndex(0, 2)]


@pytest.mark.parametrize(
    ("shape", "chunks", "axis", "parts"),
    [
        ((1, 6, 1, 2), 2, 1, 2),
        ((1, 4, 6), 3, 2, 3),  # tokens
        ((1, 6, 2, 2), 2, 2, 0),  # rows
        ((1, 6, 1, 2), 4, 1, 3),  # chunk makes three of two channels
        ((1, 5, 1, 2), 2, 1, 0),  # unequal
    ],
)
def test_equal_parts_of_the_channels_become_layers(
    shape: tuple[int, ...], chunks: int, axis: int, parts: int
) -> None:
    x = torch.rand(shape, requires_grad=True)
    parting = Parting()
    for _ in range(2):  # the second run finds the layers of the first
        with parting.around():
            got: tuple[Tensor, ...] = x.chunk(chunks, axis)
        assert all(map(torch.equal, got, x.chunk(chunks, axis)))
        assert len(parting.parts) == parts


def test_a_shuffle_of_channels_is_noted() -> None:
    parting = Parting()
    with parting.around():
        WHOLE.reshape(1, 6, 2, 1, 1)
        assert not parting.shuffles
        WHOLE.view(1, 2, 3, 1, 2)
    assert parting.shuffles
