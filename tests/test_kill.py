"""Processes that are really killed, at any moment, and started again: the numbers are those of a run left alone.

``python -m tests.test_kill FOLDER`` is the process that kills: it imports everything once and forks its victims.
"""

import gc
import json
import os
import random
import signal
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from tests.warm import Warm

MOST_KILLS = 8
CHANGES = ("os.rename", "os.remove", "os.mkdir", "os.rmdir")
TIMED = ("latency", "speedup", "per_s", "realisation", "memory")
"""Parts of the names of columns that hold measured times or memory."""


@pytest.mark.slow
def test_a_chain_killed_at_any_moment_ends_in_the_same_rows_and_weights(tmp_path: Path) -> None:
    process = Warm(["-m", "tests.test_kill", str(tmp_path)], dict(os.environ))
    said, error = process.communicate()
    assert process.returncode == 0, error
    found = json.loads(said.splitlines()[-1])
    whole = found.pop("whole")
    assert [row["stage"] for row in whole["rows"]] == ["dense", "pruned_raw", "pruned", "finetuned"]
    assert len(whole["weights"]) == 3
    kills = {name: chain.pop("kills") for name, chain in found.items()}
    assert found == dict.fromkeys(kills, whole)
    assert kills["at changes of the disk"] >= 4  # they are the same every time


def chain(folder: Path) -> None:
    """Train, prune, finetune, evaluate, and leave the rows in a file."""
    from segprune.result.row import to_record
    from segprune.run.chain import run_chain
    from segprune.stage.fit import Fit
    from tests.stage.test_eval import stage as evaluate
    from tests.stage.test_prune import stage as prune
    from tests.tiny import tiny_context, tiny_schedule

    ctx = tiny_context(folder)
    stages = [
        Fit(word="train", makes="dense", schedule=tiny_schedule(epochs=3)),
        prune(),
        Fit(word="finetune", makes="finetuned", schedule=tiny_schedule(epochs=2)),
        evaluate(overlay_images=0),
    ]
    _, rows = run_chain(stages, ctx, ())
    (folder / "rows.json").write_text(json.dumps([to_record(row) for row in rows]))


def victim(folder: Path, *, kill_at: int | None) -> int:
    """A process that runs the chain and kills itself before its n-th change of the disk."""
    if (pid := os.fork()) > 0:
        return pid
    left = kill_at or sys.maxsize

    def count(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal left
        is_writing = event == "open" and arguments[2] & (os.O_WRONLY | os.O_RDWR)
        if (is_writing and str(arguments[0]).startswith(str(folder))) or event in CHANGES:
            left -= 1
            if left <= 0:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(count)
    try:
        chain(folder)
        os._exit(0)
    finally:
        os._exit(1)


def ended(pid: int) -> bool:
    """Wait for a victim: whether it came to its end; False when it was killed."""
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    if code not in (0, -signal.SIGKILL):
        raise SystemExit(f"the chain failed with exit code {code}")
    return code == 0


def killed_often(folder: Path, dice: random.Random, *, seconds: float | None) -> int:
    """Run a chain, kill it again and again, then let it come to its end; gives the number of kills.

    Args:
        folder: Where it runs.
        dice: Draws the moments.
        seconds: Of an undisturbed run, for kills at moments; None for kills at changes of the disk.
    """
    for kills in range(MOST_KILLS):
        pid = victim(folder, kill_at=None if seconds else dice.randint(1, 25))
        if seconds:
            time.sleep(dice.uniform(0, seconds / 2))
            os.kill(pid, signal.SIGKILL)
        if ended(pid):
            return kills
    ended(victim(folder, kill_at=None))
    return MOST_KILLS


def outcome(folder: Path) -> dict[str, Any]:
    rows = json.loads((folder / "rows.json").read_text())
    weights = {
        path.parent.parent.name: json.loads(path.read_text()) for path in folder.glob("store/*/*/net.json")
    }
    leftovers = [
        path.name for path in folder.glob("store/*/*") if "." in path.name and path.suffix != ".lock"
    ]
    return {
        "rows": [{k: v for k, v in row.items() if not any(part in k for part in TIMED)} for row in rows],
        "weights": {stage: about["weights_sha256"] for stage, about in weights.items()},
        "leftovers": [name for name in leftovers if "removed" not in name],
    }


def main(folder: Path) -> None:
    import tests.stage.test_eval  # noqa: F401 - once, not in every victim
    from segprune.store.code import code_of

    code_of(["segprune.stage.eval", "segprune.stage.prune", "segprune.stage.fit", "tests.tiny"])
    gc.freeze()
    dice, started = random.Random(0), time.monotonic()
    ended(victim(folder / "whole", kill_at=None))
    seconds = time.monotonic() - started
    found = {"whole": outcome(folder / "whole")}
    for name, of_chain in (("at changes of the disk", None), ("at moments", seconds)):
        kills = killed_often(folder / name, dice, seconds=of_chain)
        found[name] = {**outcome(folder / name), "kills": kills}
    sys.stdout.write(json.dumps(found) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
