"""A queue between the program and the store, so that an outage costs neither the run nor its records."""

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from segprune.tracking.failure import failures, first_line, is_refusal
from segprune.tracking.record import Point, Record, checked_name, metric_records
from segprune.tracking.spool import Spool

LOG = logging.getLogger(__name__)

# A failed attempt may wait for a time-out; resting this many times as long costs the run 5 % at most.
REST = 20.0
# A refused connection costs no time, but each attempt may fill the log with what MLflow says about it.
REST_SECONDS = 30.0


@dataclass(kw_only=True)
class Outbox:
    """Records on their way to one run of the store, in order.

    Attributes:
        deliver: Sends one record, or raises.
        spool: Where records wait on disk while they cannot be sent.
        flush_seconds: Metrics are sent together, at most this long after they came, at the next call.
        clock: Monotonic time in s.
    """

    deliver: Callable[[Record], None]
    spool: Spool
    flush_seconds: float
    clock: Callable[[], float] = time.monotonic
    _points: list[Point] = field(default_factory=list, init=False)
    _waiting: list[Record] = field(init=False)
    _kept: int = field(init=False)
    _is_stale: bool = field(default=True, init=False)
    _is_out: bool = field(default=False, init=False)
    _due: float = field(init=False)
    _rested: float = field(init=False)

    def __post_init__(self) -> None:
        self._waiting = self.spool.load()
        self._kept = len(self._waiting)
        self._rested = self.clock()
        self._due = self._rested + self.flush_seconds

    def metrics(self, values: Mapping[str, float], step: int) -> None:
        """Buffer numbers; send them if the last sending is long enough ago."""
        now_ms = int(time.time() * 1000)
        self._points += [(checked_name(name), float(value), now_ms, step) for name, value in values.items()]
        if self.clock() >= self._due:
            self.flush()

    def put(self, *records: Record) -> None:
        """Take records and send them at once, or keep them on disk while the store rests."""
        self._waiting += records
        self.flush()

    def finish(self, record: Record) -> None:
        """Take the last record and send all, whatever was met before."""
        self._pack()
        self._waiting.append(record)
        waiting = self.flush(is_last=True)
        if waiting:
            LOG.warning(
                "%d tracking records wait in %s; when the store is back, send them with: "
                "python -m segprune.tracking.replay %s", waiting, self.spool.path, self.spool.folder,
            )  # fmt: skip

    def flush(self, *, is_last: bool = False) -> int:
        """Send what waits, unless an outage was met a moment ago; ``is_last`` tries even then.

        Returns:
            How many records still wait; they are on disk.
        """
        self._pack()
        if is_last or self.clock() >= self._rested:
            self._send()
        self._settle()
        self._due = self.clock() + self.flush_seconds
        return len(self._waiting)

    def _pack(self) -> None:
        self._waiting += metric_records(self._points)
        self._points = []

    def _send(self) -> None:
        while self._waiting:
            started = self.clock()
            try:
                self.deliver(self._waiting[0])
            except failures() as error:
                if not is_refusal(error):
                    self._rest(error, self.clock() - started)
                    return
                self._refuse(self._waiting[0], error)
            del self._waiting[0]
            self._is_stale = True
        if self._is_out:
            LOG.info("The tracking store is back; what waited has been sent.")
        self._is_out = False

    def _rest(self, error: Exception, seconds: float) -> None:
        self._rested = self.clock() + max(REST_SECONDS, REST * seconds)
        if not self._is_out:
            LOG.warning(
                "The tracking store at %s fails; the run goes on, its records wait in %s. Reason: %s",
                self.spool.uri, self.spool.path, first_line(error),
            )  # fmt: skip
        self._is_out = True

    def _refuse(self, record: Record, error: Exception) -> None:
        LOG.warning("The tracking store refuses %s: %s", record.kind, first_line(error))
        try:
            self.spool.refuse(record, str(error))
        except OSError as disk:
            LOG.warning("Could not keep what was refused: %s", disk)

    def _settle(self) -> None:
        """Bring the disk in line with what waits."""
        try:
            if not self._waiting:
                self.spool.clear()
            elif self._is_stale or not self._kept:
                self._waiting = self.spool.keep(self._waiting)
            else:
                self._waiting[self._kept :] = self.spool.append(self._waiting[self._kept :])
            self._kept = len(self._waiting)
            self._is_stale = False
        except OSError as error:
            self._is_stale = True
            LOG.warning("Could not keep %d tracking records on disk: %s", len(self._waiting), error)
