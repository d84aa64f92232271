"""Jobs that log at the same time into one SQLite store, which is empty when they begin."""

import signal
import time
from collections import Counter

import pytest

from segprune.tracking.replay import replay
from segprune.tracking.store import open_client, sqlite_uri
from tests.extensions.witness import stored
from tests.tracking.conftest import python

JOBS, METRICS, STEPS = 4, 25, 40
JOB = """
import itertools, sys
from pathlib import Path
from segprune.tracking.contract import RunStart
from segprune.tracking.mlflow_tracker import MlflowTracking
folder, number, metrics, steps = Path(sys.argv[1]), *map(int, sys.argv[2:])
tracking = MlflowTracking(uri=None, root=folder, experiment="parallel", flush_seconds=0)
run = tracking.open(RunStart(name=f"job-{number}", kind="job", folder=folder / str(number)))
print(run.run_id, flush=True)
for step in range(steps) if steps else itertools.count():
    run.metrics({f"curve/{name}": number + name / 100 + 0.1 * step for name in range(metrics)}, step=step)
    if step % 10 == 0:
        run.params({f"param-{step}": step})
        run.text(str(number), f"texts/{step}.txt")
run.close("FINISHED")
"""


@pytest.mark.slow
def test_four_jobs_at_once_lose_no_number_and_double_none_while_a_fifth_is_killed(tmp_path):
    jobs = [python(JOB, str(tmp_path), str(number), str(METRICS), str(STEPS)) for number in range(JOBS)]
    victim = python(JOB, str(tmp_path), str(JOBS), str(METRICS), "0")
    while not victim.output():
        assert victim.poll() is None
        time.sleep(0.01)
    victims_id = victim.output().strip()
    jobs[0].wait(timeout=300)
    victim.kill()
    said = [job.communicate(timeout=300)[0].strip() for job in jobs]
    assert [job.returncode for job in jobs] == [0] * JOBS, said
    assert all(len(text) == 32 for text in said), said  # an id and no warning, not even for a moment
    client = open_client(sqlite_uri(tmp_path))
    for number, run_id in enumerate(said):
        assert stored(tmp_path / "mlflow.db", run_id) == expected(number, range(STEPS))
        run = client.get_run(run_id)
        assert (run.info.run_name, run.info.status) == (f"job-{number}", "FINISHED")
        assert run.data.params == {f"param-{step}": str(step) for step in range(0, STEPS, 10)}
        texts = {file.path for file in client.list_artifacts(run_id, "texts")}
        assert texts == {f"texts/{step}.txt" for step in range(0, STEPS, 10)}
    assert {path.parent.name for path in tmp_path.rglob("tracking_journal")} <= {str(JOBS)}
    rest = victim.communicate(timeout=60)[0]
    assert victim.returncode == -signal.SIGKILL, rest
    assert replay(tmp_path, None) == 0
    assert client.get_run(victims_id).info.status == "KILLED"
    left = stored(tmp_path / "mlflow.db", victims_id)
    assert left == expected(JOBS, range(len(left) // METRICS))  # whole steps, without a gap


def expected(number, steps):
    return Counter(
        (f"curve/{name}", repr(number + name / 100 + 0.1 * step), step)
        for name in range(METRICS)
        for step in steps
    )
