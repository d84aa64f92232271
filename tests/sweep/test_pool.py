import signal
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from segprune import stop
from segprune.errors import ConfigError
from segprune.sweep.pool import End, Pool, Task, fault, gpus_for
from tests.gpus import with_gpus


@pytest.fixture(autouse=True)
def clean():
    stop._asked.clear()
    yield
    stop._asked.clear()


def pool(jobs: int = 1, gpus: list[int | str] | None = None, *, fork: bool = False) -> Pool:
    return Pool(jobs=jobs, gpus=gpus or [], timeout_s=None, grace_s=0.1, fork=fork)


def task(folder: Path, number: int, code: str) -> Task:
    command = [sys.executable, "-c", code]
    return Task(
        label=str(number), asked={}, command=command, environment={"MINE": "1"}, folder=folder / str(number)
    )


def run(pool: Pool, tasks: list[Task]) -> dict[str, End]:
    ends: dict[str, End] = {}
    pool.run(tasks, lambda _: None, lambda: None, lambda task, end: ends.update({task.label: end}))
    return ends


def output(folder: Path, number: int) -> str:
    return (folder / str(number) / "stdout.log").read_text().strip()


def test_what_a_process_says_is_in_its_folder(tmp_path: Path) -> None:
    code = "import os, sys; print(os.environ['MINE'], flush=True); print('oh', file=sys.stderr)"
    ends = run(pool(), [task(tmp_path, 0, code)])
    assert output(tmp_path, 0) == "1\noh"
    assert (ends["0"].code, ends["0"].fault, ends["0"].was_overdue, ends["0"].was_stopped) == (
        0,
        "",
        False,
        False,
    )


