"""Cut networks that take longer than the dense one."""

from collections.abc import Sequence

from segprune.measure.contract import OTHER_RUNTIMES
from segprune.result.row import Row

CLEARLY = 0.97
"""A speed-up below this is more than noise of the clock."""
SHOWN = 5


def slower(row: Row) -> dict[str, float]:
    """Runtime -> speed-up of a cut network, of those in which it clearly takes longer than the dense one."""
    if row.pruner is None:
        return {}
    names = {"eager": "speedup", **{runtime: f"speedup_{runtime}" for runtime in OTHER_RUNTIMES}}
    found = {runtime: row[name] for runtime, name in names.items()}
    return {runtime: value for runtime, value in found.items() if value is not None and value < CLEARLY}


def of_slower(rows: Sequence[Row]) -> list[str]:
    """One sentence on the last network of each run, of those that take longer; the ones before have its widths."""
    found = {(row.run, runtime): value for row in rows for runtime, value in slower(row).items()}
    if not found:
        return []
    named = [f"{run} in {runtime} (x{value:.2f})" for (run, runtime), value in found.items()]
    shown = ", ".join(named[:SHOWN]) + (f" and {len(named) - SHOWN} more" if len(named) > SHOWN else "")
    return [
        f"Slower than the dense network, although cut: {shown}. Runtimes are fast at widths that are multiples of "
        "8 or 16 (budget.round_to); docs/why_not_faster.md says more."
    ]
