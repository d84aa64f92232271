"""What torchvision's classes find is what the presets read, and what they miss is told with the way on."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from omegaconf import OmegaConf

from segprune.config.component import component
from segprune.dataset.contract import SegData
from segprune.errors import ConfigError, DataError
from tests.dataset.test_presets import SIZE, found, loaded, mask, photo
from tests.dataset.trees import picture, save
from tests.test_conf import CONF

pytestmark = pytest.mark.usefixtures("composer")


def named(name: str, root: Path, **changes: object) -> SegData:
    """As the YAML says, without the rest of the configuration."""
    node: Any = OmegaConf.to_container(OmegaConf.load(CONF / "dataset" / "torchvision.yaml"))
    given = {
        "name": name,
        "root": str(root),
        "size_hw": [12, 16],
        "seed": 0,
        "cache_dir": str(root / "cache"),
    }
    data: SegData = component(node | given | changes, "dataset")()
    return data


def listed(folder: Path, images: Path, masks: Path, values: list[int], **splits: list[str]) -> None:
    """Files and lists of the names in each split."""
    folder.mkdir(parents=True)
    for split, names in splits.items():
        (folder / f"{split}.txt").write_text(
            "".join(f"{name} 1 1 1\n" if masks.name == "trimaps" else f"{name}\n" for name in names)
        )
        for name in names:
            photo(images / f"{name}.jpg", len(name))
            mask(masks / f"{name}.png", values, palette=masks.name != "trimaps")


@pytest.fixture
def voc(tmp_path: Path) -> Path:
    for year in ("2012", "2007"):
        place = tmp_path / "VOCdevkit" / f"VOC{year}"
        splits = {"train": ["a", "bb", "ccc"], "val": [f"d{year}"]}
        listed(
            place / "ImageSets/Segmentation",
            place / "JPEGImages",
            place / "SegmentationClass",
            [0, *range(1, 21), 255],
            **splits,
        )
    return tmp_path


@pytest.mark.slow
def test_voc_is_what_the_preset_reads_and_a_part_of_train_may_choose_the_epoch(voc: Path) -> None:
    data, preset = named("VOCSegmentation", voc), loaded("voc", voc / "VOCdevkit/VOC2012")
    assert data.identity == preset.identity
    assert (data.classes, data.palette, data.ignore_index) == (
        preset.classes,
        preset.palette,
        preset.ignore_index,
    )
    assert (data.report_split, data.select, found(data)) == ("val", None, {*range(21), 255})
    sliced = named("VOCSegmentation", voc, select_fraction=0.3, limit=3)
    assert sliced.select is not None
    assert (len(sliced.fit), len(sliced.select), len(sliced.report)) == (2, 1, 1)
    older = named("VOCSegmentation", voc, args={"year": 2007})
    assert "VOC2007/JPEGImages/d2007.jpg" in older.files


def test_pets_are_what_the_preset_reads(tmp_path: Path) -> None:
    place = tmp_path / "oxford-iiit-pet"
    splits = {"trainval": ["Abyssinian_1"], "test": ["Beagle_22"]}
    listed(place / "annotations", place / "images", place / "annotations/trimaps", [1, 2, 3], **splits)
    data, preset = named("OxfordIIITPet", tmp_path), loaded("pets", place)
    assert np.array_equal(data.report[0].label, preset.report[0].label)
    assert (data.classes, data.palette, data.report_split) == (preset.classes, preset.palette, "test")
    assert data.report[0].label.flatten()[[0, 300, 767]].tolist() == [1, 0, 255]  # pet, background, border


def test_cityscapes_is_what_the_builder_of_that_name_reads(tmp_path: Path) -> None:
    for k, split in enumerate(("train", "val")):
        stem = f"{split}/ulm/ulm_00000{k}_000019"
        save(tmp_path / "leftImg8bit" / f"{stem}_leftImg8bit.png", picture(k, SIZE))
        mask(tmp_path / "gtFine" / f"{stem}_gtFine_labelIds.png", [*range(34)])
    data, ours = named("Cityscapes", tmp_path), loaded("cityscapes", tmp_path, "dataset.select_fraction=0")
    assert data.identity.report == ours.identity.report
    assert (data.classes, data.palette) == (ours.classes, ours.palette)


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("VOCSegmentation", "VOCdevkit/VOC<year>, .* or give dataset.download=true"),
        ("OxfordIIITPet", "oxford-iiit-pet, .* or give dataset.download=true"),
        (
            "Cityscapes",
            "leftImg8bit and gtFine, .* from www.cityscapes-dataset.com, which asks for an account",
        ),
    ],
)
def test_what_is_not_there_is_told_with_the_way_on(tmp_path: Path, name: str, told: str) -> None:
    with pytest.raises(DataError, match=f"dataset.root={tmp_path} does not hold {told}"):
        named(name, tmp_path)


def test_torchvision_downloads_only_what_is_missing_and_only_when_asked(
    voc: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_net(url: str, *_: Any, **__: Any) -> None:
        raise OSError(f"no way to {url}")

    monkeypatch.setattr("torchvision.datasets.voc.download_and_extract_archive", no_net)
    assert len(named("VOCSegmentation", voc, download=True).report) == 1  # nothing is missing
    with pytest.raises(DataError, match=r"cannot be downloaded to dataset.root=.*empty: no way to https://"):
        named("VOCSegmentation", tmp_path / "empty", download=True)


@pytest.mark.parametrize(
    ("args", "told"),
    [
        ({"image_set": "val"}, "dataset.args names image_set, which this dataset sets itself"),
        (
            {"year": 1999},
            "dataset.args={'year': 1999} is not what torchvision.datasets.VOCSegmentation takes: .*1999",
        ),
        ({"yaer": 2007}, "unexpected keyword argument 'yaer'"),
    ],
)
def test_arguments_that_do_not_fit_the_class_are_refused(
    voc: Path, args: dict[str, object], told: str
) -> None:
    with pytest.raises(ConfigError, match=told):
        named("VOCSegmentation", voc, args=args)


def test_a_list_without_names_is_refused(voc: Path) -> None:
    (voc / "VOCdevkit/VOC2012/ImageSets/Segmentation/val.txt").write_text("")
    with pytest.raises(DataError, match="finds no image of val"):
        named("VOCSegmentation", voc)
