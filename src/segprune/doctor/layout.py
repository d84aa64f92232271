"""A guess at where a folder keeps its images and masks, told from the names of folders and files."""

import os
import re
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path, PurePosixPath

IMAGES = (".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp", ".ppm")
MASKS = (*IMAGES, ".npy", ".gif")
_MASK_WORD = re.compile(
    r"mask|label|annot|segm|truth|target|trimap|gt_?(fine|coarse)|(?<![a-z])(gt|seg|lbl)(?![a-z])",
    re.IGNORECASE,
)
_FILLER = re.compile(r"mask|label|annotation|image|img|photo|truth|target|gt|seg|[^a-z0-9]", re.IGNORECASE)
_ROLES = {
    "fit": re.compile(r"(?<![a-z])train", re.IGNORECASE),
    "select": re.compile(r"(?<![a-z])(val|dev)", re.IGNORECASE),
    "report": re.compile(r"(?<![a-z])test", re.IGNORECASE),
}
_SAMPLE = 300


@dataclass(frozen=True, kw_only=True)
class Place:
    """A folder of images and the folder of their masks, relative to the root, with ``/``."""

    images: str
    masks: str
    image_suffix: tuple[str, ...]
    mask_suffix: tuple[str, ...]
    pairs: int

    @property
    def role(self) -> str | None:
        """The role that the names of the folders say."""
        return _role_in(f"{self.images} {self.masks}")


def places(root: Path) -> list[Place]:
    """Folders that belong together, those with most pairs first."""
    folders = dict(held(root))
    masks = [folder for folder in folders if _MASK_WORD.search(folder)]
    if len(masks) == len(folders):  # the word is in the name of a folder above all
        masks = [folder for folder in folders if _MASK_WORD.search(folder.split("/")[-1])]
    found: dict[tuple[str, str], Place] = {}
    for folder in masks:
        others = [_place(folders, images, folder) for images in folders if images not in masks]
        best = max((place for place in others if place.pairs), key=_fit, default=None)
        if best:
            _add(found, best)
    if not found:
        for folder in folders:
            place = _place(folders, folder, folder)
            if place.pairs:
                _add(found, place)
    return sorted(found.values(), key=lambda place: -place.pairs)


def loose_pairs(root: Path) -> list[tuple[str, str]]:
    """Image and mask, relative to the root, whose names are the same but for words such as ``mask`` and ``img``."""
    images: dict[str, list[str]] = {}
    masks: dict[str, list[str]] = {}
    for folder, names in held(root):
        for name in names:
            path = PurePosixPath(folder, name)
            side = masks if _MASK_WORD.search(str(path)) else images
            side.setdefault(_FILLER.sub("", path.stem).lower() or path.stem, []).append(str(path))
    sure = [key for key in images.keys() & masks.keys() if len(images[key]) == len(masks[key]) == 1]
    return sorted((images[key][0], masks[key][0]) for key in sure)


def endings(images: Sequence[str], masks: Sequence[str]) -> tuple[tuple[str, ...], tuple[str, ...], int]:
    """How names of images and of masks end, so that the rest is the same, and how many pairs that makes."""
    ordered, combinations = sorted(masks), Counter[tuple[str, str]]()
    for name in images[:: -(-len(images) // _SAMPLE) or 1]:
        place = bisect_left(ordered, os.path.splitext(name)[0])
        for other in ordered[max(0, place - 2) : place + 4]:
            same = takewhile(lambda both: both[0] == both[1], zip(name, other, strict=False))
            head = "".join(one for one, _ in same).rstrip("._-")
            ends = name[len(head) :], other[len(head) :]
            if head and name != other and not any(re.match(r"[._-]?\d", end) or "/" in end for end in ends):
                combinations[ends] += 1
            if name == other:
                end = os.path.splitext(name)[1]
                combinations[end, end] += 1
    known, left, ours, theirs, pairs = set(masks), set(images), [], [], 0
    for (ending, partner), _ in combinations.most_common(8):
        taken = {
            name for name in left if name.endswith(ending) and name.removesuffix(ending) + partner in known
        }
        # what one image of several ends in is its name, unless it is an extension
        if len(taken) > 1 or (taken and (len(images) == 1 or re.fullmatch(r"\.\w+", ending))):
            left -= taken
            pairs += len(taken)
            ours.append(ending)
            theirs.append(partner)
    return tuple(dict.fromkeys(ours)), tuple(dict.fromkeys(theirs)), pairs


def held(root: Path, endings: tuple[str, ...] = MASKS) -> Iterator[tuple[str, list[str]]]:
    """Folder, relative to the root -> names of its files of those endings; what begins with a dot is left out."""
    for place, folders, names in os.walk(root):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        files = sorted(name for name in names if not name.startswith(".") and name.lower().endswith(endings))
        if files:
            yield Path(place).relative_to(root).as_posix(), files


def _place(folders: Mapping[str, Sequence[str]], images: str, masks: str) -> Place:
    ours, theirs = list(folders[images]), list(folders[masks])
    if images == masks:
        named = [name for name in ours if _MASK_WORD.search(name) or os.path.splitext(name)[0].endswith("_L")]
        kinds = {os.path.splitext(name)[1].lower() for name in ours}
        if not named and len(kinds) > 1:  # photos are JPEG, masks are not
            named = [name for name in ours if not name.lower().endswith((".jpg", ".jpeg"))]
        ours, theirs = [name for name in ours if name not in set(named)], named
    if not ours or not theirs:
        return Place(images=images, masks=masks, image_suffix=(), mask_suffix=(), pairs=0)
    image_suffix, mask_suffix, pairs = endings(ours, theirs)
    return Place(images=images, masks=masks, image_suffix=image_suffix, mask_suffix=mask_suffix, pairs=pairs)


def _fit(place: Place) -> tuple[bool, int, bool, int]:
    """How well two folders fit each other.

    Those of two roles fit worst, however many files have alike names; then the files count, then whether both name
    a role, then the folders above both.
    """
    ours, theirs = _role_in(place.images), _role_in(place.masks)
    is_one_role = ours == theirs
    may_be = is_one_role or ours is None or theirs is None
    return may_be, place.pairs, is_one_role, len({*place.images.split("/")} & {*place.masks.split("/")})


def _role_in(name: str) -> str | None:
    return next((role for role, word in _ROLES.items() if word.search(name)), None)


def _add(found: dict[tuple[str, str], Place], place: Place) -> None:
    """Join it with places that lie beside it in equal subfolders, such as those of cities."""
    ours, theirs = place.images.split("/"), place.masks.split("/")
    while len(ours) > 1 and len(theirs) > 1 and ours[-1] == theirs[-1] and ours != theirs:
        if any(word.search(ours[-1]) for word in _ROLES.values()):
            break
        ours, theirs = ours[:-1], theirs[:-1]
    images, masks = "/".join(ours), "/".join(theirs)
    before = found.get((images, masks))
    joined = [(place.image_suffix, place.mask_suffix)] + (
        [(before.image_suffix, before.mask_suffix)] if before else []
    )
    found[images, masks] = Place(
        images=images,
        masks=masks,
        image_suffix=tuple(dict.fromkeys(end for ends, _ in joined for end in ends)),
        mask_suffix=tuple(dict.fromkeys(end for _, ends in joined for end in ends)),
        pairs=place.pairs + (before.pairs if before else 0),
    )
