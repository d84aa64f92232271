"""Networks that take longer although they compute less: cut ones, and quantised ones."""

import math
from collections.abc import Iterator, Sequence

from segprune.measure.contract import OTHER_RUNTIMES
from segprune.result.row import INT8_SUFFIX, Row

CLEARLY = 0.97
"""A speed-up below this is more than noise of the clock."""
SHOWN = 5


def slower(row: Row) -> dict[str, float]:
    """Runtime -> speed-up of a cut network, of those in which it clearly takes longer than the dense one."""
    if row.pruner is None:
        return {}
    return {runtime: value for runtime, value in _speedups(row).items() if value < CLEARLY}


def of_slower(rows: Sequence[Row]) -> list[str]:
    """One sentence on the last network of each run, whose widths those before have too, one on quantised ones."""
    last = {row.run: row for row in rows}.values()
    cut = [f"{row.run} in {runtime} (x{value:.2f})" for row in last for runtime, value in slower(row).items()]
    quantised = [
        f"{row.stage} of {row.run} in {runtime} (x{value:.2f}, in float x{whole:.2f})"
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


def _said(what: str, named: Sequence[str], why: str) -> list[str]:
    if not named:
        return []
    more = f" and {len(named) - SHOWN} more" if len(named) > SHOWN else ""
    return [f"{what}: {', '.join(named[:SHOWN])}{more}. {why}."]


def _quantised(rows: Sequence[Row]) -> Iterator[tuple[Row, Row]]:
    """Each quantised network with the float one that it was made of."""
    of = {(row.run, row.stage): row for row in rows}
    for (run, stage), row in of.items():
        if stage.endswith(INT8_SUFFIX) and (exact := of.get((run, stage.removesuffix(INT8_SUFFIX)))):
            yield row, exact


def _speedups(row: Row) -> dict[str, float]:
    """Runtime -> speed-up over the dense network, of those in which the row was timed."""
    names = {"eager": "speedup", **{runtime: f"speedup_{runtime}" for runtime in OTHER_RUNTIMES}}
    found = {runtime: row[name] for runtime, name in names.items()}
    return {runtime: value for runtime, value in found.items() if value is not None}
