"""Processes that are killed at every moment of their dealings with journal and store lose and double nothing."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from segprune.tracking.journal import FOLDER
from segprune.tracking.replay import replay
from segprune.tracking.search import runs_where
from segprune.tracking.store import open_client, sqlite_uri
from tests.extensions.witness import stored
from tests.tracking.conftest import python

KILLED = """
import os, signal, sys
from pathlib import Path
import mlflow
import mlflow.store.tracking.sqlalchemy_store
from segprune.tracking.contract import RunStart
from segprune.tracking.journal import Journal
from segprune.tracking.mlflow_tracker import MlflowTracking

root, moments = Path(sys.argv[1]), []
deadly = -1

def moment():
    moments.append(1)
    if len(moments) == deadly:
        os.kill(os.getpid(), signal.SIGKILL)

def with_moments(kind, name):
    call = getattr(kind, name)
    def called(*arguments, **options):
        moment()
        given = call(*arguments, **options)
        moment()
        return given
    setattr(kind, name, called)

for name in ("_write", "keep", "close"):
    with_moments(Journal, name)
for name in ("create_run", "log_batch", "log_artifact", "log_inputs", "set_terminated"):
    with_moments(mlflow.MlflowClient, name)

def job(folder):
    folder.mkdir()
    said = (folder / "said").open("a", buffering=1)
    tracking = MlflowTracking(uri=None, root=root, experiment="killed", flush_seconds=1000)
    run = tracking.open(RunStart(name=folder.name, kind="job", folder=folder, parent_run_id="p"))
    for step in range(2):
        run.metrics({"a": step / 3, "b": float("nan")}, step=step)
        said.write(f"metrics {step}\\n")
        run.params({f"param-{step}": step})
        said.write(f"param {step}\\n")
    run.text("x", "eval/x.txt")
    said.write("text\\n")
    run.dataset(name="streets", digest="0", split="train", profile={})
    said.write("dataset\\n")
    run.metrics({"a": 2 / 3, "b": float("nan")}, step=2)
    said.write("metrics 2\\n")
    run.close("FINISHED")
    said.write("end\\n")

def in_a_process_of_its_own(folder):
    child = os.fork()
    if child == 0:
        job(folder)
        os.write(pipe[1], len(moments).to_bytes(4, "big"))
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])

pipe = os.pipe()
assert in_a_process_of_its_own(root / "whole") == 0
count = int.from_bytes(os.read(pipe[0], 4), "big")
for deadly in range(1, count + 1, int(sys.argv[2])):
    assert in_a_process_of_its_own(root / str(deadly)) == -signal.SIGKILL, deadly
print(count)
"""

STRIDE = 7
"""One moment in so many is tried, as likely before a call as behind one; 1 tries all and takes minutes."""


@pytest.mark.slow
def test_a_process_killed_at_any_moment_loses_nothing_it_has_logged_and_doubles_nothing(tmp_path):
    client = open_client(sqlite_uri(tmp_path))
    process = python(KILLED, str(tmp_path), str(STRIDE))
    said = process.communicate(timeout=300)[0]
    assert process.returncode == 0, said
    count = int(said.splitlines()[-1])
    assert count > 40  # before and after each write, copy and call to the store
    assert replay(tmp_path, None) == 0
    assert not [path for path in tmp_path.rglob("*") if path.name == FOLDER]
    runs = {run.info.run_name: run for run in runs_where(client, "tags.kind = 'job'", is_deleted_too=True)}
    assert len(runs) == len(runs_where(client, "tags.kind = 'job'", is_deleted_too=True))
    for deadly in range(1, count + 1, STRIDE):
        logged = (tmp_path / str(deadly) / "said").read_text().split("\n")
        if str(deadly) not in runs:
            assert logged == [""]  # killed before it had told anybody that it began
            continue
        run = runs[str(deadly)]
        found = stored(tmp_path / "mlflow.db", run.info.run_id)
        assert set(found.values()) <= {1}
        steps = [step for step in range(3) if f"metrics {step}" in logged]
        assert {(name, step) for name, _, step in found} >= {(name, step) for name in "ab" for step in steps}
        assert {f"param-{step}" for step in range(2) if f"param {step}" in logged} <= run.data.params.keys()
        assert "text" not in logged or client.list_artifacts(run.info.run_id, "eval")[0].path == "eval/x.txt"
        assert "dataset" not in logged or len(run.inputs.dataset_inputs) == 1
        assert run.info.status in (["FINISHED"] if "end" in logged else ["FINISHED", "KILLED"])
        assert run.info.end_time


REPLAY = "import sys; from segprune.tracking.replay import main; sys.exit(main(sys.argv[1:]))"
LEFT = """
import os, sys
from pathlib import Path
from segprune.tracking.contract import RunStart
from segprune.tracking.creation import beginning, new_key
from segprune.tracking.journal import FOLDER, Journal
from segprune.tracking.record import metric_records, param_records
for number in range(3):
    folder, key = Path(sys.argv[1], str(number)), new_key()
    journal = Journal(folder / FOLDER / f"{key}.jsonl", sys.argv[2])
    start = RunStart(name=folder.name, kind="job", folder=folder)
    journal.add([beginning(start, key, "two"), *param_records({"ratio": 0.3})])
    for step in range(20):
        journal.add(metric_records({f"m{name}": float(step) for name in range(200)}, step))
os._exit(9)
"""


@pytest.mark.slow
def test_two_processes_that_send_the_same_and_one_that_is_killed_meanwhile_double_nothing(tmp_path):
    uri = sqlite_uri(tmp_path)
    client = open_client(uri)
    subprocess.run([sys.executable, "-c", LEFT, str(tmp_path), uri], check=False)
    victim, *others = [python(REPLAY, str(tmp_path)) for _ in range(3)]
    while not any(line.startswith(b'{"kind": "sent"') for line in lines_of(tmp_path)):
        assert victim.poll() is None, victim.communicate()[0]
    os.kill(victim.pid, signal.SIGKILL)
    said = [process.communicate(timeout=300)[0] for process in (victim, *others)]
    assert [process.returncode for process in (victim, *others)][1:] == [0, 0], said
    assert replay(tmp_path, None) == 0  # what the victim had open
    runs = runs_where(client, "tags.kind = 'job'", is_deleted_too=True)
    assert sorted(run.info.run_name for run in runs) == sorted(map(str, range(3)))
    for run in runs:
        found = stored(tmp_path / "mlflow.db", run.info.run_id)
        assert found == {
            (f"m{name}", repr(float(step)), step): 1 for name in range(200) for step in range(20)
        }
        assert (run.data.params, run.info.status) == ({"ratio": "0.3"}, "KILLED")


def lines_of(folder: Path) -> list[bytes]:
    lines = []
    for path in folder.rglob(f"{FOLDER}/*.jsonl"):
        try:
            lines += path.read_bytes().splitlines()
        except FileNotFoundError:  # it was just sent
            lines.append(b'{"kind": "sent"')
    return lines
