"""Data that a person may have: what is wrong with it is said before anything is trained, and what is odd works."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.dataset.faults import FAULTS, IMAGE, LABEL, tree
from tests.dataset.trees import labels, picture, save
from tests.run_here import refused, run_here, tracked

FOLDER = ["dataset=folder", "dataset.image_suffix=.png", "dataset.classes=[a,b,c]", "dataset.size_hw=[16,16]"]
UNET = ["model.width=4", "model.max_width=8", "model.depth=2", "budget.tolerance=0.2"]
QUICK = [
    *("train.epochs=1", "train.warmup_epochs=0", "train.batch_size=2"),
    *("finetune.epochs=0", "finetune.warmup_epochs=0", "finetune.batch_size=2"),
    *("eval.latency_rounds=1", "eval.latency_warmup=0", "calibration={images: 2, batch_size: 2}"),
]
SMALL = [*FOLDER, *UNET, *QUICK]


@pytest.fixture(scope="module")
def outputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One for all: MLflow makes a new database in seconds. What is refused leaves nothing in it."""
    return tmp_path_factory.mktemp("outputs")


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_of_the_files_is_told_with_the_file_and_the_remedy(
    tmp_path: Path, outputs: Path, name: str
) -> None:
    spoil, told = FAULTS[name]
    root = tree(tmp_path / "data")
    spoil(root)
    assert told in refused(outputs, *SMALL, f"dataset.root={root}")


LONG = "x" * 300
OPTIONS = [
    (["dataset.root={}/train/images/0.png"], "0.png is not a folder. Expected: fit: train/images/*.png with"),
    (["dataset.root={}/nowhere"], "nowhere is not a folder"),
    (["dataset.root={}/nöwhere 2"], "nöwhere 2 is not a folder"),
    ([f"dataset.root={{}}/{LONG}"], f"{LONG} is not a folder"),
    ([f"dataset.fit.images={LONG}"], f"{LONG} is missing"),
    (["dataset.image_suffix=.tif"], "train/images holds no *.tif"),
    (["dataset.classes=[a,b]"], "has label values [2]; allowed are 0..1 and 255 (ignored)"),
    (["dataset.classes=[a,b,a]"], "dataset.classes names ['a'] twice"),
    (["dataset.classes=[a]"], "dataset.classes has 'a' alone, and what is not that is a class too"),
    (["dataset.classes=3"], "dataset.classes is 3: input should be a valid list"),
    (
        ["dataset.palette=[[1,2,3]]"],
        "dataset.palette has 1 colours for 3 classes; give one RGB colour per class",
    ),
    (
        ["dataset.palette=[[1,2,300]]"],
        "dataset.palette.0.2 is 300: input should be less than or equal to 255",
    ),
    (["dataset.ignore_index=2"], "dataset.ignore_index is 2, which is class 'c'"),
    (
        ["dataset.report.images=train/images"],
        "dataset.report.images and dataset.fit.images are both train/images",
    ),
    (["dataset.fit.images=."], "one image must not serve two roles; give dataset.report its own folder"),
    (
        ["dataset.cache_dir={}/train/images/0.png"],
        "0.png/files cannot be written ([Errno 20] Not a directory",
    ),
    (["dataset.limit=0"], "dataset.limit is 0: input should be greater than 0"),
    (["dataset.size_hw=[0,16]"], "dataset.size_hw.0 is 0: input should be greater than 0"),
    (["dataset.size_hw=[16,-1]"], "dataset.size_hw.1 is -1: input should be greater than 0"),
    (["dataset.size_hw=[16]"], "dataset.size_hw is [16]: input should have more values"),
    (["dataset.size_hw=[16,16,3]"], "dataset.size_hw is [16, 16, 3]: list should have at most 2 items"),
    (["dataset.size_hw=16"], "dataset.size_hw is 16: input should be a valid list"),
    (
        ["dataset.augment.crop_area=[0.9,0.1]"],
        "dataset.augment.crop_area is [0.9, 0.1]; write the smaller number",
    ),
    # three levels halve 3 px to 1 and that to nothing
    (
        ["dataset.size_hw=[3,3]", "model.depth=3"],
        "dataset.size_hw is [3, 3], on which the network cannot run",
    ),
    # two levels of 2 px leave a map of one pixel, which alone has no variance
    (
        ["dataset.size_hw=[2,2]", "train.batch_size=1"],
        "train.batch_size is 1, on which the network cannot be trained",
    ),
    (
        ["dataset.limit=1"],
        "train.batch_size is 2, but the training images are only 1; give train.batch_size=1",
    ),
    (
        ["dataset.limit=1", "dataset.size_hw=[2,2]", "train.batch_size=1"],
        "give the dataset more training images",
    ),
    (
        ["finetune.epochs=1", "finetune.batch_size=9"],
        "finetune.batch_size is 9, but the training images are only 3",
    ),
    (["rounds=2", "between.batch_size=5"], "between.batch_size is 5, but the training images are only 3"),
    (
        ["pruner=slimming", "pruner.phase.schedule.batch_size=6"],
        "pruner.phase.schedule.batch_size is 6, but the training images are only 3",
    ),
]


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tree(tmp_path_factory.mktemp("sound"))


