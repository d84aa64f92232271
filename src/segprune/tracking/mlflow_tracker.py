"""Tracks runs in MLflow: a local SQLite store by default, a server by URI."""

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from segprune.errors import TrackingError
from segprune.tracking.contract import RunStart
from segprune.tracking.deliver import deliver
from segprune.tracking.experiment import ensure_experiment
from segprune.tracking.failure import failures
from segprune.tracking.mlflow_run import MlflowRun
from segprune.tracking.outbox import Outbox
from segprune.tracking.provenance import provenance
from segprune.tracking.record import TAG_CHARACTERS, checked_name, clipped
from segprune.tracking.replay import replay
from segprune.tracking.spool import Spool
from segprune.tracking.store import is_http, open_client, shown, sqlite_path, sqlite_uri, store_error
from segprune.tracking.views import WORKFLOW, ensure_views


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
            TrackingError: The store cannot be reached, refuses the caller, or does not have the run or the
                experiment in a usable state.
        """
        uri = self._uri()
        client = open_client(uri)
        try:
            experiment_id = ensure_experiment(client, uri, self.experiment)
            ensure_views(client, experiment_id)
            run_id = _begin(client, experiment_id, start)
        except failures() as error:
            raise store_error(error, uri) from error
        spool = Spool(folder=start.folder, run_id=run_id, uri=shown(uri))
        return MlflowRun(
            run_id=run_id,
            url_hint=_url_hint(uri, f"/#/experiments/{experiment_id}/runs/{run_id}?{WORKFLOW}"),
            outbox=Outbox(
                deliver=partial(deliver, client, run_id), spool=spool, flush_seconds=self.flush_seconds
            ),
        )

    def close_children(self, parent_run_id: str, /) -> int:
        """End the sweep's children that still count as running, see ``contract.Tracking``.

        Raises:
            TrackingError: The store cannot be reached or refuses the caller.
        """
        uri = self._uri()
        client = open_client(uri)
        running = f"tags.`mlflow.parentRunId` = '{parent_run_id}' and attributes.status = 'RUNNING'"
        try:
            experiment_id = ensure_experiment(client, uri, self.experiment)
            runs = client.search_runs([experiment_id], running, max_results=10_000)
            for run in runs:
                client.set_terminated(run.info.run_id, status="KILLED")
        except failures() as error:
            raise store_error(error, uri) from error
        return len(runs)

    def discard(self, run_id: str, /) -> None:
        """Delete a run that came to nothing, see ``contract.Tracking``.

        Raises:
            TrackingError: The store cannot be reached or refuses the caller.
        """
        uri = self._uri()
        try:
            open_client(uri).delete_run(run_id)
        except failures() as error:
            raise store_error(error, uri) from error

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


def _begin(client: Any, experiment_id: str, start: RunStart) -> str:
    """Create the run, or set one that was interrupted running again."""
    tags = _tags(start)
    if start.run_id is None:
        return str(client.create_run(experiment_id, tags=tags, run_name=start.name).info.run_id)
    run = client.get_run(start.run_id)
    if run.info.lifecycle_stage != "active":
        raise TrackingError(
            f"run {start.run_id} is to be continued but was deleted; restore it in the MLflow UI, or "
            "start in a new output folder"
        )
    client.update_run(start.run_id, status="RUNNING", name=start.name)
    for name, value in tags.items():
        client.set_tag(start.run_id, name, value)
    return start.run_id


def _tags(start: RunStart) -> dict[str, str]:
    optional = {
        "mlflow.parentRunId": start.parent_run_id,
        "mlflow.runColor": start.color,
        "mlflow.note.content": start.note or None,
    }
    given = {name: value for name, value in optional.items() if value is not None}
    tags = provenance() | {"kind": start.kind} | given | dict(start.tags)
    return {checked_name(name): clipped(value, TAG_CHARACTERS) for name, value in tags.items()}


def _url_hint(uri: str, page: str) -> str:
    if is_http(uri):
        return f"{shown(uri)}{page}"
    return f"make ui, then http://127.0.0.1:5000{page}"
