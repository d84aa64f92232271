import io
import os
import sys
from pathlib import Path

import pytest

from segprune.sweep.board import Board, last_said

LOG = """10:16:18 [train]
10:16:25 epoch   1/2  loss 2.6633
stage       mIoU %
dense         2.57
"""


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def terminal(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    """No fixture: between a fixture and its test, pytest takes stderr back."""
    screen = Terminal()
    monkeypatch.setattr(sys, "stderr", screen)
    monkeypatch.setenv("COLUMNS", "60")
    return screen


def shown(screen: Terminal) -> str:
    """What was written since the last look, without the moves of the cursor."""
    text = screen.getvalue().replace("\r", "\n").replace("\x1b[A", "\n")
    screen.seek(0)
    screen.truncate()
    return text


def test_the_last_line_of_a_log_is_what_a_job_does(tmp_path: Path) -> None:
    log = tmp_path / "stdout.log"
    log.write_text("")
    assert last_said(log) == ""
    log.write_text(LOG)
    assert last_said(log) == "epoch 1/2 loss 2.6633"
    log.write_bytes(b"\xff" * 100_000 + b"\n10:16:46 [finetune]\n10:16:47 half a li")
    assert last_said(log) == "half a li"


def test_each_running_job_has_a_line_on_a_terminal_once_a_second(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now, screen = [100.0], terminal(monkeypatch)
    board = Board(clock=lambda: now[0])
    for number in range(2):
        (tmp_path / str(number)).write_text("10:16:46 [train]\n" if number else "")
        board.add(f"#{number} ratio=0.{number}", tmp_path / str(number))
    now[0] += 75
    board.refresh()
    text = shown(screen)
    assert "#0 ratio=0.0  01:15  starting" in text
    assert "#1 ratio=0.1  01:15  [train]" in text
    now[0] += 0.5
    board.refresh()
    assert shown(screen) == ""
    board.remove("#0 ratio=0.0")
    shown(screen)
    now[0] += 1
    board.refresh()
    text = shown(screen)
    assert "#0" not in text
    assert "#1 ratio=0.1  01:16  [train]" in text
    board.remove("#1 ratio=0.1")


def test_a_line_is_not_longer_than_the_terminal_is_wide(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    screen = terminal(monkeypatch)
    (tmp_path / "log").write_text(f"10:16:46 {'word ' * 100}\n")
    board = Board()
    board.add("#0", tmp_path / "log")
    board.refresh()
    widest = max(map(len, shown(screen).splitlines()))
    assert widest == 59
    board.remove("#0")


def test_where_there_is_no_terminal_nothing_is_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    board = Board()
    board.add("#0", Path(os.devnull))
    board.refresh()
    board.remove("#0")
    assert sys.stderr.getvalue() == ""
