"""The command line as a person meets it: ``run.py`` in a process of its own."""

import copy
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hydra.core.global_hydra import GlobalHydra

from segprune.cli import _known_once, with_stages
from segprune.result.metrics import declared
from tests.tables import give_tables
from tests.warm import run_warm

ROOT = Path(__file__).parent.parent
TINY = [
    "dataset.counts={fit: 8, select: 4, report: 4}",
    "device=cpu",
    "dataset.size_hw=[32,32]",
    "model.width=4",
    "model.max_width=8",
    "train.epochs=2",
    "finetune.epochs=2",
    "calibration={images: 4, batch_size: 4}",
    "eval.latency_rounds=2",
    "eval.runtimes=[eager]",
    "eval.latency_warmup=0",
    "eval.overlay_images=0",
    "budget.tolerance=0.05",
]


def run(outputs: Path, *arguments: str, is_cold: bool = False) -> subprocess.CompletedProcess[str]:
    """The command in a process of its own; a cold one imports everything itself, as that of a person does."""
    give_tables(outputs)
    environment = {**os.environ, "SEGPRUNE_OUTPUTS": str(outputs), "OMP_NUM_THREADS": "1"}
    environment.pop("MLFLOW_TRACKING_URI", None)
    if not is_cold:
        return run_warm(environment, *arguments)
    command = [sys.executable, str(ROOT / "run.py"), *arguments]
    return subprocess.run(
        command, capture_output=True, text=True, env=environment, cwd=ROOT, timeout=300, check=False
    )


def test_a_further_stage_brings_its_file_once() -> None:
    assert with_stages(["stages=[train,mine,eval]", "a=1"]) == [
        *("stages=[train,mine,eval]", "a=1"),
        "+stage@stage.mine=mine",
    ]
    for key in ("+stages", "++stages"):
        assert with_stages([f"{key}=[train,mine]"])[1:] == ["+stage@stage.mine=mine"]
    for given in (
        ["stages=[train,eval]"],
        ["stages=[train,mine]", "+stage@stage.mine=other"],
        ["a=mine"],
        [],
    ):
        assert with_stages(given) == given
    assert with_stages(["stages=[train,a],[train,b,a]"])[1:] == ["+stage@stage.a=a", "+stage@stage.b=b"]


@pytest.mark.parametrize("flags", [["--cfg", "job"], ["--help"], ["--info", "defaults-tree"]])
def test_looking_at_the_configuration_imports_nothing_heavy(tmp_path: Path, flags: list[str]) -> None:
    heavy = ["torch", "torchvision", "mlflow", "albumentations", "pandas", "matplotlib"]
    code = (
        "import runpy, sys\n"
        f"sys.argv = ['run.py', *{flags!r}]\n"
        "try:\n    runpy.run_path('run.py', run_name='__main__')\n"
        "except SystemExit as stop:\n    assert not stop.code\n"
        f"print('HEAVY', [name for name in {heavy!r} if name in sys.modules])\n"
    )
    environment = {**os.environ, "SEGPRUNE_OUTPUTS": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        env=environment,
        cwd=ROOT,
        timeout=60,
        check=True,
    )
    assert "HEAVY []" in done.stdout
    assert "pruner" in done.stdout


def test_hydra_copies_its_folders_for_help_no_more_and_for_all_else_as_ever(composer: None) -> None:
    repository = GlobalHydra.instance().config_loader().repository
    with _known_once():
        assert copy.deepcopy(repository) is repository
    assert copy.deepcopy(repository) is not repository


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["finetune.epoch=3"],
            "'finetune.epoch' is not a key of this configuration. Did you mean 'finetune.epochs'?",
        ),
        (["dataset=camvid", "dataset.root=/no/such/place"], "dataset.root"),
        (["stages=[prune]", "checkpoint=/no/such/place"], "is not a checkpoint"),
    ],
)
def test_a_mistake_is_one_paragraph_and_exit_code_one(
    tmp_path: Path, arguments: list[str], message: str
) -> None:
    done = run(tmp_path, *arguments, "tracking=silent")
    assert done.returncode == 1
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "store").exists()
    for path in tmp_path.glob("runs/*/*/status.json"):  # none if Hydra refused it
        assert json.loads(path.read_text())["status"] == "failed"


