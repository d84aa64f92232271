import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from segprune.report.collect import JobData
from segprune.report.entries import entries_of
from segprune.report.teaching import Lesson, Verdict, base, teaching_of, verdicts
from segprune.report.verdict import contests
from segprune.result import files
from tests.report.sweeps import dense, job_data, store, sweep, unfinished
from tests.rows import changed

SETTING = "streets, unet"


def jobs_of(values: Mapping[str, Sequence[float]], *, pruner: str = "taylor", **known: Any) -> list[JobData]:
    """Distillation -> mIoU of seeds 0, 1, ..."""
    return [
        job_data(
            0, pruner, miou, seed=seed, distill=distill, setting=f"{SETTING}; distill={distill}", **known
        )
        for distill, found in values.items()
        for seed, miou in enumerate(found)
    ]


def numbered(jobs: Sequence[JobData]) -> list[JobData]:
    return [replace(one, number=str(number)) for number, one in enumerate(jobs)]


def found(jobs: Sequence[JobData]) -> list[Verdict]:
    return verdicts(sweep(numbered(jobs), ["pruner=taylor", "distill=none,kd", "ratio=0.3"]))


def only(jobs: Sequence[JobData]) -> Lesson:
    (verdict,) = found(jobs)
    (lesson,) = verdict.lessons
    return lesson


def test_a_sweep_without_a_teacher_has_no_verdict() -> None:
    assert found(jobs_of({"none": [40.0, 41.0]})) == []


def test_the_gain_is_paired_over_the_seeds() -> None:
    """Gains of 2, 3 and 4 points: mean 3, and t(2 df, 97.5 %) = 4.3027 times 1 / sqrt 3 = 2.484."""
    lesson = only(jobs_of({"none": [40.0, 45.0, 38.0], "kd": [42.0, 48.0, 42.0]}))
    assert (lesson.plain_percent, lesson.taught_percent) == (41.0, 44.0)
    assert (lesson.method, lesson.budget, lesson.ratio, lesson.seeds) == (
        "taylor",
        "channels",
        0.3,
        (0, 1, 2),
    )
    assert lesson.gain is not None
    assert lesson.gain.per_seed == (2.0, 3.0, 4.0)
    assert lesson.gain.seeds_low == pytest.approx(3 - 2.484, abs=1e-3)
    assert lesson.outcome == "helps"


def test_what_helps_harms_or_cannot_be_told_is_said_so() -> None:
    (helps,) = found(jobs_of({"none": [40.0, 45.0, 38.0], "kd": [42.0, 47.1, 40.0]}))
    assert helps.helps
    assert "It helps taylor at 30 % of channels removed (2.03 points" in helps.sentence
    assert helps.remedy is None
    (harms,) = found(jobs_of({"kd": [40.0, 45.0, 38.0], "none": [42.0, 47.1, 40.0]}))
    assert not harms.helps
    assert "It harms taylor" in harms.sentence
    (unclear,) = found(jobs_of({"none": [40.0, 45.0, 38.0], "kd": [42.0, 43.0, 39.0]}))
    assert not unclear.helps
    assert "It cannot be told for taylor" in unclear.sentence
    assert unclear.remedy is not None
    assert "seed=0,1,2,3,4" in unclear.remedy


def test_without_seeds_it_is_refused_with_the_command_that_finds_out() -> None:
    (verdict,) = found(jobs_of({"none": [40.0], "kd": [49.0]}))
    assert verdict.sentence == (
        "Whether distill=kd on streets, unet helps is not known: fewer than 2 seeds with and without a teacher "
        "(3 are recommended)."
    )
    assert verdict.remedy == ("python run.py -m ratio=0.3 pruner=taylor distill=none,kd seed=0,1,2")
    assert verdict.lessons[0].outcome == "unknown"


def test_without_jobs_that_have_no_teacher_it_is_refused() -> None:
    alone = [replace(one, setting=SETTING) for one in jobs_of({"kd": [40.0, 41.0]})]
    (verdict,) = found(alone)
    assert "no job without a teacher (distill=none) was evaluated" in verdict.sentence
    assert verdict.remedy is not None
    assert "distill=none,kd" in verdict.remedy


