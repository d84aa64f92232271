import logging

import pytest
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import INVALID_PARAMETER_VALUE, RESOURCE_DOES_NOT_EXIST

from segprune.tracking import sender as room
from segprune.tracking.failure import UnreachableError
from segprune.tracking.journal import FOLDER, Journal
from segprune.tracking.record import Record, metric_records
from segprune.tracking.sender import Sender


class Run:
    """What an MLflow client gives for a run."""

    def __init__(self, stage):
        self.info = type("Info", (), {"run_id": "r1", "experiment_id": "7", "lifecycle_stage": stage})


class World:
    """A store that can be out, and a clock that moves by hand."""

    def __init__(self, folder):
        self.now = 0.0
        self.attempt_seconds = 0.0
        self.error = None
        self.attempts = 0
        self.sent = []
        self.run = Run("active")
        self.path = folder / FOLDER / "r1.jsonl"

    def get_run(self, run_id):
        if isinstance(self.run, Exception):
            raise self.run
        return self.run

    def deliver(self, client, run_id, records, folder):
        assert (client, run_id, folder) == (self, "r1", self.path.parent)
        self.attempts += 1
        if self.error is not None:
            self.now += self.attempt_seconds
            raise self.error
        self.sent += records

    def sender(self, flush_seconds=5.0):
        return Sender(
            journal=Journal(self.path, "http://host"),
            connect=lambda: self,
            uri="http://host",
            flush_seconds=flush_seconds,
            clock=lambda: self.now,
        )

    def kinds(self):
        return [record.kind for record in self.sent]

    def points(self):
        records = [record for record in self.sent if record.kind == "metrics"]
        return [(name, step) for record in records for name, _, _, step in record.content["points"]]


@pytest.fixture
def world(tmp_path, monkeypatch):
    made = World(tmp_path)
    monkeypatch.setattr(room, "deliver", made.deliver)
    return made


PARAMS = Record(kind="params", content={"a": "1"})
TAGS = Record(kind="tags", content={"a": "1"})
END = Record(kind="end", content={"status": "FINISHED", "time_ms": 0})
REFUSED = MlflowException("param a was changed", INVALID_PARAMETER_VALUE)


def log(sender, name, step=0):
    sender.put(metric_records({name: 1.0}, step), can_wait=True)


def on_disk(world, sender):
    sender.journal._lock.release()
    return Journal(world.path).waiting


def test_metrics_wait_for_the_flush_time_and_then_go_together(world):
    sender = world.sender()
    log(sender, "a", 0)
    world.now = 4.9
    log(sender, "a", 1)
    assert world.attempts == 0
    world.now = 5.0
    log(sender, "b", 1)
    assert world.attempts == 1
    assert world.points() == [("a", 0), ("a", 1), ("b", 1)]
    world.now = 9.9  # 5 s have to pass again
    log(sender, "c", 2)
    assert world.attempts == 1


def test_metrics_are_on_disk_before_they_are_sent(world):
    sender = world.sender()
    log(sender, "a")
    assert world.sent == []
    assert [record.kind for record in on_disk(world, sender)] == ["metrics"]


def test_other_records_go_at_once_behind_the_metrics_before_them(world):
    sender = world.sender()
    log(sender, "a")
    sender.put([PARAMS])
    log(sender, "b")
    sender.finish(END)
    assert world.kinds() == ["metrics", "params", "metrics", "end"]
    assert not world.path.parent.exists()


def test_an_outage_keeps_records_on_disk_warns_once_and_sends_them_when_it_is_over(world, caplog):
    caplog.set_level(logging.INFO)
    sender = world.sender()
    world.error = ConnectionRefusedError("refused")
    sender.put([PARAMS])
    log(sender, "a")
    world.now = 10.0
    assert sender.flush() == 2
    assert sender.flush(is_last=True) == 2
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert f"The run goes on, its tracking records wait in {world.path}" in caplog.text
    assert "http://host fails: refused" in caplog.text
    world.error = None
    world.now = 39.9
    log(sender, "b", 1)
    assert world.sent == []  # it rests for 30 s
    world.now = 45.0
    log(sender, "b", 2)
    assert world.kinds() == ["params", "metrics", "metrics", "metrics"]
    assert on_disk(world, sender) == []
    assert "is back" in caplog.text


