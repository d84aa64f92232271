"""Distinguishes an outage, which passes, from a refusal, which stays."""

import sqlite3
from typing import Any

from segprune.errors import TrackingError
from segprune.tracking.secrets import redacted

# A store that answers one of these answers the same next time.
_REFUSALS = frozenset(
    {"INVALID_PARAMETER_VALUE", "RESOURCE_DOES_NOT_EXIST", "RESOURCE_ALREADY_EXISTS", "BAD_REQUEST"}
)
# 4xx answers that may pass: a missing log-in or permission, a timeout, too many requests.
_PASSING = frozenset({401, 403, 408, 429})
# MLflow answers BAD_REQUEST to these states of PostgreSQL, which its administrator can end.
_REMARK = "(raised as a result of"
_OF_THE_DATABASE = ("read-only transaction", "permission denied for")


class UnreachableError(TrackingError):
    """MLflow does not answer now; it may do so later."""


def failures() -> tuple[type[Exception], ...]:
    """What a call to MLflow may raise: its own errors, and those of sockets, disks and HTTP."""
    from mlflow.exceptions import MlflowException

    return (MlflowException, OSError)


def opening_failures() -> tuple[type[Exception], ...]:
    """What opening a database may raise beyond that: MLflow lets the errors of its libraries through."""
    from alembic.util.exc import CommandError
    from sqlalchemy.exc import SQLAlchemyError

    return (*failures(), sqlite3.DatabaseError, SQLAlchemyError, CommandError)


def is_refusal(error: Exception) -> bool:
    """Whether sending the same again would fail again."""
    if any(state in str(error) for state in _OF_THE_DATABASE):
        return False
    if getattr(error, "error_code", None) in _REFUSALS or isinstance(error, FileNotFoundError):
        return True
    # Artifacts travel by plain HTTP: the error then carries the answer instead of a code.
    status = getattr(getattr(error, "response", None), "status_code", None)
    return isinstance(status, int) and 400 <= status < 500 and status not in _PASSING


def http_status(error: Any) -> int | None:
    """The HTTP status behind an error of MLflow, if it has one."""
    code = getattr(error, "get_http_status_code", None)
    return int(code()) if code else None


def first_line(error: Exception) -> str:
    """The beginning of an error's text, without passwords; servers answer with whole pages.

    What SQLAlchemy puts in brackets before the error of a database says nothing of it.
    """
    lines = redacted(str(error)).strip().split("\n")
    return next((line for line in lines if not line.startswith(_REMARK)), lines[0])[:300]
