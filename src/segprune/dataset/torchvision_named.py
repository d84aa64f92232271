"""Segmentation datasets of torchvision: its classes find the files, which are then read like all others."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, NonNegativeInt, PositiveInt
from torchvision import datasets
from torchvision.models.segmentation import FCN_ResNet50_Weights

from segprune.dataset.augment import CropOptions, resized_crop
from segprune.dataset.cache import locked
from segprune.dataset.cityscapes import TRAIN_IDS_OF_IDS
from segprune.dataset.contract import SegData
from segprune.dataset.labels import CITYSCAPES, LabelSpace, made_palette
from segprune.dataset.mask_code import MaskCode
from segprune.dataset.pair_set import Exif, PairSet
from segprune.dataset.pairing import Pair
from segprune.dataset.pairs import Reading, pair_data
from segprune.dataset.split import sliced
from segprune.errors import ConfigError, DataError

Name = Literal["VOCSegmentation", "Cityscapes", "OxfordIIITPet"]
_VOC_CLASSES = ("background", *FCN_ResNet50_Weights.COCO_WITH_VOC_LABELS_V1.meta["categories"][1:])


@dataclass(frozen=True, kw_only=True)
class _Kind:
    """What torchvision's class does not say.

    Attributes:
        split: The argument that names the split.
        fit: The split that is trained on.
        report: The split that is reported.
        files: Of an object of the class, its images and its masks.
        space: The classes.
        code: What masks store.
        holds: What is in ``root``.
        get: How to come by the files.
        fixed: Further arguments.
    """

    split: str
    fit: str
    report: str
    files: Callable[[Any], tuple[list[Any], list[Any]]]
    space: LabelSpace
    code: MaskCode
    holds: str
    get: str = "give dataset.download=true"
    fixed: Mapping[str, str] = field(default_factory=dict)


_KINDS: Mapping[str, _Kind] = {
    "VOCSegmentation": _Kind(
        split="image_set",
        fit="train",
        report="val",
        files=lambda found: (found.images, found.masks),
        space=LabelSpace(
            classes=_VOC_CLASSES, palette=((0, 0, 0), *made_palette(len(_VOC_CLASSES) - 1)), ignore_index=255
        ),
        code=MaskCode(),
        holds="VOCdevkit/VOC<year>",
    ),
    "Cityscapes": _Kind(
        split="split",
        fit="train",
        report="val",
        files=lambda found: (found.images, [masks[0] for masks in found.targets]),
        space=CITYSCAPES,
        code=TRAIN_IDS_OF_IDS,
        holds="leftImg8bit and gtFine, or leftImg8bit_trainvaltest.zip and gtFine_trainvaltest.zip",
        get="get the two zip files from www.cityscapes-dataset.com, which asks for an account",
        fixed={"target_type": "semantic"},
    ),
    "OxfordIIITPet": _Kind(
        split="split",
        fit="trainval",
        report="test",
        files=lambda found: (found._images, found._segs),
        space=LabelSpace(classes=("background", "pet"), palette=made_palette(2), ignore_index=255),
        code=MaskCode("numbers", {1: 1, 2: 0, 3: 255}),  # as published: foreground, background, neither
        holds="oxford-iiit-pet",
        fixed={"target_types": "segmentation"},
    ),
}


def torchvision_named(  # noqa: PLR0913 - one argument per key of the YAML
    *,
    name: Name,
    root: Path,
    download: bool,
    args: dict[str, str | int] | None,
    select_fraction: Annotated[float, Field(ge=0, lt=1)],
    select_seed: NonNegativeInt,
    exif: Exif | None,
    size_hw: tuple[PositiveInt, PositiveInt],
    crop_hw: tuple[PositiveInt, PositiveInt] | None,
    limit: PositiveInt | None,
    augment: CropOptions,
    seed: NonNegativeInt,
    cache_dir: Path,
    cache_mb: NonNegativeInt,
) -> SegData:
    """The files that a class of ``torchvision.datasets`` finds: train or trainval trains, val or test is reported.

    Args:
        name: Of the class.
        root: Its argument ``root``.
        download: Whether torchvision downloads what is missing.
        args: Further arguments of the class, such as ``year``; ``None``: none.
        select_fraction: Fraction of the training images that leaves training to choose the best epoch; 0: the
            last epoch counts.
        select_seed: Which images these are; not the run's seed, so that all seeds train on the same images.
        exif: As of ``folder``.
        size_hw: (H, W) in px of calibration and evaluation images.
        crop_hw: (H, W) in px of training crops, of images of that size; ``None``: ``size_hw``.
        limit: Only the first so many images of each split.
        augment: Training augmentation.
        seed: The run's seed.
        cache_dir: Where checked facts about the files are kept.
        cache_mb: Decoded images stay in memory up to so many MB.

    Raises:
        ConfigError: ``args`` does not fit the class, or ``select_fraction`` leaves no image to train on.
        DataError: A folder or file is missing, damaged or does not fit its partner, or a download fails.
    """
    kind, args = _KINDS[name], args or {}
    _refuse_own(args, {"root", "download", kind.split, *kind.fixed, *_TRANSFORMS})
    with locked(cache_dir / "torchvision"):  # one of several jobs downloads or unpacks
        train, report = (
            _pairs(name, root, split, args, download=download)[:limit] for split in (kind.fit, kind.report)
        )
    fit, select = sliced(train, select_fraction, select_seed)
    pairs = PairSet(
        name=name,
        root=root,
        space=kind.space,
        code=kind.code,
        fit=fit,
        select=select,
        report=report,
        report_split=kind.report,
        exif=exif,
    )
    reading = Reading(
        size_hw=size_hw,
        augmentation=resized_crop(augment, size_hw, crop_hw),
        seed=seed,
        cache_dir=cache_dir,
        cache_mb=cache_mb,
    )
    return pair_data(pairs, reading)


_TRANSFORMS = ("transform", "target_transform", "transforms")


def _refuse_own(args: Mapping[str, object], own: set[str]) -> None:
    taken = sorted(own & {*args})
    if taken:
        raise ConfigError(
            f"dataset.args names {taken[0]}, which this dataset sets itself; leave it out (images are changed by "
            "dataset.augment, and splits are chosen by the dataset)"
        )


def _pairs(
    name: str, root: Path, split: str, args: Mapping[str, str | int], *, download: bool
) -> tuple[Pair, ...]:
    """The files of a split, in torchvision's order."""
    kind = _KINDS[name]
    texts = {key: str(value) for key, value in args.items()}
    make = partial(getattr(datasets, name), root=str(root), **{kind.split: split}, **texts, **kind.fixed)
    try:
        found = make()
    except (ValueError, TypeError) as error:
        raise ConfigError(
            f"dataset.args={dict(args)} is not what torchvision.datasets.{name} takes: {error}"
        ) from error
    except (RuntimeError, OSError) as missing:
        if not download or name == "Cityscapes":
            why = f" ({missing})" if isinstance(missing, OSError) else ""
            raise DataError(
                f"dataset.root={root} does not hold {kind.holds}, where torchvision.datasets.{name} looks for its "
                f"files{why}: give the folder that does, or {kind.get}"
            ) from missing
        found = _downloaded(name, root, make)
    images, masks = kind.files(found)
    pairs = zip(map(Path, images), map(Path, masks), strict=True)
    listed = tuple(
        Pair(image.relative_to(root).with_suffix("").as_posix(), image, mask) for image, mask in pairs
    )
    if not listed:
        raise DataError(
            f"torchvision.datasets.{name} finds no image of {split} in dataset.root={root}; complete it"
        )
    return listed


def _downloaded(name: str, root: Path, make: Callable[..., Any]) -> Any:
    try:
        return make(download=True)
    except (RuntimeError, OSError) as error:
        raise DataError(
            f"torchvision.datasets.{name} cannot be downloaded to dataset.root={root}: {error}. Download "
            "it on a machine that can, and give its folder as dataset.root"
        ) from error