def test_a_store_that_hangs_costs_five_percent_of_the_time(world):
    sender = world.sender()
    world.error = TimeoutError("hangs")
    world.attempt_seconds = 10.0
    while world.now < 5_000.0:
        world.now += 10.0
        log(sender, "a")
    # Each attempt of 10 s is followed by a rest of 200 s.
    assert world.attempts == pytest.approx(5_000 / 215, abs=2)


def test_what_was_sent_is_not_sent_again_when_the_rest_has_to_wait(world):
    sender = world.sender()
    sender.put([PARAMS])
    world.error = ConnectionRefusedError("out")
    sender.put([TAGS, END])
    assert on_disk(world, sender) == [TAGS, END]


def test_what_an_earlier_process_left_is_sent_first(world):
    journal = Journal(world.path, "http://host")
    journal.add([PARAMS])
    journal._lock.release()
    world.sender().finish(END)
    assert world.sent == [PARAMS, END]
    assert not world.path.exists()


def test_the_end_is_tried_even_while_the_store_rests(world, caplog):
    sender = world.sender()
    world.error = TimeoutError("hangs")
    world.attempt_seconds = 10.0
    sender.put([PARAMS])
    sender.put([TAGS])
    assert world.attempts == 1  # it rests
    sender.finish(END)
    assert world.attempts == 2
    assert f"3 tracking records wait in {world.path}" in caplog.text
    assert f"segprune replay {world.path.parent.parent}" in caplog.text
    world.error = None
    assert world.sender().flush(is_last=True) == 0  # what another process does later
    assert world.sent == [PARAMS, TAGS, END]


def test_a_refused_record_does_not_hold_up_the_others(world, caplog):
    sender = world.sender()
    world.error = REFUSED
    sender.put([PARAMS])
    world.error = None
    sender.finish(END)
    assert world.sent == [END]
    assert "refuses params: param a was changed" in caplog.text
    assert "param a was changed" in world.path.with_suffix(".refused.jsonl").read_text()


def test_what_belongs_to_a_deleted_run_waits_and_the_way_on_is_told(world, caplog):
    sender = world.sender()
    world.error, world.run = REFUSED, Run("deleted")
    sender.put([PARAMS])
    assert sender.journal.waiting == [PARAMS]
    assert (
        "the MLflow run r1 was deleted; restore it in the MLflow UI or with `mlflow runs restore"
        in caplog.text
    )
    world.error, world.run = None, Run("active")
    sender.finish(END)
    assert world.sent == [PARAMS, END]


def test_what_belongs_to_a_run_that_is_gone_for_good_is_refused(world, caplog):
    sender = world.sender()
    sender.put([TAGS])
    world.error = world.run = MlflowException("no such run", RESOURCE_DOES_NOT_EXIST)
    sender.put([PARAMS])
    assert sender.journal.waiting == []
    assert "refuses params: no such run" in caplog.text


def test_a_store_that_cannot_be_opened_is_an_outage_too(world):
    def connect():
        raise UnreachableError("no server")

    sender = world.sender()
    sender.connect = connect
    sender.put([PARAMS])
    assert sender.journal.waiting == [PARAMS]
    with pytest.raises(UnreachableError, match="no server"):
        sender.send()


def test_a_full_disk_does_not_keep_a_record_from_the_store(world, tmp_path):
    world.path.parent.parent.mkdir(exist_ok=True)
    (tmp_path / FOLDER).write_text("")  # no folder can be made here
    sender = world.sender()
    sender.put([PARAMS])
    sender.finish(END)
    assert world.sent == [PARAMS, END]
