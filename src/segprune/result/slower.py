"""Networks that take longer although they compute less: cut ones, and quantised ones."""

import math
from collections.abc import Iterator, Sequence

from segprune.measure.contract import OTHER_RUNTIMES
from segprune.result.row import INT8_SUFFIX, Row

CLEARLY = 0.97
"""A speed-up below this is more than noise of the clock."""
SHOWN = 5
Job = tuple[str, Sequence[Row]]
"""What to call a job, since runs of one sweep can have equal names, and its rows."""


def slower(row: Row) -> dict[str, float]:
    """Runtime -> speed-up of a cut network, of those in which it clearly takes longer than the dense one."""
    if row.pruner is None:
        return {}
    return {runtime: value for runtime, value in _speedups(row).items() if value < CLEARLY}


def of_slower(jobs: Sequence[Job]) -> list[str]:
    """One sentence on the last network of each job, whose widths those before have too, one on quantised ones."""
    cut = [
        (value, f"{name} in {runtime} (x{value:.2f})")
        for name, rows in jobs
        for row in rows[-1:]
        for runtime, value in slower(row).items()
    ]
    quantised = [
        (value / whole, f"{row.stage} of {name} in {runtime} (x{value:.2f}, in float x{whole:.2f})")
        for name, rows in jobs
        for row, exact in _quantised(rows)
        for runtime, whole in _speedups(exact).items()
        if (value := _speedups(row).get(runtime, math.inf)) < CLEARLY * whole
    ]
    return [
        *_said(
            "Slower than the dense network, although cut",
            cut,
            "Runtimes are fast at widths that are multiples of 8 or 16 (budget.round_to); docs/why_not_faster.md "
            "says more",
        ),
        *_said(
            "Slower than their float networks, although quantised",
            quantised,
            "It takes fast integer kernels for their layers, of the processor and of the runtime; docs/int8.md has "
            "figures",
        ),
    ]


def _said(what: str, found: Sequence[tuple[float, str]], why: str) -> list[str]:
    """One sentence that names the slowest, whatever order the jobs come in."""
    if not found:
        return []
    named = [name for _, name in sorted(found)[:SHOWN]]
    more = f" and {len(found) - SHOWN} more" if len(found) > SHOWN else ""
    return [f"{what}: {', '.join(named)}{more}. {why}."]


def _quantised(rows: Sequence[Row]) -> Iterator[tuple[Row, Row]]:
    """Each quantised network of a job with the float one that it was made of."""
    of = {row.stage: row for row in rows}
    for stage, row in of.items():
        if stage.endswith(INT8_SUFFIX) and (exact := of.get(stage.removesuffix(INT8_SUFFIX))):
            yield row, exact


def _speedups(row: Row) -> dict[str, float]:
    """Runtime -> speed-up over the dense network, of those in which the row was timed."""
    names = {"eager": "speedup", **{runtime: f"speedup_{runtime}" for runtime in OTHER_RUNTIMES}}
    found = {runtime: row[name] for runtime, name in names.items()}
    return {runtime: value for runtime, value in found.items() if value is not None}
