"""Sends the records of a run that began while the store was out."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from segprune.tracking.creation import create, find, is_key
from segprune.tracking.deliver import deliver
from segprune.tracking.failure import all_failures, first_line
from segprune.tracking.record import Record


@dataclass(kw_only=True)
class Later:
    """What an outbox delivers through until the store is back, and after.

    Attributes:
        connect: Gives an ``MlflowClient``, or raises.
        uri: Of the store.
        name: The run's id, or its key if the store has not created it yet.
    """

    connect: Callable[[], Any]
    uri: str
    name: str
    _client: Any = field(default=None, init=False)
    _run_id: str | None = field(default=None, init=False)

    def __call__(self, record: Record) -> None:
        """Send one record.

        Raises:
            ConnectionError: The store or the run is not there yet; the record has to wait.
            MlflowException: The store cannot or will not take it.
            OSError: The network, or the disk of the artifacts.
        """
        try:
            run_id = self._run(record)
        except all_failures() as error:
            # Never a refusal: without its creation all that the run has logged would have no place to go.
            raise ConnectionError(first_line(error)) from error
        if record.kind != "create":
            deliver(self._client, run_id, record)

    def _run(self, record: Record) -> str:
        """Id of the run, created if this record says so."""
        if self._client is None:
            self._client = self.connect()
        if self._run_id is None:
            self._run_id = find(self._client, self.name) if is_key(self.name) else self.name
        if self._run_id is None and record.kind == "create":
            _, self._run_id = create(self._client, self.uri, record)
        if self._run_id is None:
            raise ConnectionError(f"the run {self.name} is not in the store at this time")
        return self._run_id
