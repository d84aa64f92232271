"""A user's own folders of images and label masks."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, NonNegativeInt, PositiveInt

from segprune.dataset.augment import CropOptions, resized_crop
from segprune.dataset.contract import SegData
from segprune.dataset.labels import LabelSpace, made_palette
from segprune.dataset.mask_options import RGB, Byte, Colours, mask_code
from segprune.dataset.pair_set import Exif, PairSet, occurring
from segprune.dataset.pairs import Reading, pair_data
from segprune.dataset.roles import RoleFolders, Sources, Split
from segprune.errors import ConfigError

Ending = Annotated[str, Field(min_length=1)]
Endings = Ending | Annotated[tuple[Ending, ...], Field(min_length=1)]


def folder(  # noqa: PLR0913 - one argument per key of the YAML
    *,
    name: Annotated[str, Field(pattern=r"^[\w-]+$")],
    root: Path,
    fit: RoleFolders,
    select: RoleFolders | None,
    report: RoleFolders,
    report_split: Annotated[str, Field(min_length=1)],
    pairs: Path | None,
    split: Split | None,
    split_seed: NonNegativeInt,
    image_suffix: Endings,
    mask_suffix: Endings,
    classes: Annotated[tuple[str, ...], Field(min_length=1, max_length=255)],
    palette: tuple[RGB, ...] | None,
    ignore_index: Byte,
    values: dict[int | str, int | str] | None,
    colours: Colours | Path | None,
    exif: Exif | None,
    allow_absent: tuple[str, ...] | Literal["all"],
    bands: Annotated[int, Field(ge=1, le=20)],
    mean: tuple[float, ...] | None,
    std: tuple[float, ...] | None,
    size_hw: tuple[PositiveInt, PositiveInt],
    crop_hw: tuple[PositiveInt, PositiveInt] | None,
    limit: PositiveInt | None,
    augment: CropOptions,
    seed: NonNegativeInt,
    cache_dir: Path,
    cache_mb: NonNegativeInt,
) -> SegData:
    """Pairs of files ``<name><image_suffix>`` and ``<name><mask_suffix>``, of any sizes, in subfolders too.

    Args:
        name: What the dataset is called in tables.
        root: Folder that the others are in.
        fit: Where the training files are.
        select: Where the files that choose the best epoch are; ``None``: the last epoch counts.
        report: Where the files that are reported are.
        report_split: What these are called in tables.
        pairs: CSV of the columns image, mask and role that says it instead of folders.
        split: Fractions of the files of ``fit`` that go to fit, select and report; 0: the role has its own folder.
        split_seed: Which files these are; not the run's seed, so that all seeds train on the same images.
        image_suffix: How image names end, e.g. ``.jpg``, or several such endings.
        mask_suffix: How mask names end, e.g. ``_mask.png``, likewise.
        classes: K names; pixel value k of a mask is ``classes[k]``.
        palette: K RGB colours for figures; ``None``: generated.
        ignore_index: Pixel value that is never scored.
        values: Stored pixel value -> class, its number, or ``ignore``; the others stand for themselves.
        colours: Class -> its colour or colours, or a file of them in ``root``, for masks that store colours.
        exif: Whether files are turned as their EXIF tags say; ``None``: a file with such a tag is refused.
        allow_absent: Classes that training masks need not hold; ``all``: any.
        bands: Of the images.
        mean: Of each band, in [0, 1], for the normalisation; ``None``: that of the model's weights for RGB of 8
            bits, else measured on the training images.
        std: Likewise.
        size_hw: (H, W) in px of calibration and evaluation images.
        crop_hw: (H, W) in px of training crops, of images of that size; ``None``: ``size_hw``.
        limit: Only the first so many images of each role.
        augment: Training augmentation.
        seed: The run's seed.
        cache_dir: Where checked facts about the files are kept.
        cache_mb: Decoded images stay in memory up to so many MB.

    Raises:
        ConfigError: There is one class, two roles share their images, images and masks cannot be told apart, or
            classes, palette, ignore_index, values and colours contradict each other.
        DataError: A folder or file is missing, damaged or does not fit its partner.
    """
    _refuse_one(classes)
    space = LabelSpace(
        classes=classes, palette=palette or made_palette(len(classes)), ignore_index=ignore_index
    )
    code = mask_code(space, values or {}, root / colours if isinstance(colours, Path) else colours)
    may_lack = None if allow_absent == "all" else allow_absent
    _refuse_unknown(may_lack or (), space)
    folders = {"fit": fit, "report": report} | ({"select": select} if select else {})
    sources = Sources(
        root=root,
        folders=folders,
        suffixes=(_several(image_suffix), _several(mask_suffix)),
        pairs=pairs,
        split=split,
        split_seed=split_seed,
        limit=limit,
    )
    roles = sources.find(lambda found: occurring(found, code, root, cache_dir, bands))
    files = PairSet(
        name=name,
        root=root,
        space=space,
        code=code,
        fit=roles["fit"],
        select=roles.get("select"),
        report=roles["report"],
        report_split=report_split,
        exif=exif,
        may_lack=may_lack,
        bands=bands,
    )
    reading = Reading(
        size_hw=size_hw,
        augmentation=resized_crop(augment, size_hw, crop_hw),
        seed=seed,
        cache_dir=cache_dir,
        cache_mb=cache_mb,
        mean=mean,
        std=std,
    )
    return pair_data(files, reading)


def _refuse_one(classes: tuple[str, ...]) -> None:
    if len(classes) == 1:
        raise ConfigError(
            f"dataset.classes has {classes[0]!r} alone, and what is not that is a class too, the number 0: give "
            f"'dataset.classes=[background,{classes[0]}]'"
        )


def _refuse_unknown(allow_absent: tuple[str, ...], space: LabelSpace) -> None:
    unknown = [name for name in allow_absent if name not in space.classes]
    if unknown:
        raise ConfigError(
            f"dataset.allow_absent names {unknown[0]!r}, which is no class; allowed are {', '.join(space.classes)}"
        )


def _several(endings: str | tuple[str, ...]) -> tuple[str, ...]:
    return (endings,) if isinstance(endings, str) else endings
