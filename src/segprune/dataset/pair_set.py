"""The files of a dataset, what their masks mean, and all that must be true of both before training."""

import logging
import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Literal

from segprune.dataset.contract import RoleSummary
from segprune.dataset.facts import Fact, FileKey, gather, refuse
from segprune.dataset.labels import LabelSpace
from segprune.dataset.mask_code import MaskCode, as_text
from segprune.dataset.mask_pixels import OBJECTS
from segprune.dataset.pairing import Pair
from segprune.errors import DataError

log = logging.getLogger(__name__)

Exif = Literal["apply", "ignore"]
Facts = Mapping[Pair, tuple[Fact, Fact]]
"""(image, mask) of each pair."""
_SHOWN = 8
"""So many values a message names."""


@dataclass(frozen=True, kw_only=True)
class PairSet:
    """The files of a dataset and what their masks mean.

    Attributes:
        root: Folder that the files belong to.
        code: What the stored values of masks stand for.
        select: ``None``: there are none.
        exif: Whether files are turned as their EXIF tags say; ``None``: a file with such a tag is refused.
        bands: Of the images.
        may_lack: Classes that training masks need not hold; ``None``: any of them.
    """

    name: str
    root: Path
    space: LabelSpace
    code: MaskCode
    fit: tuple[Pair, ...]
    select: tuple[Pair, ...] | None
    report: tuple[Pair, ...]
    report_split: str
    exif: Exif | None = "apply"
    may_lack: tuple[str, ...] | None = None
    bands: int = 3

    @property
    def roles(self) -> Mapping[str, tuple[Pair, ...]]:
        """The pairs of each role; ``select`` may be empty."""
        return {"fit": self.fit, "select": self.select or (), "report": self.report}

    @property
    def upright(self) -> bool:
        """Whether files are turned as their EXIF tags say."""
        return self.exif == "apply"

    def size_of(self, fact: Fact) -> tuple[int, int]:
        """(H, W) in px of a file as it is used."""
        return fact.seen_hw(upright=self.upright)

    def content_of(self, fact: Fact) -> str:
        """Digest of a file as it is used."""
        return fact.sha256 + (f" turned {fact.orientation}" if self.upright and fact.orientation > 1 else "")


def check_files(pairs: PairSet, cache_dir: Path) -> Facts:
    """What is known of each file, after all of them were checked.

    Raises:
        DataError: A file is damaged, a tag leaves open how it is turned, image and mask differ in size, or a mask
            holds a value that stands for no class.
        ConfigError: ``cache_dir`` cannot be written.
    """
    every = [pair for role in pairs.roles.values() for pair in role]
    known = facts_of(every, pairs.code, pairs.root, cache_dir, pairs.bands)
    refuse([fault for pair, both in known.items() for fault in _faults(pair, both, pairs)])
    _refuse_two_depths(known)
    _refuse_two_palettes(pairs, known)
    _tell_of_alpha(pairs, known)
    _tell_of_copies(pairs, known)
    return known


def facts_of(pairs: Sequence[Pair], code: MaskCode, root: Path, cache_dir: Path, bands: int) -> Facts:
    """What is known of each file by itself; raises as ``gather``."""
    keys = {pair: (FileKey("image", pair.image, bands), FileKey(code.kind, pair.label)) for pair in pairs}
    place = sha256(os.fsencode(root.absolute())).hexdigest()[:16]
    facts = gather([key for both in keys.values() for key in both], cache_dir / "files" / f"{place}.json")
    return {pair: (facts[image], facts[label]) for pair, (image, label) in keys.items()}


def occurring(
    pairs: Sequence[Pair], code: MaskCode, root: Path, cache_dir: Path, bands: int
) -> list[frozenset[int]]:
    """The labels in each mask, as far as its stored values have one; raises as ``gather``."""
    facts = facts_of(pairs, code, root, cache_dir, bands)
    held = ({code.label_of(value) for value, _ in facts[pair][1].counts} for pair in pairs)
    return [frozenset(label for label in labels if label is not None) for labels in held]


def summarise(pairs: PairSet, role: Sequence[Pair], facts: Facts) -> RoleSummary:
    """What the files of a role hold."""
    images, masks = zip(*(facts[pair] for pair in role), strict=True)
    stored: Counter[int] = Counter()
    for mask in masks:
        stored.update(dict(mask.counts))
    labelled = [0] * 256
    for value, pixels in stored.items():
        labelled[pairs.code.label_of(value) or 0] += pixels
    return RoleSummary(
        images=len(role),
        sizes=_frequent("{1}x{0}".format(*pairs.size_of(image)) for image in images),
        modes=_frequent(image.mode for image in images),
        stored={as_text(value, pairs.code.kind): stored[value] for value in sorted(stored)},
        pixels=tuple(labelled[: len(pairs.space.classes)]),
        ignored=labelled[pairs.space.ignore_index],
    )


