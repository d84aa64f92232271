import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from segprune.config.places import CONF
from segprune.errors import CheckpointError
from segprune.report.collect import collect, split_overrides
from segprune.result.row import columns, to_record
from segprune.status import write as write_status
from tests.report.sweeps import job_data, store, sweep, write_job
from tests.rows import version_1


def test_a_finished_sweep_is_read_as_it_was_written(tmp_path: Path) -> None:
    names = store(tmp_path / "store", "ab12", [1])
    folder = tmp_path / "sweep"
    jobs = [
        job_data(0, "l1", 40.0, root=tmp_path / "store", names=names),
        job_data(2, "taylor", 45.0),
        job_data(10, "l2", None),
    ]
    for job in jobs:
        write_job(folder / job.number, job)
    data = collect(folder, "pruner=l1,taylor,l2 ratio=0.3")
    assert [found.number for found in data.jobs] == ["0", "2", "10"]  # as numbers, not as text
    assert [found.outcome for found in data.jobs] == [job.outcome for job in jobs]
    assert data.jobs[0].entries == jobs[0].entries
    assert data.jobs[0].seconds == 1.5
    assert data.overrides == ("pruner=l1,taylor,l2", "ratio=0.3")


def test_rows_say_which_job_and_method_they_are_of() -> None:
    data = sweep([job_data(0, "l1", 40.0, budget="macs"), job_data(1, "l2", None)])
    assert data.rows[["stage", "number", "method", "is_final"]].to_numpy().tolist() == [
        ["dense", "0", "dense", False],
        ["pruned", "0", "l1", False],
        ["finetuned", "0", "l1", True],
    ]
    # the option as asked, where the unit is another word; none for a network that nobody cut
    assert data.rows["option"].isna().tolist() == [True, False, False]
    assert data.rows["option"].tolist()[1:] == ["macs", "macs"]
    assert data.rows["budget"].tolist()[1:] == ["channels", "channels"]


def test_a_sweep_in_which_all_failed_has_no_rows() -> None:
    data = sweep([job_data(0, "l1", None)])
    assert data.rows.empty
    assert "miou_percent" in data.rows


def test_what_differs_between_jobs_makes_methods_and_settings(tmp_path: Path) -> None:
    typed = [
        ["pruner=l1", "ratio=0.3", "pruner.p=1", "finetune.epochs=1", "train.epochs=9"],
        ["pruner=l1", "ratio=0.3", "+pruner.p=2", "finetune.epochs=1", "train.epochs=9"],
        ["pruner=l1", "ratio=0.3", "budget.scope=local", "finetune.epochs=5", "train.epochs=9"],
    ]
    for number, overrides in enumerate(typed):
        write_job(tmp_path / str(number), job_data(number, "l1", 40.0), typed=overrides)
    found = collect(tmp_path).jobs
    assert [job.method for job in found] == ["l1 pruner.p=1", "l1 +pruner.p=2", "l1 budget.scope=local"]
    assert [job.setting for job in found] == [
        "streets, unet; finetune.epochs=1",
        "streets, unet; finetune.epochs=1",
        "streets, unet; finetune.epochs=5",
    ]


def test_what_a_control_leaves_out_sets_no_other_job_apart(tmp_path: Path) -> None:
    usual = ["dataset.limit=8", "finetune.epochs=1", "rounds=2"]
    typed = {
        "standard": [*usual, "pruner=taylor", "ratio=0.3", "protocol=standard"],
        "dense": ["dataset.limit=8", "finetune.epochs=1", "protocol=dense"],
        "half": ["dataset.limit=8", "protocol=half"],
        "scratch_e": ["dataset.limit=8", "rounds=2", "pruner=taylor", "ratio=0.3", "protocol=scratch_e"],
    }
    for number, (protocol, overrides) in enumerate(typed.items()):
        write_job(
            tmp_path / str(number), job_data(number, "taylor", 40.0, protocol=protocol), typed=overrides
        )
    found = collect(tmp_path).jobs
    assert [job.method for job in found] == ["taylor", "dense", "half", "taylor scratch_e"]
    assert {job.setting for job in found} == {"streets, unet"}


