"""Outcomes of the jobs of a sweep -> its console table and a CSV file."""

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from segprune.config.protocol import UNTAUGHT
from segprune.report.timing import unsteadiness
from segprune.result.caution import cautions
from segprune.result.row import Row, columns, to_record
from segprune.result.table import MISSING, aligned, header, number

_NETWORKS = ("dense", "start", "prepared", "pruned_raw", "pruned", "finetuned")
_VARYING = ("distill", "protocol", "dataset", "model", "budget", "setting", "seed")
_IN_NAMES = ("distill", "protocol", "seed")
"""What the name of a run says."""
_BAD = {"failed": "FAILED", "killed": "KILLED"}


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """One job of a sweep, finished or not.

    Attributes:
        dataset: Chosen dataset.
        model: Chosen architecture.
        pruner: Chosen criterion.
        budget: Chosen budget.
        protocol: ``standard``, or which control the job is.
        ratio: Fraction to remove; ``None`` where a threshold decides.
        seed: Its seed.
        distill: The distillation loss; ``none`` also in sweeps of earlier versions.
        status: ``done`` now, ``reused`` from the store, ``failed``, ``killed`` from outside, ``running``, or
            ``not started``.
        reason: One line on why it failed or was killed, or where it is running; empty otherwise.
        rows: One per evaluated network; a job that is not finished may have some of them or none.
        setting: Its other overrides that differ from those of other jobs.
    """

    dataset: str
    model: str
    pruner: str
    budget: str
    protocol: str
    ratio: float | None
    seed: int
    status: Literal["done", "reused", "failed", "killed", "running", "not started"]
    reason: str
    rows: tuple[Row, ...]
    distill: str = UNTAUGHT
    setting: str = ""

    @property
    def is_finished(self) -> bool:
        """Whether it has results."""
        return self.status in ("done", "reused")

    @property
    def is_open(self) -> bool:
        """Whether the same command would still finish it: it neither has results nor failed."""
        return not self.is_finished and self.status != "failed"

    @property
    def is_whole(self) -> bool:
        """Whether it was to leave its network uncut, whatever pruner and ratio its configuration holds."""
        is_uncut = all(row.pruner is None for row in self.rows)
        return self.protocol == "dense" or (self.is_finished and is_uncut)

    @property
    def threshold(self) -> float | None:
        """Channels with a lower score were to go; None where a ratio decided, or nothing was evaluated."""
        return next((row.threshold for row in reversed(self.rows) if row.threshold is not None), None)

    @property
    def asked(self) -> str:
        """What was asked to be removed: a fraction, or scores below a threshold."""
        if self.is_whole:
            return MISSING
        return number(self.ratio, "{:.3f}") if self.threshold is None else f"< {self.threshold:g}"

    @property
    def cut(self) -> str:
        """Likewise, for captions."""
        if self.is_whole:
            return "not cut"
        if self.ratio is not None:
            return f"{self.ratio:g} of {self.budget}"
        return "threshold" if self.threshold is None else f"threshold {self.threshold:g}"


