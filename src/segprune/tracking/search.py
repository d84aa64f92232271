"""Finds runs wherever they are in MLflow."""

from collections.abc import Callable
from typing import Any

PAGE = 1000


def runs_where(client: Any, query: str, *, is_deleted_too: bool) -> list[Any]:
    """The runs of all active experiments that a query of MLflow's own language describes.

    Raises:
        MlflowException: MLflow fails.
    """
    from mlflow.entities import ViewType

    def experiments_after(token: str | None) -> Any:
        return client.search_experiments(max_results=PAGE, page_token=token)

    ids = [experiment.experiment_id for experiment in _all(experiments_after)]
    view = ViewType.ALL if is_deleted_too else ViewType.ACTIVE_ONLY

    def runs_after(token: str | None) -> Any:
        return client.search_runs(ids, query, view, max_results=PAGE, page_token=token)

    return _all(runs_after) if ids else []


def end_children(client: Any, parent_run_id: str) -> int:
    """End a sweep's children that still count as running as KILLED; returns how many there were.

    Raises:
        MlflowException: MLflow fails.
    """
    running = f"tags.`mlflow.parentRunId` = '{parent_run_id}' and attributes.status = 'RUNNING'"
    runs = runs_where(client, running, is_deleted_too=False)
    for run in runs:
        client.set_terminated(run.info.run_id, status="KILLED")
    return len(runs)


def end(client: Any, run_id: str) -> None:
    """End a run as KILLED if it still counts as running.

    Raises:
        MlflowException: MLflow fails.
    """
    if client.get_run(run_id).info.status == "RUNNING":
        client.set_terminated(run_id, status="KILLED")


def _all(after: Callable[[str | None], Any]) -> list[Any]:
    page = after(None)
    found = list(page)
    while page.token:
        page = after(page.token)
        found += page
    return found
