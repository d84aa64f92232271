import json

import pytest
import torch

from segprune.dataset.contract import Batch
from segprune.dataset.weights import COUNTED_BY, class_weights
from segprune.errors import DataError


def items(*labels):
    return [Batch(torch.zeros(3, 1, 1), torch.tensor(label)) for label in labels]


# Image 1: class 0 x 6, class 1 x 2, ignored x 2. Image 2: class 0 x 8. Class 2 never.
TWO = items([[0] * 6 + [1] * 2 + [9] * 2], [[0] * 8])


def weights(mode, data=TWO, classes=3, kept=None):
    return class_weights(data, num_classes=classes, ignore_index=9, mode=mode, kept=kept)


def test_none_is_all_ones_and_reads_nothing():
    assert weights("none", data=None).tolist() == [1, 1, 1]


def test_sqrt_by_hand():
    # f = 14/16, 2/16; sum of roots = (sqrt 14 + sqrt 2) / 4; w = 16 / (sqrt n (sqrt 14 + sqrt 2))
    total = 14**0.5 + 2**0.5
    expected = [16 / (14**0.5 * total), 16 / (2**0.5 * total)]
    assert weights("sqrt").tolist() == pytest.approx([*expected, expected[1]])


def test_sqrt_weighs_the_average_labelled_pixel_one():
    fractions = torch.tensor([14 / 16, 2 / 16, 0])
    assert (weights("sqrt") * fractions).sum().item() == pytest.approx(1)


def test_median_frequency_by_hand():
    # class 0 is in both images: 14 of 16 labelled pixels; class 1 in the first: 2 of 8; median 9/16
    expected = [(9 / 16) / (7 / 8), (9 / 16) / (1 / 4)]
    assert weights("median").tolist() == pytest.approx([*expected, expected[1]])


@pytest.mark.parametrize("mode", ["sqrt", "median"])
def test_labels_that_can_be_read_alone_give_the_same_bits_without_an_image(mode):
    class LabelsOnly:
        def __len__(self):
            return len(TWO)

        def __getitem__(self, index):
            raise AssertionError(f"item {index} was read with its image")

        def label(self, index):
            return TWO[index].label

    assert torch.equal(weights(mode, LabelsOnly()), weights(mode))


@pytest.mark.parametrize("mode", ["sqrt", "median"])
def test_equally_frequent_classes_weigh_one(mode):
    assert weights(mode, items([[0, 1, 2, 9]])).tolist() == pytest.approx([1, 1, 1])


@pytest.mark.parametrize("mode", ["sqrt", "median"])
def test_class_without_pixels_weighs_as_much_as_the_rarest(mode):
    found = weights(mode)
    assert found.dtype == torch.float32
    assert found[2] == found[1] > found[0]


def test_labels_that_are_all_ignored_are_refused():
    with pytest.raises(DataError, match=r"all 2 training labels hold only ignore_index 9"):
        weights("sqrt", items([[9, 9]], [[9]]))


class Unread:
    """Two items that must not be looked at."""

    def __len__(self):
        return 2

    def __getitem__(self, index):
        raise AssertionError(f"item {index} was read")


def test_counts_that_are_kept_give_the_same_bits_in_any_mode_and_read_nothing(tmp_path):
    kept = tmp_path / "of" / "these.json"
    for mode in ("sqrt", "median"):
        assert torch.equal(weights(mode, kept=kept), weights(mode))
        assert torch.equal(weights(mode, Unread(), kept=kept), weights(mode))


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[]", b'{"counts": [[1, 2, 3]]}', b'{"counts": [["a", 2, 3], [1, 2, 3]], "counted_by": ""}'],
)
def test_damaged_counts_are_counted_again(tmp_path, content, caplog):
    kept = tmp_path / "these.json"
    kept.write_bytes(content)
    assert torch.equal(weights("sqrt", kept=kept), weights("sqrt"))
    assert f"{kept} is damaged" in caplog.text
    caplog.clear()
    assert torch.equal(weights("sqrt", Unread(), kept=kept), weights("sqrt"))
    assert caplog.text == ""


def test_counts_by_another_opencv_are_counted_again(tmp_path):
    kept = tmp_path / "these.json"
    weights("sqrt", kept=kept)
    kept.write_text(kept.read_text().replace(json.dumps(COUNTED_BY), '"OpenCV 3"'))
    with pytest.raises(AssertionError, match="item 0 was read"):
        weights("sqrt", Unread(), kept=kept)
