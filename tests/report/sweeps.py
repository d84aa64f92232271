"""Sweeps made of known numbers, as objects and as folders."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save_file

from segprune.report.collect import JobData, SweepData, sweep_data
from segprune.report.entries import entries_of
from segprune.report.table import Outcome
from segprune.result import files
from segprune.result.row import Row, to_record
from tests.rows import CUT, DENSE, changed

CLASSES = ("road", "sky", "pole")
PNG = (
    b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR\x00\x00\x00\x01\x00\x00\x00\x01\x08\x00\x00\x00\x00:~\x9bU"
    b"\x00\x00\x00\nIDATx\x9cc`\x00\x00\x00\x02\x00\x01H\xaf\xa4q\x00\x00\x00\x00IEND\xaeB`\x82"
)


def rows(pruner: str, miou: float, *, seed: int = 0, **changes: Any) -> tuple[Row, ...]:
    """Dense with 50 % mIoU, pruned with 10, finetuned with ``miou``."""
    dense = changed(DENSE, seed=seed, miou_percent=50.0, fingerprint=f"dense-{seed}")
    cut = changed(CUT, **{"pruner": pruner, "seed": seed, "ratio_reached": 0.3, **changes})
    pruned = changed(cut, stage="pruned", miou_percent=10.0, miou_retention=0.2)
    return (dense, pruned, changed(cut, stage="finetuned", miou_percent=miou, miou_retention=miou / 50))


def job_data(
    number: int,
    pruner: str,
    miou: float | None,
    *,
    seed: int = 0,
    ratio: float | None = 0.3,
    budget: str = "channels",
    protocol: str = "standard",
    method: str = "",
    setting: str = "streets, unet",
    distill: str = "none",
    root: Path = Path("nowhere"),
    names: Sequence[str] = (),
    **changes: Any,
) -> JobData:
    """A job; one without an mIoU has failed."""
    changes = {"ratio_asked": ratio, **changes}
    return JobData(
        number=str(number),
        outcome=Outcome(
            dataset="streets",
            model="unet",
            pruner=pruner,
            budget=budget,
            protocol=protocol,
            ratio=ratio,
            seed=seed,
            status="failed" if miou is None else "done",
            reason="BudgetError: out of reach" if miou is None else "",
            rows=() if miou is None else rows(pruner, miou, seed=seed, **changes),
            distill=distill,
        ),
        setting=setting,
        method=method or pruner,
        seconds=1.5,
        entries=entries_of(root, names),
    )


def unfinished(job: JobData, status: Any = "not started", reason: str = "") -> JobData:
    """The same job before its end."""
    return replace(job, outcome=replace(job.outcome, status=status, reason=reason, rows=()))


def dense(number: int, miou: float | None, *, seed: int = 0, **known: Any) -> JobData:
    """The control that finetunes the dense network; with ``root`` and ``names`` as a job."""
    job = job_data(number, "taylor", miou, seed=seed, protocol="dense", method="dense", **known)
    uncut = {"pruner": None, "budget": None, "scope": None, "ratio_asked": None, "ratio_reached": None}
    whole = {"macs_kept": 1.0, "params_kept": 1.0, "channels_kept": 1.0, "realisation_efficiency": None}
    kept = tuple(changed(row, **uncut, **whole) for row in job.outcome.rows if row.stage == "finetuned")
    return replace(job, outcome=replace(job.outcome, rows=(*job.outcome.rows[:1], *kept)))


def sweep(jobs: Sequence[JobData], overrides: Sequence[str] = ("pruner=l1,taylor", "ratio=0.3")) -> SweepData:
    return sweep_data(Path("sweeps") / "12-00-00", overrides, jobs)


def counts(hits: Sequence[int], of: int = 100) -> NDArray[np.int32]:
    """(N, 3, 3): in image n, ``hits[n]`` of the ``of`` pixels of each class are right, the others of the next."""
    right, wrong = np.eye(3, dtype=np.int32), np.roll(np.eye(3, dtype=np.int32), 1, axis=1)
    hit = np.asarray(hits, dtype=np.int32)[:, None, None]
    return hit * right + (of - hit) * wrong


def store(root: Path, name: str, hits: Sequence[int]) -> list[str]:
    """Every file a job can leave in the store, in entries called ``name``; the names of the entries."""
    folders = {stage: root / stage / name for stage in ("train", "prune", "finetune", "eval")}
    for folder in folders.values():
        folder.mkdir(parents=True, exist_ok=True)
    curve = [{"epoch": n, "loss": 2.0 - n, "lr": 0.1, "select_miou_percent": 10.0 * n} for n in (0, 1)]
    about = {"versions": {"torch": "2.9"}, "python": "3.11", "fingerprint": name}
    plan = {
        "layers": [{"layer": "a", "channels": 4, "kept": 3}, {"layer": "b", "channels": 2, "kept": 2}],
        "plan": {"a": [1]},
    }
    for stage in ("train", "finetune"):
        (folders[stage] / files.CURVE).write_text(json.dumps(curve))
        (folders[stage] / "net.json").write_text(json.dumps(about))
    (folders["prune"] / files.PLAN).write_text(json.dumps(plan))
    scores = {
        "a": np.array([3.0, 0.5, 1.0, 2.0], dtype=np.float32),
        "b": np.array([5.0, 4.0], dtype=np.float32),
    }
    save_file(scores, folders["prune"] / files.SCORES)
    lines = ["class,dense,pruned,finetuned,pruned change", "road,50,20,40,-30", "sky,60,1,66,-59", "pole,,,,"]
    (folders["eval"] / files.PER_CLASS).write_text("\n".join(lines))
    (folders["eval"] / files.PREDICTIONS).write_bytes(PNG)
    save_file({"finetuned": counts(hits)}, folders["eval"] / files.IMAGE_COUNTS)
    return [f"{stage}/{name}" for stage in folders]


def write_job(
    folder: Path, job: JobData, *, typed: Sequence[str] = (), changes: Mapping[str, Any] | None = None
) -> None:
    """The folder that a job leaves."""
    (folder / ".hydra").mkdir(parents=True)
    (folder / ".hydra" / "overrides.yaml").write_text("".join(f"- {json.dumps(o)}\n" for o in typed))
    asked = {
        name: getattr(job.outcome, name)
        for name in ("dataset", "model", "pruner", "budget", "protocol", "ratio", "seed")
    }
    status: dict[str, Any] = {"asked": asked, "seconds": job.seconds, "status": job.outcome.status}
    if job.outcome.rows:
        status |= {
            "status": "done",
            "was_reused": job.outcome.status == "reused",
            "store": str(job.entries.root),
            "entries": list(job.entries.names.values()),
            "rows": [to_record(row) for row in job.outcome.rows],
        }
    else:
        status["error"] = job.outcome.reason
    (folder / "status.json").write_text(json.dumps({**status, **(changes or {})}))
