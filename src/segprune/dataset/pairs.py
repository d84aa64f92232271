"""Datasets of image and label files: everything is checked before training, then decoded where needed."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from segprune.dataset.augment import Augmentation
from segprune.dataset.band_statistics import bands_of, statistics_file
from segprune.dataset.contract import SegData
from segprune.dataset.file_source import FileSource, decoded_bytes, first_within
from segprune.dataset.frames import in_a_row
from segprune.dataset.identity import counts_file, digest, identify
from segprune.dataset.items import CalibrationItems, EvaluationItems, FitItems
from segprune.dataset.made_by import read_by
from segprune.dataset.pair_file import as_csv
from segprune.dataset.pair_set import PairSet, check_files, refuse_unlabelled, summarise
from segprune.dataset.shared_memory import Memory

_latest: list[Memory] = []
"""Decoded pairs of the latest dataset of this process."""


@dataclass(frozen=True, kw_only=True)
class Reading:
    """How items are made from the files.

    Attributes:
        size_hw: (H, W) in px of images in calibration and evaluation.
        augmentation: Of the training items.
        seed: The run's seed.
        cache_dir: Where checked facts are kept.
        mean: Of each band in [0, 1], for the normalisation; None: that of the model's weights, or measured on the
            training images where these are not RGB of 8 bits.
        std: Likewise.
        cache_mb: Decoded pairs stay in memory up to so many MB (10^6 bytes): those of the training role first, then
            those that choose the epoch, then the reported ones. Jobs that run at the same time share them.
    """

    size_hw: tuple[int, int]
    augmentation: Augmentation
    seed: int
    cache_dir: Path
    cache_mb: int
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None


def pair_data(pairs: PairSet, reading: Reading) -> SegData:
    """The checked dataset with its roles.

    Raises:
        DataError: As ``check_files`` and ``refuse_unlabelled``.
        ConfigError: ``cache_dir`` cannot be written.
    """
    facts = check_files(pairs, reading.cache_dir)
    summary = {name: summarise(pairs, role, facts) for name, role in pairs.roles.items() if role}
    refuse_unlabelled(pairs, summary)
    sizes = {name: [pairs.size_of(facts[pair][0]) for pair in role] for name, role in pairs.roles.items()}
    bits = facts[pairs.fit[0]][0].bits
    kept = _kept(sizes, reading.cache_mb * 10**6, pairs.bands * bits // 8)
    contents = {
        name: [tuple(map(pairs.content_of, facts[pair])) for pair in role]
        for name, role in pairs.roles.items()
    }
    fit, select, report = (
        FileSource(
            role,
            sizes[name],
            pairs.code,
            upright=pairs.upright,
            kept=kept[name],
            bands=pairs.bands,
            bits=bits,
            name=digest(
                contents=contents[name][: kept[name]],
                code=pairs.code.record,
                bands=pairs.bands,
                read_by=read_by(),
            ),
        )
        for name, role in pairs.roles.items()
    )
    # until the next dataset, so that the next job of this process need not decode the same images again
    _latest[:] = [source.memory for source in (fit, select, report) if source.memory]
    identity = identify(
        contents,
        space=pairs.space,
        code=pairs.code.record,
        augmentation=reading.augmentation,
        size_hw=reading.size_hw,
        seed=reading.seed,
        bands=pairs.bands,
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
        identity=identity,
        report_frames=in_a_row([pair.name for pair in pairs.report]),
        summary=summary,
        files=as_csv(pairs.roles, pairs.root),
        decoding="once" if kept == {name: len(role) for name, role in pairs.roles.items()} else "often",
        bands=bands_of(
            fit,
            count=pairs.bands,
            bits=bits,
            mean=reading.mean,
            std=reading.std,
            kept=statistics_file(reading.cache_dir, identity),
        ),
        label_counts=counts_file(reading.cache_dir, identity, read_by()),
    )


def _kept(
    sizes_hw: Mapping[str, Sequence[tuple[int, int]]], most_bytes: int, pixel_bytes: int
) -> dict[str, int]:
    """Role -> how many of its pairs, from the first on, stay in memory."""
    kept = {}
    for name, sizes in sizes_hw.items():
        kept[name] = first_within(sizes, most_bytes, pixel_bytes)
        most_bytes -= decoded_bytes(sizes[: kept[name]], pixel_bytes)
    return kept