def test_a_sweep_is_asked_for_anywhere_in_the_command(tmp_path: Path) -> None:
    done = run(tmp_path, "ratio=0.2,0.3", "-m", "pruner=l1", "hydra/launcher=plan")
    assert done.returncode == 0, done.stderr
    assert "Nothing was run" in done.stdout


@pytest.mark.slow
def test_a_run_ends_in_a_table_and_the_same_run_again_in_the_same_rows(tmp_path: Path) -> None:
    drawn = [*TINY, "eval.overlay_images=2"]
    first = run(tmp_path, *drawn, is_cold=True)
    assert first.returncode == 0, first.stderr
    shown = (
        "dense",
        "pruned_raw",
        "pruned",
        "finetuned",
        "mIoU %",
        "segprune ui",
        "no run of unet on streets has finished here yet, so its time is not known",
        "/#/experiments/",
    )
    for word in shown:
        assert word in first.stdout
    again = run(tmp_path, *drawn)
    assert again.returncode == 0
    one, two = (path.read_text() for path in sorted(tmp_path.glob("runs/*/*/rows.jsonl")))
    assert one == two
    other = tmp_path / "other"
    assert run(other, *drawn, "tracking=silent").returncode == 0
    (fresh,) = (path.read_text() for path in other.glob("runs/*/*/rows.jsonl"))
    timed = {metric.name for metric in declared().values() if metric.is_timed}
    for a, b in zip(one.splitlines(), fresh.splitlines(), strict=True):
        left, right = json.loads(a), json.loads(b)
        assert {k: v for k, v in left.items() if k not in timed} == {
            k: v for k, v in right.items() if k not in timed
        }


@pytest.mark.slow
def test_a_sweep_shares_its_dense_network_and_survives_a_failing_job(tmp_path: Path) -> None:
    done = run(tmp_path, "-m", "pruner=l1,taylor", "ratio=0.3,0.995", *TINY)
    assert done.returncode == 3, done.stderr
    assert len(list((tmp_path / "store" / "train").glob("*/net.json"))) == 1
    statuses = [
        json.loads(path.read_text())["status"] for path in sorted(tmp_path.glob("sweeps/*/*/*/status.json"))
    ]
    assert sorted(statuses) == ["done", "done", "failed", "failed"]
    assert "FAILED l1 0.995 seed 0: ratio=0.995 of channels cannot be removed" in done.stdout
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{tmp_path}/mlflow.db")
    (experiment,) = [e for e in client.search_experiments() if e.name == "segprune-streets"]
    runs = client.search_runs([experiment.experiment_id])
    (parent,) = [r for r in runs if r.data.tags["kind"] == "sweep"]
    jobs = [r for r in runs if r.data.tags.get("mlflow.parentRunId") == parent.info.run_id]
    assert sorted(job.info.status for job in jobs) == ["FAILED", "FAILED", "FINISHED", "FINISHED"]
    for job in jobs:
        if job.info.status == "FINISHED":
            assert {
                "eval/miou",
                "baseline/miou",
                "prune/miou",
                "eval/macs_kept_percent",
            } <= job.data.metrics.keys()
            assert [m.step for m in client.get_metric_history(job.info.run_id, "train/loss")] == [1, 2]
            assert job.data.params["ratio"] == "0.3"
            saved = {file.path for file in client.list_artifacts(job.info.run_id, "checkpoint")}
            assert saved == {
                f"checkpoint/{name}" for name in ("ancestry.json", "net.json", "weights.safetensors")
            }
    assert parent.data.metrics["sweep/failed"] == 2
    assert {"sweep_report.txt", "rows.csv"} <= {
        file.path for file in client.list_artifacts(parent.info.run_id)
    }


