import os
import time
from pathlib import Path

import pytest

from segprune.bench.commands import Command, Ran, by_turns, of_command
from segprune.errors import SegpruneError

TICKS = """
import time
for _ in range({count}):
    print(time.time(), flush=True)
    time.sleep(0.002)
"""


def ticking(folder: Path, name: str, count: int) -> Command:
    """Says every 2 ms what time it is."""
    return Command(arguments=["-S", "-c", TICKS.format(count=count)], output=folder / name)


def test_a_command_is_measured_with_its_children_and_what_it_says_is_kept(tmp_path: Path) -> None:
    burns = "import os, time\nwhile sum(os.times()[:2]) < 0.3: pass\nprint(os.environ['MINE'])"
    code = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {burns!r}], check=True)"
    found = of_command(["-c", code], output=tmp_path / "said", environment={"MINE": "7"})
    assert (tmp_path / "said").read_text() == "7\n"
    assert found.cpu_s >= 0.3
    assert found.wall_s > 0


def test_a_command_that_fails_is_told_with_its_last_words(tmp_path: Path) -> None:
    with pytest.raises(SegpruneError, match=r"exit code 3:\nno luck$"):
        of_command(
            ["-c", "import sys; print('no luck'); sys.exit(3)"], output=tmp_path / "said", environment={}
        )


def test_own_time_passes_only_while_a_command_runs() -> None:
    ran = Ran(slices=((10.0, 12.0), (20.0, 21.5)), cpu_s=6.0)
    assert [ran.own_s(moment) for moment in (9.0, 10.0, 11.0, 12.0, 15.0, 20.0, 21.0, 30.0)] == [
        *(0.0, 0.0, 1.0, 2.0, 2.0, 2.0, 3.0, 3.5)
    ]
    assert (ran.spent.wall_s, ran.spent.cpu_s) == (3.5, 6.0)


def test_commands_run_to_their_ends_and_never_at_the_same_time(tmp_path: Path) -> None:
    counts = {"long": 160, "short": 60}
    ran = by_turns({name: ticking(tmp_path, name, count) for name, count in counts.items()}, slice_s=0.05)
    moments = {name: [float(line) for line in (tmp_path / name).read_text().split()] for name in counts}
    assert {name: len(found) for name, found in moments.items()} == counts
    for name, other in (("long", "short"), ("short", "long")):
        assert len(ran[name].slices) > 2
        late = 0.02  # a process may be in the middle of a line when it is stopped
        of_others = [(begin + late, end) for begin, end in ran[other].slices]
        assert not [at for at in moments[name] if any(begin < at < end for begin, end in of_others)]
        assert 0.002 * counts[name] <= ran[name].spent.wall_s
    begin = min(one.slices[0][0] for one in ran.values())
    end = max(one.slices[-1][1] for one in ran.values())
    assert sum(one.spent.wall_s for one in ran.values()) <= end - begin


def test_processes_of_a_command_are_stopped_with_it(tmp_path: Path) -> None:
    child = ticking(tmp_path, "", 100).arguments
    code = f"import subprocess, sys; subprocess.run([sys.executable, *{child!r}])"
    both = {
        "parent": Command(arguments=["-c", code], output=tmp_path / "parent"),
        "other": Command(arguments=["-c", "import time; time.sleep(0.4)"], output=tmp_path / "other"),
    }
    ran = by_turns(both, slice_s=0.15)
    moments = [float(line) for line in (tmp_path / "parent").read_text().split()]
    assert len(moments) == 100
    stopped = [(begin + 0.02, end) for begin, end in ran["other"].slices]
    assert not [at for at in moments if any(begin < at < end for begin, end in stopped)]


def test_of_commands_of_which_one_fails_none_is_left(tmp_path: Path) -> None:
    code = "import os, time; print(os.getpid(), flush=True); time.sleep(60)"
    both = {
        "waits": Command(arguments=["-c", code], output=tmp_path / "waits"),
        "fails": Command(arguments=["-c", "import sys; sys.exit('no luck')"], output=tmp_path / "fails"),
    }
    began = time.monotonic()
    with pytest.raises(SegpruneError, match=r"exit code 1:\nno luck$"):
        by_turns(both, slice_s=0.3)
    assert time.monotonic() - began < 30
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "waits").read_text()), 0)
