"""A user's own folders of images and label masks."""

import os
from pathlib import Path
from typing import Annotated, NotRequired

from pydantic import ConfigDict, Field, NonNegativeInt, PositiveInt, with_config
from typing_extensions import TypedDict

from segprune.dataset.augment import CropOptions, resized_crop
from segprune.dataset.contract import SegData
from segprune.dataset.labels import LabelSpace, made_palette
from segprune.dataset.mask_options import RGB, Byte, Colours, mask_code
from segprune.dataset.pair_set import Exif, PairSet
from segprune.dataset.pairing import Pair, Suffixes, list_pairs, pairs_of_list, require_root
from segprune.dataset.pairs import Reading, pair_data
from segprune.errors import ConfigError

Ending = Annotated[str, Field(min_length=1)]
Endings = Ending | Annotated[tuple[Ending, ...], Field(min_length=1)]


@with_config(ConfigDict(extra="forbid"))
class RoleFolders(TypedDict):
    """Where the files of one role are, relative to ``root``.

    Attributes:
        images: Folder of images.
        masks: Folder of masks; may be the same one.
        list: Text file of the names of the images that the role has, one a line; without it, it has all.
    """

    images: str
    masks: str
    list: NotRequired[str]


def folder(  # noqa: PLR0913 - one argument per key of the YAML
    *,
    root: Path,
    fit: RoleFolders,
    select: RoleFolders | None,
    report: RoleFolders,
    image_suffix: Endings,
    mask_suffix: Endings,
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
        image_suffix: How image names end, e.g. ``.jpg``, or several such endings.
        mask_suffix: How mask names end, e.g. ``_mask.png``, likewise.
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
        cache_mb: Decoded images stay in memory up to so many MB.

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
    suffixes = (_several(image_suffix), _several(mask_suffix))
    _refuse_overlap(root, roles, suffixes)
    layout = "; ".join(_layout(role, where, suffixes) for role, where in roles.items())
    require_root(root, layout)

    def files(where: RoleFolders) -> tuple[Pair, ...]:
        images, masks = root / where["images"], root / where["masks"]
        if "list" in where:
            file = root / where["list"]
            return pairs_of_list(images, masks, file, suffixes=suffixes, layout=layout, limit=limit)
        return list_pairs(images, masks, suffixes=suffixes, layout=layout, limit=limit)

    pairs_of = {role: files(where) for role, where in roles.items()}
    _refuse_shared(pairs_of, roles)
    pairs = PairSet(
        name="folder",
        root=root,
        space=space,
        code=code,
        fit=pairs_of["fit"],
        select=pairs_of.get("select"),
        report=pairs_of["report"],
        report_split="report",
        exif=exif,
        may_lack=allow_absent,
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


def _several(endings: str | tuple[str, ...]) -> tuple[str, ...]:
    return (endings,) if isinstance(endings, str) else endings


def _layout(role: str, where: RoleFolders, suffixes: Suffixes) -> str:
    ours, theirs = ("|".join(endings) for endings in suffixes)
    names = f", the names in {where['list']}" if "list" in where else ""
    return f"{role}: {where['images']}/*{ours} with {where['masks']}/*{theirs}{names}"


def _refuse_shared(pairs_of: dict[str, tuple[Pair, ...]], roles: dict[str, RoleFolders]) -> None:
    """Refuse an image that two lists name."""
    found: dict[str, str] = {}
    for role, pairs in pairs_of.items():
        for pair in pairs:
            other = found.setdefault(os.path.realpath(pair.image), role)
            if other != role:
                raise ConfigError(
                    f"{pair.image} is in dataset.{other} and in dataset.{role}: one image must not serve two "
                    f"roles; take it out of {roles[role].get('list', roles[role]['images'])}"
                )


def _refuse_overlap(root: Path, roles: dict[str, RoleFolders], suffixes: Suffixes) -> None:
    found: dict[str, Path] = {}
    for role, where in roles.items():
        images, masks = (Path(os.path.realpath(root / where[part])) for part in ("images", "masks"))
        for other, theirs in found.items():
            is_listed = "list" in where and "list" in roles[other]
            if not is_listed and (images.is_relative_to(theirs) or theirs.is_relative_to(images)):
                how = "are both" if images == theirs else "lie in one another:"
                raise ConfigError(
                    f"dataset.{role}.images and dataset.{other}.images {how} {where['images']} and "
                    f"{roles[other]['images']}: one image must not serve two roles; give dataset.{role} its own "
                    "folder, or give both a list of names"
                )
        found[role] = images
        if images == masks and {*suffixes[0]} & {*suffixes[1]}:
            raise ConfigError(
                f"dataset.{role}: images and masks are both {where['images']}/*{suffixes[0][0]}; set "
                "dataset.image_suffix and dataset.mask_suffix so that they can be told apart"
            )
