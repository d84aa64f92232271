import torch

from segprune.loss.pixels import pixel_weights, weighted_mean

LABEL = torch.tensor([[[0, 1, 255]]])


def test_an_ignored_pixel_counts_nothing_and_others_as_their_class() -> None:
    assert pixel_weights(LABEL, ignore_index=255, weights=None).tolist() == [[[1, 1, 0]]]
    assert pixel_weights(LABEL, ignore_index=255, weights=torch.tensor([0.5, 2])).tolist() == [[[0.5, 2, 0]]]


def test_the_mean_is_by_weight() -> None:
    values = torch.tensor([[[1.0, 3.0, 100.0]]])
    assert float(weighted_mean(values, torch.tensor([[[1.0, 3.0, 0.0]]]))) == 2.5