def sweep_table(outcomes: Sequence[Outcome]) -> str:
    """The results of a sweep, one line per job: by pruner, then ratio, then other differences.

    Distillation, protocol, dataset, model, budget, other settings and seed are columns if they differ between the
    jobs, thresholds, ``prepared`` and the networks of other stages than the usual ones if they occur. Controls come
    last.
    """
    varying = [name for name in _VARYING if _differs(outcomes, name)]
    ordered = sorted(
        outcomes,
        key=lambda c: (
            c.protocol != "standard",
            c.protocol,
            c.pruner,
            c.ratio or 0.0,
            c.threshold or 0.0,
            c.distill != UNTAUGHT,
            c.distill,
            c.dataset,
            c.model,
            c.budget,
            c.setting,
            c.seed,
        ),
    )
    rows = [row for outcome in ordered for row in outcome.rows]
    stages = dict.fromkeys(row.stage for row in rows)
    prepared = ["prepared"] if "prepared" in stages else []
    others = [stage for stage in stages if stage not in _NETWORKS]
    asked = ["threshold"] if any(outcome.threshold is not None for outcome in outcomes) else []
    asked += ["asked"] if not asked or any(outcome.ratio is not None for outcome in outcomes) else []
    titles = ["pruner", *varying, *asked, "reached", "MACs", "params"]
    titles += ["dense", *prepared, "pruned", "tuned", *others, "kept", "ms", "speed-up", "status"]
    body = [[_texts(outcome).get(title, MISSING) for title in titles] for outcome in ordered]
    legend = "MACs, params: % kept. dense, pruned, tuned: mIoU % before the cut, after it, finetuned. "
    legend += "prepared: mIoU % after the criterion's own training. " if prepared else ""
    legend += "".join(f"{name}: mIoU % after that stage. " for name in others)
    legend += "kept: last mIoU by dense mIoU."
    failures = [
        f"{_BAD[outcome.status]} {outcome.pruner} {number(outcome.ratio, '{:g}')} {outcome.setting}".rstrip()
        + f" seed {outcome.seed}: {outcome.reason}"
        for outcome in ordered
        if outcome.status in _BAD
    ]
    named = [(_name(outcome, varying), outcome.rows) for outcome in ordered if outcome.rows]
    doubts = list(filter(None, [*cautions(named), unsteadiness(rows)]))
    return "\n".join(
        [*header(rows), legend, aligned(titles, body, text_columns=1 + len(varying)), *doubts, *failures]
    )


def write_csv(rows: Sequence[Row], path: Path) -> None:
    """Write the rows with every digit; an empty field is null."""
    with path.open("w", newline="", encoding="utf-8") as file:
        records = [to_record(row) for row in rows]
        names = dict.fromkeys([*columns(), *(name for record in records for name in record)])
        writer = csv.DictWriter(file, fieldnames=list(names))
        writer.writeheader()
        writer.writerows(records)


def _texts(outcome: Outcome) -> dict[str, str]:
    """Column -> its text, for the columns that the outcome can fill."""
    by_stage = {row.stage: row for row in outcome.rows}
    pruned = by_stage.get("pruned", by_stage.get("pruned_raw"))
    last = outcome.rows[-1] if len(outcome.rows) > 1 else None
    others = {stage: row for stage, row in by_stage.items() if stage not in _NETWORKS}
    networks = others | {
        "dense": by_stage.get("dense", by_stage.get("start")),
        "prepared": by_stage.get("prepared"),
        "pruned": pruned,
        "tuned": by_stage.get("finetuned"),
    }
    found = {name: str(getattr(outcome, name)) for name in ("pruner", *_VARYING)}
    found |= {
        name: number(row["miou_percent"], "{:.2f}") for name, row in networks.items() if row is not None
    }
    found |= {"asked": number(outcome.ratio, "{:.3f}"), "threshold": number(outcome.threshold, "{:g}")}
    if outcome.is_whole:
        found |= {"pruner": MISSING, "asked": MISSING}
    found["status"] = _BAD.get(outcome.status, outcome.status)
    if last is not None:
        found |= {
            "reached": number(last["ratio_reached"], "{:.3f}"),
            "MACs": number(last["macs_kept"], "{:.1f}", 100),
            "params": number(last["params_kept"], "{:.1f}", 100),
            "kept": number(last["miou_retention"], "{:.3f}"),
            "ms": number(last["latency_ms_median"], "{:.1f}"),
            "speed-up": number(last["speedup"], "x{:.2f}"),
        }
    return found


def _name(outcome: Outcome, varying: Sequence[str]) -> str:
    """The run's name, and what of the columns it does not say."""
    others = [str(getattr(outcome, name)) for name in varying if name not in _IN_NAMES]
    told = ", ".join(filter(None, others))
    return f"{outcome.rows[0].run} ({told})" if told else outcome.rows[0].run


def _differs(outcomes: Sequence[Outcome], name: str) -> bool:
    return len({getattr(outcome, name) for outcome in outcomes}) > 1
