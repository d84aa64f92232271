"""Cityscapes with fine annotations: 19 train ids, everything else ignored."""

from pathlib import Path
from typing import Annotated

from pydantic import Field, NonNegativeInt, PositiveInt

from segprune.dataset.augment import ScaleOptions, scaled_crop
from segprune.dataset.contract import SegData
from segprune.dataset.labels import CITYSCAPES
from segprune.dataset.mask_code import MaskCode
from segprune.dataset.pair_set import PairSet
from segprune.dataset.pairing import list_pairs, require_root
from segprune.dataset.pairs import Reading, pair_data
from segprune.dataset.split import sliced

_LAYOUT = (
    "leftImg8bit/{train,val}/<city>/*_leftImg8bit.png with "
    "gtFine/{train,val}/<city>/*_gtFine_labelTrainIds.png or *_gtFine_labelIds.png"
)
_IMAGE = "_leftImg8bit.png"
_TRAIN_IDS = "_gtFine_labelTrainIds.png"
_LABEL_IDS = "_gtFine_labelIds.png"
_SCORED_IDS = (7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33)  # of train ids 0..18
_LAST_ID = 33
_LICENSE_PLATE = 255  # id -1, in eight bits


def _train_id(label_id: int) -> int:
    """Train id of a stored id; one that Cityscapes does not have stays foreign (254) and is refused."""
    if label_id in _SCORED_IDS:
        return _SCORED_IDS.index(label_id)
    is_known = label_id <= _LAST_ID or label_id == _LICENSE_PLATE
    return CITYSCAPES.ignore_index if is_known else 254


TRAIN_IDS_OF_IDS = MaskCode("numbers", {label_id: _train_id(label_id) for label_id in range(256)})
"""Of masks that store label ids, which become train ids."""


def cityscapes(  # noqa: PLR0913 - one argument per key of the YAML
    *,
    root: Path,
    size_hw: tuple[PositiveInt, PositiveInt],
    crop_hw: tuple[PositiveInt, PositiveInt],
    select_fraction: Annotated[float, Field(ge=0, lt=1)],
    select_seed: NonNegativeInt,
    limit: PositiveInt | None,
    augment: ScaleOptions,
    seed: NonNegativeInt,
    cache_dir: Path,
    cache_mb: NonNegativeInt,
) -> SegData:
    """Cityscapes; reported on val, since the labels of test are not public.

    Args:
        root: Folder that holds leftImg8bit and gtFine.
        size_hw: (H, W) in px of calibration and evaluation images; labels are evaluated at their own 1024x2048.
        crop_hw: (H, W) in px of training crops.
        select_fraction: Fraction of train that leaves training to choose the best epoch; 0: the last epoch
            counts.
        select_seed: Which images these are; not the run's seed, so that all seeds train on the same images.
        limit: Only the first so many images of each split.
        augment: Training augmentation.
        seed: The run's seed.
        cache_dir: Where checked facts about the files are kept.
        cache_mb: Decoded images stay in memory up to so many MB.

    Raises:
        ConfigError: ``select_fraction`` leaves no image to train on.
        DataError: A folder or file is missing, damaged or does not fit its partner.

    Source: Cityscapes, arXiv:1604.01685.
    """
    require_root(root, _LAYOUT)
    label_suffix = _TRAIN_IDS if _has_train_ids(root) else _LABEL_IDS
    train, val = (
        list_pairs(
            root / "leftImg8bit" / split,
            root / "gtFine" / split,
            suffixes=((_IMAGE,), (label_suffix,)),
            layout=_LAYOUT,
            limit=limit,
        )
        for split in ("train", "val")
    )
    fit, select = sliced(train, select_fraction, select_seed)
    pairs = PairSet(
        name="cityscapes",
        root=root,
        space=CITYSCAPES,
        code=MaskCode() if label_suffix == _TRAIN_IDS else TRAIN_IDS_OF_IDS,
        fit=fit,
        select=select,
        report=val,
        report_split="val",
    )
    reading = Reading(
        size_hw=size_hw,
        augmentation=scaled_crop(augment, crop_hw, CITYSCAPES.ignore_index),
        seed=seed,
        cache_dir=cache_dir,
        cache_mb=cache_mb,
    )
    return pair_data(pairs, reading)


def _has_train_ids(root: Path) -> bool:
    return any((root / "gtFine").glob(f"*/*/*{_TRAIN_IDS}"))
