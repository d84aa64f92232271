import json
from dataclasses import replace
from pathlib import Path

import pytest

from segprune.report.collect import JobData
from segprune.report.contest import Contest
from segprune.report.statistics import image_difference
from segprune.report.verdict import contests, final_rows
from segprune.result.files import PLAN
from tests.report.sweeps import counts, dense, job_data, store, sweep, unfinished
from tests.rows import changed

NOT_SCRATCH = "taylor was not compared with its cut network trained from scratch: protocol=full adds that"
HITS = {"random": [50, 52, 49, 55] * 2, "l1": [60, 61, 59, 64] * 2, "taylor": [80, 82, 78, 85] * 2}
MIOU = {"random": 30.0, "l1": 35.0, "taylor": 45.0}


def jobs_of(root: Path, hits: dict[str, list[int]], seeds: tuple[int, ...] = (0, 1)) -> list[JobData]:
    """One job per method and seed, whose counts per image are kept, and the dense network finetuned."""
    finetuned = [dense(70 + seed, 50.0, seed=seed) for seed in seeds]
    return finetuned + [
        job_data(
            10 * n + seed,
            name,
            MIOU[name],
            seed=seed,
            root=root,
            names=store(root, f"{name}{seed}", hits[name]),
        )
        for n, name in enumerate(hits)
        for seed in seeds
    ]


def only(jobs: list[JobData]) -> Contest:
    (found,) = contests(sweep(jobs))
    return found


def test_a_method_that_leads_beyond_doubt_wins(tmp_path: Path) -> None:
    found = only(jobs_of(tmp_path, HITS))
    assert (found.winner, found.reasons, found.remedy) == ("taylor", (), None)
    assert found.notes == ("2 seeds; 3 or more are recommended", NOT_SCRATCH)
    assert [reference.protocol for reference in found.references] == ["dense"]
    assert [standing.method for standing in found.standings] == ["taylor", "l1", "random"]
    assert found.standings[0].behind is None
    # two comparisons, each at 1 - 0.05 / 2
    expected = image_difference([counts(HITS["taylor"])] * 2, [counts(HITS["l1"])] * 2, level=0.975)
    assert found.standings[1].behind == expected


def test_means_are_over_the_seeds() -> None:
    found = only(
        [job_data(0, "l1", 40.0, seed=0, macs_kept=0.5), job_data(1, "l1", 44.0, seed=1, macs_kept=0.52)]
    )
    (standing,) = found.standings
    assert found.dense_percent == 50.0
    assert standing.seeds == (0, 1)
    assert standing.values["mean"] == 42.0
    assert standing.values["sd"] == pytest.approx(8**0.5)  # (-2, 2): 8 / (2 - 1)
    assert standing.values["macs_kept"] == pytest.approx(0.51)
    assert standing.values["miou_retention"] == pytest.approx(0.84)


def test_a_seed_is_that_of_the_job_whatever_a_stored_row_says() -> None:
    jobs = [job_data(0, "l1", 40.0, seed=0), job_data(1, "l1", 44.0, seed=1)]
    stored = tuple(changed(row, seed=0) for row in jobs[1].outcome.rows)
    again = replace(jobs[1], outcome=replace(jobs[1].outcome, rows=stored))
    (standing,) = only([jobs[0], again]).standings
    assert standing == only(jobs).standings[0]
    assert standing.seeds == (0, 1)


def test_where_jobs_only_evaluate_no_seed_is_offered() -> None:
    made = {"eval": None, "prune": "python run.py -m ratio=0.3 pruner=taylor seed=0,1,2 protocol=fair"}
    for stage, remedy in made.items():
        found = only(
            [job_data(0, "taylor", 40.0, names=["eval/a"]), job_data(1, "fpgm", 41.0, names=[f"{stage}/b"])]
        )
        assert found.winner is None
        assert found.remedy == (remedy and remedy.replace("pruner=taylor", "pruner=taylor,fpgm"))