@pytest.mark.slow
def test_a_fair_sweep_brings_its_controls_and_lacks_none_in_its_report(tmp_path: Path) -> None:
    done = run(tmp_path, "-m", "protocol=full", "pruner=fpgm", "ratio=0.5", *TINY, "tracking=silent")
    assert done.returncode == 0, done.stderr
    (summary,) = (json.loads(path.read_text()) for path in tmp_path.glob("sweeps/*/*/benchmark_summary.json"))
    assert summary["total"] == 7  # fpgm, random, l1, dense, half, scratch_e, scratch_b
    (contest,) = summary["contests"]
    assert {standing["method"] for standing in contest["standings"]} == {"fpgm", "random", "l1"}
    assert not [reason for reason in contest["reasons"] if "missing" in reason]
    best, found = contest["standings"][0]["method"], contest["references"]
    assert [(reference["protocol"], reference["method"]) for reference in found] == [
        ("dense", best),
        ("half", best),
        ("scratch_e", "fpgm"),
        ("scratch_b", "fpgm"),
    ]
    assert all(reference["seeds"] == [0] and reference["ahead"] for reference in found)
    epochs = {}
    for job in summary["jobs"]:
        name = job["entries"]["finetune"]
        epochs[job["protocol"]] = len(json.loads((tmp_path / "store" / name / "curve.json").read_text()))
    # scratch_b: 2 epochs by the MACs that are left
    (kept,) = {job["rows"][-1]["macs_kept"] for job in summary["jobs"] if job["protocol"] == "scratch_b"}
    assert epochs == {"standard": 2, "dense": 2, "half": 2, "scratch_e": 2, "scratch_b": round(2 / kept)}
    assert epochs["scratch_b"] > 4


@pytest.mark.slow
def test_a_chain_can_start_from_a_checkpoint(tmp_path: Path) -> None:
    assert run(tmp_path, *TINY, "tracking=silent", "stages=[train,eval]").returncode == 0
    (checkpoint,) = (path.parent for path in (tmp_path / "store" / "train").glob("*/net.json"))
    stages = ["stages=[prune,finetune,eval]", f"checkpoint={checkpoint}", "tracking=silent"]
    done = run(tmp_path, *TINY, *stages)
    assert done.returncode == 0, done.stderr
    assert "finetuned" in done.stdout
    refused = run(tmp_path, *TINY, "model.width=6", *stages)
    assert refused.returncode == 1
    assert "model.width is 6, the checkpoint was made with 4" in refused.stderr
    (cut,) = (path.parent for path in (tmp_path / "store" / "prune").glob("*/net.json"))
    again = run(tmp_path, *TINY, "stages=[prune,eval]", f"checkpoint={cut}", "tracking=silent")
    assert again.returncode == 0, again.stderr
    rows = [json.loads(line) for line in max(tmp_path.glob("runs/*/*/rows.jsonl")).read_text().splitlines()]
    assert [row["stage"] for row in rows] == ["dense", "start", "pruned_raw", "pruned"]
    assert rows[0]["channels_kept"] == 1.0
    assert rows[3]["ratio_reached"] == pytest.approx(
        1 - 0.7 * 0.7, abs=0.05
    )  # of the dense network, by both cuts


def test_a_file_of_ones_own_that_hydra_would_not_take_is_refused_before_anything_is_composed(
    tmp_path: Path,
) -> None:
    (tmp_path / "mine" / "train").mkdir(parents=True)
    (tmp_path / "mine" / "train" / "short.yaml").write_text("no_such_key: 1\n")
    done = run(tmp_path, "train.no_such_key=2", "--config-dir", str(tmp_path / "mine"), "--cfg", "job")
    assert done.returncode == 1
    assert "mine/train/short.yaml has the name of" in done.stderr
    assert done.stdout == ""
