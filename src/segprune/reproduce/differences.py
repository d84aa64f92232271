"""What has changed since a run, in words."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from itertools import zip_longest
from typing import Any

from segprune.config.component import component
from segprune.config.renamed import of_today
from segprune.reproduce.origin import ANEW, code, files, machine, own, packages
from segprune.result.metrics import declared

OF_TIME = "latency_"
"""How the units of budgets begin that a clock measures."""
NAMED = ("run",)
"""Reused rows have the name of the run that computed them."""
POINTS, SHARE = 2.0, 0.1
"""How far numbers of a row may differ on a GPU, whose sums have no fixed order: points of per cent; of others, this
share of the larger one."""


def differences(made: Mapping[str, Any], config: Mapping[str, Any]) -> Iterator[str]:
    """The differences between the record and the present.

    Args:
        made: The run's origin.
        config: The configuration that it would be repeated with.

    Raises:
        SegpruneError: The data cannot be read.
    """
    then, now = made["code"], code()
    if now["sources"] != then["sources"]:
        remedy = f"; git checkout {then['commit']}" if then["dirty"] == "false" else ""
        yield f"code: {_state(then)} then, {_state(now)} now{remedy}"
    for what, here in (("own", own(config)), ("files", files(config))):
        yield from _changed(what, made.get(what, dict.fromkeys(here, "not recorded")), here)
    yield from _changed("packages", made["packages"], packages())
    yield from _changed("machine", made["machine"], machine())
    yield from _changed("config", *_decisive(made["config"], config))
    data = component(config["dataset"], "dataset", extensions=config["extensions"])()
    for role, digest in asdict(data.identity).items():
        if made["data"][role] != digest:
            yield f"data: other images, labels or augmentation in the role {role}"


def row_differences(
    then: Sequence[Mapping[str, Any]],
    now: Sequence[Mapping[str, Any]],
    *,
    is_on_gpu: bool,
    without: Sequence[str] = (),
) -> Iterator[str]:
    """Every value of both rows that has changed in any bit, on a GPU by more than it may; times are left out.

    Args:
        then: Recorded rows.
        now: Rows of the repetition.
        is_on_gpu: Whether it ran on a GPU.
        without: More columns that may differ.
    """
    timed = {metric.name for metric in declared().values() if metric.is_timed}
    nothing: Mapping[str, Any] = {}
    for was, is_ in zip_longest(then, now, fillvalue=nothing):
        one_lacks = set() if not was or not is_ else was.keys() ^ is_.keys()
        left_out = timed | one_lacks | {*NAMED, *without}
        if str(was.get("budget")).startswith(OF_TIME):
            left_out |= {"ratio_reached"}
        if is_on_gpu:
            left_out |= {key for key in was.keys() & is_.keys() if _is_close(key, was[key], is_[key])}
        old, new = ({key: row[key] for key in row if key not in left_out} for row in (was, is_))
        yield from _changed(f"row {(was or is_)['stage']}", old, new)


def _is_close(name: str, was: object, is_: object) -> bool:
    """Whether two values of a metric differ by no more than they may on a GPU."""
    metric = declared().get(name)
    if metric is None or not isinstance(was, int | float) or not isinstance(is_, int | float):
        return False
    most = POINTS if metric.unit == "%" else SHARE * max(abs(was), abs(is_))
    return abs(was - is_) <= most


def _decisive(then: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """Both configurations flat, without keys that do not change results and paths below the folder of outputs."""
    outputs = str(then["paths"]["outputs"])
    old, new = (
        dict(of_today(k, v) for k, v in _flat(part) if k.split(".")[0] not in ANEW) for part in (then, now)
    )
    moved = {key for key, value in old.items() if str(value).startswith(outputs)}
    yield from ({key: part[key] for key in part if key not in moved} for part in (old, new))


def _changed(what: str, then: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[str]:
    for key in {**then, **now}:
        was, is_ = then.get(key, "not there"), now.get(key, "not there")
        if was != is_:
            yield f"{what}: {key} was {was}, is {is_}"


def _flat(node: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in node.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _state(code: Mapping[str, str]) -> str:
    return f"commit {code['commit'][:12]}" + (" with changes" if code["dirty"] == "true" else "")
