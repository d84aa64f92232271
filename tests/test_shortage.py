"""Memory that runs out, in all the words there are for it, and in jobs that really run out of it."""

import json
import os
import signal
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from segprune.cli import run_or_record
from segprune.loss.ce import CrossEntropy
from segprune.shortage import StageMemoryError, is_about_memory, shortage
from segprune.stage.contract import Stage
from segprune.stage.oracle import OracleSettings
from tests.extensions import with_extensions
from tests.extensions.faulty import MENDED
from tests.run_here import tracked
from tests.stage.test_eval import stage as eval_stage
from tests.stage.test_fit import stage as fit_stage
from tests.stage.test_prune import sparse
from tests.stage.test_prune import stage as prune_stage
from tests.tables import give_tables
from tests.test_cli import TINY
from tests.test_conf import composed
from tests.tiny import tiny_context
from tests.warm import run_warm

VALUES = {
    "train.batch_size": 4,
    "train.accumulate": 1,
    "train.checkpointing": False,
    "dataset.size_hw": [96, 128],
    "dataset.cache_mb": 4000,
    "workers": 2,
}
MORE = "train.accumulate makes up for smaller batches, and train.checkpointing=true takes less memory and more time"
TOO_MUCH = 1 << 50  # bytes: no machine has them
pytestmark = pytest.mark.usefixtures("composer")


def told(error: Exception) -> str:
    return shortage(error, VALUES.get)


def test_torch_on_a_cpu_is_understood() -> None:
    with pytest.raises(RuntimeError) as refused:
        torch.empty(TOO_MUCH, dtype=torch.uint8)
    assert told(refused.value) == (
        "the memory ran out: DefaultCPUAllocator: can't allocate memory: you tried to allocate 1125899906842624 "
        "bytes. Error code 12 (Cannot allocate memory). Lower train.batch_size (4), dataset.size_hw ([96, 128]), "
        f"dataset.cache_mb (4000), workers (2); {MORE}. Or run fewer jobs at a time."
    )


def test_what_takes_memory_on_a_gpu_besides_the_main_trainings_is_named_too() -> None:
    values = {"between.batch_size": 8, "pruner.phase.schedule.batch_size": 6, "eval.oracle.copies": 4}
    found = shortage(RuntimeError("CUDA out of memory. Tried"), values.get)
    assert (
        "Lower between.batch_size (8), pruner.phase.schedule.batch_size (6), eval.oracle.copies (4)." in found
    )


ALL = {
    **VALUES,
    "finetune.batch_size": 8,
    "finetune.accumulate": 2,
    "finetune.checkpointing": True,
    "calibration.batch_size": 16,
    "pruner.phase.schedule.batch_size": 6,
    "pruner.phase.schedule.accumulate": 1,
    "pruner.phase.schedule.checkpointing": False,
    "between.batch_size": 5,
    "between.accumulate": 1,
    "between.checkpointing": True,
    "eval.batch_size": 9,
    "eval.latency_batch_size": 1,
    "eval.oracle.batch_size": 3,
    "eval.oracle.copies": 7,
}
KEYS = {
    "stage.train.schedule": "train",
    "stage.finetune.schedule": "finetune",
    "stage.prune.pruner": "pruner",
    "stage.prune.between": "between",
    "stage.prune.calibration": "calibration",
    "stage.eval.settings": "eval",
}
IMAGES = "dataset.size_hw ([96, 128])"


@pytest.mark.parametrize(
    ("stage", "remedy"),
    [
        (fit_stage(), f"Lower train.batch_size (4), {IMAGES}; {MORE}. Or"),
        (
            fit_stage("finetune", "finetuned"),
            f"Lower finetune.batch_size (8), {IMAGES}; finetune.accumulate makes up for smaller batches. Or",
        ),
        (prune_stage(), f"Lower calibration.batch_size (16), {IMAGES}. Or"),
        (
            prune_stage(pruner=sparse(epochs=1)),
            f"Lower calibration.batch_size (16), pruner.phase.schedule.batch_size (6), {IMAGES}; "
            f"{MORE.replace('train.', 'pruner.phase.schedule.')}. Or",
        ),
        (
            prune_stage(rounds=2),
            f"Lower calibration.batch_size (16), between.batch_size (5), {IMAGES}; between.accumulate makes up for "
            "smaller batches. Or",
        ),
        (eval_stage(), f"Lower eval.batch_size (9), eval.latency_batch_size (1), {IMAGES}. Or"),
        (
            eval_stage(
                oracle=OracleSettings(samples=2, images=4, batch_size=2, copies=1, loss=CrossEntropy())
            ),
            "Lower eval.batch_size (9), eval.latency_batch_size (1), eval.oracle.batch_size (3), "
            f"eval.oracle.copies (7), {IMAGES}. Or",
        ),
    ],
    ids=["train", "finetune", "prune", "phase", "rounds", "eval", "oracle"],
)
def test_each_stage_names_its_own_keys(stage: Stage, remedy: str, tmp_path: Path) -> None:
    ctx = replace(tiny_context(tmp_path), keys=KEYS)
    error = StageMemoryError(stage.word, stage.memory_keys(ctx))
    error.__cause__ = RuntimeError("CUDA out of memory. Tried to allocate 20.00 GiB")
    found = shortage(error, ALL.get)
    assert found.startswith(
        f"{stage.word}: the GPU's memory ran out: CUDA out of memory. Tried to allocate 20.00 GiB."
    )
    assert f" {remedy} give the GPU to one job at a time." in found


