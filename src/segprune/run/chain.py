"""The chain: stages in the configured order, each given the networks of those before it."""

import logging
import time
from collections.abc import Sequence

from segprune import stop
from segprune.errors import ConfigError
from segprune.measure.memory import peak_memory
from segprune.result.row import Row
from segprune.run.ancestry import note_rows, with_ancestry
from segprune.shortage import StageMemoryError, shortage
from segprune.stage.contract import Context, Stage
from segprune.stage.state import Trail

log = logging.getLogger(__name__)


def run_chain(stages: Sequence[Stage], ctx: Context, trail: Trail) -> tuple[Trail, tuple[Row, ...]]:
    """Run the stages in order; gives their networks and rows.

    Logs each stage's wall time as ``time/<stage>_s`` and, on a GPU, its peak memory.
    """
    for stage in stages:
        stop.if_asked()
        log.info("[%s]", stage.word)
        ctx.tracker.tags({"stage": stage.word})
        started = time.perf_counter()
        before, trail = trail, _run(stage, ctx, trail)
        _refuse_same_names(stage, trail)
        trail = with_ancestry(ctx, stage, before, trail)
        ctx.tracker.metrics({f"time/{stage.word}_s": round(time.perf_counter() - started, 2)})
    note_rows(ctx, trail)
    return trail, tuple(ctx.rows)


def _run(stage: Stage, ctx: Context, trail: Trail) -> Trail:
    """The trail after a stage; on one GPU, the most memory that it took is logged as ``memory/<stage>_peak_mb``.

    Raises:
        StageMemoryError: It ran out of memory.
    """
    try:
        if ctx.hardware.device.type != "cuda" or ctx.hardware.gpus > 1:  # which processes of their own use
            return stage(ctx, trail)
        with peak_memory(ctx.hardware.device) as peak:
            trail = stage(ctx, trail)
        ctx.tracker.metrics({f"memory/{stage.word}_peak_mb": round(peak.whole_mb, 1)})
    except Exception as error:
        if shortage(error, lambda _: None):
            raise StageMemoryError(stage.word, stage.memory_keys(ctx)) from error
        raise
    return trail


def _refuse_same_names(stage: Stage, trail: Trail) -> None:
    """Rows and measurements are found by the names of the networks.

    Raises:
        ConfigError: There is no network, or two have one name.
    """
    if not trail:
        raise ConfigError(
            f"stage.{stage.word} gave no network; it must return the trail, its own networks added at the end."
        )
    names = [state.name for state in trail]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ConfigError(
            f"after stage.{stage.word} two networks are named {', '.join(twice)}, so their rows could not be told "
            "apart. Give each its own name, for example by an argument of the stage."
        )
