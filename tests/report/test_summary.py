import io
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from segprune.report.summary import summary_text
from segprune.report.verdict import contests
from segprune.result.row import to_record
from tests.report.sweeps import dense, job_data, store, sweep, unfinished


def read(*jobs: Any) -> dict[str, Any]:
    data = sweep(jobs)

    def refuse(word: str) -> float:
        raise AssertionError(f"{word} is no JSON")

    found: dict[str, Any] = json.loads(summary_text(data, contests(data)), parse_constant=refuse)
    return found


def test_jobs_are_counted_by_what_became_of_them() -> None:
    old = job_data(1, "l2", 40.0)
    found = read(
        job_data(0, "l1", 40.0),
        replace(old, outcome=replace(old.outcome, status="reused")),
        job_data(2, "fgp", None),
        job_data(3, "fpgm", None),
    )
    counted = {
        key: found[key]
        for key in ("schema_version", "total", "completed", "reused", "failed", "success_rate")
    }
    assert counted == {
        "schema_version": 4,
        "total": 4,
        "completed": 2,
        "reused": 1,
        "failed": 2,
        "success_rate": 0.5,
    }
    assert (found["sweep"], found["overrides"]) == ("12-00-00", ["pruner=l1,taylor", "ratio=0.3"])


def test_what_is_missing_is_listed_with_the_command_that_finishes_it() -> None:
    killed = unfinished(job_data(1, "l2", 40.0), "killed", "stopped before its end")
    data = sweep([job_data(0, "l1", 40.0), killed, unfinished(job_data(2, "fgp", 40.0, seed=1))])
    data = replace(data, is_noted=True, unknown=("3",), finish="python run.py -m", twins={"9": "0"})
    found = json.loads(summary_text(data, contests(data)))
    counted = ("asked", "total", "completed", "failed", "killed", "running", "not_started", "finish")
    assert [found[key] for key in counted] == [5, 4, 1, 0, 1, 0, 2, "python run.py -m"]
    assert found["success_rate"] == 0.25
    first, second, third = found["unfinished"]
    about = {"setting": "streets, unet", "budget": "channels", "ratio": 0.3}
    reason = "stopped before its end"
    assert first == {"number": "1", "method": "l2", "status": "killed", "reason": reason, "seed": 0, **about}
    assert second == {
        "number": "2",
        "method": "fgp",
        "status": "not started",
        "reason": "",
        "seed": 1,
        **about,
    }
    nothing = dict.fromkeys(("method", "seed", *about))
    assert third == {"number": "3", "status": "not started", "reason": "", **nothing}
    assert [job["status"] for job in found["jobs"]] == ["done", "killed", "not started"]


def test_of_a_sweep_that_noted_no_jobs_nobody_knows_how_many_there_were_to_be() -> None:
    found = read(job_data(0, "l1", 40.0))
    assert (found["asked"], found["unfinished"], found["finish"]) == (None, [], None)


def test_every_job_has_its_record(tmp_path: Path) -> None:
    job = job_data(0, "l1", 40.0, root=tmp_path, names=store(tmp_path, "ab12", [1]))
    done, failed = read(job, job_data(1, "fgp", None))["jobs"]
    assert done["rows"] == [to_record(row) for row in job.outcome.rows]
    assert done["entries"]["prune"] == "prune/ab12"
    assert (done["seconds"], done["status"], done["reason"], done["missing"]) == (1.5, "done", "", [])
    assert [done["setting"], failed["setting"]] == ["streets, unet"] * 2
    assert (failed["method"], failed["status"], failed["reason"]) == (
        "fgp",
        "failed",
        "BudgetError: out of reach",
    )
    assert (failed["rows"], failed["ratio"], failed["seed"]) == ([], 0.3, 0)


