import json
from pathlib import Path

import pytest
from omegaconf import DictConfig, OmegaConf

from segprune.app import run_job
from segprune.errors import ConfigError
from segprune.plan import plan
from tests.test_cli import TINY
from tests.test_conf import composed, composer

__all__ = ["composer"]  # a fixture that starts Hydra for every test of this file


def configured(folder: Path, *overrides: str) -> DictConfig:
    place = [
        f"paths.outputs={folder}",
        f"hydra.sweep.dir={folder}/sweep",
        f"hydra.runtime.output_dir={folder}",
    ]
    return composed("tracking=silent", *place, *TINY, *overrides)


def planned(folder: Path, pruners: str, ratios: str, *overrides: str) -> list[list[str]]:
    """The plan's table: job, overrides, state, time; then the last line."""
    sweep = [
        "sweep=grid",
        f"hydra.sweeper.params.pruner='{pruners}'",
        f"hydra.sweeper.params.ratio='{ratios}'",
    ]
    lines = plan(configured(folder, *sweep, *overrides)).splitlines()
    return [[part.strip() for part in line.split("  ") if part.strip()] for line in [*lines[1:-2], lines[-1]]]


def finished(folder: Path, seconds: float, *, was_reused: bool = False, model: str = "unet") -> None:
    folder.mkdir(parents=True)
    status = {
        "asked": {"dataset": "streets", "model": model},
        "status": "done",
        "was_reused": was_reused,
        "seconds": seconds,
    }
    (folder / "status.json").write_text(json.dumps(status))


def test_what_is_not_in_the_store_is_new_or_made_by_an_earlier_job(tmp_path: Path) -> None:
    assert planned(tmp_path, "l1,fpgm", "0.3") == [
        ["#0", "pruner=l1", "train new", "unknown"],
        ["#1", "pruner=fpgm", "train shared with #0", "unknown"],
        ["In all: unknown, one job after another. Nothing was run."],
    ]
    assert not (tmp_path / "store").exists()
    assert not (tmp_path / "sweep").exists()


def test_what_is_in_the_store_is_reused(tmp_path: Path) -> None:
    job = configured(tmp_path, "pruner=l1", "ratio=0.3", "stages=[train,prune]")
    run_job(OmegaConf.masked_copy(job, [str(key) for key in job if key != "hydra"]), None, lambda _: None)
    states = [line[2] for line in planned(tmp_path, "l1,fpgm", "0.3")[:-1]]
    assert states == ["train reused, prune reused, finetune new", "train reused, prune new"]
    (state,) = [line[2] for line in planned(tmp_path, "l1", "0.3", "store.reuse=false")[:-1]]
    assert state == "train new"
    whole = planned(tmp_path, "l1", "0.3", "finetune.epochs=0")
    assert whole[0][2:] == ["all reused", "-"]


def test_the_time_is_the_median_of_jobs_that_computed_the_like(tmp_path: Path) -> None:
    sweep = tmp_path / "sweeps" / "earlier"
    for number, seconds in enumerate([10, 200, 60]):
        finished(sweep / str(number), seconds)
    finished(sweep / "reused", 1, was_reused=True)
    finished(sweep / "other", 2, model="simple_segnet")
    first, second, total = planned(tmp_path, "l1", "0.2,0.3")
    assert (first[-1], second[-1]) == ("about 60 s", "about 60 s")
    assert total == ["In all: about 2 min, one job after another. Nothing was run."]


def test_a_job_that_could_not_start_says_why(tmp_path: Path) -> None:
    ((_, _, state, _), _) = planned(tmp_path, "l1", "0.995")
    assert state.startswith("would fail: ratio=0.995 of channels cannot be removed")


def test_a_sweeper_that_chooses_while_it_runs_has_no_plan() -> None:
    with pytest.raises(ConfigError, match=r"hydra\.sweeper is x\.OptunaSweeper.*nothing to plan\. Leave out"):
        plan(OmegaConf.create({"hydra": {"sweeper": {"_target_": "x.OptunaSweeper"}}}))
