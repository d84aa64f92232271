"""Data sets as they are published, made tiny: their YAML reads the files where they are and as they mean it."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from omegaconf import OmegaConf
from PIL import Image

from segprune.config.component import component
from segprune.dataset.contract import SegData
from segprune.dataset.labels import CAMVID
from segprune.errors import DataError
from tests.dataset.trees import picture, save
from tests.test_conf import composed

SIZE = (24, 32)
pytestmark = pytest.mark.usefixtures("composer")


def loaded(name: str, root: Path, *overrides: str) -> SegData:
    given = [
        f"dataset={name}",
        f"dataset.root={root}",
        f"paths.outputs={root}/out",
        "dataset.size_hw=[12,16]",
    ]
    node: Any = OmegaConf.to_container(composed(*given, *overrides).dataset, resolve=True)
    data: SegData = component(node, "dataset")()
    return data


def photo(path: Path, seed: int = 0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(picture(seed, SIZE)).save(path)


def mask(path: Path, values: list[int], palette: bool = False) -> None:
    """Equal stripes of the values."""
    path.parent.mkdir(parents=True, exist_ok=True)
    stripes = np.array(values, np.uint8)[np.arange(768) * len(values) // 768].reshape(SIZE)
    made = Image.fromarray(stripes)
    if palette:
        made.putpalette([(7 * k) % 256 for k in range(768)])
    made.save(path)


def found(data: SegData) -> set[int]:
    return {int(value) for item in data.report for value in np.unique(item.label.numpy())}


def test_voc(tmp_path: Path) -> None:
    for k, name in enumerate(("2007_000032", "2007_000033", "2007_000039")):
        photo(tmp_path / f"JPEGImages/{name}.jpg", k)
        mask(tmp_path / f"SegmentationClass/{name}.png", [0, *range(1, 21), 255], palette=True)
    photo(tmp_path / "JPEGImages/without_mask.jpg")
    lists = tmp_path / "ImageSets/Segmentation"
    lists.mkdir(parents=True)
    (lists / "train.txt").write_text("2007_000032\n2007_000033\n")
    (lists / "val.txt").write_text("2007_000039\n")
    data = loaded("voc", tmp_path)
    assert (len(data.fit), data.select, len(data.report), data.report_split) == (2, None, 1, "val")
    assert found(data) == {*range(21), 255}
    assert len(data.classes) == len(data.palette) == 21


@pytest.mark.slow
def test_ade20k(tmp_path: Path) -> None:
    for split in ("training", "validation"):
        photo(tmp_path / f"images/{split}/ADE_1.jpg", len(split))
        mask(tmp_path / f"annotations/{split}/ADE_1.png", list(range(151)))
    data = loaded("ade20k", tmp_path)
    assert found(data) == {*range(150), 255}
    assert (data.classes[0], data.classes[149]) == ("wall", "flag")
    mask(tmp_path / "annotations/validation/ADE_1.png", [0, 1, 151])
    with pytest.raises(DataError, match=r"has label values \[151\]"):
        loaded("ade20k", tmp_path)


@pytest.mark.slow
def test_coco(tmp_path: Path) -> None:
    # ids less 1 of the published labels.txt; 11 was never used
    known = {0: "person", 10: "fire hydrant", 12: "stop sign", 89: "toothbrush", 91: "banner", 181: "wood"}
    for split in ("train2017", "val2017"):
        photo(tmp_path / f"images/{split}/1.jpg", len(split))
        mask(tmp_path / f"annotations/{split}/1.png", [*known, 255])
    data = loaded("coco", tmp_path, "dataset.allow_absent=all")
    assert [data.classes[label] for label in sorted(found(data) - {255})] == list(known.values())
    mask(tmp_path / "annotations/val2017/1.png", [0, 11])
    with pytest.raises(DataError, match=r"has the value 11, which dataset.values does not list"):
        loaded("coco", tmp_path, "dataset.allow_absent=all")


def test_pets(tmp_path: Path) -> None:
    for name in ("Abyssinian_1", "Beagle_2"):
        photo(tmp_path / f"images/{name}.jpg", len(name))
        mask(tmp_path / f"annotations/trimaps/{name}.png", [1, 2, 3])
        (tmp_path / f"annotations/trimaps/._{name}.png").write_bytes(b"as a Mac leaves it")
    (tmp_path / "annotations/trainval.txt").write_text("Abyssinian_1 1 1 1\n")
    (tmp_path / "annotations/test.txt").write_text("Beagle_2 2 2 1\n")
    data = loaded("pets", tmp_path)
    assert data.report[0].label.flatten()[[0, 300, 767]].tolist() == [1, 0, 255]  # pet, background, border


FRAMES = {
    "fit": (
        "0006R0_f00930",
        "0001TP_006690",
        "0001TP_008520",
        "0016E5_07920",
        "0016E5_08190",
        "0016E5_00390",
    ),
    "select": ("0016E5_07959", "0016E5_08159", "0016E5_08001"),
    "report": ("0001TP_008550", "0001TP_010380", "Seq05VD_f00000", "Seq05VD_f05100"),
}
"""The first and last frames of the parts of SegNet's lists."""


@pytest.mark.slow
def test_camvid_raw(tmp_path: Path) -> None:
    node: Any = OmegaConf.to_container(
        composed("dataset=camvid_raw", f"dataset.root={tmp_path}").dataset, resolve=True
    )
    colours, meaning = node["colours"], node["values"]
    assert colours.keys() == meaning.keys()
    assert len({tuple(colour) for colour in colours.values()}) == 32
    label = np.resize(np.array(list(colours.values()), np.uint8), (12, 16, 3))
    for k, name in enumerate(name for names in FRAMES.values() for name in names):
        save(tmp_path / f"701_StillsRaw_full/{name}.png", picture(k))
        save(tmp_path / f"LabeledApproved_full/{name}_L.png", label)
    data = loaded("camvid_raw", tmp_path)
    assert data.select is not None
    assert [len(role) for role in (data.fit, data.select, data.report)] == [
        len(names) for names in FRAMES.values()
    ]
    assert (data.classes, data.palette, data.ignore_index) == (
        CAMVID.classes,
        CAMVID.palette,
        CAMVID.ignore_index,
    )
    expected = [11 if meaning[name] == "ignore" else CAMVID.classes.index(meaning[name]) for name in colours]
    assert data.report[0].label.flatten()[:32].tolist() == expected
