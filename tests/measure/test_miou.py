import math

import pytest
import torch

from segprune.errors import DataError
from segprune.measure.miou import ConfusionMatrix, segmentation_metrics

IGNORE = 255


def counted(prediction: list[list[int]], label: list[list[int]], classes: int = 3) -> torch.Tensor:
    """Counts of one image given by its lines."""
    confusion = ConfusionMatrix(num_classes=classes, ignore_index=IGNORE)
    confusion.update(torch.tensor([prediction]), torch.tensor([label]))
    return confusion.counts


def test_rows_are_the_truth_and_columns_the_prediction() -> None:
    # one pixel of true class 2, predicted 0
    assert counted([[0]], [[2]]).tolist() == [[0, 0, 0], [0, 0, 0], [1, 0, 0]]


def test_scores_of_a_matrix_worked_by_hand() -> None:
    # labelled t = 4, 5, 1; predicted p = 5, 5, 0; hits 3, 4, 0; n = 10
    # IoU = 3/(4+5-3), 4/(5+5-4), 0/(1+0-0) = 1/2, 2/3, 0;  accuracy per class 3/4, 4/5, 0
    result = segmentation_metrics(torch.tensor([[3, 1, 0], [1, 4, 0], [1, 0, 0]]))
    assert result.iou == pytest.approx((1 / 2, 2 / 3, 0), abs=1e-15)
    assert result.miou == pytest.approx((1 / 2 + 2 / 3) / 3, abs=1e-15)
    assert result.pixel_accuracy == pytest.approx(0.7, abs=1e-15)
    assert result.mean_accuracy == pytest.approx((0.75 + 0.8) / 3, abs=1e-15)
    assert result.fw_iou == pytest.approx(0.4 * 0.5 + 0.5 * 2 / 3, abs=1e-15)
    assert result.classes_scored == 3
    # Dice = 6/(4+5), 8/(5+5), 0; precision 3/5, 4/5, and nobody predicted the last class
    assert result.dice == pytest.approx((6 / 9, 8 / 10, 0), abs=1e-15)
    assert result.mean_dice == pytest.approx((6 / 9 + 8 / 10) / 3, abs=1e-15)
    assert result.recall == pytest.approx((3 / 4, 4 / 5, 0), abs=1e-15)
    assert result.precision[:2] == pytest.approx((3 / 5, 4 / 5), abs=1e-15)
    assert math.isnan(result.precision[2])


@pytest.mark.parametrize("seed", range(3))
def test_dice_follows_from_iou_and_from_precision_and_recall(seed: int) -> None:
    counts = torch.randint(1, 100, (4, 4), generator=torch.Generator().manual_seed(seed))
    result = segmentation_metrics(counts)
    for iou, dice, p, r in zip(result.iou, result.dice, result.precision, result.recall, strict=True):
        assert dice == pytest.approx(2 * iou / (1 + iou), abs=1e-12)
        assert dice == pytest.approx(2 * p * r / (p + r), abs=1e-12)  # F1


def test_the_split_is_pooled_and_not_averaged_over_images() -> None:
    # Image a, 1x1: class 0 hit.             alone: mIoU 1
    # Image b, 1x4: class 0 once missed as 1, once hit, class 1 once hit, once missed as 0.
    #   alone: both classes 1/(2+2-1) = 1/3, mIoU 1/3; the average of the images is 2/3.
    # pooled: [[2, 1], [1, 1]]: IoU 2/(3+3-2) = 1/2 and 1/(2+2-1) = 1/3; mIoU 5/12.
    confusion = ConfusionMatrix(num_classes=2, ignore_index=IGNORE)
    confusion.update(torch.tensor([[[0]]]), torch.tensor([[[0]]]))
    confusion.update(torch.tensor([[[1, 0, 1, 0]]]), torch.tensor([[[0, 0, 1, 1]]]))
    assert confusion.counts.tolist() == [[2, 1], [1, 1]]
    assert segmentation_metrics(confusion.counts).miou == pytest.approx(5 / 12, abs=1e-15)


def test_batches_in_any_cut_give_the_same_counts() -> None:
    generator = torch.Generator().manual_seed(0)
    label = torch.randint(0, 4, (6, 5, 7), generator=generator)
    prediction = torch.randint(0, 4, (6, 5, 7), generator=generator)
    whole, parts = (ConfusionMatrix(num_classes=4, ignore_index=3) for _ in range(2))
    whole.update(prediction.clamp(max=2), label)
    for part in (slice(0, 1), slice(1, 6)):
        half = ConfusionMatrix(num_classes=4, ignore_index=3)
        half.update(prediction[part].clamp(max=2), label[part])
        parts.add(half.counts)
    assert torch.equal(whole.counts, parts.counts)
    assert int(whole.counts.sum()) == int((label != 3).sum())


@pytest.mark.parametrize("ignore", [255, -1, 3])
def test_void_pixels_are_never_scored_whatever_is_predicted_there(ignore: int) -> None:
    confusion = ConfusionMatrix(num_classes=3, ignore_index=ignore)
    confusion.update(torch.tensor([[[0, 1, 2, 1]]]), torch.tensor([[[0, ignore, ignore, 1]]]))
    assert confusion.counts.tolist() == [[1, 0, 0], [0, 1, 0], [0, 0, 0]]


