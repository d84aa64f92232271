"""A user's own folders of images and label masks."""

import os
from pathlib import Path
from typing import Annotated

from pydantic import ConfigDict, Field, NonNegativeInt, PositiveInt, with_config
from typing_extensions import TypedDict

from segprune.dataset.augment import CropOptions, resized_crop
from segprune.dataset.contract import SegData
from segprune.dataset.labels import LabelSpace, made_palette
from segprune.dataset.mask_options import RGB, Byte, Colours, mask_code
from segprune.dataset.pair_set import Exif, PairSet
from segprune.dataset.pairing import Pair, list_pairs, require_root
from segprune.dataset.pairs import Reading, pair_data
from segprune.errors import ConfigError


@with_config(ConfigDict(extra="forbid"))
class RoleFolders(TypedDict):
    """Where the files of one role are, relative to ``root``.

    Attributes:
        images: Folder of images.
        masks: Folder of masks; may be the same one.
    """

    images: str
    masks: str


def folder(  # noqa: PLR0913 - one argument per key of the YAML
    *,
    root: Path,
    fit: RoleFolders,
    select: RoleFolders | None,
    report: RoleFolders,
    image_suffix: Annotated[str, Field(min_length=1)],
    mask_suffix: Annotated[str, Field(min_length=1)],
    classes: Annotated[tuple[str, ...], Field(min_length=2, max_length=255)],
    palette: tuple[RGB, ...] | None,
    ignore_index: Byte,
    values: dict[int | str, int | str] | None,
    colours: Colours | Path | None,
    exif: Exif | None,
    allow_absent: tuple[str, ...],
    size_hw: tuple[PositiveInt, PositiveInt],
    limit: PositiveInt | None,
    augment: CropOptions,
    seed: NonNegativeInt,
    cache_dir: Path,
    cache_mb: NonNegativeInt,
) -> SegData:
    """Pairs of files ``<name><image_suffix>`` and ``<name><mask_suffix>``, of any sizes, in subfolders too.

    Args:
        root: Folder that the others are in.
        fit: Where the training files are.
        select: Where the files that choose the best epoch are; ``None``: the last epoch counts.
        report: Where the files that are reported are.
        image_suffix: How image names end, e.g. ``.jpg``.
        mask_suffix: How mask names end, e.g. ``_mask.png``.
        classes: K names; pixel value k of a mask is ``classes[k]``.
        palette: K RGB colours for figures; ``None``: generated.
        ignore_index: Pixel value that is never scored.
        values: Stored pixel value -> class, its number, or ``ignore``; the others stand for themselves.
        colours: Class -> its colour or colours, or a file of them, for masks that store colours.
        exif: Whether files are turned as their EXIF tags say; ``None``: a file with such a tag is refused.
        allow_absent: Classes that training masks need not hold.
        size_hw: (H, W) in px of training crops, calibration and evaluation images.
        limit: Only the first so many images of each role.
        augment: Training augmentation.
        seed: The run's seed.
        cache_dir: Where checked facts about the files are kept.
        cache_mb: Decoded images stay in memory if all take fewer MB than this.

    Raises:
        ConfigError: Two roles share their images, images and masks cannot be told apart, or classes, palette,
            ignore_index, values and colours contradict each other.
        DataError: A folder or file is missing, damaged or does not fit its partner.
    """
    space = LabelSpace(
        classes=classes, palette=palette or made_palette(len(classes)), ignore_index=ignore_index
    )
    code = mask_code(space, values or {}, colours)
    _refuse_unknown(allow_absent, space)
    roles = {"fit": fit, "report": report} | ({"select": select} if select else {})
    _refuse_overlap(root, roles, (image_suffix, mask_suffix))
    layout = "; ".join(
        f"{role}: {where['images']}/*{image_suffix} with {where['masks']}/*{mask_suffix}"
        for role, where in roles.items()
    )
    require_root(root, layout)

    def files(where: RoleFolders) -> tuple[Pair, ...]:
        suffixes = (image_suffix, mask_suffix)
        return list_pairs(
            root / where["images"], root / where["masks"], suffixes=suffixes, layout=layout, limit=limit
        )

    pairs = PairSet(
        name="folder",
        root=root,
        space=space,
        code=code,
        fit=files(fit),
        select=files(select) if select else None,
        report=files(report),
        report_split="report",
        exif=exif,
        may_lack=None if limit else allow_absent,  # a quick try sees few masks
    )
    reading = Reading(
        size_hw=size_hw,
        augmentation=resized_crop(augment, size_hw),
        seed=seed,
        cache_dir=cache_dir,
        cache_mb=cache_mb,
    )
    return pair_data(pairs, reading)


def _refuse_unknown(allow_absent: tuple[str, ...], space: LabelSpace) -> None:
    unknown = [name for name in allow_absent if name not in space.classes]
    if unknown:
        raise ConfigError(
            f"dataset.allow_absent names {unknown[0]!r}, which is no class; allowed are {', '.join(space.classes)}"
        )


def _refuse_overlap(root: Path, roles: dict[str, RoleFolders], suffixes: tuple[str, str]) -> None:
    found: dict[str, Path] = {}
    for role, where in roles.items():
        images, masks = (Path(os.path.realpath(root / where[part])) for part in ("images", "masks"))
        for other, theirs in found.items():
            if images.is_relative_to(theirs) or theirs.is_relative_to(images):
                how = "are both" if images == theirs else "lie in one another:"
                raise ConfigError(
                    f"dataset.{role}.images and dataset.{other}.images {how} {where['images']} and "
                    f"{roles[other]['images']}: one image must not serve two roles; give dataset.{role} its own "
                    "folder"
                )
        found[role] = images
        if images == masks and suffixes[0] == suffixes[1]:
            raise ConfigError(
                f"dataset.{role}: images and masks are both {where['images']}/*{suffixes[0]}; set "
                "dataset.image_suffix and dataset.mask_suffix so that they can be told apart"
            )
