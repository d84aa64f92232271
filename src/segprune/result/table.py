"""Rows -> the console table of one run, and the table of classes."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from segprune.measure.contract import OTHER_RUNTIMES
from segprune.result.caution import cautions
from segprune.result.row import Row

if TYPE_CHECKING:
    import pandas as pd

    from segprune.measure.miou import SegmentationMetrics

MISSING = "-"
"""Shown in tables for values that were not measured."""


def chain_table(rows: Sequence[Row]) -> str:
    """The networks of one run, one line per evaluation, with a header on what was evaluated."""
    runtimes = [name for name in OTHER_RUNTIMES if any(row[f"latency_{name}_ms"] is not None for row in rows)]
    body = [
        [
            row.stage,
            number(row["miou_percent"], "{:.2f}"),
            number(row["pixel_accuracy_percent"], "{:.2f}"),
            number(row["macs"], "{:.3f}", 1e-9),
            number(row["params"], "{:.3f}", 1e-6),
            _latency(row),
            number(row["speedup"], "x{:.2f}"),
            *(cell for runtime in runtimes for cell in _in_runtime(row, runtime)),
        ]
        for row in rows
    ]
    titles = ["stage", "mIoU %", "pixel acc %", "GMACs", "Mparams", "latency ms (IQR)", "speed-up"]
    titles += [title for runtime in runtimes for title in (f"{runtime} ms", "speed-up")]
    table = aligned(titles, body, text_columns=1)
    times = dict.fromkeys(f"times: {row.timing}" for row in rows if row.timing)
    return "\n".join(
        [*header(rows), *_cut_line(rows), table, *times, *cautions([(row.run, rows) for row in rows[:1]])]
    )


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


def scores_table(classes: Sequence[str], scores: "Mapping[str, SegmentationMetrics]") -> "pd.DataFrame":
    """What each network reaches on each class, in percent; empty where it is not defined.

    Args:
        classes: K names.
        scores: Network -> its scores.

    Returns:
        One row per network and class; columns ``stage``, ``class``, and ``<score>_percent`` of IoU, Dice (F1),
        precision and recall.
    """
    import pandas as pd

    names = ("iou", "dice", "precision", "recall")
    return pd.DataFrame(
        [
            {
                "stage": stage,
                "class": name,
                **{f"{score}_percent": 100 * getattr(found, score)[index] for score in names},
            }
            for stage, found in scores.items()
            for index, name in enumerate(classes)
        ]
    )


def header(rows: Sequence[Row]) -> list[str]:
    """A line on what was measured where, with every value that occurs; none without rows."""
    measured = {
        "data": [f"{row.dataset} {row.split}" for row in rows],
        "image": [f"{row.size_h_px}x{row.size_w_px} px" for row in rows],
        **({"passes": [row.passes or "one" for row in rows]} if any(row.passes for row in rows) else {}),
        "classes": [number(row["classes_scored"], "{}") for row in rows],
        "model": [row.model for row in rows],
        "seed": [str(row.seed) for row in rows],
        "device": [" ".join(filter(None, (row.device, row.gpu, row.gpu and row.precision))) for row in rows],
    }
    return [_listed(measured)] if rows else []


def aligned(titles: Sequence[str], body: Sequence[Sequence[str]], *, text_columns: int) -> str:
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


def number(value: float | None, form: str, factor: float = 1) -> str:
    """A value times a factor in a format, or the sign for none."""
    return MISSING if value is None else form.format(factor * value)


def _cut_line(rows: Sequence[Row]) -> list[str]:
    cut = [row for row in rows if row.pruner is not None]
    described = {
        "pruner": [f"{row.pruner} ({row.scope})" for row in cut],
        "removed": list(map(_asked, cut)),
        "reached": [number(row["ratio_reached"], "{:.3f}") for row in cut],
    }
    return [_listed(described)] if cut else []


def _asked(row: Row) -> str:
    if row.threshold is not None:
        return f"scores below budget.threshold={row.threshold:g}"
    return f"{number(row.ratio_asked, '{:.3f}')} of {row.budget} asked"


def _listed(values: Mapping[str, Sequence[str]]) -> str:
    return " | ".join(f"{key} {', '.join(dict.fromkeys(found))}" for key, found in values.items())


def _latency(row: Row) -> str:
    spread = number(row["latency_ms_iqr"], " ({:.1f})") if row["latency_ms_iqr"] is not None else ""
    return number(row["latency_ms_median"], "{:.1f}") + spread


def _in_runtime(row: Row, runtime: str) -> tuple[str, str]:
    return number(row[f"latency_{runtime}_ms"], "{:.1f}"), number(row[f"speedup_{runtime}"], "x{:.2f}")
