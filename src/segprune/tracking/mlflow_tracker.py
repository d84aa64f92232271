"""Tracks runs in MLflow: a local SQLite store by default, a server by URI."""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from segprune.errors import SegpruneError
from segprune.tracking.contract import RunStart
from segprune.tracking.creation import beginning, new_key
from segprune.tracking.failure import UnreachableError, failures
from segprune.tracking.hint import url_hint
from segprune.tracking.journal import FOLDER, Journal
from segprune.tracking.mlflow_run import MlflowRun
from segprune.tracking.replay import replay
from segprune.tracking.search import end, end_children
from segprune.tracking.sender import Sender
from segprune.tracking.store import open_client, shown, sqlite_path, sqlite_uri, store_error
from segprune.tracking.views import WORKFLOW

LOG = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class MlflowTracking:
    """Runs in one experiment of an MLflow store.

    Every call names its run by id: several runs may be open in one process, and mlflow's active run,
    tracking URI and ``MLFLOW_RUN_ID`` are neither read nor changed.

    Attributes:
        uri: ``http(s)://host:port`` of a server, ``sqlite:////absolute/path``, or ``None`` (or empty): a
            SQLite file ``mlflow.db`` below ``root``.
        root: The output folder that all runs share.
        experiment: The experiment's name; made if missing.
        flush_seconds: Metrics are sent together, once in so many seconds.
    """

    uri: str | None
    root: Path
    experiment: Annotated[str, Field(pattern=r"^[\w.\- ]+$", max_length=200)]
    flush_seconds: Annotated[float, Field(ge=0)]

    def open(self, start: RunStart, /) -> MlflowRun:
        """Open a run, see ``contract.Tracking``.

        Raises:
            ConfigError: ``uri`` is nothing that MLflow can track into.
            TrackingError: MLflow cannot be reached and the run belongs to no sweep; it refuses the caller;
                or it does not have the run or the experiment in a usable state.
        """
        uri, name = self._uri(), start.run_id or new_key()
        first = beginning(start, name, self.experiment)
        if start.run_id:
            replay(start.folder, uri)  # what an earlier process has logged comes first
        journal = Journal(start.folder / FOLDER / f"{name}.jsonl", shown(uri))
        connect = partial(open_client, uri)
        sender = Sender(journal=journal, connect=connect, uri=uri, flush_seconds=self.flush_seconds)
        journal.add([first])
        try:
            sender.send()
        except SegpruneError as error:
            if not (isinstance(error, UnreachableError) and start.parent_run_id):
                journal.waiting.clear()
                journal.close()
                raise
            sender.rest(error, 0)
        page = f"/#/experiments/{sender.experiment_id}/runs/{journal.run_id}?{WORKFLOW}"
        hint = url_hint(uri, page) if sender.experiment_id else ""
        return MlflowRun(run_id=journal.run_id or start.run_id or "", url_hint=hint, sender=sender)

    def close_children(self, parent_run_id: str, /) -> int:
        """End the sweep's children that still count as running, in whichever experiment they are.

        A store that fails or refuses is logged and counts as none: this runs when all else is done.
        """
        told = "Jobs of the sweep may still be shown as running"
        return self._try(told, lambda client: end_children(client, parent_run_id))

    def end(self, run_id: str, /) -> None:
        """End a run whose process died, see ``contract.Tracking``; a failure is logged."""
        self._try(f"The run {run_id} may still be shown as running", lambda client: end(client, run_id))

    def discard(self, run_id: str, /) -> None:
        """Delete a run that came to nothing, see ``contract.Tracking``; a failure is logged."""
        self._try(f"The run {run_id} could not be deleted", lambda client: client.delete_run(run_id))

    def replay(self, folder: Path, /) -> int:
        """Send what earlier runs could not, see ``contract.Tracking``; a failure is logged."""
        return replay(folder, self._uri())

    @property
    def file(self) -> Path | None:
        """The file of SQLite that it writes into; None with a server."""
        return sqlite_path(self._uri())

    def _uri(self) -> str:
        path = sqlite_path(self.uri or "")
        if path is not None:
            return f"sqlite:///{path}"
        return self.uri.rstrip("/") if self.uri else sqlite_uri(self.root)

    def _try(self, else_told: str, call: Callable[[Any], int | None]) -> int:
        """What a call to MLflow gives; 0 and a warning if it fails."""
        uri = self._uri()
        try:
            return call(open_client(uri)) or 0
        except SegpruneError as error:
            LOG.warning("%s: %s", else_told, error)
        except failures() as error:
            LOG.warning("%s: %s", else_told, store_error(error, uri))
        return 0