def test_a_job_that_never_began_sets_no_other_job_apart(tmp_path: Path) -> None:
    for number, pruner in enumerate(("l1", "taylor")):
        typed = ["train.epochs=9", f"pruner={pruner}", "ratio=0.3"]
        write_job(tmp_path / str(number), job_data(number, pruner, 40.0), typed=typed)
    write_job(tmp_path / "2", job_data(2, "l2", None))
    (tmp_path / "2" / ".hydra" / "overrides.yaml").unlink()  # Hydra writes it when the job begins
    assert [job.setting for job in collect(tmp_path).jobs] == ["streets, unet"] * 3


def test_a_status_of_before_there_were_controls_is_of_none(tmp_path: Path) -> None:
    job = job_data(0, "l1", 40.0)
    asked = {
        name: getattr(job.outcome, name) for name in ("dataset", "model", "pruner", "budget", "ratio", "seed")
    }
    write_job(tmp_path / "0", job, changes={"asked": asked})
    assert collect(tmp_path).jobs[0].outcome == job.outcome


def test_jobs_that_nothing_tells_apart_are_never_taken_for_seeds() -> None:
    data = sweep([job_data(0, "l1", 40.0), job_data(1, "l1", 41.0), job_data(2, "l1", 42.0, seed=1)])
    assert [job.setting for job in data.jobs] == [
        "streets, unet; job 0",
        "streets, unet; job 1",
        "streets, unet",
    ]


def test_a_job_of_the_same_settings_and_results_counts_once(tmp_path: Path) -> None:
    names = store(tmp_path / "store", "ab12", [1])
    jobs = [job_data(n, "l1", 40.0, root=tmp_path / "store", names=names) for n in (0, 1)]
    other = job_data(2, "l1", 41.0, root=tmp_path / "store", names=names[:-1])
    data = sweep([*jobs, other])
    assert data.twins == {"1": "0"}
    assert [(job.number, job.setting) for job in data.jobs] == [
        ("0", "streets, unet; job 0"),
        ("2", "streets, unet; job 2"),
    ]
    assert set(data.rows["number"]) == {"0", "2"}


def test_what_is_said_of_teachers_sets_no_job_without_one_apart(tmp_path: Path) -> None:
    typed = [f"distill={one} distill.match={way}" for one in ("none", "kd") for way in ("epochs", "compute")]
    for number, overrides in enumerate(typed):
        distill = overrides.split()[0].partition("=")[2]
        job = job_data(number, "l1", 40.0, distill=distill, names=[f"eval/{distill}{number // 2}"])
        asked = {
            name: getattr(job.outcome, name)
            for name in ("dataset", "model", "pruner", "budget", "ratio", "seed", "distill")
        }
        write_job(tmp_path / str(number), job, typed=overrides.split(), changes={"asked": asked})
    found = collect(tmp_path)
    assert [job.setting for job in found.jobs] == [
        "streets, unet; distill=none",
        "streets, unet; distill=kd; distill.match=epochs",
        "streets, unet; distill=kd; distill.match=compute",
    ]
    assert found.twins == {"1": "0"}


def test_hydras_own_record_of_the_command_counts_first(tmp_path: Path) -> None:
    write_job(tmp_path / "0", job_data(0, "l1", 40.0))
    record: dict[str, Any] = {"hydra": {"overrides": {"task": ["pruner=l1", "stages=[train, eval]"]}}}
    sources = [{"provider": "command-line", "schema": "file", "path": "/mine"}]
    sources += [{"provider": "main", "schema": "file", "path": str(CONF)}]
    record["hydra"] |= {"runtime": {"config_sources": sources}, "job": {"config_name": "config"}}
    (tmp_path / "multirun.yaml").write_text(json.dumps(record))  # JSON is YAML
    assert collect(tmp_path, "pruner=other").overrides == (
        *("--config-dir=/mine", "pruner=l1", "stages=[train, eval]"),
    )
    (tmp_path / "multirun.yaml").write_text("hydra: {overrides: [")
    assert collect(tmp_path, "pruner=other").overrides == ("pruner=other",)


