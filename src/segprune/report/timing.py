"""Whether the times of a sweep can be compared."""

from collections.abc import Iterable

from segprune.result.row import Row

STEADY = 1.2
"""One network's median latencies that differ by a larger factor were not taken under the same conditions."""


def unsteadiness(rows: Iterable[Row]) -> str:
    """A warning if one dense network did not take the same time in all jobs; empty if it did.

    Speed-ups are medians of pairs timed in turns, so that a steady load cancels out, but a changing one does not.
    """
    times: dict[tuple[object, ...], list[float]] = {}
    for row in rows:
        median = row["latency_ms_median"]
        if row.stage == "dense" and median is not None:
            key = (row.fingerprint, row.device, row.size_h_px, row.size_w_px, row.passes)
            times.setdefault(key, []).append(median)
    worst = max(times.values(), key=lambda found: max(found) / min(found), default=[1.0])
    if max(worst) <= STEADY * min(worst):
        return ""
    return (
        f"Times cannot be compared: the same dense network took {min(worst):.1f} to {max(worst):.1f} ms in "
        "different jobs, so something else ran meanwhile. Time all networks again on an idle machine, one job at a "
        "time, by repeating the command with another eval.latency_rounds; nothing else is computed again."
    )
