"""Finds the folder of a sweep by the id of its MLflow run."""

from pathlib import Path

from segprune.errors import ConfigError
from segprune.tracking.failure import failures
from segprune.tracking.store import open_client, require_run_id, store_error

FOLDER = "sweep.dir"


def sweep_folder(which: str, uri: str) -> Path:
    """The folder of a sweep.

    Args:
        which: The folder itself, or the id of the sweep's run or of a job of it.
        uri: MLflow's tracking URI.

    Raises:
        ConfigError: It is neither, or the folder is not on this machine.
        TrackingError: The tracker cannot be reached, or has no such run.
    """
    if Path(which).is_dir():
        return Path(which)
    require_run_id(which, "outputs/sweeps/<date>/<time>")
    client = open_client(uri)
    try:
        tags = client.get_run(which).data.tags
        parent = tags.get("mlflow.parentRunId")
        if parent:
            tags = client.get_run(parent).data.tags
    except failures() as error:
        raise store_error(error, uri) from error
    if FOLDER not in tags:
        raise ConfigError(f"the run {which} belongs to no sweep, and a report is of a sweep.")
    folder = Path(tags[FOLDER])
    if not folder.is_dir():
        raise ConfigError(
            f"the sweep's folder {folder} is not on this machine. Write the report where it is; the one written at "
            "the sweep's end is among the artifacts of its run, as report.html."
        )
    return folder