def test_a_class_neither_labelled_nor_predicted_is_left_out() -> None:
    # truth 0 0 1 1, predicted 0 0 1 0: IoU 2/3 and 1/2
    result = segmentation_metrics(counted([[0, 0, 1, 0]], [[0, 0, 1, 1]]))
    assert math.isnan(result.iou[2])
    assert result.classes_scored == 2
    assert result.miou == pytest.approx((2 / 3 + 1 / 2) / 2, abs=1e-15)


def test_a_class_that_is_only_predicted_costs_the_others_but_is_not_in_the_mean() -> None:
    # truth 0 0 1 1, predicted 0 0 1 2: IoU 1 and 1/2; class 2 has no labelled pixel
    result = segmentation_metrics(counted([[0, 0, 1, 2]], [[0, 0, 1, 1]]))
    assert math.isnan(result.iou[2])
    assert result.classes_scored == 2
    assert result.miou == pytest.approx(3 / 4, abs=1e-15)
    assert result.mean_accuracy == pytest.approx(3 / 4, abs=1e-15)
    assert math.isnan(result.dice[2])
    assert (result.precision[2], result.mean_dice) == (0, pytest.approx((1 + 2 / 3) / 2, abs=1e-15))


def test_counts_beyond_float32_are_exact() -> None:
    confusion = ConfusionMatrix(num_classes=2, ignore_index=IGNORE)
    confusion.add(torch.tensor([[2**24, 0], [0, 2**40]]))
    confusion.update(torch.tensor([[[0]]]), torch.tensor([[[0]]]))
    assert confusion.counts.tolist() == [[2**24 + 1, 0], [0, 2**40]]
    # float32 would round the one missed pixel away and give a pixel accuracy of 1
    missed = segmentation_metrics(torch.tensor([[2**30, 1], [0, 1]]))
    assert missed.pixel_accuracy == (2**30 + 1) / (2**30 + 2)


def test_reading_changes_nothing() -> None:
    confusion = ConfusionMatrix(num_classes=2, ignore_index=IGNORE)
    confusion.update(torch.tensor([[[0, 1]]]), torch.tensor([[[0, 0]]]))
    read = confusion.counts
    before = segmentation_metrics(read)
    read += 7
    assert confusion.counts.tolist() == [[1, 1], [0, 0]]
    assert confusion.counts.dtype == torch.int64
    assert segmentation_metrics(confusion.counts).miou == before.miou


def test_perfect_predictions_score_one() -> None:
    label = torch.arange(12).view(1, 3, 4) % 3
    confusion = ConfusionMatrix(num_classes=3, ignore_index=IGNORE)
    confusion.update(label.to(torch.uint8), label.to(torch.uint8))
    result = segmentation_metrics(confusion.counts)
    assert (result.miou, result.pixel_accuracy, result.mean_accuracy, result.fw_iou) == (1, 1, 1, 1)


@pytest.mark.parametrize("label", [3, -1, 254])
def test_an_unknown_label_is_refused_and_nothing_is_counted(label: int) -> None:
    confusion = ConfusionMatrix(num_classes=3, ignore_index=IGNORE)
    with pytest.raises(DataError, match=rf"label {label} is neither a class 0..2 nor the ignore index 255"):
        confusion.update(torch.tensor([[[0, 0]]]), torch.tensor([[[0, label]]]))
    assert int(confusion.counts.sum()) == 0


def test_shapes_that_do_not_match_are_refused() -> None:
    confusion = ConfusionMatrix(num_classes=3, ignore_index=IGNORE)
    with pytest.raises(DataError, match=r"\(1, 2, 2\) and label \(1, 2, 3\)"):
        confusion.update(torch.zeros(1, 2, 2, dtype=torch.int64), torch.zeros(1, 2, 3, dtype=torch.int64))
    with pytest.raises(DataError, match=r"label \(2, 2\)"):
        confusion.update(torch.zeros(2, 2, dtype=torch.int64), torch.zeros(2, 2, dtype=torch.int64))


@pytest.mark.parametrize("prediction", [3, -1])
def test_a_prediction_that_is_no_class_is_refused(prediction: int) -> None:
    confusion = ConfusionMatrix(num_classes=3, ignore_index=IGNORE)
    with pytest.raises(ValueError, match=f"prediction {prediction} is not a class 0..2"):
        confusion.update(torch.tensor([[[prediction]]]), torch.tensor([[[0]]]))


@pytest.mark.parametrize("counts", [torch.zeros(3, 3, dtype=torch.int64), torch.zeros(2, 2)])
def test_only_counts_of_the_same_kind_are_added(counts: torch.Tensor) -> None:
    confusion = ConfusionMatrix(num_classes=2, ignore_index=IGNORE)
    with pytest.raises(ValueError, match=rf"\({len(counts)}, {len(counts)}\) {counts.dtype} cannot be added"):
        confusion.add(counts)


def test_a_split_without_labelled_pixels_has_no_miou() -> None:
    with pytest.raises(DataError, match="no pixel of the split is labelled"):
        segmentation_metrics(torch.zeros(3, 3, dtype=torch.int64))
