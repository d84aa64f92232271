"""CamVid in the layout of SegNet: 11 classes, void ignored."""

from pathlib import Path
from typing import Literal

from pydantic import NonNegativeInt, PositiveInt

from segprune.dataset.augment import CropOptions, resized_crop
from segprune.dataset.contract import SegData
from segprune.dataset.labels import CAMVID
from segprune.dataset.mask_code import MaskCode
from segprune.dataset.pair_set import PairSet
from segprune.dataset.pairing import Pair, list_pairs, require_root
from segprune.dataset.pairs import Reading, pair_data
from segprune.errors import ConfigError

_LAYOUT = (
    "train/*.png with trainannot/*.png of the same names, likewise val/ valannot/ and test/ testannot/ "
    "(CamVid as published with SegNet; pixel values 0..10, void 11)"
)


def camvid(  # noqa: PLR0913 - one argument per key of the YAML
    *,
    root: Path,
    size_hw: tuple[PositiveInt, PositiveInt],
    select: Literal["val"] | None,
    report_split: Literal["test", "val"],
    limit: PositiveInt | None,
    augment: CropOptions,
    seed: NonNegativeInt,
    cache_dir: Path,
    cache_mb: NonNegativeInt,
) -> SegData:
    """CamVid with images of any size.

    The published val split is one seven-second clip out of a drive whose other frames are in train: it may
    choose an epoch, but its mIoU runs several points above that of test.

    Args:
        root: Folder that holds train, trainannot and so on.
        size_hw: (H, W) in px of training crops, calibration and evaluation images.
        select: Split that chooses the best epoch; ``None``: the last epoch counts.
        report_split: Split that is reported.
        limit: Only the first so many images of each split.
        augment: Training augmentation.
        seed: The run's seed.
        cache_dir: Where checked facts about the files are kept.
        cache_mb: Decoded images stay in memory up to so many MB.

    Raises:
        ConfigError: ``select`` is the reported split.
        DataError: A folder or file is missing, damaged or does not fit its partner.

    Source: CamVid, 2009; split and labels of SegNet, arXiv:1511.00561.
    """
    if select == report_split:
        raise ConfigError(
            f"dataset.select and dataset.report_split are both {select!r}: the mIoU that is reported must "
            "not choose the epoch; set dataset.select=null"
        )
    require_root(root, _LAYOUT)

    def split(name: str) -> tuple[Pair, ...]:
        return list_pairs(
            root / name, root / f"{name}annot", suffixes=((".png",), (".png",)), layout=_LAYOUT, limit=limit
        )

    pairs = PairSet(
        name="camvid",
        root=root,
        space=CAMVID,
        code=MaskCode(),
        fit=split("train"),
        select=split(select) if select else None,
        report=split(report_split),
        report_split=report_split,
    )
    reading = Reading(
        size_hw=size_hw,
        augmentation=resized_crop(augment, size_hw),
        seed=seed,
        cache_dir=cache_dir,
        cache_mb=cache_mb,
    )
    return pair_data(pairs, reading)