def test_the_ratio_of_a_network_that_stays_whole_is_nowhere() -> None:
    control = dense(1, 52.0)  # its configuration holds a ratio all the same
    whole = [
        replace(one, outcome=replace(one.outcome, ratio=0.9)) for one in (control, unfinished(dense(2, 52.0)))
    ]
    uncut = replace(whole[0], number="3", outcome=replace(whole[0].outcome, protocol="standard"))
    found = read(job_data(0, "l1", 40.0, ratio=0.3), *whole, uncut, job_data(4, "fgp", None, ratio=0.5))
    assert found["pruning_ratios"] == [0.3, 0.5]
    assert [job["ratio"] for job in found["jobs"]] == [0.3, None, None, None, 0.5]
    assert [job["ratio"] for job in found["results"]] == [0.3, None, None, None, 0.5]
    assert [job["ratio"] for job in found["unfinished"]] == [None]


def test_results_are_a_frame_at_once() -> None:
    whole = {"channels_kept": 0.7, "macs_kept": 0.5, "params_kept": 0.6, "speedup": 1.5}
    jobs = [
        job_data(n, name, 40.0, ratio=ratio, **whole)
        for n, (name, ratio) in enumerate((("l1", 0.3), ("l2", 0.5)))
    ]
    results = read(*jobs, job_data(7, "fgp", None), dense(8, 52.0))["results"]
    frame = pd.read_json(io.StringIO(json.dumps(results)))
    columns = ["method", "ratio", "miou_retention", "speedup_latency", "channel_reduction"]
    assert frame.loc[:1, "method"].tolist() == ["l1", "l2"]
    for line, ratio in enumerate((0.3, 0.5)):  # to the last bit only with precise_float=True
        assert frame.loc[line, columns[1:]].tolist() == pytest.approx([ratio, 0.8, 1.5, 0.3])
    assert frame.loc[:1, ["mac_reduction", "param_reduction"]].to_numpy().tolist() == [[0.5, 0.4]] * 2
    assert frame[columns[1:]].dtypes.astype(str).tolist() == ["float64"] * 4
    # what failed has its line, so that it is not forgotten; the dense network has no ratio, for nothing was removed
    assert frame["status"].tolist() == ["done", "done", "failed", "done"]
    assert frame["ratio"].isna().tolist() == [False, False, False, True]
    assert frame["miou_retention"].isna().tolist() == [False, False, True, False]
    assert frame.loc[3, "channel_reduction"] == 0
    # what a mean must not be taken over
    about = ["dataset", "split", "model", "seed", "stage"]
    assert frame.loc[0, about].tolist() == ["streets", jobs[0].outcome.rows[-1].split, "unet", 0, "finetuned"]
    assert frame.loc[0, "miou_reestimated_percent"] == 10.0
    assert frame.loc[[2, 3], "miou_reestimated_percent"].isna().all()
    assert frame["miou_raw_percent"].isna().all()  # these jobs have no such row


def test_contests_hold_the_verdict_and_null_for_what_is_unknown() -> None:
    (found,) = read(job_data(0, "l1", 40.0), job_data(1, "random", 39.0))["contests"]
    assert (found["winner"], found["budget"], found["ratio"]) == (None, "channels", 0.3)
    assert found["headline"].startswith("No winner at 30 % of channels removed")
    assert found["remedy"] == "python run.py -m ratio=0.3 pruner=l1,random seed=0,1,2 protocol=fair"
    best, other = found["standings"]
    assert (best["method"], best["mean"], best["sd"], best["behind"]) == ("l1", 40.0, None, None)
    assert (other["method"], other["is_at_budget"]) == ("random", True)


def test_distances_keep_every_digit() -> None:
    jobs = [
        job_data(10 * n + seed, name, 40.0 + n + seed, seed=seed)
        for n, name in enumerate(("l1", "l2"))
        for seed in (0, 1)
    ]
    (found,) = read(*jobs)["contests"]
    behind = found["standings"][1]["behind"]
    assert (behind["points"], behind["over"], behind["per_seed"]) == (1.0, "seeds", [1.0, 1.0])
    assert behind["level"] == pytest.approx(0.95)
