"""The chain: stages in the configured order, each given the networks of those before it."""

import logging
import time
from collections.abc import Sequence

from segprune import stop
from segprune.errors import ConfigError
from segprune.result.row import Row
from segprune.stage.contract import Context, Stage, Trail

log = logging.getLogger(__name__)


def run_chain(stages: Sequence[Stage], ctx: Context, trail: Trail) -> tuple[Trail, tuple[Row, ...]]:
    """Run the stages in order; gives their networks and rows.

    Logs each stage's wall time as ``time/<stage>_s``.
    """
    for stage in stages:
        stop.if_asked()
        log.info("[%s]", stage.word)
        ctx.tracker.tags({"stage": stage.word})
        started = time.perf_counter()
        trail = stage(ctx, trail)
        _refuse_same_names(stage, trail)
        ctx.tracker.metrics({f"time/{stage.word}_s": round(time.perf_counter() - started, 2)})
    return trail, tuple(ctx.rows)


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