def test_a_lead_on_some_images_only_is_no_win(tmp_path: Path) -> None:
    found = only(jobs_of(tmp_path, {**HITS, "taylor": [80, 20, 85, 58] * 2}))
    assert found.winner is None
    (reason,) = found.reasons
    assert reason.startswith("taylor cannot be told from l1, ")
    assert "over 8 report images, " in reason
    # nothing is missing but certainty: two seeds more than there are
    assert found.remedy == "python run.py -m ratio=0.3 pruner=taylor seed=0,1,2,3 protocol=fair"


def test_a_lead_on_four_images_is_no_win(tmp_path: Path) -> None:
    found = only(jobs_of(tmp_path, {name: hits[:4] for name, hits in HITS.items()}))
    assert found.winner is None
    reason, lack = found.reasons
    assert reason.startswith("taylor cannot be told from l1, ")
    assert "97.5 % interval none, for lack of images, over 4 report images, " in reason
    # 1 - 2^(1 - n) is above 0.975 from n = 7 on: 0.969 of six, 0.984 of seven
    assert (
        lack == "4 report images are too few for that, whatever the seeds: add report images, 7 is the least"
    )
    assert found.remedy is None
    seven = only(jobs_of(tmp_path, {name: hits[:7] for name, hits in HITS.items()}))
    assert seven.winner == "taylor"


def test_a_lead_that_training_again_may_undo_is_no_win(tmp_path: Path) -> None:
    # on every image and in both seeds, but 33 points in the one and 4 in the other
    jobs = jobs_of(tmp_path, HITS)
    (index,) = (n for n, one in enumerate(jobs) if (one.method, one.outcome.seed) == ("taylor", 1))
    names = store(tmp_path, "taylor1", [63, 64, 62, 67] * 2)
    jobs[index] = job_data(21, "taylor", 38.0, seed=1, root=tmp_path, names=names)
    found = only(jobs)
    behind = found.standings[1].behind
    assert behind is not None
    assert behind.low > 0
    assert min(behind.per_seed) > 0
    assert found.winner is None
    assert found.reasons[0].startswith("taylor cannot be told from l1, ")
    assert found.reasons[0].endswith(" behind, nor from random")  # by what these two scatter


@pytest.mark.parametrize("control", ["random", "l1"])
def test_without_a_control_there_is_no_winner(tmp_path: Path, control: str) -> None:
    found = only(jobs_of(tmp_path, {name: hits for name, hits in HITS.items() if name != control}))
    assert (found.winner, found.reasons) == (None, (f"no control {control}",))
    assert found.remedy == "python run.py -m ratio=0.3 pruner=taylor seed=0,1,2 protocol=fair"


@pytest.mark.parametrize("control", ["random", "l1", "dense"])
def test_a_control_that_has_not_finished_is_not_called_absent(tmp_path: Path, control: str) -> None:
    jobs = [unfinished(job) if job.method == control else job for job in jobs_of(tmp_path, HITS)]
    data = replace(sweep(jobs), finish="python run.py -m a=1")
    (found,) = contests(data)
    assert (found.winner, found.reasons) == (None, (f"not finished yet: {control} (seed 0, 1)",))
    assert found.remedy == "python run.py -m a=1"
    (running,) = contests(replace(data, state="running"))
    assert running.remedy is None


def test_a_winner_has_to_wait_for_the_last_method(tmp_path: Path) -> None:
    late = unfinished(job_data(90, "fgp", 40.0), "killed")
    found = only([*jobs_of(tmp_path, HITS), late])
    assert found.winner is None
    assert found.reasons[0] == "not finished yet: fgp (seed 0)"


