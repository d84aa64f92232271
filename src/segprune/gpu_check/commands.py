"""Rules on whole commands: which GPU they take, what they reach, how they share it, how they end without memory."""

import contextlib
import json
import math
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import torch

from segprune.gpu import device_of, inputs_of, lacks_code
from segprune.gpu_check.contract import Bench, Found
from segprune.reproduce.origin import machine
from segprune.result.files import PLAN

POINTS, MASK_ERROR = 5.0, 1e-12
GRACE_S = 15.0
FRACTION, LEAST = 0.02, 64e6
"""Share of the GPU's memory that a command without enough is given, and bytes that are too few on any."""
SHORT = [
    *(
        "dataset.size_hw=[32,32]",
        "dataset.counts={fit: 8, select: 4, report: 4}",
        "model.width=4",
        "model.max_width=8",
    ),
    *(
        "train.epochs=2",
        "finetune.epochs=2",
        "calibration={images: 4, batch_size: 4}",
        "budget.tolerance=0.05",
    ),
    *("eval.runtimes=[eager]", "eval.latency_rounds=2", "eval.latency_warmup=0", "eval.overlay_images=0"),
]
LIMITED = """
import sys, torch
torch.cuda.set_per_process_memory_fraction({fraction})
sys.argv = ["run.py", *{arguments}]
exec(compile(open("run.py").read(), "run.py", "exec"))
"""


def which_gpu(bench: Bench) -> Found:
    """This build of torch has code for the GPU, every way to ask gives the first one, and it can be described."""
    missing = lacks_code(bench.device)
    asked = ("auto", "cuda", "cuda:0")
    taken = [str(device_of(word)) for word in asked]
    described = {**machine(), **inputs_of(bench.device)}
    return Found(
        measured=missing or f"{', '.join(asked)} give {', '.join(taken)}; {described['gpu']}",
        holds=not missing and set(taken) == {"cuda:0"} and bool(described["gpus"]),
    )


def same_run(bench: Bench) -> Found:
    """The command without any argument, on the GPU and on the CPU."""
    shorter = SHORT if bench.is_small else ()
    rows, errors = [], []
    for name, device in (("gpu", str(bench.device)), ("cpu", "cpu")):
        folder = bench.folder / f"run-{name}"
        done = _run([f"device={device}", *shorter], folder, bench)
        if done.returncode:
            return Found(measured=f"on {device} exit code {done.returncode}: {_last(done)}", holds=False)
        rows.append([json.loads(line) for line in (folder / "run" / "rows.jsonl").read_text().splitlines()])
        plans = [json.loads(path.read_text()) for path in (folder / "store").glob(f"prune/*/{PLAN}")]
        errors.append(max(plan["mask_error"] for plan in plans))
    there, here = ({row["stage"]: row["miou_percent"] for row in one} for one in rows)
    apart = max(abs(there[stage] - here[stage]) for stage in ("dense", "finetuned"))
    return Found(
        measured=f"mask error {errors[0]:.0e}, mIoU at most {apart:.2f} points apart",
        holds=errors[0] <= MASK_ERROR and apart <= POINTS,
    )


def jobs_share(bench: Bench) -> Found:
    """Two jobs at once on one GPU; then one job with next to no memory, which says what to lower."""
    launcher = ["hydra/launcher=processes", "hydra.launcher.jobs=2"]
    gpus = ["hydra.launcher.gpus=[0]"] if bench.device.type == "cuda" else []
    device = f"device={bench.device.type}"
    done = _run(["-m", "seed=0,1", device, *launcher, *gpus, *SHORT], bench.folder / "jobs", bench)
    if bench.device.type != "cuda":
        said = "" if done.returncode == 0 else f": {_last(done)}"
        return Found(measured=f"two jobs: exit code {done.returncode}{said}", holds=done.returncode == 0)
    ended, said = starved(bench)
    return Found(
        measured=f"two jobs: exit code {done.returncode}; without memory {ended}: {said}",
        holds=done.returncode == 0 and ended == 1 and "the GPU's memory ran out" in said,
    )


def starved(bench: Bench) -> tuple[int, str]:
    """Exit code and last line of a run that may take next to no memory of the GPU."""
    total = torch.cuda.get_device_properties(bench.device).total_memory
    arguments = _arguments([f"device={bench.device}", "train.batch_size=64"], bench.folder / "starved")
    program = LIMITED.format(fraction=min(FRACTION, LEAST / total), arguments=arguments)
    done = _done([sys.executable, "-c", program], bench)
    return done.returncode, _last(done)


def _run(arguments: Sequence[str], folder: Path, bench: Bench) -> subprocess.CompletedProcess[str]:
    return _done([sys.executable, "run.py", *_arguments(arguments, folder)], bench)


def _done(command: Sequence[str], bench: Bench) -> subprocess.CompletedProcess[str]:
    """The end of a command.

    Raises:
        TimeoutError: It was not done when the time of all rules was up; it was told to stop.
    """
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True) as process:
        try:
            out, said = process.communicate(timeout=bench.left_s() if math.isfinite(bench.ends_at) else None)
        except subprocess.TimeoutExpired:
            raise TimeoutError("a command was not done when the time of all rules was up") from None
        finally:
            if process.poll() is None:
                process.terminate()  # a sweep stops its jobs then
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(GRACE_S)
                process.kill()
    return subprocess.CompletedProcess(command, process.returncode, out, said)


def _arguments(arguments: Sequence[str], folder: Path) -> list[str]:
    places = [f"paths.outputs={folder}", f"store.root={folder}/store", "tracking=silent"]
    swept = f"hydra.sweep.dir={folder}/sweep" if "-m" in arguments else f"hydra.run.dir={folder}/run"
    return [*arguments, *places, swept]


def _last(done: subprocess.CompletedProcess[str]) -> str:
    return (done.stderr.strip() or done.stdout.strip()).splitlines()[-1][:300]
