"""Rows -> console tables, a CSV file and the table of classes."""

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from segprune.report.row import Row, Stage, to_record
from segprune.report.timing import unsteadiness

if TYPE_CHECKING:
    import pandas as pd

_MISSING = "-"


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One job of a sweep, done or not.

    Attributes:
        dataset: Name of the dataset, as asked.
        model: Name of the architecture, as asked.
        pruner: The criterion, as asked.
        budget: What the ratio is a ratio of, as asked.
        protocol: ``standard``, or which control the job is.
        ratio: Fraction to remove, as asked; ``None`` where a threshold decides.
        seed: Seed, as asked.
        status: ``done`` now, ``reused`` from the store, or ``failed``.
        reason: One line on why it failed; empty otherwise.
        rows: What was evaluated; a failed job may have some of them or none.
    """

    dataset: str
    model: str
    pruner: str
    budget: str
    protocol: str
    ratio: float | None
    seed: int
    status: Literal["done", "reused", "failed"]
    reason: str
    rows: tuple[Row, ...]


def chain_table(rows: Sequence[Row]) -> str:
    """What one run made of the network, one line per evaluation, with a header on what was evaluated."""
    body = [
        [
            row.stage,
            f"{row.miou_percent:.2f}",
            f"{row.pixel_accuracy_percent:.2f}",
            f"{row.macs / 1e9:.3f}",
            f"{row.params / 1e6:.3f}",
            _latency(row),
            _number(row.speedup, "x{:.2f}"),
        ]
        for row in rows
    ]
    titles = ["stage", "mIoU %", "pixel acc %", "GMACs", "Mparams", "latency ms (IQR)", "speed-up"]
    return "\n".join([*_header(rows), *_cut_line(rows), _aligned(titles, body, text_columns=1)])


def sweep_table(cells: Sequence[Cell]) -> str:
    """What a sweep found, one line per job: by pruner, then ratio, then what else differs.

    Protocol, dataset, model, budget and seed are columns if they differ between the jobs, ``prepared`` if it
    occurs. Controls come last.
    """
    varying = [name for name in ("protocol", "dataset", "model", "budget", "seed") if _differs(cells, name)]
    ordered = sorted(
        cells,
        key=lambda c: (
            c.protocol != "standard",
            c.protocol,
            c.pruner,
            c.ratio or 0.0,
            c.dataset,
            c.model,
            c.budget,
            c.seed,
        ),
    )
    rows = [row for cell in ordered for row in cell.rows]
    prepared = ["prepared"] if any(row.stage == "prepared" for row in rows) else []
    titles = ["pruner", *varying, "asked", "reached", "MACs", "params"]
    titles += ["dense", *prepared, "pruned", "tuned", "kept", "ms", "speed-up", "status"]
    body = [[_outcome(cell).get(title, _MISSING) for title in titles] for cell in ordered]
    legend = "MACs, params: % kept. dense, pruned, tuned: mIoU % before the cut, after it, finetuned. "
    legend += "prepared: mIoU % after the criterion's own training. " if prepared else ""
    legend += "kept: last mIoU by dense mIoU."
    failures = [
        f"FAILED {cell.pruner} {_number(cell.ratio, '{:g}')} seed {cell.seed}: {cell.reason}"
        for cell in ordered
        if cell.status == "failed"
    ]
    doubts = list(filter(None, [unsteadiness(rows)]))
    return "\n".join(
        [*_header(rows), legend, _aligned(titles, body, text_columns=1 + len(varying)), *doubts, *failures]
    )


def write_csv(rows: Sequence[Row], path: Path) -> None:
    """Write the rows with every digit; an empty field is null."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, fieldnames=["schema_version", *(field.name for field in fields(Row))])
        writer.writeheader()
        writer.writerows(to_record(row) for row in rows)


