"""Commands whose output is read through a real pipe that is closed early."""

import argparse
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from segprune import console
from tests.test_cli import ROOT

BY_PIPE = {console.READER_GONE, 0}
"""A command that had written everything before the reader left ended well."""


def read_by(reader: str, command: Sequence[str], outputs: Path) -> tuple[int, str, str]:
    """Exit code of a command behind a pipe to ``reader``, what that printed, and what stands on standard error."""
    line = f'"$@" | {reader}; exit "${{PIPESTATUS[0]}}"'
    done = subprocess.run(
        ["bash", "-c", line, "bash", *command],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={**os.environ, "SEGPRUNE_OUTPUTS": str(outputs), "OMP_NUM_THREADS": "1"},
        timeout=120,
        check=False,
    )
    return done.returncode, done.stdout, done.stderr


def written(code: str) -> list[str]:
    return [sys.executable, "-c", f"import logging, sys\nfrom segprune import console\n{code}"]


@pytest.mark.parametrize(
    "arguments",
    [
        ["run.py", "--cfg", "job"],
        ["run.py", "--info", "defaults"],
        ["-m", "segprune"],
        ["-m", "segprune", "store", "--help"],
    ],
)
def test_a_reader_that_leaves_ends_a_command_without_a_word(tmp_path: Path, arguments: list[str]) -> None:
    code, _, error = read_by("true", [sys.executable, *arguments], tmp_path)
    assert (code in BY_PIPE, error) == (True, "")


def test_the_lines_that_were_read_are_there(tmp_path: Path) -> None:
    code, out, error = read_by("head -3", [sys.executable, "run.py", "--help"], tmp_path)
    assert (code in BY_PIPE, error) == (True, "")
    assert out.startswith("segprune: which channel-pruning method")
    assert len(out.splitlines()) == 3


def test_the_list_of_a_large_store_is_cut_short(tmp_path: Path) -> None:
    for number in range(1500):  # more lines than a pipe holds
        (tmp_path / "store" / "train" / f"{number:024}").mkdir(parents=True)
    command = [sys.executable, "-m", "segprune", "store", "list"]
    code, out, error = read_by("head -1", command, tmp_path)
    assert (code, len(out.splitlines()), error) == (console.READER_GONE, 1, "")


@pytest.mark.parametrize("unbuffered", [[], ["-u"]])
@pytest.mark.parametrize(
    "how", ["sys.stdout.write('line\\n' * 99999)", "[print('line') for _ in range(99999)]"]
)
def test_it_is_noticed_however_it_is_written(tmp_path: Path, how: str, unbuffered: list[str]) -> None:
    command = written(f"sys.exit(console.while_read(lambda: {how} and 0))")
    code, out, error = read_by("head -1", [command[0], *unbuffered, *command[1:]], tmp_path)
    assert (code, out, error) == (console.READER_GONE, "line\n", "")


def test_what_is_still_unwritten_at_the_end_makes_no_noise(tmp_path: Path) -> None:
    command = written("import time; sys.exit(console.while_read(lambda: print('x') or time.sleep(0.3) or 5))")
    assert read_by("true", command, tmp_path) == (console.READER_GONE, "", "")


def test_standard_error_in_the_same_pipe_is_silent_too(tmp_path: Path) -> None:
    work = "lambda: sys.stderr.write('x') and sys.stderr.flush() or 4"
    command = written(f"import time; time.sleep(0.3)\nsys.exit(console.while_read({work}))")
    both = ["bash", "-c", 'exec "$@" 2>&1', "bash", *command]
    assert read_by("true", both, tmp_path) == (console.READER_GONE, "", "")


def test_a_pipe_of_its_own_that_breaks_is_no_reader_that_left() -> None:
    read, write = os.pipe()
    os.close(read)

    def work() -> int:
        return os.write(write, b"x")

    with pytest.raises(BrokenPipeError):
        console.while_read(work)
    os.close(write)


def test_a_run_outlives_the_reader_of_its_console(tmp_path: Path) -> None:
    code = (
        "from segprune.cli import ConsoleHandler\n"
        "import time; time.sleep(0.3)\n"
        "def work():\n"
        "    log = logging.getLogger(); log.addHandler(ConsoleHandler())\n"
        "    [log.warning('line') for _ in range(999)]\n"
        "    return 3\n"
        "sys.exit(console.while_read(work))"
    )
    assert read_by("true", written(code), tmp_path) == (3, "", "")


def test_an_unknown_flag_is_a_mistake_in_the_command_as_in_a_run() -> None:
    def main(arguments: Sequence[str]) -> int:
        argparse.ArgumentParser().parse_args(arguments)
        return 0

    assert console.command(main, ["--nothing"]) == console.MISTAKE
    assert console.command(main, []) == 0
    with pytest.raises(SystemExit) as ended:
        console.command(main, ["--help"])
    assert ended.value.code == 0


def test_an_interrupted_command_ends_with_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    def main(arguments: Sequence[str]) -> int:
        raise KeyboardInterrupt

    assert console.command(main, []) == 130
    assert capsys.readouterr().err == "\nsegprune: interrupted\n"
