"""One run from its configuration to its table; the page to read first."""

import json
import logging
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from segprune import durable, stop
from segprune.reproduce.origin import keep_origin
from segprune.result.row import to_record
from segprune.result.table import chain_table
from segprune.run.advice import advice
from segprune.run.assemble import checked
from segprune.run.chain import run_chain
from segprune.run.describe import cut_before, describe, describe_data, describe_result, run_start
from segprune.run.hardware import hardware_of
from segprune.run.onward import onward
from segprune.run.start import context_of, refuse, start_of_trail
from segprune.store.store import Store, say_what_is_not_used
from segprune.tracking.contract import Status

log = logging.getLogger(__name__)


def run_job(
    cfg: DictConfig,
    parent_run_id: str | None,
    on_open: Callable[[str], None],
    on_use: Callable[[Path, str], None],
) -> dict[str, Any]:
    """Run one chain and return its summary: name, seconds, whether all was reused, store entries, new ones, rows.

    Args:
        cfg: The composed configuration.
        parent_run_id: The tracked sweep this run belongs to; None for a single run.
        on_open: Called with the id of the tracked run as soon as there is one; empty when nothing is tracked.
        on_use: Called with the store's folder and the name of an entry before that entry is made or reused.

    Raises:
        SegpruneError: Anything that is the user's to mend, before work starts wherever it can be known then.
    """
    started = time.perf_counter()
    run = checked(cfg)
    stop.if_asked()
    hardware, data = hardware_of(run.settings), run.load_data()
    stop.if_asked()
    root = run.settings.store.root
    say_what_is_not_used(root)
    keys = run.settings.store
    store = Store(root=root, reuse=keys.reuse, accept=keys.accept, on_use=partial(on_use, root))
    tracker = run.tracking.open(run_start(run, parent_run_id))
    status: Status = "FAILED"
    try:
        on_open(tracker.run_id)
        stop.if_asked()
        describe(tracker, run, data)
        describe_data(tracker, data)
        keep_origin(tracker, run, data, hardware)
        ctx = context_of(run, data, hardware, store, tracker)
        start = start_of_trail(run.settings, ctx, [name for stage in run.stages for name in stage.networks])
        refuse(run.stages, ctx, start)
        for line in advice(run.settings):
            log.warning("%s", line)
        trail, rows = run_chain(run.stages, ctx, start)
        describe_result(ctx, trail, with_weights=run.settings.log_checkpoint)
        status = "FINISHED"
    except (KeyboardInterrupt, SystemExit):
        status = "KILLED"
        raise
    finally:
        tracker.close(status)
    records, seconds = [to_record(row) for row in rows], round(time.perf_counter() - started, 1)
    with durable.replacing(run.job.folder / "rows.jsonl") as file:
        file.write("".join(json.dumps(record) + "\n" for record in records).encode())
    if rows:
        log.info("\n%s", chain_table(rows))
    log.info("%s: done in %.0f s; log and rows in %s", run.name, seconds, run.job.folder)
    for line in onward(run, trail):
        log.info("%s", line)
    if tracker.url_hint:
        log.info("%s", tracker.url_hint)
    return {
        "name": run.name,
        "cut": cut_before(run),
        "seconds": seconds,
        "was_reused": not store.computed,
        "store": str(store.root),
        "entries": list(store.used),
        "computed": list(store.computed),
        "rows": records,
    }
