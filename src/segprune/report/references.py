"""Controls that a method has to be compared with: networks that need no pruning method."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

from segprune.report.collect import STANDARD, CellData
from segprune.report.paired import BySeed, by_seed, difference
from segprune.report.statistics import Difference

NAMES = {
    "dense": "dense network, finetuned by the same schedule",
    "half": "half the channels in every layer, trained like the dense network",
    "scratch_e": "trained from scratch for as many epochs as the dense network",
    "scratch_b": "trained from scratch for as much compute as the dense network",
}


@dataclass(frozen=True, kw_only=True)
class Reference:
    """A network that a method should beat, or be close to.

    Attributes:
        protocol: Which control it is.
        method: The method it is compared with: the best one, or the one whose cut network it is.
        seeds: Those that finished.
        mean: mIoU in percent, mean over the seeds.
        sd: Its standard deviation; nan for one seed.
        macs_kept: Fraction of the dense network's MACs, mean over the seeds.
        ahead: How much higher the method's mIoU is; None if there are neither images nor seeds for an interval.
    """

    protocol: str
    method: str
    seeds: tuple[int, ...]
    mean: float
    sd: float
    macs_kept: float
    ahead: Difference | None

    @property
    def name(self) -> str:
        """The control in words."""
        what = NAMES.get(self.protocol, self.protocol)
        return f"{self.method}, {what}" if self.protocol.startswith("scratch") else what


def references(
    cells: Sequence[CellData], asked: CellData, methods: Mapping[str, BySeed], best: str
) -> Iterator[Reference]:
    """The controls among the jobs of a sweep that concern one setting, budget and ratio.

    Args:
        cells: All jobs of the sweep.
        asked: A job with the setting, budget and ratio.
        methods: Method -> its finished jobs there.
        best: The best of them.
    """
    near = [cell for cell in cells if _parts(cell) <= _parts(asked)]
    for protocol in ("dense", "half"):
        yield from _reference(protocol, [c for c in near if c.cell.protocol == protocol], best, methods[best])
    for method, jobs in methods.items():
        for protocol in ("scratch_e", "scratch_b"):
            own = [
                cell for cell in near if cell.method == f"{method} {protocol}" and _cut(cell) == _cut(asked)
            ]
            yield from _reference(protocol, own, method, jobs)


def is_control(cell: CellData) -> bool:
    """Whether a job is one of those controls; random and l1 are methods like all others."""
    return cell.cell.protocol != STANDARD


def _reference(protocol: str, cells: Sequence[CellData], method: str, jobs: BySeed) -> Iterator[Reference]:
    """One reference, or none where no job finished."""
    found = by_seed(cells)
    if found:
        rows = [cell.cell.rows[-1] for cell in found.values()]
        miou = pd.Series([row.number("miou_percent") for row in rows])
        yield Reference(
            protocol=protocol,
            method=method,
            seeds=tuple(sorted(found)),
            mean=float(miou.mean()),
            sd=float(miou.std()),
            macs_kept=float(pd.Series([row.number("macs_kept") for row in rows]).mean()),
            ahead=difference(jobs, found),
        )


def _cut(cell: CellData) -> tuple[str, float | None]:
    return cell.cell.budget, cell.cell.ratio


def _parts(cell: CellData) -> set[str]:
    """The parts of a setting; that of a control has fewer."""
    return set(cell.setting.split("; "))
