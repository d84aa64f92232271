"""Sends a run's journal to MLflow as far as it can; what an outage leaves waits there."""

import logging
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from segprune.errors import SegpruneError
from segprune.tracking.creation import begin, require_active
from segprune.tracking.deliver import batch, deliver
from segprune.tracking.failure import failures, first_line, is_refusal
from segprune.tracking.journal import Journal
from segprune.tracking.record import BEGINNINGS, Record
from segprune.tracking.store import store_error

LOG = logging.getLogger(__name__)

# A failed attempt may wait for a time-out; resting this many times as long costs the run 5 % at most.
REST = 20.0
# A refused connection costs no time, but each attempt may fill the log with what MLflow says about it.
REST_SECONDS = 30.0


@dataclass(kw_only=True)
class Sender:
    """Takes the records of a run: they go into its journal first, and from there to MLflow.

    Attributes:
        journal: Of the run.
        connect: Gives an ``MlflowClient``, or raises.
        uri: Of MLflow.
        flush_seconds: Records that can wait are sent together, at most this long after they came, at the next call.
        clock: Monotonic time in s.
        experiment_id: Of the run; empty until it has begun.
    """

    journal: Journal
    connect: Callable[[], Any]
    uri: str
    flush_seconds: float
    clock: Callable[[], float] = time.monotonic
    experiment_id: str = field(default="", init=False)
    _client: Any = field(default=None, init=False)
    _is_new: bool = field(init=False)
    _is_out: bool = field(default=False, init=False)
    _due: float = field(init=False)
    _rested: float = field(init=False)

    def __post_init__(self) -> None:
        self._is_new = not self.journal.last_kind
        self._rested = self.clock()
        self._due = self._rested + self.flush_seconds

    def put(self, records: Sequence[Record], *, can_wait: bool = False) -> None:
        """Take records and send them, unless MLflow rests or they can wait."""
        self.journal.add(records)
        if not can_wait or self.clock() >= self._due:
            self.flush()

    def finish(self, record: Record) -> None:
        """Take the last record and send all, whatever was met before."""
        self.journal.add([record])
        if self.flush(is_last=True):
            path = self.journal.path
            LOG.warning(
                "%d tracking records wait in %s; when MLflow is back, the next run sends them, or: "
                "segprune replay %s", len(self.journal.waiting), path, path.parent.parent,
            )  # fmt: skip
        self.journal.close()

    def flush(self, *, is_last: bool = False) -> int:
        """Send what waits, unless an outage was met a moment ago; ``is_last`` tries even then.

        Returns:
            How many records still wait.
        """
        self.journal.sync()
        started = self.clock()
        if is_last or started >= self._rested:
            try:
                self.send()
            except SegpruneError as error:
                self.rest(error, self.clock() - started)
        self._due = self.clock() + self.flush_seconds
        return len(self.journal.waiting)

    def send(self) -> None:
        """Send all that waits.

        Raises:
            TrackingError: MLflow cannot be reached or fails; the run or its experiment is not usable.
        """
        while self.journal.waiting:
            records = batch(self.journal.waiting)
            try:
                self._client = self._client or self.connect()
                self._send(records)
            except failures() as error:
                raise store_error(error, self.uri) from error
            self.journal.sent(len(records))
        if self._is_out:
            LOG.info("MLflow is back; the waiting records have been sent.")
        self._is_out = False

    def rest(self, error: Exception, seconds: float) -> None:
        """Leave MLflow alone for a while after an attempt that took so many seconds."""
        self._rested = self.clock() + max(REST_SECONDS, REST * seconds)
        if not self._is_out:
            LOG.warning("The run goes on, its tracking records wait in %s: %s", self.journal.path, error)
        self._is_out = True

    def _send(self, records: Sequence[Record]) -> None:
        journal, client, kind = self.journal, self._client, records[0].kind
        if kind in BEGINNINGS or not journal.run_id:
            # Never a refusal: without its run all that was logged would have no place to go.
            is_first_try, self._is_new = self._is_new and kind == "create", False
            begun = begin(client, self.uri, journal.path.stem, records[0], is_first_try=is_first_try)
            self.experiment_id, journal.run_id = begun
        try:
            deliver(client, journal.run_id, records, journal.path.parent)
        except failures() as error:
            if not is_refusal(error):
                raise
            with suppress(*failures()):  # a run that is gone for good refuses too
                require_active(client.get_run(journal.run_id))
            LOG.warning("MLflow refuses %s: %s", kind, first_line(error))
            journal.refuse(records, str(error))
