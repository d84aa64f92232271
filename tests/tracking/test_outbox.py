import logging

import pytest
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import INVALID_PARAMETER_VALUE

from segprune.errors import TrackingError
from segprune.tracking.outbox import Outbox
from segprune.tracking.record import Record
from segprune.tracking.spool import Spool


class World:
    """A store that can be out, and a clock that moves by hand."""

    def __init__(self, folder):
        self.now = 0.0
        self.attempt_seconds = 0.0
        self.error = None
        self.attempts = 0
        self.sent = []
        self.spool = Spool(folder=folder, run_id="r1", uri="http://host")

    def deliver(self, record):
        self.attempts += 1
        if self.error is not None:
            self.now += self.attempt_seconds
            raise self.error
        self.sent.append(record)

    def outbox(self, flush_seconds=5.0):
        return Outbox(
            deliver=self.deliver, spool=self.spool, flush_seconds=flush_seconds, clock=lambda: self.now
        )

    def points(self):
        return [tuple(point[:2]) for record in self.sent for point in record.content.get("points", ())]


@pytest.fixture
def world(tmp_path):
    return World(tmp_path)


PARAMS = Record(kind="params", content={"a": "1"})
END = Record(kind="end", content={"status": "FINISHED", "time_ms": 0})


def test_metrics_wait_for_the_flush_time_and_then_go_together(world):
    outbox = world.outbox()
    outbox.metrics({"a": 1.0}, 0)
    world.now = 4.9
    outbox.metrics({"a": 2.0}, 1)
    assert world.sent == []
    world.now = 5.0
    outbox.metrics({"b": 3.0}, 1)
    (record,) = world.sent
    assert [(name, value, step) for name, value, _, step in record.content["points"]] == [
        ("a", 1.0, 0),
        ("a", 2.0, 1),
        ("b", 3.0, 1),
    ]
    world.now = 9.9  # 5 s have to pass again
    outbox.metrics({"c": 4.0}, 2)
    assert len(world.sent) == 1


def test_other_records_go_at_once_and_take_the_metrics_along(world):
    outbox = world.outbox()
    outbox.metrics({"a": 1.0}, 0)
    outbox.put(PARAMS)
    assert sorted(record.kind for record in world.sent) == ["metrics", "params"]


def test_the_last_record_comes_last(world):
    outbox = world.outbox()
    outbox.metrics({"a": 1.0}, 0)
    outbox.finish(END)
    assert [record.kind for record in world.sent] == ["metrics", "end"]
    assert not world.spool.path.exists()


def test_a_bad_name_is_refused_before_anything_is_buffered(world):
    outbox = world.outbox()
    with pytest.raises(TrackingError, match="'iou_%' cannot name"):
        outbox.metrics({"iou_%": 1.0}, 0)
    assert outbox.flush() == 0


def test_an_outage_keeps_records_on_disk_warns_once_and_sends_them_when_it_is_over(world, caplog):
    caplog.set_level(logging.INFO)
    outbox = world.outbox()
    world.error = ConnectionRefusedError("refused")
    outbox.put(PARAMS)
    outbox.metrics({"a": float("nan")}, 0)
    world.now = 10.0
    assert outbox.flush() == 2
    assert [record.kind for record in world.spool.load()] == ["params", "metrics"]
    assert len([r for r in caplog.records if r.levelno == logging.WARNING]) == 1
    assert "refused" in caplog.text
    world.error = None
    world.now = 29.9
    outbox.metrics({"b": 1.0}, 1)
    assert world.sent == []  # it rests for 30 s
    world.now = 35.0
    outbox.metrics({"b": 1.0}, 1)
    assert [record.kind for record in world.sent] == ["params", "metrics", "metrics", "metrics"]
    assert not world.spool.path.exists()
    assert "is back" in caplog.text


def test_a_store_that_hangs_costs_five_percent_of_the_time(world):
    outbox = world.outbox()
    world.error = TimeoutError("hangs")
    world.attempt_seconds = 10.0
    while world.now < 5_000.0:
        world.now += 1.0
        outbox.metrics({"a": 1.0}, 0)
    # Each attempt of 10 s is followed by a rest of 200 s.
    assert world.attempts == pytest.approx(5_000 / 210, abs=2)


def test_what_was_sent_leaves_the_disk_also_when_the_rest_has_to_wait(world):
    outbox = world.outbox()
    world.error = ConnectionRefusedError("out")
    outbox.put(PARAMS, END)
    world.error = None
    send = world.deliver

    def only_params(record):
        if record.kind == "end":
            raise ConnectionRefusedError("out again")
        send(record)

    outbox.deliver = only_params
    assert outbox.flush(is_last=True) == 1
    assert world.spool.load() == [END]


def test_what_an_earlier_process_left_is_sent_first(world):
    world.spool.keep([PARAMS])
    world.outbox().finish(END)
    assert world.sent == [PARAMS, END]
    assert not world.spool.path.exists()


def test_while_the_store_rests_records_are_on_disk_already(world):
    outbox = world.outbox()
    world.error = TimeoutError("hangs")
    world.attempt_seconds = 10.0
    outbox.put(PARAMS)
    outbox.put(PARAMS)
    assert world.attempts == 1
    assert len(world.spool.load()) == 2


def test_the_end_is_tried_even_while_the_store_rests(world, caplog):
    outbox = world.outbox()
    world.error = TimeoutError("hangs")
    world.attempt_seconds = 10.0
    outbox.put(PARAMS)
    outbox.finish(END)
    assert world.attempts == 2
    assert f"python -m segprune.tracking.replay {world.spool.folder}" in caplog.text
    world.error = None
    assert world.outbox().flush(is_last=True) == 0  # what another process does later
    assert [record.kind for record in world.sent] == ["params", "end"]


def test_a_refused_record_does_not_hold_up_the_others(world, caplog):
    outbox = world.outbox()
    world.error = MlflowException("param a was changed", INVALID_PARAMETER_VALUE)
    outbox.put(PARAMS)
    world.error = None
    outbox.finish(END)
    assert [record.kind for record in world.sent] == ["end"]
    assert "refuses params: param a was changed" in caplog.text
    assert "param a was changed" in world.spool.path.with_suffix(".refused.jsonl").read_text()


def test_a_full_disk_does_not_stop_the_run(world, caplog, monkeypatch):
    def full(self, *arguments):
        raise OSError("no space left")

    monkeypatch.setattr(Spool, "keep", full)
    monkeypatch.setattr(Spool, "refuse", full)
    outbox = world.outbox()
    world.error = ConnectionRefusedError("out")
    outbox.put(PARAMS)
    assert "Could not keep 1 tracking records" in caplog.text
    world.error = MlflowException("changed", INVALID_PARAMETER_VALUE)
    assert outbox.flush(is_last=True) == 0
    assert "Could not keep what was refused: no space left" in caplog.text
