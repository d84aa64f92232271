"""Tracks runs in MLflow: a local SQLite store by default, a server by URI."""

import logging
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from segprune.errors import SegpruneError, TrackingError
from segprune.tracking.contract import RunStart
from segprune.tracking.creation import create, creation, key_of, start_tags
from segprune.tracking.deliver import deliver
from segprune.tracking.experiment import ensure_experiment
from segprune.tracking.failure import UnreachableError, all_failures, failures
from segprune.tracking.hint import url_hint
from segprune.tracking.later import Later
from segprune.tracking.mlflow_run import MlflowRun
from segprune.tracking.outbox import Outbox
from segprune.tracking.record import Record, tag_records
from segprune.tracking.replay import replay
from segprune.tracking.search import end_children
from segprune.tracking.secrets import redacted
from segprune.tracking.spool import Spool
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
            TrackingError: The store cannot be reached and the run belongs to no sweep; it refuses the caller;
                or it does not have the run or the experiment in a usable state.
        """
        uri, first = self._uri(), creation(start, self.experiment)
        try:
            client, experiment_id, run_id = _begin(uri, start, first)
        except UnreachableError:
            if not start.parent_run_id:
                raise
            return self._open_later(uri, start, first)
        spool = Spool(folder=start.folder, run_id=run_id, uri=shown(uri))
        return MlflowRun(
            run_id=run_id,
            url_hint=url_hint(uri, f"/#/experiments/{experiment_id}/runs/{run_id}?{WORKFLOW}"),
            outbox=Outbox(
                deliver=partial(deliver, client, run_id), spool=spool, flush_seconds=self.flush_seconds
            ),
        )

    def _open_later(self, uri: str, start: RunStart, first: Record) -> MlflowRun:
        """A run that is kept on disk until the store is back; the outbox warns."""
        name = start.run_id or key_of(first)
        spool = Spool(folder=start.folder, run_id=name, uri=shown(uri))
        sender = Later(connect=partial(open_client, uri), uri=uri, name=name)
        outbox = Outbox(deliver=sender, spool=spool, flush_seconds=self.flush_seconds)
        outbox.put(*(tag_records(start_tags(start)) if start.run_id else [first]))
        return MlflowRun(run_id=start.run_id or "", url_hint="", outbox=outbox)

    def close_children(self, parent_run_id: str, /) -> int:
        """End the sweep's children that still count as running, in whichever experiment they are.

        A store that fails or refuses is logged and counts as none: this runs when all else is done.
        """
        uri = self._uri()
        try:
            return end_children(open_client(uri), parent_run_id)
        except all_failures() as error:
            LOG.warning("Jobs of the sweep may still be shown as running: %s", _reason(error, uri))
        return 0

    def end(self, run_id: str, /) -> None:
        """End a run whose process died, see ``contract.Tracking``; a failure is logged."""
        uri = self._uri()
        try:
            client = open_client(uri)
            if client.get_run(run_id).info.status == "RUNNING":
                client.set_terminated(run_id, status="KILLED")
        except all_failures() as error:
            LOG.warning("The run %s may still be shown as running: %s", run_id, _reason(error, uri))

    def discard(self, run_id: str, /) -> None:
        """Delete a run that came to nothing, see ``contract.Tracking``; a failure is logged."""
        uri = self._uri()
        try:
            open_client(uri).delete_run(run_id)
        except all_failures() as error:
            LOG.warning("The run %s could not be deleted: %s", run_id, _reason(error, uri))

    def replay(self, folder: Path, /) -> int:
        """Send what an outage left in or below an output folder, see ``contract.Tracking``.

        Raises:
            TrackingError: The store cannot be reached or refuses the caller.
        """
        return replay(folder, self._uri())

    def _uri(self) -> str:
        path = sqlite_path(self.uri or "")
        if path is not None:
            return f"sqlite:///{path}"
        return self.uri.rstrip("/") if self.uri else sqlite_uri(self.root)


def _begin(uri: str, start: RunStart, first: Record) -> tuple[Any, str, str]:
    """The client, and the ids of the experiment and the run, which is created or set running again."""
    client = open_client(uri)
    try:
        if start.run_id is None:
            return client, *create(client, uri, first)
        ensure_experiment(client, uri, first.content["experiment"])
        return client, _continue(client, start.run_id, start), start.run_id
    except failures() as error:
        raise store_error(error, uri) from error


def _continue(client: Any, run_id: str, start: RunStart) -> str:
    """Set a run that was interrupted running again; gives the id of its experiment."""
    run = client.get_run(run_id)
    if run.info.lifecycle_stage != "active":
        raise TrackingError(
            f"run {run_id} is to be continued but was deleted; restore it in the MLflow UI, or "
            "start in a new output folder"
        )
    client.update_run(run_id, status="RUNNING", name=redacted(start.name))
    for name, value in start_tags(start).items():
        client.set_tag(run_id, name, value)
    return str(run.info.experiment_id)


def _reason(error: Exception, uri: str) -> str:
    return str(error if isinstance(error, SegpruneError) else store_error(error, uri))