def test_a_cut_network_that_is_still_trained_from_scratch_is_waited_for(tmp_path: Path) -> None:
    scratch = job_data(90, "taylor", 40.0, protocol="scratch_e", method="taylor scratch_e")
    found = only([*jobs_of(tmp_path, HITS), unfinished(scratch, "running")])
    assert found.winner == "taylor"  # this control decides nothing
    assert found.notes[-1] == (
        "The comparison of taylor with its cut network trained from scratch has not finished yet: "
        "taylor scratch_e (seed 0)"
    )


def test_without_the_dense_network_finetuned_there_is_no_winner(tmp_path: Path) -> None:
    finetuned, _, *others = jobs_of(tmp_path, HITS)
    assert finetuned.outcome.protocol == "dense"
    found = only([finetuned, *others])  # the one with the other seed is not there
    assert (found.winner, found.reasons) == (
        None,
        ("no dense network finetuned by the same schedule",),
    )


def test_a_dense_control_that_was_cut_is_none_and_names_no_winner(tmp_path: Path) -> None:
    others = [job for job in jobs_of(tmp_path, HITS) if job.outcome.protocol != "dense"]
    cut = [job_data(70 + n, "taylor", 50.0, seed=n, protocol="dense", method="dense") for n in (0, 1)]
    found = only([*others, *cut])
    assert (found.winner, found.references) == (None, ())
    assert found.reasons == (
        "no dense network finetuned by the same schedule",
        "the control dense is none, since it was cut (job 70, 71)",
    )


def test_a_half_that_nobody_trained_names_no_winner(tmp_path: Path) -> None:
    half = job_data(90, "l1", 2.0, ratio=0.5, protocol="half", method="half")
    half = replace(half, outcome=replace(half.outcome, rows=half.outcome.rows[:2]))
    found = only([*jobs_of(tmp_path, HITS), half])
    assert (found.winner, found.reasons) == (
        None,
        ("the control half is none, since it was not trained (job 90)",),
    )
    assert [reference.protocol for reference in found.references] == ["dense"]


def test_networks_that_nobody_finetunes_need_no_dense_network_finetuned() -> None:
    def raw(job: JobData) -> JobData:
        rows = tuple(changed(row, miou_percent=MIOU[job.method]) for row in job.outcome.rows[:2])
        return replace(job, outcome=replace(job.outcome, rows=rows))

    found = only(
        [raw(job_data(10 * n + s, name, 1.0, seed=s)) for n, name in enumerate(MIOU) for s in (0, 1)]
    )
    assert "dense network" not in " ".join(found.reasons)


def test_a_winner_that_its_widths_trained_from_the_start_come_close_to_is_said(tmp_path: Path) -> None:
    names = [store(tmp_path, f"scratch{seed}", [81, 80, 80, 83] * 2) for seed in (0, 1)]
    scratch = [
        job_data(
            80 + seed,
            "taylor",
            44.9,
            seed=seed,
            protocol="scratch_e",
            method="taylor scratch_e",
            root=tmp_path,
            names=names[seed],
        )
        for seed in (0, 1)
    ]
    found = only([*jobs_of(tmp_path, HITS), *scratch])
    assert found.winner == "taylor"
    assert found.notes[1:] == (
        "taylor is not clearly better than its cut network trained from scratch for as many epochs as the dense "
        "network",
    )


@pytest.mark.parametrize(("miou", "is_said"), [(60.0, True), (44.0, False)])
def test_a_half_that_is_better_than_the_best_method_is_said(
    tmp_path: Path, miou: float, is_said: bool
) -> None:
    known = {"protocol": "half", "method": "half", "macs_kept": 0.26}
    half = [job_data(80 + seed, "taylor", miou + seed, seed=seed, **known) for seed in (0, 1)]
    said = (
        "taylor is below the control half (half the channels in every layer, trained like the dense network): "
        "60.50 % mIoU at 26.0 % of the MACs"
    )
    assert (said in only([*jobs_of(tmp_path, HITS), *half]).notes) == is_said


