"""MLflow's tables, made once for all tests that start runs with an empty ``outputs``: making them takes seconds."""

import os
import shutil
from pathlib import Path

from filelock import FileLock

place = Path("the conftest sets it")
"""A folder that all processes of one pytest share."""


def give_tables(outputs: Path) -> None:
    """Put an empty MLflow database below ``outputs``, as the first run would; one that is there stays."""
    from segprune.tracking.store import open_client, sqlite_uri

    target = outputs / "mlflow.db"
    if target.exists():
        return
    empty = place / "tables"
    with FileLock(place / "tables.lock"):
        if not (empty / "mlflow.db").exists():
            client = open_client(sqlite_uri(empty))
            client._tracking_client.store.engine.dispose()  # so that all of it is in the one file
    outputs.mkdir(parents=True, exist_ok=True)
    unfinished = target.with_name(f"{target.name}.{os.getpid()}")
    shutil.copyfile(empty / "mlflow.db", unfinished)
    os.replace(unfinished, target)