def per_class_table(classes: Sequence[str], ious: Mapping[str, Sequence[float]]) -> "pd.DataFrame":
    """IoU of each class in percent, and its change against the first network.

    Args:
        classes: K names.
        ious: Network -> K fractions, nan for a class that does not occur; the first one is the dense network.

    Returns:
        One row per class; columns ``<network>`` and, but for the first, ``<network> change`` in points.

    Raises:
        ValueError: A network has not K values.
    """
    import pandas as pd

    # A Series refuses values of another length, where a DataFrame would repeat them.
    percent = {
        name: pd.Series([100 * iou for iou in values], index=list(classes)) for name, values in ious.items()
    }
    table = pd.DataFrame(percent)
    table.index.name = "class"
    dense, *others = list(ious)
    for name in others:
        table[f"{name} change"] = table[name] - table[dense]
    return table


def _outcome(cell: Cell) -> dict[str, str]:
    """Column -> its text, for the columns that the cell can fill."""
    by_stage: dict[Stage, Row] = {row.stage: row for row in cell.rows}
    pruned = by_stage.get("pruned", by_stage.get("pruned_raw"))
    last = by_stage.get("finetuned", pruned)
    networks = {
        "dense": by_stage.get("dense", by_stage.get("start")),
        "prepared": by_stage.get("prepared"),
        "pruned": pruned,
        "tuned": by_stage.get("finetuned"),
    }
    found = {
        name: str(getattr(cell, name))
        for name in ("pruner", "protocol", "dataset", "model", "budget", "seed")
    }
    found |= {name: f"{row.miou_percent:.2f}" for name, row in networks.items() if row is not None}
    found["asked"] = _number(cell.ratio, "{:.3f}")
    if cell.protocol == "dense":  # never cut
        found |= {"pruner": _MISSING, "asked": _MISSING}
    found["status"] = "FAILED" if cell.status == "failed" else cell.status
    if last is not None:
        found |= {
            "reached": _number(last.ratio_reached, "{:.3f}"),
            "MACs": f"{100 * last.macs_kept:.1f}",
            "params": f"{100 * last.params_kept:.1f}",
            "kept": _number(last.miou_retention, "{:.3f}"),
            "ms": _number(last.latency_ms_median, "{:.1f}"),
            "speed-up": _number(last.speedup, "x{:.2f}"),
        }
    return found


def _header(rows: Sequence[Row]) -> list[str]:
    """A line on what was measured where, with every value that occurs; none without rows."""
    measured = {
        "data": [f"{row.dataset} {row.split}" for row in rows],
        "image": [f"{row.size_h_px}x{row.size_w_px} px" for row in rows],
        "classes": [str(row.classes_scored) for row in rows],
        "model": [row.model for row in rows],
        "seed": [str(row.seed) for row in rows],
        "device": [row.device for row in rows],
    }
    return [_listed(measured)] if rows else []


def _cut_line(rows: Sequence[Row]) -> list[str]:
    cut = [row for row in rows if row.pruner is not None]
    described = {
        "pruner": [f"{row.pruner} ({row.scope})" for row in cut],
        "removed": [f"{_number(row.ratio_asked, '{:.3f}')} of {row.budget} asked" for row in cut],
        "reached": [f"{row.ratio_reached:.3f}" for row in cut],
    }
    return [_listed(described)] if cut else []


def _listed(values: Mapping[str, Sequence[str]]) -> str:
    return " | ".join(f"{key} {', '.join(dict.fromkeys(found))}" for key, found in values.items())


def _latency(row: Row) -> str:
    if row.latency_ms_median is None:
        return _MISSING
    return f"{row.latency_ms_median:.1f} ({row.latency_ms_iqr:.1f})"


def _number(value: float | None, form: str) -> str:
    return _MISSING if value is None else form.format(value)


def _differs(cells: Sequence[Cell], name: str) -> bool:
    return len({getattr(cell, name) for cell in cells}) > 1


def _aligned(titles: Sequence[str], body: Sequence[Sequence[str]], *, text_columns: int) -> str:
    """Columns two spaces apart: the first ``text_columns`` to the left, the others to the right."""
    lines = [titles, *body]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join(
            text.ljust(width) if index < text_columns else text.rjust(width)
            for index, (text, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    )