@pytest.mark.parametrize(("arguments", "told"), OPTIONS, ids=lambda part: str(part)[:60])
def test_options_that_the_files_do_not_fit_are_refused(
    sound: Path, outputs: Path, arguments: list[str], told: str
) -> None:
    given = [argument.format(sound) for argument in arguments]
    assert told in refused(outputs, *SMALL, f"dataset.root={sound}", *given)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (
            ["dataset=camvid"],
            "train is missing. Expected: train/*.png with trainannot/*.png of the same names",
        ),
        (
            ["dataset=camvid", "dataset.report_split=val"],
            "dataset.select and dataset.report_split are both 'val'",
        ),
        (["dataset=cityscapes"], "leftImg8bit/train is missing. Expected: leftImg8bit/{train,val}/<city>/"),
    ],
)
def test_a_folder_that_is_no_such_dataset_is_refused_with_the_layout(
    tmp_path: Path, outputs: Path, arguments: list[str], told: str
) -> None:
    assert told in refused(outputs, f"dataset.root={tmp_path}", *arguments, *UNET)


def test_a_norm_over_one_pixel_needs_two_images(sound: Path, outputs: Path) -> None:
    # the image pooling of DeepLabV3 leaves one pixel, whatever the size of the images
    arguments = [*FOLDER, f"dataset.root={sound}", *QUICK, "model=deeplabv3_resnet50", "train.batch_size=1"]
    told = refused(outputs, *arguments)
    assert "train.batch_size is 1, on which the network cannot be trained (Expected more than 1 value" in told
    assert "; give 2 or more." in told


def test_odd_data_that_is_not_wrong_works(tmp_path: Path, outputs: Path) -> None:
    root = tree(tmp_path / "größe 1 图")
    # other ways to store the same: numbers with a palette, in 16 bits; colours with transparency, gray
    with_palette = Image.fromarray(labels(1, 3))
    with_palette.putpalette([9, 9, 9] * 256)
    with_palette.save(root / LABEL)
    save(root / "train/masks/2.png", labels(2, 3).astype(np.uint16))
    Image.fromarray(picture(1)).convert("RGBA").save(root / IMAGE)
    save(root / "train/images/2.png", picture(2)[..., 0])
    # smaller than anything the network halves; the same name in two folders; a label without any class
    for name, label in {
        "sub dir/0.png": labels(3, 3, (1, 2)),
        "ä.png": np.full((1, 2), 255, np.uint8),
    }.items():
        save(root / "train/images" / name, picture(3, (1, 2)))
        save(root / "train/masks" / name, label)
    # a class that no label has, one that only training has
    for path in (root / "test/masks").iterdir():
        save(path, np.minimum(labels(4, 3), 1).astype(np.uint8))
    classes = ("dataset.classes=[a,b,c,d]", "dataset.allow_absent=[d]")
    ended = run_here(outputs, *SMALL, f"dataset.root={root}", *classes, "model.depth=3")
    assert ended.code == 0, ended.error
    (rows,) = outputs.glob("runs/*/*/rows.jsonl")
    (dense, *_) = [json.loads(line) for line in rows.read_text().splitlines()]
    assert dense["absent"] == "c, d"
    assert dense["classes_scored"] == 2  # a and b: mIoU is the mean over the classes of the report labels
    assert tracked(outputs)[-1] == "FINISHED"


def test_one_image_is_enough_for_a_network_without_a_norm_over_one_pixel(sound: Path, tmp_path: Path) -> None:
    arguments = [*SMALL, f"dataset.root={sound}", "dataset.limit=1", "train.batch_size=1", "tracking=silent"]
    ended = run_here(tmp_path, *arguments)
    assert ended.code == 0, ended.error


@pytest.mark.skipif(os.geteuid() == 0, reason="nothing is unreadable for root")
@pytest.mark.parametrize("name", [IMAGE, "train/masks"])
def test_what_may_not_be_read_is_named(tmp_path: Path, outputs: Path, name: str) -> None:
    root = tree(tmp_path / "data")
    (root / name).chmod(0)
    try:
        assert name in refused(outputs, *SMALL, f"dataset.root={root}")
    finally:
        (root / name).chmod(0o755)