def test_a_gain_without_miou_in_a_seed_is_refused() -> None:
    *jobs, last = jobs_of({"none": [40.0, 41.0, 42.0], "kd": [42.0, 43.0, 44.0]})
    rows = (*last.outcome.rows[:-1], changed(last.outcome.rows[-1], miou_percent=None))
    lesson = only([*jobs, replace(last, outcome=replace(last.outcome, rows=rows))])
    assert (lesson.missing, lesson.taught_percent) == ("no mIoU was measured in some seeds", 42.5)
    assert lesson.gain is not None
    assert lesson.gain.per_seed == (2.0, 2.0)


def test_gains_on_other_images_are_refused(tmp_path: Path) -> None:
    jobs = jobs_of({"none": [40.0, 41.0], "kd": [42.0, 43.0]}, root=tmp_path)
    images = {"none": 8, "kd": 9}
    jobs = [
        replace(
            one,
            entries=entries_of(
                tmp_path,
                store(tmp_path, f"{one.setting[-2:]}{one.outcome.seed}", [50] * images[one.outcome.distill]),
            ),
        )
        for one in jobs
    ]
    lesson = only(jobs)
    assert lesson.missing == "jobs with and without a teacher were measured on other images"
    assert lesson.outcome == "unknown"


def test_other_seeds_and_failed_jobs_are_refused() -> None:
    jobs = jobs_of({"none": [40.0, 41.0], "kd": [42.0, 43.0, 44.0]})
    assert only(jobs).missing == "jobs with and without a teacher have not the same seeds"
    broken = [
        replace(one, outcome=replace(one.outcome, status="failed"))
        for one in jobs
        if one.outcome.distill == "kd"
    ]
    assert only([*jobs[:2], *broken]).missing == "no job with the teacher was evaluated"


def test_jobs_that_have_not_finished_are_waited_for() -> None:
    jobs = jobs_of({"none": [40.0, 41.0], "kd": [42.0, 43.0]})
    late = [unfinished(one) if one.outcome.distill == "none" else one for one in jobs]
    assert only(late).missing == "not finished yet: taylor (seed 0, 1) without a teacher"
    assert only([*jobs[:2], unfinished(jobs[2]), jobs[3]]).missing == (
        "not finished yet: taylor (seed 0) with the teacher"
    )
    data = replace(sweep(numbered(late)), finish="python run.py -m a=1")
    assert [verdict.remedy for verdict in verdicts(data)] == ["python run.py -m a=1"]


def test_jobs_that_finished_without_an_evaluation_are_refused() -> None:
    jobs = jobs_of({"none": [40.0, 41.0], "kd": [42.0, 43.0]})
    assert only([replace(one, outcome=replace(one.outcome, rows=())) for one in jobs]).missing == (
        "no job with the teacher was evaluated"
    )
    assert (
        contests(sweep(numbered([replace(one, outcome=replace(one.outcome, rows=())) for one in jobs]))) == []
    )


def test_the_comparisons_of_a_verdict_share_its_error() -> None:
    pairs = {"none": [40.0, 45.0, 38.0], "kd": [42.0, 48.0, 42.0]}
    (verdict,) = found([*jobs_of(pairs), *jobs_of(pairs, pruner="l1"), *jobs_of(pairs, ratio=0.5)])
    assert [lesson.gain.level for lesson in verdict.lessons if lesson.gain] == [
        pytest.approx(1 - 0.05 / 3)
    ] * 3
    assert [(lesson.method, lesson.ratio) for lesson in verdict.lessons] == [
        ("l1", 0.3),
        ("taylor", 0.3),
        ("taylor", 0.5),
    ]


def test_many_comparisons_are_counted_with_their_smallest_and_largest_gain() -> None:
    jobs = [
        one
        for n, (pruner, ratio) in enumerate([("l1", 0.3), ("l1", 0.5), ("taylor", 0.3), ("taylor", 0.5)])
        for one in jobs_of(
            {"none": [40.0, 41.0], "kd": [41.0 + n / 10, 42.0 + n / 10]}, pruner=pruner, ratio=ratio
        )
    ]
    (verdict,) = found(jobs)
    assert verdict.sentence.startswith(
        "Does distill=kd on streets, unet help? It helps 4 of 4 comparisons (+1.00 to +1.30 points)."
    )