def test_credentials_stay_out(tmp_path: Path) -> None:
    failed = job_data(1, "l1", None)
    write_job(tmp_path / "0", job_data(0, "l1", 40.0), typed=["tracking.uri=http://me:secret@host"])
    write_job(
        tmp_path / "1",
        failed,
        typed=["train=short"],
        changes={"error": "no answer from http://me:secret@host"},
    )
    data = collect(tmp_path, "tracking.uri=http://me:secret@host")
    assert data.overrides == ("tracking.uri=http://***@host",)
    assert data.jobs[0].setting.endswith("tracking.uri=http://***@host")
    assert data.jobs[1].outcome.reason == "no answer from http://***@host"


def test_the_noise_of_a_range_is_taken_out_of_ratios(tmp_path: Path) -> None:
    write_job(
        tmp_path / "0",
        replace(job_data(0, "l1", None), outcome=replace(job_data(0, "l1", None).outcome, ratio=0.1 + 0.2)),
    )
    assert collect(tmp_path).jobs[0].outcome.ratio == 0.3


def test_a_job_that_never_said_how_it_ended_was_stopped(tmp_path: Path) -> None:
    write_job(tmp_path / "0", job_data(0, "l1", 40.0), changes={"status": "running", "rows": []})
    found = collect(tmp_path).jobs[0].outcome
    assert (found.status, found.reason) == ("killed", "stopped before its end")


def noted(*ratios: float) -> dict[str, Any]:
    """What a sweep notes of its jobs 0, 1, ..."""
    asked = {"dataset": "streets", "model": "unet", "pruner": "l1", "budget": "channels", "seed": 0}
    return {
        str(number): {
            "asked": {**asked, "ratio": ratio},
            "overrides": [f"ratio={ratio}", "pruner=l1", "rounds=2", "tracking.uri=http://me:secret@host"],
        }
        for number, ratio in enumerate(ratios)
    }


def test_jobs_that_have_not_started_are_known_by_what_the_sweep_noted(tmp_path: Path) -> None:
    jobs = noted(0.3, 0.4, 0.5)
    write_job(tmp_path / "0", job_data(0, "l1", 40.0), typed=jobs["0"]["overrides"])
    # what an earlier sweep left where another job is to write now
    write_job(tmp_path / "1", job_data(1, "fgp", None), typed=["pruner=fgp", "rounds=9"])
    (tmp_path / "1" / "status.json").unlink()
    write_status(tmp_path, {"status": "killed", "folders": jobs})
    (tmp_path / "2").mkdir()
    write_status(tmp_path / "2", {"status": "starting", "asked": jobs["2"]["asked"]})
    found = collect(tmp_path)
    assert [(job.number, job.outcome.status, job.outcome.ratio) for job in found.jobs] == [
        *(("0", "done", 0.3), ("1", "not started", 0.4), ("2", "not started", 0.5)),
    ]
    assert {(job.setting, job.method) for job in found.jobs} == {("streets, unet", "l1")}
    assert (found.is_noted, found.state, found.unknown) == (True, "killed", ())


def test_of_jobs_that_have_not_started_only_the_folders_may_be_known(tmp_path: Path) -> None:
    write_job(tmp_path / "0", job_data(0, "l1", 40.0))
    assert not collect(tmp_path).is_noted
    write_status(tmp_path, {"status": "killed", "folders": ["0", "1"]})
    found = collect(tmp_path)
    assert ([job.number for job in found.jobs], found.unknown, found.is_noted) == (["0"], ("1",), True)


def test_a_running_job_says_where(tmp_path: Path) -> None:
    about = {"status": "running", "rows": [], "host": "node7", "pid": 12}
    write_job(tmp_path / "0", job_data(0, "l1", 40.0), changes=about)
    found = collect(tmp_path).jobs[0].outcome
    assert (found.status, found.reason) == ("running", "process 12 on node7")