def test_what_a_stage_needs_does_not_matter_where_loading_processes_have_no_room() -> None:
    error = StageMemoryError("train", ["train.batch_size"])
    error.__cause__ = RuntimeError("they are out of shared memory")
    found = shortage(error, ALL.get)
    assert "Lower workers (2) to 0, or make /dev/shm larger" in found
    assert "batch_size" not in found


def test_numpy_and_python_are_understood() -> None:
    with pytest.raises(MemoryError) as refused:
        np.zeros(TOO_MUCH, dtype=np.uint8)
    assert told(refused.value).startswith("the memory ran out: Unable to allocate 1.00 PiB for an array")
    assert told(MemoryError()).startswith("the memory ran out: MemoryError. Lower train.batch_size (4), ")


@pytest.mark.parametrize(
    ("words", "memory", "remedy"),
    [
        (
            "CUDA out of memory. Tried to allocate 20.00 GiB. GPU 0 has a total capacity of 79.15 GiB",
            "the GPU's memory",
            f"Lower train.batch_size (4), dataset.size_hw ([96, 128]); {MORE}. Or give the GPU to one job at a "
            "time.",
        ),
        (
            "cuDNN error: CUDNN_STATUS_ALLOC_FAILED",
            "the GPU's memory",
            "Or give the GPU to one job at a time.",
        ),
        (
            "cuDNN error: CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED",
            "the GPU's memory",
            "Or give the GPU to one job at a time.",
        ),
        (
            "CUDA error: CUBLAS_STATUS_NOT_INITIALIZED when calling `cublasCreate(handle)`",
            "the GPU's memory",
            "Or give the GPU to one job at a time.",
        ),
        (
            "cuDNN error: CUDNN_STATUS_NOT_INITIALIZED",
            "the GPU's memory",
            "give the GPU to one job at a time.",
        ),
        (
            "GET was unable to find an engine to execute this computation",
            "the GPU's memory",
            "Or give the GPU to one job at a time.",
        ),
        (
            "DataLoader worker (pid 7) is killed by signal: Bus error. It is possible that dataloader's workers "
            "are out of shared memory. Please try to raise your shared memory limit.",
            "the memory that data loading processes share",
            "Lower workers (2) to 0, or make /dev/shm larger (docker run --shm-size).",
        ),
        (
            "DataLoader worker (pid 7) is killed by signal: Killed. ",
            "the memory",
            "Or run fewer jobs at a time.",
        ),
        ("[Errno 12] Cannot allocate memory", "the memory", "Or run fewer jobs at a time."),
        ("std::bad_alloc", "the memory", "Or run fewer jobs at a time."),
        ("libtorch_cpu.so: failed to map segment from shared object", "the memory", "fewer jobs at a time."),
    ],
)
def test_each_memory_is_named_and_has_its_own_remedy(words: str, memory: str, remedy: str) -> None:
    found = told(RuntimeError(words))
    assert found.startswith(f"{memory} ran out: {words.strip()}")
    assert found.endswith(remedy)
    assert "\n" not in found


def test_what_a_loading_process_met_is_found_in_its_traceback() -> None:
    inside = 'Caught RuntimeError in DataLoader worker process 0.\nOriginal Traceback:\n  File "a.py"\n'
    assert told(RuntimeError(f"{inside}RuntimeError: x: can't allocate memory: y\n")).startswith(
        "the memory ran out: RuntimeError: x: can't allocate memory: y. Lower"
    )


class Victim(torch.utils.data.Dataset[int]):
    """Its items end the process that loads them, as the system does when memory is short."""

    def __len__(self) -> int:
        return 1

    def __getitem__(self, index: int) -> int:
        os.kill(os.getpid(), signal.SIGKILL)
        return index


