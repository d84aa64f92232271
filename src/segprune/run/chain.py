"""The chain: stages in the configured order, each given what the ones before it made."""

import logging
import time
from collections.abc import Sequence

from segprune import stop
from segprune.result.row import Row
from segprune.stage.contract import Context, Stage, Trail

log = logging.getLogger(__name__)


def run_chain(stages: Sequence[Stage], ctx: Context, trail: Trail) -> tuple[Trail, tuple[Row, ...]]:
    """Run the stages in order; gives the networks and the rows that they made.

    Logs each stage's wall time as ``time/<stage>_s``.
    """
    for stage in stages:
        stop.if_asked()
        log.info("[%s]", stage.word)
        ctx.tracker.tags({"stage": stage.word})
        started = time.perf_counter()
        trail = stage(ctx, trail)
        ctx.tracker.metrics({f"time/{stage.word}_s": round(time.perf_counter() - started, 2)})
    return trail, tuple(ctx.rows)
