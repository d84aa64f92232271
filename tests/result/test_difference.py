import torch

from segprune.result.difference import COLOURS, VOID, difference


def test_every_pixel_has_the_colour_of_what_became_of_it() -> None:
    label = torch.tensor([[0, 0, 0, 0, 0, 255]])
    before = torch.tensor([[0, 1, 0, 1, 1, 0]])
    after = torch.tensor([[0, 1, 1, 0, 2, 1]])
    picture = difference(label, before, after, ignore_index=255)
    expected = [COLOURS[name] for name in ("as before", "as before", "lost", "gained", "another mistake")]
    assert picture.tolist() == [[list(colour) for colour in (*expected, VOID)]]


def test_predictions_are_stretched_to_the_labels_size() -> None:
    label = torch.zeros(4, 4, dtype=torch.int64)
    before, after = torch.zeros(2, 2, dtype=torch.int64), torch.tensor([[0, 1], [0, 0]])
    picture = difference(label, before, after, ignore_index=255)
    lost = (picture == COLOURS["lost"]).all(axis=2)
    assert lost.tolist() == [[False, False, True, True]] * 2 + [[False] * 4] * 2
