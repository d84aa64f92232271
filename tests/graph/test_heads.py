import pytest
import torch
from torch import Tensor

from segprune.graph.heads import Heads, HeadViews, heads_of

OPEN = Heads(channels=12, width=4, is_open=True)
PLACES = Heads(channels=12, width=4, is_open=False)


@pytest.mark.parametrize(
    ("before", "asked", "after", "found"),
    [
        ((1, 9, 12), (1, 9, -1, 4), (1, 9, 3, 4), OPEN),
        ((1, 9, 12), (1, 9, 3, -1), (1, 9, 3, 4), PLACES),
        ((2, 12, 5, 7), (2, 3, -1, 35), (2, 3, 4, 35), PLACES),  # with the rows and columns as one axis
        ((1, 9, 12), (1, 9, 3, 4), (1, 9, 3, 4), None),  # both are written down
        ((1, 9, 12), (1, -1), (1, 108), None),
        ((1, 9, 3, 4), (1, 9, -1), (1, 9, 12), None),
        ((1, 9, 12), (1, 9, 12), (1, 9, 12), None),
    ],
)
def test_views_of_one_axis_as_two(
    before: tuple[int, ...], asked: tuple[int, ...], after: tuple[int, ...], found: Heads | None
) -> None:
    assert heads_of(before, asked, after) == found


def test_the_pieces_of_heads() -> None:
    own = torch.arange(12)
    assert OPEN.pieces(own).tolist() == [0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2]
    assert PLACES.pieces(own).tolist() == [0, 1, 2, 3] * 3


@pytest.mark.parametrize(
    ("view", "found"),
    [
        (lambda x: x.view(1, 9, -1, 4), OPEN),
        (lambda x: x.view((1, 9, -1, 4)), OPEN),
        (lambda x: x.reshape([1, 9, 3, -1]), PLACES),
        (lambda x: x.unflatten(-1, (3, -1)), PLACES),
        (lambda x: torch.reshape(x, (1, 9, -1, 4)), OPEN),
        (lambda x: x.view(torch.int32).view(x.dtype), None),
        (lambda x: x.flatten(1), None),
    ],
)
def test_views_are_noted_as_they_run(view, found: Heads | None) -> None:
    x: Tensor = torch.ones(1, 9, 12, requires_grad=True) * 1
    with HeadViews() as views:
        result = view(x)
    assert views.found == ({} if found is None else {result.grad_fn: found})
