import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from omegaconf import DictConfig, OmegaConf

from segprune.app import run_job
from segprune.errors import ConfigError
from segprune.run.start import refuse
from segprune.sweep import dry_run
from segprune.sweep.dry_run import plan
from tests.test_cli import TINY
from tests.test_conf import composed

pytestmark = pytest.mark.usefixtures("composer")


def configured(folder: Path, *overrides: str) -> DictConfig:
    place = [
        f"paths.outputs={folder}",
        f"hydra.sweep.dir={folder}/sweep",
        f"hydra.runtime.output_dir={folder}",
    ]
    return composed("tracking=silent", *place, *TINY, *overrides)


def planned(folder: Path, pruners: str, ratios: str, *overrides: str) -> list[list[str]]:
    """The plan's table: job, overrides, state, time, disk; then the last line."""
    sweep = [
        "sweep=grid",
        f"hydra.sweeper.params.pruner='{pruners}'",
        f"hydra.sweeper.params.ratio='{ratios}'",
    ]
    lines = plan(configured(folder, *sweep, *overrides)).splitlines()
    shown = [line for line in lines if line.startswith(("#", "In all"))]
    return [[part.strip() for part in line.split("  ") if part.strip()] for line in shown]


def finished(
    folder: Path, seconds: float, *, made: int = 4, size: int = 1_000_000, model: str = "unet"
) -> None:
    """A job of four results of the same size, of which it made the last ones."""
    store = folder / "store"
    names = [f"{stage}/{folder.name}" for stage in ("train", "prune", "finetune", "eval")]
    for name in names:
        (store / name).mkdir(parents=True)
        (store / name / "weights").write_bytes(bytes(size))
    status = {
        "asked": {"dataset": "streets", "model": model},
        "status": "done",
        "was_reused": not made,
        "seconds": seconds,
        "store": str(store),
        "entries": names,
        "computed": names[len(names) - made :],
    }
    (folder / "status.json").write_text(json.dumps(status))


def test_what_is_not_in_the_store_is_new_or_made_by_an_earlier_job(tmp_path: Path) -> None:
    *jobs, (last,) = planned(tmp_path, "l1,fpgm", "0.3")
    assert [[*job[:3], job[4]] for job in jobs] == [
        ["#0", "pruner=l1", "train new", "unknown"],
        ["#1", "pruner=fpgm", "train shared with #0", "unknown"],
    ]
    assert all(re.fullmatch(r"about \d+ s by steps", job[3]) for job in jobs)
    number = r"\d+(\.\d+)?(e-\d+)?"
    total = rf"about \d+ s by steps( \(\d+ s to \d+ s\))?, one job after another \({number} core-hours\)"
    assert re.match(f"In all: {total}; unknown use of disk, where ", last)
    assert last.endswith("B are free. Nothing was run but these steps.")
    assert not (tmp_path / "store").exists()
    assert not (tmp_path / "sweep").exists()


def test_what_is_in_the_store_is_reused(tmp_path: Path) -> None:
    job = configured(tmp_path, "pruner=l1", "ratio=0.3", "stages=[train,prune]")
    keys = [str(key) for key in job if key != "hydra"]
    run_job(OmegaConf.masked_copy(job, keys), None, lambda _: None, lambda *_: None)
    states = [line[2] for line in planned(tmp_path, "l1,fpgm", "0.3")[:-1]]
    assert states == ["train reused, prune reused, finetune new", "train reused, prune new"]
    (state,) = [line[2] for line in planned(tmp_path, "l1", "0.3", "store.reuse=false")[:-1]]
    assert state == "train new"
    whole = planned(tmp_path, "l1", "0.3", "finetune.epochs=0")
    assert whole[0][2:] == ["all reused", "-", "-"]
    assert whole[1][0].startswith("In all: next to nothing, one job after another; next to nothing of disk, ")


def test_time_and_disk_are_those_of_jobs_that_began_at_the_same_stage(tmp_path: Path) -> None:
    sweep = tmp_path / "sweeps" / "earlier"
    for number, (seconds, made) in enumerate([(100, 4), (300, 4), (140, 4), (10, 3), (30, 3), (20, 3)]):
        finished(sweep / str(number), seconds, made=made)
    finished(sweep / "reused", 1, made=0)
    finished(sweep / "other", 2, model="simple_segnet", size=5)
    first, second, (total,) = planned(tmp_path, "l1", "0.2,0.3")
    # the first makes all four results, 1 MB each; the second all but the training
    assert first[2:] == ["train new", "about 2 min", "about 4.0 MB"]
    assert second[2:] == ["train shared with #0", "about 20 s", "about 3.0 MB"]
    cores = f"{160 / 3600 * torch.get_num_threads():.2g} core-hours"
    assert total.startswith(
        f"In all: about 3 min (2 min to 6 min), one job after another ({cores}); about 7.0 MB of disk, "
    )


def test_a_time_known_only_of_jobs_that_made_more_is_a_bound(tmp_path: Path) -> None:
    finished(tmp_path / "sweeps" / "earlier" / "0", 50, made=4)
    first, second, (total,) = planned(tmp_path, "l1", "0.2,0.3")
    assert (first[3], second[3]) == ("about 50 s", "at most 50 s")
    assert total.startswith("In all: at most 2 min, ")  # 100 s


def test_a_job_that_could_not_start_says_why(tmp_path: Path) -> None:
    ((_, _, state, *_), _) = planned(tmp_path, "l1", "0.995")
    assert state.startswith("would fail: ratio=0.995 of channels cannot be removed")


def test_what_can_start_alike_is_tried_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tried: list[tuple[str, float | None]] = []

    def counted(stages: Any, ctx: Any, start: Any) -> None:
        tried.append((ctx.facts.pruner, ctx.facts.ratio))
        refuse(stages, ctx, start)

    monkeypatch.setattr(dry_run, "refuse", counted)
    seeds = "+hydra.sweeper.params.seed='0,1,2'"
    *jobs, _ = planned(tmp_path, "l1,l2,taylor,slimming", "0.2,0.995", seeds)
    assert len(jobs) == 24
    # l1 and l2 rank within layers, taylor over all of them, and slimming trains before it scores
    kinds = [
        ("l1", 0.2),
        ("l1", 0.995),
        ("taylor", 0.2),
        ("taylor", 0.995),
        ("slimming", 0.2),
        ("slimming", 0.995),
    ]
    assert sorted(tried) == sorted(kinds)
    failed = [job[1] for job in jobs if "would fail: ratio=0.995" in job[2]]
    assert len(failed) == 12


def test_a_sweeper_that_chooses_while_it_runs_has_no_plan() -> None:
    with pytest.raises(ConfigError, match=r"hydra\.sweeper is x\.OptunaSweeper.*nothing to plan\. Leave out"):
        plan(OmegaConf.create({"hydra": {"sweeper": {"_target_": "x.OptunaSweeper"}}}))