def test_the_command_that_finishes_a_sweep_has_what_was_typed_for_hydra_and_the_folder(
    tmp_path: Path,
) -> None:
    write_job(tmp_path / "0", job_data(0, "l1", 40.0))
    write_status(tmp_path, {"asked": {"overrides": "pruner=l1 ratio=0.3,0.5"}, "status": "killed"})
    place = f"hydra.sweep.dir={tmp_path}"
    assert collect(tmp_path).finish == f"python run.py -m pruner=l1 ratio=0.3,0.5 {place}"
    of_hydra = ["hydra/launcher=processes", "hydra.mode=MULTIRUN", "hydra.sweep.dir=before"]
    record: dict[str, Any] = {"overrides": {"task": ["pruner=l1"], "hydra": of_hydra}}
    sources = [{"provider": "main", "schema": "file", "path": str(CONF)}]
    record |= {"runtime": {"config_sources": sources}, "job": {"config_name": "config"}}
    (tmp_path / "multirun.yaml").write_text(json.dumps({"hydra": record}))  # JSON is YAML
    assert collect(tmp_path).finish == f"python run.py -m pruner=l1 hydra/launcher=processes {place}"


def test_a_damaged_status_of_the_sweep_is_refused_by_name(tmp_path: Path) -> None:
    write_job(tmp_path / "0", job_data(0, "l1", 40.0))
    (tmp_path / "status.json").write_text("{")
    with pytest.raises(CheckpointError, match=rf"{tmp_path}/status.json cannot be read .*; remove it to"):
        collect(tmp_path)


def test_a_reused_job_is_told_from_a_new_one(tmp_path: Path) -> None:
    write_job(tmp_path / "0", job_data(0, "l1", 40.0), changes={"was_reused": True})
    assert collect(tmp_path).jobs[0].outcome.status == "reused"


def test_the_status_of_the_sweep_itself_is_no_job(tmp_path: Path) -> None:
    write_job(tmp_path / "l1" / "0", job_data(0, "l1", 40.0))
    (tmp_path / "status.json").write_text('{"status": "done"}')
    assert [job.number for job in collect(tmp_path).jobs] == ["l1/0"]


def test_a_folder_without_jobs_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=f"{tmp_path} holds no job; give the folder of a sweep"):
        collect(tmp_path)


@pytest.mark.parametrize("content", ["[]", "{", '{"status": "done"}'])
def test_a_damaged_status_is_refused_by_name(tmp_path: Path, content: str) -> None:
    write_job(tmp_path / "0", job_data(0, "l1", 40.0))
    (tmp_path / "0" / "status.json").write_text(content)
    with pytest.raises(CheckpointError, match=r"0/status.json cannot be read .*; remove the job's folder"):
        collect(tmp_path)


def test_rows_of_no_schema_are_refused(tmp_path: Path) -> None:
    write_job(tmp_path / "0", job_data(0, "l1", 40.0), changes={"rows": [{"schema_version": 0}]})
    with pytest.raises(CheckpointError, match="schema_version 0"):
        collect(tmp_path)


def test_a_damaged_row_is_refused_with_its_job_and_column(tmp_path: Path) -> None:
    rows = [to_record(row) for row in job_data(0, "l1", 40.0).outcome.rows]
    write_job(
        tmp_path / "0", job_data(0, "l1", 40.0), changes={"rows": [*rows[:-1], rows[-1] | {"macs": "many"}]}
    )
    with pytest.raises(CheckpointError, match=r"0/status.json cannot be read .*macs: must be a whole number"):
        collect(tmp_path)


def test_jobs_of_several_versions_make_one_table(tmp_path: Path) -> None:
    old, new = job_data(0, "l1", 40.0), job_data(1, "l2", 41.0, of_tomorrow="int8")
    write_job(tmp_path / "0", old, changes={"rows": [version_1(row) for row in old.outcome.rows]})
    write_job(tmp_path / "1", new)
    table = collect(tmp_path).rows
    assert table["of_tomorrow"].dropna().tolist() == ["int8", "int8"]
    assert table["macs"].tolist() == [712_345_678] * 6
    assert table["boundary_iou_percent"].isna().tolist() == [True] * 3 + [False] * 3
    assert set(columns()) < set(table)


def test_overrides_are_split_where_the_next_one_begins() -> None:
    assert split_overrides(" pruner=l1  stages=[train, eval] +a.b=1 ~c ++hydra/x=y note=") == [
        "pruner=l1",
        "stages=[train, eval]",
        "+a.b=1",
        "~c",
        "++hydra/x=y",
        "note=",
    ]
    assert split_overrides("") == []
