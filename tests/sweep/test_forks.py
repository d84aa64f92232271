"""Processes that are really copied, killed and waited for; what they import is cheap."""

import json
import os
import shutil
import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import psutil
import pytest

from segprune.sweep import forks
from segprune.sweep.forks import Copy, Forks, ForksError, can_fork, refuse_to_fork
from tests.mini_app import wait_for
from tests.test_cli import ROOT

pytestmark = pytest.mark.skipif(not can_fork(), reason="this system has no adoption of grandchildren")
Start = Callable[..., Copy]
TELLS = """
import json, os, sys
print(json.dumps({
    "argv": sys.argv, "path": sys.path[0], "name": __name__, "file": __file__, "mine": os.environ.get("MINE"),
    "home": os.environ.get("HOME"), "was_there": "colorsys" in sys.modules, "parent": os.getppid(),
    "leads": os.getsid(0) == os.getpgid(0) == os.getpid(), "descriptors": sorted(os.listdir("/proc/self/fd")),
}), flush=True)
print("at its end:", repr(sys.stdin.read()), file=sys.stderr)
"""


@pytest.fixture(scope="module")
def made() -> Iterator[Forks]:
    found = Forks(["colorsys"], {})
    wait_for(found.is_ready)
    yield found
    found.close()


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Starts a copy that becomes a script; what it says is in the file ``said``."""
    with ExitStack() as inputs:

        def started(made: Forks, script: str, *arguments: str, **variables: str) -> Copy:
            (tmp_path / "script.py").write_text(script)
            with (tmp_path / "said").open("wb") as said:
                copy = made.start([str(tmp_path / "script.py"), *arguments], variables, said.fileno())
            inputs.enter_context(copy.stdin)
            return copy

        yield started


def test_a_copy_is_the_command_as_if_it_had_been_started(made: Forks, tmp_path: Path, start: Start) -> None:
    copy = start(made, TELLS, "a=1", "b c", MINE="7")
    wait_for(lambda: (tmp_path / "said").read_text().endswith("\n"))
    assert copy.poll() is None  # it waits for its input, which ends when nobody holds the other end
    copy.stdin.close()
    assert copy.wait() == 0
    told, last = (tmp_path / "said").read_text().splitlines()
    found = json.loads(told)
    script = str(tmp_path / "script.py")
    assert found["argv"] == [script, "a=1", "b c"]
    assert (found["path"], found["name"], found["file"]) == (str(tmp_path), "__main__", script)
    assert (found["mine"], found["home"]) == ("7", None)
    assert found["was_there"]
    assert found["parent"] == os.getpid()
    assert found["leads"]
    assert found["descriptors"] == ["0", "1", "2", "3"]  # the last one is that of the folder that was listed
    assert last == "at its end: ''"


@pytest.mark.parametrize(
    ("script", "code", "said"),
    [
        ("import sys; sys.exit(3)", 3, ""),
        ("raise ValueError('a bug')", 1, "ValueError: a bug\n"),
        ("import atexit; atexit.register(print, 'at exit')", 0, "at exit\n"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGTERM)", -signal.SIGTERM, ""),
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", -signal.SIGKILL, ""),
    ],
)
def test_a_copy_ends_as_any_process_does(
    made: Forks, tmp_path: Path, start: Start, script: str, code: int, said: str
) -> None:
    assert start(made, script).wait() == code
    assert (tmp_path / "said").read_text().endswith(said)


def test_a_copy_that_is_asked_to_end_does_and_is_not_asked_again(
    made: Forks, tmp_path: Path, start: Start
) -> None:
    for _ in range(20):  # also before it has become the command
        copy = start(made, "import time; time.sleep(1000)")
        copy.terminate()
        assert copy.wait() == -signal.SIGTERM
    copy.terminate()  # its number may be that of another process now
    assert copy.poll() == -signal.SIGTERM


def test_the_group_of_a_copy_can_be_killed_at_once(made: Forks, tmp_path: Path, start: Start) -> None:
    for _ in range(5):
        copy = start(made, "import time; time.sleep(1000)")
        os.killpg(copy.pid, signal.SIGKILL)
        assert copy.wait() == -signal.SIGKILL


def test_signals_to_what_is_copied_change_nothing(made: Forks, tmp_path: Path, start: Start) -> None:
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGUSR2, signal.SIGHUP):
        os.kill(made._process.pid, number)
    copy = start(made, "import signal; print(signal.getsignal(signal.SIGTERM) == signal.SIG_DFL)")
    assert copy.wait() == 0
    assert (tmp_path / "said").read_text() == "True\n"


def edited(place: Path) -> None:
    file = place / "segprune" / "training" / "loop.py"
    file.write_text(file.read_text().replace("epoch", "Epoch", 1))


def installed(place: Path) -> None:
    (place / "segprune" / "new.py").touch()


@pytest.mark.parametrize("change", [edited, installed])
def test_a_job_never_runs_code_that_has_changed_since(
    tmp_path: Path, start: Start, change: Callable[[Path], None]
) -> None:
    """It would keep what the old code computes as a result of the new, whose files it reads."""
    shutil.copytree(ROOT / "src" / "segprune", tmp_path / "segprune", ignore=shutil.ignore_patterns("*.pyc"))
    found = Forks([], {"PYTHONPATH": str(tmp_path)}, ["segprune.training.loop"])
    wait_for(found.is_ready)
    script = "import segprune.training; print(segprune.training.__file__)"
    assert start(found, script, PYTHONPATH=str(tmp_path)).wait() == 0
    assert (tmp_path / "said").read_text() == f"{tmp_path}/segprune/training/__init__.py\n"
    change(tmp_path)
    with pytest.raises(ForksError, match="a file of segprune or a library has changed"):
        start(found, script)
    found.close()


def test_without_what_is_copied_running_copies_go_on_and_no_more_are_made(
    tmp_path: Path, start: Start
) -> None:
    found = Forks([], {})
    wait_for(found.is_ready)
    copy = start(found, "import sys; print('here', flush=True); sys.stdin.read(); sys.exit(5)")
    wait_for(lambda: (tmp_path / "said").read_text() == "here\n")
    found._process.kill()
    found._process.wait()
    with pytest.raises(ForksError):
        start(found, "")
    copy.stdin.close()
    assert copy.wait() == 5
    found.close()


def test_it_ends_with_its_launcher() -> None:
    found = Forks([], {})
    wait_for(found.is_ready)
    found._mine.close()
    assert found._process.wait(timeout=60) == 0


def test_what_cannot_be_imported_is_told() -> None:
    found = Forks(["segprune.no_such_module"], {})
    with pytest.raises(ForksError, match=r"No module named 'segprune\.no_such_module'"):
        wait_for(found.is_ready)
    found.close()


def test_what_must_not_be_copied_is_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = "import threading\nthreading.Thread(target=threading.Event().wait, daemon=True).start()\n"
    (tmp_path / "starts_a_thread.py").write_text(module)
    places = [str(tmp_path), os.environ.get("PYTHONPATH", "")]
    found = Forks(["starts_a_thread"], {"PYTHONPATH": os.pathsep.join(filter(None, places))})
    with pytest.raises(ForksError, match="imports have started 1 threads"):
        wait_for(found.is_ready)
    found.close()
    monkeypatch.setattr(forks, "_target", lambda link: "/dev/nvidiactl")
    with pytest.raises(ForksError, match="has opened /dev/nvidiactl"):
        refuse_to_fork()


@pytest.mark.slow
def test_what_jobs_import_can_be_copied(tmp_path: Path, start: Start) -> None:
    found = Forks(forks.HEAVY, {"OMP_NUM_THREADS": "1"})
    wait_for(found.is_ready)
    script = (
        "import torch\na = torch.ones(300, 300)\nprint(torch.cuda.is_initialized(), (a @ a).sum().item())"
    )
    assert start(found, script, PATH=os.environ["PATH"]).wait() == 0
    assert (tmp_path / "said").read_text() == "False 27000000.0\n"
    assert psutil.Process(found._process.pid).children() == []
    found.close()
