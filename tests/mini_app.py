"""A Hydra app as small as one can be, whose jobs end in every way that jobs end; starts without torch."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
SCRIPT = """
import os, pathlib, signal, sys, time
import hydra
from hydra.core.hydra_config import HydraConfig
from segprune.sweep import kubernetes, launcher, pool, slurm
from segprune import stop
from segprune.cli import guarded
from segprune.sweep.callback import recorded_job

def done(record):
    record.done({"was_reused": False, "rows": [{"miou_percent": 12.345}]})

def gpus(record):
    record.done({"was_reused": False, "rows": [], "gpus": os.environ.get("CUDA_VISIBLE_DEVICES")})

def failed(record):
    record.failed("no memory")

def crash(record):
    raise ValueError("a bug")

def segfault(record):
    signal.raise_signal(signal.SIGSEGV)

def abort(record):
    os.write(2, b"terminate called after throwing an instance of 'std::bad_alloc'\\n")
    os.abort()

def kill(record):
    signal.raise_signal(signal.SIGKILL)

def polite(record):
    while True:
        stop.if_asked()
        time.sleep(0.01)

def busy(record):
    while True:
        time.sleep(0.01)

def deaf(record):
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    pathlib.Path(HydraConfig.get().runtime.output_dir, "deaf").touch()
    busy(record)

@hydra.main(version_base="1.3", config_path="conf", config_name="config")
def main(cfg):
    with recorded_job(cfg) as record:
        globals()[cfg.act](record)

if __name__ == "__main__":
    pool.HEAVY = ()
    launcher.register()
    slurm.register()
    kubernetes.register()
    sys.exit(guarded(main))
"""
CONFIG = """
defaults: [dataset: a, model: a, pruner: a, budget: a, distill: a, protocol: a, _self_]
act: done
ratio: 0.5
seed: 0
extensions: []
tracking: {_target_: segprune.tracking.silent.SilentTracking}
hydra:
  job: {name: mini}
  sweep: {subdir: "${hydra:job.num}"}
"""
DEADLINE_SECONDS = 120.0


def make(folder: Path) -> None:
    """Write the app."""
    for group in ("dataset", "model", "pruner", "budget", "distill", "protocol"):
        (folder / "conf" / group).mkdir(parents=True)
        for name in ("a", "b"):
            (folder / "conf" / group / f"{name}.yaml").write_text(f"name: {name}\n")
    shutil.copytree(ROOT / "conf" / "hydra" / "launcher", folder / "conf" / "hydra" / "launcher")
    (folder / "conf" / "config.yaml").write_text(CONFIG)
    (folder / "run.py").write_text(SCRIPT)


def start(folder: Path, *arguments: str) -> subprocess.Popen[str]:
    """Start a sweep; unless told otherwise with the launcher ``processes`` and jobs below ``folder/sweep``."""
    usual = {"hydra/launcher": "processes", "hydra.sweep.dir": f"{folder}/sweep"}
    given = {argument.partition("=")[0] for argument in arguments}
    rest = [f"{key}={value}" for key, value in usual.items() if key not in given]
    command = [sys.executable, str(folder / "run.py"), "-m", *arguments, *rest]
    return subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
        preexec_fn=_heed_interrupts,  # noqa: PLW1509 - no other thread runs here
    )


def _heed_interrupts() -> None:
    """A shell has them ignored in what it starts in the background, and children inherit that."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def run(folder: Path, *arguments: str) -> tuple[int, str, str]:
    """Run a sweep; its exit code, stdout and stderr."""
    process = start(folder, *arguments)
    out, err = process.communicate(timeout=DEADLINE_SECONDS)
    return process.returncode, out, err


def status(folder: Path, number: int) -> dict[str, Any]:
    """What is written about a job; empty before that."""
    path = folder / "sweep" / str(number) / "status.json"
    loaded: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
    return loaded


def wait_for(what: Callable[[], bool]) -> None:
    """Wait until something is true."""
    until = time.monotonic() + DEADLINE_SECONDS
    while not what():
        assert time.monotonic() < until, "it did not become true"
        time.sleep(0.05)
