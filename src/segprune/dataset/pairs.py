"""Datasets of image and label files: everything is checked before training, then decoded where needed."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from segprune.dataset.augment import Augmentation
from segprune.dataset.contract import SegData
from segprune.dataset.facts import Fact, FileKey, gather, refuse
from segprune.dataset.file_source import FileSource, decoded_bytes
from segprune.dataset.frames import in_a_row
from segprune.dataset.identity import identify
from segprune.dataset.items import CalibrationItems, EvaluationItems, FitItems
from segprune.dataset.labels import LabelSpace
from segprune.dataset.pairing import Pair
from segprune.errors import DataError


@dataclass(frozen=True, kw_only=True)
class PairSet:
    """The files of a dataset and what their labels mean.

    Attributes:
        root: Folder that the files belong to.
        lookup: Label value of each stored value 0..255; ``None``: the stored value itself.
        select: ``None``: there are none.
    """

    name: str
    root: Path
    space: LabelSpace
    lookup: tuple[int, ...] | None
    fit: tuple[Pair, ...]
    select: tuple[Pair, ...] | None
    report: tuple[Pair, ...]
    report_split: str


@dataclass(frozen=True, kw_only=True)
class Reading:
    """How items are made from the files.

    Attributes:
        size_hw: (H, W) in px of images in calibration and evaluation.
        augmentation: Of the training items.
        seed: The run's seed.
        cache_dir: Where checked facts are kept.
        cache_mb: Decoded pairs stay in memory if all together take fewer MB (10^6 bytes) than this.
    """

    size_hw: tuple[int, int]
    augmentation: Augmentation
    seed: int
    cache_dir: Path
    cache_mb: int


def pair_data(pairs: PairSet, reading: Reading) -> SegData:
    """The checked dataset with its roles.

    Raises:
        DataError: A file is damaged, image and label differ in size, a label value is no class, or no pixel of a
            role is labelled.
        ConfigError: ``cache_dir`` cannot be written.
    """
    roles = {"fit": pairs.fit, "select": pairs.select or (), "report": pairs.report}
    facts = _checked(pairs, [pair for role in roles.values() for pair in role], reading.cache_dir)
    for name, role in roles.items():
        _refuse_unlabelled(name, role, facts, pairs)
    sizes = {name: [facts[pair][0].size_hw for pair in role] for name, role in roles.items()}
    is_kept = sum(map(decoded_bytes, sizes.values())) < reading.cache_mb * 10**6
    fit, select, report = (
        FileSource(role, sizes[name], pairs.lookup, is_kept=is_kept) for name, role in roles.items()
    )
    return SegData(
        name=pairs.name,
        classes=pairs.space.classes,
        palette=pairs.space.palette,
        ignore_index=pairs.space.ignore_index,
        size_hw=reading.size_hw,
        fit=FitItems(fit, reading.augmentation, reading.seed),
        calibration=CalibrationItems(fit, reading.size_hw),
        select=EvaluationItems(select, reading.size_hw) if pairs.select else None,
        report=EvaluationItems(report, reading.size_hw),
        report_split=pairs.report_split,
        identity=identify(
            {name: _contents(role, facts) for name, role in roles.items()},
            space=pairs.space,
            lookup=pairs.lookup,
            augmentation=reading.augmentation,
            size_hw=reading.size_hw,
            seed=reading.seed,
        ),
        report_frames=in_a_row([pair.name for pair in pairs.report]),
    )


def _contents(role: Sequence[Pair], facts: Mapping[Pair, tuple[Fact, Fact]]) -> list[tuple[str, str]]:
    return [(facts[pair][0].sha256, facts[pair][1].sha256) for pair in role]


def _checked(pairs: PairSet, every: Sequence[Pair], cache_dir: Path) -> Mapping[Pair, tuple[Fact, Fact]]:
    """(image, label) facts of each pair, all in order."""
    keys = {pair: (FileKey("image", pair.image), FileKey("label", pair.label)) for pair in every}
    root = sha256(os.fsencode(pairs.root.absolute())).hexdigest()[:16]
    facts = gather([key for both in keys.values() for key in both], cache_dir / "pairs" / f"{root}.json")
    found = {pair: (facts[image], facts[label]) for pair, (image, label) in keys.items()}
    refuse([fault for pair, both in found.items() for fault in _faults(pair, both, pairs)])
    return found


def _faults(pair: Pair, facts: tuple[Fact, Fact], pairs: PairSet) -> list[str]:
    image, label = facts
    faults = []
    if image.size_hw != label.size_hw:
        sizes = [f"{width}x{height}" for height, width in (image.size_hw, label.size_hw)]
        faults.append(
            f"{pair.image} is {sizes[0]} but its label {pair.label} is {sizes[1]}; regenerate the label at "
            "the size of the image"
        )
    last, ignore = len(pairs.space.classes) - 1, pairs.space.ignore_index
    meaning = _meaning(label, pairs)
    foreign = [value for value, means in meaning.items() if means > last and means != ignore]
    if foreign:
        faults.append(
            f"{pair.label} has label values {foreign}; allowed are 0..{last} and {ignore} (ignored): "
            "correct the label, or the classes and ignore_index of the dataset"
        )
    return faults


def _refuse_unlabelled(
    name: str, role: Sequence[Pair], facts: Mapping[Pair, tuple[Fact, Fact]], pairs: PairSet
) -> None:
    ignore = pairs.space.ignore_index
    if role and all(set(_meaning(facts[pair][1], pairs).values()) == {ignore} for pair in role):
        raise DataError(
            f"{role[0].label} and all other labels of the role {name} ({len(role)}) hold nothing but {ignore}, "
            "which is ignored, so there is nothing to learn or to score: correct the labels, or ignore_index and "
            "the classes of the dataset"
        )


def _meaning(label: Fact, pairs: PairSet) -> Mapping[int, int]:
    """Each stored value -> the class it stands for, or the value that is ignored."""
    return {value: pairs.lookup[value] if pairs.lookup else value for value in label.values}