def _frequent(names: Iterable[str]) -> dict[str, int]:
    """Each name and how often it occurs, the most frequent first."""
    return dict(Counter(names).most_common())


def refuse_unlabelled(pairs: PairSet, summary: Mapping[str, RoleSummary]) -> None:
    """Refuse labels that cannot teach or score.

    Raises:
        DataError: No pixel of a role is labelled, or no training mask holds a class that it must hold.
    """
    for name, role in summary.items():
        if not any(role.pixels):
            first = pairs.roles[name][0].label
            raise DataError(
                f"{first} and all other labels of the role {name} ({role.images}) hold nothing but "
                f"{_few(role.stored)}, which is ignored, so there is nothing to learn or to score: correct the "
                "labels, or ignore_index and the classes of the dataset"
            )
    absent = summary["fit"].absent(pairs.space.classes)
    if absent and pairs.may_lack is not None and not {*absent} <= {*pairs.may_lack}:
        missing = [name for name in absent if name not in pairs.may_lack]
        raise DataError(
            f"no training mask holds the class {_few(missing)}; the masks hold {_few(summary['fit'].stored)}. "
            + (_foreground(pairs, summary["fit"], missing) or _how_to_lack(absent))
        )
    if absent:
        log.warning("no training mask holds the class %s, so no network can learn it", _few(absent))


def _how_to_lack(absent: Sequence[str]) -> str:
    return (
        "Correct dataset.classes or the masks, map what is stored by dataset.values, raise dataset.limit if it is "
        f"set, or go on without by {_allowed(absent)}"
    )


def _foreground(pairs: PairSet, fit: RoleSummary, missing: Sequence[str]) -> str | None:
    """The remedy for black and white masks whose white is the ignored value."""
    ignore, classes = pairs.space.ignore_index, pairs.space.classes
    if pairs.code != MaskCode() or len(missing) != 1 or {*fit.stored} != {"0", str(ignore)}:
        return None
    return (
        f"{ignore} is dataset.ignore_index, so its pixels are not used, but it may well be {missing[0]}. If it "
        f"is, give 'dataset.values={{{ignore}: {classes.index(missing[0])}}}'; if not, "
        f"{_allowed(missing)}"
    )


def _allowed(names: Sequence[str]) -> str:
    return (
        "dataset.allow_absent=all" if len(names) > _SHOWN else f"'dataset.allow_absent=[{','.join(names)}]'"
    )


def _few(values: Mapping[str, int] | Sequence[str]) -> str:
    shown = list(values)[:_SHOWN]
    return ", ".join(shown) + (f" and {len(values) - _SHOWN} others" if len(values) > _SHOWN else "")


def _faults(pair: Pair, facts: tuple[Fact, Fact], pairs: PairSet) -> list[str]:
    image, label = facts
    faults = []
    if pairs.exif is None:
        faults += [
            _turned(path, fact) for path, fact in zip(pair[1:], facts, strict=True) if fact.orientation > 1
        ]
    if not faults and pairs.size_of(image) != pairs.size_of(label):
        sizes = ["{1}x{0}".format(*pairs.size_of(fact)) for fact in facts]
        faults.append(
            f"{pair.image} is {sizes[0]} but its label {pair.label} is {sizes[1]}; {_resize(pairs, image)}"
        )
    last, ignore = len(pairs.space.classes) - 1, pairs.space.ignore_index
    foreign = {
        value: pixels
        for value, pixels in label.counts
        if (means := pairs.code.label_of(value)) is None or (means > last and means != ignore)
    }
    if foreign:
        faults.append(_foreign(pair, foreign, pairs))
    return faults or _ambiguous(pair, label, pairs)


def _ambiguous(pair: Pair, mask: Fact, pairs: PairSet) -> list[str]:
    """Refuse a number that is not listed if another one is listed for its class: it may mean something else.

    With ``{7: road, 26: car}`` a 0 in a mask, such as what Cityscapes ignores, would be road too.
    """
    code, classes = pairs.code, pairs.space.classes
    if code.kind == "colours" or not code.labels:
        return []
    mapped = {label: stored for stored, label in code.labels.items() if label < len(classes)}
    for value, _ in mask.counts:
        label = code.label_of(value)
        if value not in code.labels and label in mapped:
            return [
                f"{pair.label} has the value {value}, which dataset.values does not list. It would be "
                f"{classes[label]}, as {mapped[label]} is: list it too, as '{value}: {classes[label]}' or "
                f"'{value}: ignore'"
            ]
    return []


def _turned(path: Path, fact: Fact) -> str:
    return (
        f"{path} has the EXIF orientation {fact.orientation}, so viewers show it turned or mirrored. If masks were "
        "drawn on what viewers show, give dataset.exif=apply; if they fit the pixels as stored, dataset.exif=ignore"
    )