def test_every_teaching_and_setting_is_a_verdict_of_its_own() -> None:
    jobs = jobs_of({"none": [40.0, 45.0], "kd": [42.0, 48.0], "cwd": [41.0, 46.0]})
    warm = [
        replace(one, setting=f"{one.setting}; distill.temperature=2") for one in jobs_of({"kd": [43.0, 47.0]})
    ]
    names = [(verdict.setting, verdict.teaching) for verdict in found([*jobs, *warm])]
    assert names == [(SETTING, "kd"), (SETTING, "cwd"), (SETTING, "kd; distill.temperature=2")]
    other = job_data(
        0, "taylor", 1.0, distill="kd", setting="camvid, unet; distill=kd; teacher.checkpoint=x; rounds=2"
    )
    assert (base(other), teaching_of(other)) == ("camvid, unet; rounds=2", "kd; teacher.checkpoint=x")


def test_controls_are_compared_with_and_without_a_teacher_too() -> None:
    jobs = jobs_of({"none": [40.0, 45.0], "self": [42.0, 48.0]})
    controls = [
        replace(one, outcome=replace(one.outcome, distill=distill), setting=f"{SETTING}; distill={distill}")
        for distill, values in {"none": [48.0, 49.0], "self": [48.5, 49.5]}.items()
        for seed, miou in enumerate(values)
        for one in [dense(0, miou, seed=seed)]
    ]
    (verdict,) = found([*jobs, *controls])
    assert [(lesson.method, lesson.at) for lesson in verdict.lessons] == [
        ("taylor", "taylor at 30 % of channels removed"),
        ("dense", "dense"),
    ]
    assert verdict.lessons[1].gain is not None
    assert verdict.lessons[1].gain.points == pytest.approx(0.5)


def test_epochs_and_seconds_come_from_the_curves(tmp_path: Path) -> None:
    jobs = []
    for distill, epochs in (("none", 3), ("kd", 2)):
        for seed in (0, 1):
            name = f"{distill}{seed}"
            entries = store(tmp_path, name, [50] * 8)
            facts = {"teacher_s_per_step": 0.2 + 0.1 * seed, "distill_s_per_step": 0.05, "overflows": 9.0}
            curve = [
                {
                    "epoch": n,
                    "loss": 1.0,
                    "lr": 0.1,
                    "select_miou_percent": 1.0,
                    "facts": facts if distill == "kd" else {},
                }
                for n in range(epochs)
            ]
            (tmp_path / "finetune" / name / files.CURVE).write_text(json.dumps(curve))
            jobs += [
                replace(one, outcome=replace(one.outcome, seed=seed))
                for one in jobs_of({distill: [40.0]}, root=tmp_path, names=entries)
            ]
    (verdict,) = found(jobs)
    (lesson,) = verdict.lessons
    assert lesson.epochs == (3, 2)
    assert lesson.extra_s_per_step == pytest.approx(0.3)
    assert lesson.gain is not None
    assert lesson.gain.over == "images"
    assert "They had 2 epochs with a teacher against 3 without." in verdict.sentence


def test_equal_epochs_are_said_not_to_be_equal_compute(tmp_path: Path) -> None:
    entries = store(tmp_path, "a", [50] * 8)
    pairs = {"none": [40.0, 45.0], "kd": [42.0, 48.0]}
    (verdict,) = found(jobs_of(pairs, root=tmp_path, names=entries))
    assert "Both had the same epochs, so the teacher's passes came on top" in verdict.sentence


def test_a_control_that_is_not_what_it_is_called_is_not_compared() -> None:
    def controls(protocol: str) -> list[JobData]:
        values = {"none": [40.0, 45.0, 38.0], "kd": [42.0, 47.1, 40.0]}
        return jobs_of(values, protocol=protocol, method=protocol)  # all of them cut and trained

    true = only(controls("half"))
    assert (true.missing, true.outcome) == ("", "helps")
    (verdict,) = found(controls("dense"))
    (lesson,) = verdict.lessons
    assert lesson.missing == "the control dense is none, since it was cut (job 3, 4, 5, 0, 1, 2)"
    assert (lesson.outcome, verdict.helps) == ("unknown", False)
    assert lesson.missing in verdict.sentence
    # nor does it say how far seeds scatter
    cut = jobs_of({"none": [40.0, 45.0, 38.0], "kd": [42.0, 47.1, 40.0]})
    wild = jobs_of({"none": [10.0, 90.0, 50.0]}, protocol="half", method="half")
    untrue = [
        replace(
            job, outcome=replace(job.outcome, rows=tuple(row for row in job.outcome.rows if not row.pruner))
        )
        for job in wild
    ]
    assert only([*cut, *untrue]).gain == only(cut).gain != only([*cut, *wild]).gain
