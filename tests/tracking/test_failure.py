import pytest
from mlflow.exceptions import MlflowException
from mlflow.protos import databricks_pb2 as codes
from requests import HTTPError, Response

from segprune.tracking.failure import (
    failures,
    first_line,
    http_status,
    is_refusal,
    opening_failures,
)


def answered(status):
    response = Response()
    response.status_code = status
    return HTTPError("no", response=response)


@pytest.mark.parametrize(
    "error",
    [
        MlflowException("changed", codes.INVALID_PARAMETER_VALUE),
        MlflowException("deleted", codes.RESOURCE_DOES_NOT_EXIST),
        MlflowException("A string literal cannot contain NUL (0x00) characters.", codes.BAD_REQUEST),
        answered(413),
        FileNotFoundError("gone"),
    ],
)
def test_what_will_fail_again_is_a_refusal(error):
    assert is_refusal(error)


@pytest.mark.parametrize(
    "error",
    [
        MlflowException("out", codes.TEMPORARILY_UNAVAILABLE),
        MlflowException("log in", codes.UNAUTHENTICATED),
        MlflowException("cannot execute INSERT in a read-only transaction", codes.BAD_REQUEST),
        MlflowException("permission denied for table metrics", codes.BAD_REQUEST),
        ConnectionRefusedError("out"),
        OSError("disk full"),
        answered(401),
        answered(503),
    ],
)
def test_what_may_pass_is_not(error):
    assert not is_refusal(error)
    assert isinstance(error, failures())


def test_the_status_of_an_error_is_read_where_there_is_one():
    assert http_status(MlflowException("log in", codes.UNAUTHENTICATED)) == 401
    assert http_status(OSError("out")) is None


def test_opening_a_database_meets_the_errors_of_its_libraries_too():
    from sqlalchemy.exc import OperationalError

    assert issubclass(OperationalError, opening_failures())
    assert set(failures()) < set(opening_failures())


def test_errors_are_told_in_one_short_line_without_passwords():
    assert first_line(OSError("a\nb")) == "a"
    assert len(first_line(OSError("x" * 1000))) == 300
    held = "(raised as a result of an autoflush)\n(sqlite3.OperationalError) database is locked\n[SQL: a]"
    assert first_line(OSError(held)) == "(sqlite3.OperationalError) database is locked"
    assert first_line(OSError("request to http://me:secret@host/api failed")) == (
        "request to http://***@host/api failed"
    )
