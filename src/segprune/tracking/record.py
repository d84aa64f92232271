"""What is sent to MLflow, as plain data: names checked, values spelled, without passwords, cut to limits."""

import posixpath
import re
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any, Literal, TypeVar

from segprune.errors import TrackingError
from segprune.tracking.contract import Scalar
from segprune.tracking.secrets import redacted

Kind = Literal["create", "continue", "params", "metrics", "tags", "artifact", "dataset", "end"]
BEGINNINGS = ("create", "continue")
T = TypeVar("T")

# Limits of one MLflow request and of its database columns.
METRICS_PER_RECORD = 1000
PARAMS_PER_RECORD = 100
PARAM_CHARACTERS = 6000
TAG_CHARACTERS = 8000
NAME_CHARACTERS = 250
NOTE_TAG = "mlflow.note.content"  # the UI shows it as the description
DIGEST_CHARACTERS = 8  # as in MLflow's own digests; a longer one fills the table

_NAME = re.compile(r"[/\w.\- :]+")


@dataclass(frozen=True, kw_only=True)
class Record:
    """One thing to send; ``content`` is JSON.

    Sending a record twice leaves MLflow as sending it once does, so a record whose answer was lost can
    simply be sent again.
    """

    kind: Kind
    content: dict[str, Any]


def param_records(values: Mapping[str, Scalar]) -> list[Record]:
    """Params in portions that one request may carry."""
    return _named("params", {name: clipped(spell(value), PARAM_CHARACTERS) for name, value in values.items()})


def tag_records(values: Mapping[str, str]) -> list[Record]:
    """Tags in portions that one request may carry."""
    return _named("tags", {name: clipped(redacted(value), TAG_CHARACTERS) for name, value in values.items()})


def metric_records(values: Mapping[str, float], step: int) -> list[Record]:
    """Metric points (name, value, time in ms, step) of this moment in portions that one request may carry."""
    now_ms = int(time.time() * 1000)
    points = [(checked_name(name), float(value), now_ms, step) for name, value in values.items()]
    return [Record(kind="metrics", content={"points": part}) for part in portions(points, METRICS_PER_RECORD)]


def _named(kind: Kind, values: Mapping[str, str]) -> list[Record]:
    items = [(checked_name(name), value) for name, value in values.items()]
    return [Record(kind=kind, content=dict(part)) for part in portions(items, PARAMS_PER_RECORD)]


def checked_name(name: str) -> str:
    """The name itself.

    Raises:
        TrackingError: MLflow would refuse it.
    """
    is_path = posixpath.normpath(name) == name and not name.startswith(("..", "/")) and name != "."
    if not _NAME.fullmatch(name) or not is_path or len(name) > NAME_CHARACTERS:
        raise TrackingError(
            f"{name!r} cannot name a param, metric or tag; use letters, digits and _ - . : / or space, at "
            f"most {NAME_CHARACTERS} characters, no '//' and no leading '/' or '..' (write _percent for %)"
        )
    return name


def spell(value: Scalar) -> str:
    """A value as YAML writes it, without the passwords of URLs."""
    if value is None:
        return "null"
    return str(value).lower() if isinstance(value, bool) else redacted(str(value))


def clipped(value: str, limit: int) -> str:
    """The value, or its beginning and ``...``: ``limit`` characters at most."""
    return value if len(value) <= limit else value[: limit - 3] + "..."


def portions(items: Iterable[T], size: int) -> Iterator[list[T]]:
    """Consecutive lists of at most ``size`` items."""
    rest = iter(items)
    while part := list(islice(rest, size)):
        yield part