def test_a_loading_process_that_was_killed_is_found_among_the_causes() -> None:
    with pytest.raises(RuntimeError) as died:
        list(torch.utils.data.DataLoader(Victim(), num_workers=1))
    assert told(died.value).startswith("the memory ran out: DataLoader worker (pid ")
    assert told(RuntimeError("DataLoader worker (pid(s) 7) exited unexpectedly")) == ""  # may be a bug


@pytest.mark.parametrize("error", [ValueError("a bug"), OSError(28, "No space left on device")])
def test_other_errors_are_not_about_memory(error: Exception) -> None:
    assert told(error) == ""


def test_a_line_of_output_about_memory_is_told_from_others() -> None:
    assert is_about_memory("terminate called after throwing an instance of 'std::bad_alloc'")
    assert not is_about_memory("ValueError: a bug")


def run(outputs: Path, *arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
    give_tables(outputs)
    environment = {
        **os.environ,
        "SEGPRUNE_OUTPUTS": str(outputs),
        "OMP_NUM_THREADS": "1",
        **with_extensions(),
        **more,
    }
    environment.pop("MLFLOW_TRACKING_URI", None)
    return run_warm(environment, *arguments, *TINY)


def statuses(outputs: Path) -> list[dict[str, object]]:
    """Of the jobs of the latest sweep, in order."""
    folder = max(outputs.glob("sweeps/*/*"))
    return [json.loads((folder / str(number) / "status.json").read_text()) for number in range(3)]


@pytest.mark.slow
def test_jobs_without_memory_leave_the_others_alone_and_run_when_there_is_some(tmp_path: Path) -> None:
    """One is refused memory by the system, one is killed as the system does it, one needs none."""
    faulty = ["pruner=random", "pruner._target_=faulty.Faulty", "extensions=[faulty]"]
    command = ["-m", *faulty, "+pruner.fault=memory,kill,none"]
    first = run(tmp_path, *command, "hydra/launcher=processes", "hydra.launcher.jobs=2")
    assert first.returncode == 3, first.stderr
    refused, killed, done = statuses(tmp_path)
    assert [job["status"] for job in (refused, killed, done)] == ["failed", "failed", "done"]
    for part in (
        "the memory ran out",
        "tried to allocate 1073741824 bytes",
        "calibration.batch_size (4)",
        "[32, 32]",
    ):
        assert part in str(refused["error"])
    assert f"FAILED random 0.3 +pruner.fault=memory seed 0: {refused['error']}" in first.stdout
    assert (
        "FAILED random 0.3 +pruner.fault=kill seed 0: killed by signal 9, e.g. out of memory" in first.stdout
    )
    assert "#1 +pruner.fault=kill: FAILED after" in first.stdout
    assert "#2 +pruner.fault=none: done after" in first.stdout
    assert "Traceback" not in first.stdout + first.stderr
    assert "epoch" not in first.stdout  # that is in the output of the job
    assert "[finetune]" in (max(tmp_path.glob("sweeps/*/*")) / "2" / "stdout.log").read_text()
    assert len(list((tmp_path / "store" / "train").glob("*/net.json"))) == 1
    assert sorted(tracked(tmp_path)) == ["FAILED", "FAILED", "FINISHED", "KILLED"]  # the sweep's is one

    again = run(tmp_path, *command, "tracking=silent", **{MENDED: "1"})  # in one process, which is quicker
    assert again.returncode == 0, again.stderr
    assert [job["status"] for job in statuses(tmp_path)] == ["done"] * 3
    assert [job["was_reused"] for job in statuses(tmp_path)] == [False, False, True]
    logs = [path.read_text() for path in sorted(max(tmp_path.glob("sweeps/*/*")).glob("*/run.log"))]
    assert not any("epoch " in log.split("[train]")[1].split("[prune]")[0] for log in logs)
    assert ["epoch " in log.split("[finetune]")[1] for log in logs] == [True, True, False]


def test_a_single_run_without_memory_ends_in_one_paragraph(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fails(*_: object, **__: object) -> None:
        torch.empty(TOO_MUCH, dtype=torch.uint8)

    monkeypatch.setattr("segprune.app.run_job", fails)
    cfg = composed(f"hydra.runtime.output_dir={tmp_path}", "hydra.mode=RUN", "workers=3")
    with pytest.raises(SystemExit) as ended:
        run_or_record(cfg)
    said = capsys.readouterr().err
    assert ended.value.code == 1
    assert said.startswith("\nsegprune: the memory ran out: ")
    assert (
        "train.batch_size (4), finetune.batch_size (4), calibration.batch_size (8), eval.batch_size (8)"
        in said
    )
    assert "dataset.size_hw ([96, 128]), workers (3)" in said
    assert said.strip().count("\n") == 0
    assert json.loads((tmp_path / "status.json").read_text())["error"] in said