def test_only_controls_are_still_compared_with_each_other() -> None:
    found = only([job_data(0, "l1", 40.0), job_data(1, "random", 39.0)])
    assert found.remedy == "python run.py -m ratio=0.3 pruner=l1,random seed=0,1,2 protocol=fair"


def test_a_single_seed_names_no_winner_but_shows_the_distance(tmp_path: Path) -> None:
    found = only(jobs_of(tmp_path, HITS, seeds=(5,)))
    assert found.winner is None
    assert found.reasons == ("fewer than 2 seeds of taylor, l1, random (3 are recommended)",)
    assert found.standings[1].behind is not None
    assert found.remedy == "python run.py -m ratio=0.3 pruner=taylor seed=5,0,1 protocol=fair"


def test_methods_with_other_seeds_are_not_compared(tmp_path: Path) -> None:
    jobs = jobs_of(tmp_path, HITS, seeds=(0, 1, 2))
    failed = job_data(99, "taylor", None, seed=2)
    found = only([*jobs[:-1], failed])
    assert found.reasons == ("the methods were not run with the same seeds",)
    assert found.notes[1:] == ("Failed: taylor seed 2", NOT_SCRATCH)


def test_without_counts_per_image_the_seeds_decide() -> None:
    # differences to taylor: l1 10, 10.2, 9.8; sd 0.2, half = t(0.9875, 2) * 0.2 / sqrt(3) = 0.72 < 10
    values = {"random": (30.0, 31.0, 32.0), "l1": (35.0, 35.0, 35.0), "taylor": (45.0, 45.2, 44.8)}
    jobs = [
        job_data(10 * n + seed, name, values[name][seed], seed=seed)
        for n, name in enumerate(values)
        for seed in range(3)
    ]
    found = only([*jobs, *(dense(90 + seed, 50.0, seed=seed) for seed in range(3))])
    behind = found.standings[1].behind
    assert behind is not None
    assert (behind.over, behind.n, behind.points) == ("seeds", 3, pytest.approx(10.0))
    assert found.winner == "taylor"


