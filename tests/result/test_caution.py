from dataclasses import replace

import pytest

from segprune.result.caution import cautions
from segprune.result.row import Row
from tests.rows import DENSE, VERSION_1, changed

FEW = "fewer than 60, so intervals over images are wide and hold a little less often than they say"
FRAMES = (
    "most file names count up like frames of a video; if they are, intervals over images are too narrow, since "
    "neighbouring frames show nearly the same"
)


def said(*rows: Row) -> list[str]:
    return cautions([("own", rows)])


@pytest.mark.parametrize(
    ("images", "frames", "expected"),
    [
        (60, 30, []),  # enough, and no more than half in a row
        (59, 0, [f"59 report images of streets val: {FEW}."]),
        (233, 117, [f"233 report images of streets val: {FRAMES}."]),
        (38, 36, [f"38 report images of streets val: {FEW}; {FRAMES}."]),
    ],
)
def test_few_images_and_frames_of_a_video(images: int, frames: int, expected: list[str]) -> None:
    row = changed(DENSE, report_images=images, report_frames=frames)
    assert said(row, row) == expected


def test_every_split_has_its_own() -> None:
    few = changed(DENSE, report_images=5, report_frames=0)
    assert len(said(few, changed(few, dataset="camvid"), changed(few, report_images=60))) == 2


def test_a_row_of_an_earlier_version_says_nothing() -> None:
    assert "report_images" not in VERSION_1
    assert said(changed(DENSE, report_images=None)) == []


def test_absent_classes_are_named_once_per_split() -> None:
    own = changed(DENSE, report_images=60, report_frames=0)
    lacking = replace(own, absent="car, sky")
    expected = "No label of streets val holds car, sky: mIoU is the mean over the other classes."
    assert said(own, lacking, lacking) == [expected]


def test_accepted_results_are_told_with_their_stages() -> None:
    own = changed(DENSE, report_images=60, report_frames=0)
    taken = [replace(own, accepted="train"), replace(own, accepted="score,train")]
    assert said(own) == []
    assert said(own, *taken) == [
        "2 of 3 rows stand on results that other code, library versions or another GPU made (store.accept): score, "
        "train. The column accepted says which rows."
    ]


def test_networks_trained_in_several_ways_are_not_mixed_silently() -> None:
    own = changed(DENSE, report_images=60, report_frames=0, training="bfloat16")
    tuned = changed(own, stage="finetuned", training="float32")
    assert said(own, changed(own, training=None), tuned, tuned) == []
    (told,) = said(own, tuned, changed(tuned, training="bfloat16, compiled"))
    assert told.startswith(
        "The finetuned networks were trained in 2 ways, bfloat16, compiled; float32, which round"
    )


def test_a_cut_that_seems_to_help_has_better_statistics() -> None:
    own = changed(DENSE, report_images=60, report_frames=0, miou_percent=2.3)
    worse = changed(own, stage="pruned", miou_percent=2.3)
    better = changed(own, stage="pruned", miou_percent=14.3)
    assert said(own, worse) == said(own, changed(better, stage="finetuned")) == []
    (told,) = said(own, better)
    assert told.startswith(
        "A cut alone seems to help: 14.30 after 2.30 % mIoU in own. The row pruned has its BN"
    )
    assert told.endswith("Compare pruned_raw, or train longer.")
    assert len(said(changed(own, stage="start"), better)) == 1
    assert said(better) == []


def test_of_jobs_whose_runs_have_one_name_none_hides_another() -> None:
    dense, cut = changed(DENSE, report_images=60, miou_percent=6.0), changed(DENSE, stage="pruned")
    jobs = [("a", (dense, changed(cut, miou_percent=12.0))), ("b", (dense, changed(cut, miou_percent=7.0)))]
    (told,) = cautions(jobs)
    assert told.startswith("A cut alone seems to help: 12.00 after 6.00 % mIoU in a. ")
    assert cautions(reversed(jobs)) == [told]
    assert cautions([("a", [dense]), ("b", [changed(cut, report_images=60, miou_percent=7.0)])]) == []


def test_rows_of_several_kinds_of_device_are_not_mixed_silently() -> None:
    own = changed(DENSE, report_images=60, report_frames=0)
    here = changed(own, precision="float32")
    gpus = [changed(own, device=f"cuda:{n}", gpu="A100", precision="tf32") for n in (0, 1)]
    assert said(own, here) == []
    assert said(*gpus) == []
    (told,) = said(here, *gpus)
    assert told.startswith("The rows were measured on devices of 2 kinds, A100 (tf32), cpu, which round")
    assert len(said(gpus[0], changed(gpus[1], gpu="H100"))) == 1
    assert len(said(gpus[0], changed(gpus[1], precision="float32"))) == 1