@pytest.mark.parametrize("modules", [(), ("segprune.no_such_module",)])
def test_copies_are_started_as_commands_are_and_where_there_can_be_none_commands_are(
    tmp_path: Path,
    modules: tuple[str, ...],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("INFO")
    monkeypatch.setattr("segprune.sweep.pool.HEAVY", modules)
    script = tmp_path / "script.py"
    script.write_text(
        "import os, sys\nprint(os.environ['MINE'], sys.argv[1:], os.environ['SEGPRUNE_JOBS'], flush=True)\n"
        "sys.exit(int(sys.argv[1]))\n"
    )
    tasks = [
        replace(task(tmp_path, number, ""), command=[sys.executable, str(script), str(number)])
        for number in range(3)
    ]
    ends = run(pool(jobs=2, fork=True), tasks)
    assert [ends[str(number)].code for number in range(3)] == [0, 1, 2]
    assert [output(tmp_path, number) for number in range(3)] == [f"1 ['{number}'] 2" for number in range(3)]
    assert ("each job imports by itself" in caplog.text) is bool(modules)


def test_never_more_processes_than_allowed_and_all_are_run_in_order(tmp_path: Path) -> None:
    live = tmp_path / "live"
    live.mkdir()
    code = (
        "import os, pathlib, time\n"
        f"mine = pathlib.Path({str(live)!r}, str(os.getpid()))\n"
        "mine.touch()\ntime.sleep(0.3)\n"
        "print(len(list(mine.parent.iterdir())))\nmine.unlink()"
    )
    begun: list[str] = []
    tasks = [task(tmp_path, number, code) for number in range(5)]
    pool(jobs=2).run(tasks, lambda task: begun.append(task.label), lambda: None, lambda *_: None)
    assert begun == ["0", "1", "2", "3", "4"]
    assert {output(tmp_path, number) for number in range(5)} <= {"1", "2"}


def test_gpus_are_dealt_out_in_turns_and_cores_in_equal_parts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr("segprune.sweep.pool.cores", lambda: 7)
    shares = [pool(3, [0, "GPU-8f3a"])._share(slot) for slot in range(3)]
    assert [share["CUDA_VISIBLE_DEVICES"] for share in shares] == ["0", "GPU-8f3a", "0"]
    assert {share["OMP_NUM_THREADS"] for share in shares} == {"2"}  # 7 cores by 3 jobs
    assert pool(9)._share(0) == {"OMP_NUM_THREADS": "1", "SEGPRUNE_JOBS": "9"}
    monkeypatch.setenv("OMP_NUM_THREADS", "5")
    assert pool(3)._share(0)["OMP_NUM_THREADS"] == "5"  # as its user wants it


def test_numbers_count_the_gpus_that_a_scheduler_gave(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,GPU-77aa")
    shares = [pool(3, [1, 0, "MIG-1"])._share(slot)["CUDA_VISIBLE_DEVICES"] for slot in range(3)]
    assert shares == ["GPU-77aa", "4", "MIG-1"]
    with pytest.raises(
        ConfigError, match=r"given CUDA_VISIBLE_DEVICES=4,GPU-77aa, .* from 0 to 1; 4 is none"
    ):
        pool(1, [4])


@pytest.mark.parametrize("nothing", ["", "-1", "-1,0"])
def test_a_scheduler_that_gave_no_gpu_is_believed(nothing: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", nothing)
    with pytest.raises(ConfigError, match=r"so no GPU at all; 0 is none"):
        pool(1, [0])
    assert pool(1, ["GPU-8f3a"])._share(0)["CUDA_VISIBLE_DEVICES"] == "GPU-8f3a"


def test_what_follows_the_end_of_a_schedulers_list_is_not_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4, 5,-1,6")
    assert pool(2, [1, 0])._share(0)["CUDA_VISIBLE_DEVICES"] == "5"
    with pytest.raises(ConfigError, match=r"CUDA_VISIBLE_DEVICES=4,5, .* from 0 to 1; 2 is none"):
        pool(1, [2])


@pytest.mark.parametrize(
    ("jobs", "count", "dealt", "said"),
    [
        (2, 0, [], ""),
        (2, 2, [0, 1], ""),
        (3, 2, [0, 1], "3 jobs at a time share 2 GPUs, and so their memory"),
        (2, 4, [0, 1], "2 of 4 GPUs stand idle, since 2 jobs run at a time"),
    ],
)
def test_where_no_gpus_are_named_all_are_dealt_out(
    jobs: int,
    count: int,
    dealt: list[int],
    said: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("INFO")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    with_gpus(monkeypatch, count)
    assert gpus_for(jobs) == dealt
    assert caplog.messages == ([said] if said else [])


def test_jobs_that_need_several_gpus_get_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,5,6,7,8")
    with_gpus(monkeypatch, 5)
    assert gpus_for(3, each=2) == ["4,5", "6,7"]
    assert gpus_for(1, each=2) == ["4,5"]
    assert gpus_for(2, each=8) == []


def test_gpus_that_would_stand_idle_are_refused() -> None:
    with pytest.raises(
        ConfigError, match=r"jobs is 2, so 2 of them would stand idle\. Give jobs=4, or fewer"
    ):
        pool(2, [0, 1, 2, 3])


def test_a_pool_that_is_left_stops_what_is_running(tmp_path: Path) -> None:
    ends: dict[str, End] = {}

    def after(task: Task, end: End) -> None:
        ends[task.label] = end
        if task.label == "0":
            raise RuntimeError("a bug")

    tasks = [task(tmp_path, 0, ""), task(tmp_path, 1, "import time; time.sleep(1000)"), task(tmp_path, 2, "")]
    with pytest.raises(RuntimeError, match="a bug"):
        pool(jobs=2).run(tasks, lambda _: None, lambda: None, after)
    assert ends["1"].was_stopped
    assert ends["1"].code in (-signal.SIGTERM, -signal.SIGKILL)
    assert "2" not in ends


def test_while_processes_run_others_get_their_turn(tmp_path: Path) -> None:
    turns: list[bool] = []
    waits = "import pathlib, time\nwhile not pathlib.Path(r'{}').exists(): time.sleep(0.01)"
    gate = tmp_path / "gate"

    def during() -> None:
        turns.append(gate.exists())
        gate.touch()

    pool().run([task(tmp_path, 0, waits.format(gate))], lambda _: None, during, lambda *_: None)
    assert turns[0] is False  # the process waited for it


def test_a_request_to_end_stops_the_pool(tmp_path: Path) -> None:
    def before(_: Task) -> None:
        stop.on_terminate(signal.SIGTERM, None)

    with pytest.raises(SystemExit) as ended:
        pool().run(
            [task(tmp_path, 0, "import time; time.sleep(1000)")], before, lambda: None, lambda *_: None
        )
    assert ended.value.code == 143


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        (0, ""),
        (3, "ended with exit code 3"),
        (-9, "killed by signal 9, e.g. out of memory"),
        (-6, "killed by signal 6 (Aborted)"),
        (-11, "killed by signal 11 (Segmentation fault)"),
    ],
)
def test_an_exit_code_is_put_into_words(code: int, expected: str) -> None:
    assert fault(code) == expected