def test_counts_of_other_images_are_not_paired(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    jobs = jobs_of(tmp_path, {**HITS, "l1": [60, 61]})
    found = only(jobs)
    behind = found.standings[1].behind
    assert behind is not None
    assert behind.over == "seeds"
    assert "not of the same report images" in caplog.text
    assert (found.winner, found.reasons) == (None, ("l1 measured on other images than taylor",))
    assert found.remedy == "python run.py -m ratio=0.3 pruner=taylor seed=0,1,2 protocol=fair"


def test_seeds_of_the_best_method_on_other_images_than_each_other_name_no_winner(tmp_path: Path) -> None:
    jobs = jobs_of(tmp_path, HITS)
    store(tmp_path, "taylor1", HITS["taylor"][:5])
    assert only(jobs).reasons == ("the seeds of taylor were measured on other images than each other",)


def test_a_method_off_the_budget_is_shown_but_not_ranked(tmp_path: Path) -> None:
    jobs = jobs_of(tmp_path, HITS)
    off = [job_data(90 + seed, "fgp", 49.0, seed=seed, ratio_asked=0.2) for seed in (0, 1)]  # reached 0.3
    found = only([*jobs, *off])
    assert found.winner == "taylor"
    assert [standing.method for standing in found.standings] == ["taylor", "l1", "random", "fgp"]
    assert [standing.is_equal for standing in found.standings] == [True, True, True, False]
    assert found.notes[1:] == ("Not ranked, since off the budget: fgp (30.0 %)", NOT_SCRATCH)


def test_a_method_that_chose_among_fewer_channels_is_named(tmp_path: Path) -> None:
    jobs = jobs_of(tmp_path, HITS)
    path = tmp_path / "prune" / "taylor1" / PLAN
    left = [{"layer": f"gate{n}", "channels": 4, "reason": "no maps"} for n in range(4)]
    path.write_text(json.dumps({**json.loads(path.read_text()), "unscored": left}))
    told = "taylor chose among fewer channels: it cannot score gate0, gate1, gate2 and 1 more, which stayed whole"
    assert [note for note in only(jobs).notes if "fewer" in note] == [told]


def test_a_cut_that_its_budget_took_is_at_the_budget_whatever_eval_measures(tmp_path: Path) -> None:
    def measured(job: JobData, asked: float) -> JobData:
        path = tmp_path / "prune" / f"{job.method}{job.outcome.seed}" / PLAN
        if path.exists():  # not that of the dense network
            path.write_text(json.dumps({**json.loads(path.read_text()), "asked": asked, "removed": asked}))
        reached = [
            changed(row, ratio_reached=0.21 if job.method == "l1" else 0.36) if row.pruner else row
            for row in job.outcome.rows
        ]
        return replace(job, outcome=replace(job.outcome, rows=tuple(reached)))

    jobs = jobs_of(tmp_path, HITS)
    assert only([measured(job, 0.3) for job in jobs]).winner == "taylor"
    two_cuts = only([measured(job, 0.1) for job in jobs])
    assert not any(standing.is_equal for standing in two_cuts.standings)
    assert two_cuts.reasons[:2] == (
        "there are not two methods at this budget to compare",
        "the controls random and l1 ran, but off the budget",
    )


def test_a_control_that_ran_off_the_budget_is_told_from_one_that_did_not_run() -> None:
    jobs = [job_data(0, "taylor", 45.0), job_data(1, "l1", 40.0, ratio_reached=0.35)]
    (reason,) = [reason for reason in only(jobs).reasons if "random" in reason]
    assert reason == "no control random"
    assert "the control l1 ran, but off the budget" in only(jobs).reasons


def test_what_is_kept_is_the_mean_by_the_mean_of_the_dense_networks() -> None:
    # dense 20, 50 and 50 %, mean 40; finetuned 40, 30 and 0 %, mean 23.33: ratios 2, 0.6 and 0, mean 0.87
    def started(job: JobData, dense: float, last: float) -> JobData:
        first, *_, end = job.outcome.rows
        rows = (
            changed(first, miou_percent=dense),
            changed(end, miou_percent=last, miou_retention=last / dense),
        )
        return replace(job, outcome=replace(job.outcome, rows=rows))

    known = [(20.0, 40.0), (50.0, 30.0), (50.0, 0.0)]
    jobs = [started(job_data(seed, "l1", 1.0, seed=seed), *pair) for seed, pair in enumerate(known)]
    assert only(jobs).standings[0].values["miou_retention"] == pytest.approx(70 / 120)
    # 20 and 50 of the dense network, 26 and 42 in the end: 1.07 as a mean of ratios, though 34 is below 35
    below = [
        started(job_data(n, "l1", 1.0, seed=n), *pair) for n, pair in enumerate([(20.0, 26.0), (50.0, 42.0)])
    ]
    assert only(below).standings[0].values["miou_retention"] == pytest.approx(34 / 35)
    assert "Above" not in " ".join(only(below).notes)


def test_a_threshold_makes_no_equal_budgets() -> None:
    jobs = [
        job_data(seed, "l1", 40.0, seed=seed, ratio=None, budget="threshold", threshold=0.01)
        for seed in (0, 1)
    ]
    found = only(jobs)
    assert found.winner is None
    assert found.reasons == ("a threshold decided how much goes, so methods have no budget in common",)
    assert "points" not in " ".join(found.notes)
    assert not found.standings[0].is_equal
    assert found.standings[0].threshold == 0.01
    assert "protocol=fair" in str(found.remedy)  # no cut suggests thresholds


def test_the_next_command_has_thresholds_that_fit_the_scores(tmp_path: Path) -> None:
    names = store(tmp_path, "ab", [1])
    path = tmp_path / "prune" / "ab" / PLAN
    path.write_text(json.dumps({**json.loads(path.read_text()), "thresholds": {"20%": 0.2, "50%": 0.5}}))
    known = {"ratio": None, "budget": "threshold", "threshold": 1e-9, "root": tmp_path, "names": names}
    data = sweep(
        [job_data(0, "l1", 40.0, **known)], ["pruner=l1,l2", "budget=threshold", "budget.threshold=1e-9"]
    )
    (found,) = contests(data)
    assert found.remedy == "python run.py -m budget=threshold pruner=l1 budget.threshold=0.2,0.5"


def test_every_setting_budget_and_ratio_is_a_contest_of_its_own() -> None:
    found = contests(
        sweep(
            [
                job_data(0, "l1", 40.0, ratio=0.5),
                job_data(1, "l1", 40.0),
                job_data(2, "l1", 40.0, budget="macs"),
                job_data(3, "l1", None, setting="camvid, unet"),
            ]
        )
    )
    assert [(contest.setting, contest.budget, contest.ratio) for contest in found] == [
        ("camvid, unet", "channels", 0.3),
        ("streets, unet", "channels", 0.3),
        ("streets, unet", "channels", 0.5),
        ("streets, unet", "macs", 0.3),
    ]
    assert found[0].standings == ()
    assert found[0].dense_percent is None
    assert found[0].notes == ("Failed: l1 seed 0",)


def test_jobs_that_cut_nothing_take_no_part() -> None:
    cut = job_data(0, "l1", 40.0)
    data = sweep([replace(cut, outcome=replace(cut.outcome, rows=cut.outcome.rows[:1]))])
    assert contests(data) == []
    assert final_rows(data).empty


def test_without_miou_there_is_no_winner_and_it_is_said_of_whom(tmp_path: Path) -> None:
    def blind(job: JobData) -> JobData:
        rows = tuple(changed(row, miou_percent=None) for row in job.outcome.rows)
        return replace(job, outcome=replace(job.outcome, rows=rows))

    found = only([blind(job) if job.method == "taylor" else job for job in jobs_of(tmp_path, HITS)])
    assert found.winner is None
    assert found.reasons == ("no mIoU was measured of taylor",)


@pytest.mark.parametrize("status", ["killed", "failed"])
def test_an_evaluation_that_stopped_is_of_no_pruner(tmp_path: Path, status: str) -> None:
    stopped = unfinished(job_data(80, "fgp", 1.0, ratio=0.5), status)
    (found,) = contests(sweep([*jobs_of(tmp_path, HITS), stopped], ["checkpoint=last", "stages=[eval]"]))
    assert (found.ratio, [one.method for one in found.standings]) == (0.3, ["taylor", "l1", "random"])
    late = ("not finished yet: job 80, whose network is not known",) if status == "killed" else ()
    assert found.reasons == late
    assert len(contests(sweep([*jobs_of(tmp_path, HITS), stopped], ["stages=[prune,eval]"]))) == 2


def test_a_seed_without_miou_is_left_out_and_said(tmp_path: Path) -> None:
    values = {"random": (30.0, 31.0, 32.0), "l1": (35.0, 35.0, 35.0), "taylor": (None, 45.2, 44.8)}
    jobs = [
        job_data(10 * n + seed, name, 1.0, seed=seed) for n, name in enumerate(values) for seed in range(3)
    ]

    def known(job: JobData) -> JobData:
        last = changed(job.outcome.rows[-1], miou_percent=values[job.method][job.outcome.seed])
        return replace(job, outcome=replace(job.outcome, rows=(*job.outcome.rows[:-1], last)))

    found = only([*map(known, jobs), *(dense(90 + seed, 50.0, seed=seed) for seed in range(3))])
    assert (found.winner, found.reasons) == (None, ("no mIoU was measured of taylor in seed 0",))
    behind = found.standings[1].behind
    assert behind is not None
    assert behind.per_seed == pytest.approx((10.2, 9.8))
    assert found.standings[0].values["mean"] == pytest.approx(45.0)