def _resize(pairs: PairSet, image: Fact) -> str:
    if image.orientation > 4:
        other = "ignore" if pairs.upright else "apply"
        return (
            f"the image has the EXIF orientation {image.orientation} and dataset.exif={pairs.exif}: try "
            f"dataset.exif={other}"
        )
    return "regenerate the label at the size of the image"


def _foreign(pair: Pair, foreign: Mapping[int, int], pairs: PairSet) -> str:
    last, ignore = len(pairs.space.classes) - 1, pairs.space.ignore_index
    if pairs.code.kind == "colours":
        names = [f"{as_text(value, 'colours')} ({pixels} px)" for value, pixels in foreign.items()]
        return (
            f"{pair.label} has colours that dataset.colours does not name: {_few(names)}. Add them, as class or as "
            f"ignore, or correct the mask. {OBJECTS}"
        )
    return (
        f"{pair.label} has label values [{_few(list(map(str, foreign)))}]; allowed are 0..{last} and {ignore} "
        "(ignored): correct the label, or the classes and ignore_index of the dataset, or map stored values to "
        f"classes as in 'dataset.values={{{next(iter(foreign))}: {last}}}'; segprune doctor looks at all "
        "masks and says which map fits"
    )


def _refuse_two_depths(facts: Facts) -> None:
    """Refuse images of 8 bits among those of 16: one number would be two brightnesses."""
    first = {image.bits: pair.image for pair, (image, _) in facts.items()}
    if len(first) > 1:
        raise DataError(
            f"{first[8]} has 8 bits and {first[16]} has 16; all images of a dataset must be alike: store "
            "them again"
        )


def two_colours(masks: Iterable[tuple[Path, Fact]]) -> Mapping[int, Mapping[int, Path]]:
    """The numbers that palettes show in several colours -> each colour and the first mask that has it."""
    shown: dict[int, dict[int, Path]] = {}
    for path, mask in masks:
        for (value, _), colour in zip(mask.counts, mask.shown, strict=False):
            shown.setdefault(value, {}).setdefault(colour, path)
    return {value: shown[value] for value in sorted(shown) if len(shown[value]) > 1}


def _refuse_two_palettes(pairs: PairSet, facts: Facts) -> None:
    """Refuse masks that show one number in different colours: it may mean something else in each.

    What ``dataset.values`` lists is a number on purpose.
    """
    found = two_colours((pair.label, mask) for pair, (_, mask) in facts.items())
    torn = [value for value in found if value not in pairs.code.labels]
    if torn:
        (one, first), (other, second), *_ = found[torn[0]].items()
        meant = ", ".join(f"{value}: {_meant(value, pairs)}" for value in torn)
        raise DataError(
            f"{first} shows the number {torn[0]} as {as_text(one, 'colours')} and {second} as "
            f"{as_text(other, 'colours')}: their palettes differ, so a number may be another class in each. If the "
            "colours are the classes, give them as 'dataset.colours={road: [128, 64, 128], ...}'; if the numbers "
            f"are, say so by 'dataset.values={{{meant}}}'"
        )


def _meant(value: int, pairs: PairSet) -> str:
    label = pairs.code.label_of(value)
    return "ignore" if label in (None, pairs.space.ignore_index) else str(label)


def _tell_of_alpha(pairs: PairSet, facts: Facts) -> None:
    if pairs.bands != 3:
        return  # what is read as it is stored is used
    with_alpha = [
        pair for pair, (image, _) in facts.items() if image.mode in ("RGBA", "LA", "PA", "La", "RGBa")
    ]
    if with_alpha:
        log.warning(
            "%d images have an alpha band, which is not used; the first one is %s",
            len(with_alpha),
            with_alpha[0].image,
        )


_COPIES = (
    ("report", "fit", "reported images have the same bytes as a training image, so mIoU is too high"),
    (
        "report",
        "select",
        "reported images have the same bytes as one that chooses the epoch, so mIoU is too high",
    ),
    (
        "select",
        "fit",
        "images that choose the epoch have the same bytes as a training image, so what was learnt by heart chooses",
    ),
)
"""Two roles, and what to say of images of the first one that are in the other one too."""


def _tell_of_copies(pairs: PairSet, facts: Facts) -> None:
    """Say which images serve two roles, byte for byte, under different names."""
    for role, other, told in _COPIES:
        first = {facts[pair][0].sha256: pair.image for pair in pairs.roles[other]}
        copies = [pair for pair in pairs.roles[role] if facts[pair][0].sha256 in first]
        if copies:
            log.warning(
                "%d of the %d %s; the first ones are %s and %s",
                len(copies),
                len(pairs.roles[role]),
                told,
                copies[0].image,
                first[facts[copies[0]][0].sha256],
            )
