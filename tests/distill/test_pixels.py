import torch

from segprune.distill.pixels import counted, mean_of


def test_a_pixel_of_a_smaller_map_has_the_label_nearest_to_its_centre() -> None:
    label = torch.zeros(1, 6, 6, dtype=torch.int64)
    label[0, 1, 1] = 255  # the centre of the first of 2 x 2 pixels, each 3 labels wide
    label[0, 0, 5] = 255  # a corner
    mask = counted(label, like=torch.zeros(1, 7, 2, 2), ignore_index=255, ignored="left_out")
    assert mask.tolist() == [[[False, True], [True, True]]]
    everything = counted(label, like=torch.zeros(1, 7, 2, 2), ignore_index=255, ignored="taught")
    assert everything.tolist() == [[[True, True], [True, True]]]


def test_the_mean_is_of_the_values_that_count() -> None:
    values = torch.tensor([1.0, 2.0, torch.inf])
    assert float(mean_of(values, torch.tensor([True, True, False]))) == 1.5
    assert float(mean_of(values, torch.tensor([False] * 3))) == 0
    channels = torch.tensor([[1.0, 5.0], [3.0, 5.0]])
    assert float(mean_of(channels, torch.tensor([True, False]))) == 2
