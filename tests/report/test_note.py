from dataclasses import replace

from segprune.report.collect import SweepData
from segprune.report.note import parent_note
from segprune.report.verdict import contests
from segprune.tracking.record import TAG_CHARACTERS
from tests.report.sweeps import dense, job_data, sweep, unfinished


def note(data: SweepData) -> str:
    return parent_note(data, contests(data))


def table(text: str) -> list[list[str]]:
    return [line.strip("|").split("|") for line in text.splitlines() if line.startswith("|")]


def test_the_headlines_come_first_and_the_command_and_the_jobs_after_them() -> None:
    lines = note(
        sweep([job_data(0, "taylor", 45.0), job_data(1, "taylor", 40.0, ratio=0.5, ratio_reached=0.5)])
    ).splitlines()
    both = "30 % of channels removed, streets, unet, nor at 50 % of channels removed, streets, unet: "
    assert lines[0].startswith(f"- **No winner at {both}")
    assert "2 jobs, 0 failed." in lines[2]
    assert lines[4:7] == ["```", "python run.py -m pruner=l1,taylor ratio=0.3", "```"]


def test_every_job_has_a_line_with_what_was_asked_reached_and_kept() -> None:
    done = job_data(0, "taylor", 45.0, macs_kept=0.55, speedup=1.5)
    titles, rule, *jobs = table(note(sweep([done, job_data(1, "fgp", None), dense(2, 52.0, seed=4)])))
    assert (titles[0], titles[5], set(rule)) == ("method", "mIoU %", {"---"})
    assert jobs == [
        ["taylor", "30.0", "0", "30.0", "55.0", "45.00", "90.0", "x1.50", "done"],
        ["fgp", "30.0", "0", *["-"] * 5, "**FAILED** BudgetError: out of reach"],
        ["dense", "-", "4", "-", "100.0", "52.00", "104.0", "x1.50", "done"],
    ]


def test_what_is_missing_is_told_with_the_command_that_finishes_it() -> None:
    killed = unfinished(job_data(1, "l1", 40.0), "killed", "stopped before its end")
    data = sweep([job_data(0, "taylor", 45.0), killed, unfinished(job_data(2, "l2", 40.0))])
    text = note(replace(data, is_noted=True, finish="python run.py -m a=1"))
    assert "\n3 jobs asked: 1 done, 1 killed, 1 not started. Intervals" in text
    assert "\n```\npython run.py -m a=1\n```\n" in text
    assert [line[-1] for line in table(text)[2:]] == [
        "done",
        "**KILLED** stopped before its end",
        "not started",
    ]


def test_budgets_are_named_where_they_differ() -> None:
    lines = table(note(sweep([job_data(0, "taylor", 45.0), job_data(1, "taylor", 45.0, budget="macs")])))[2:]
    assert [line[1] for line in lines] == ["30.0 of channels", "30.0 of macs"]


def test_winners_are_named_before_open_contests() -> None:
    lost, won = contests(
        sweep([job_data(n, "taylor", 45.0, ratio=ratio) for n, ratio in enumerate((0.2, 0.5))])
    )
    won = replace(won, winner="taylor", standings=won.standings * 2)
    first, second = parent_note(sweep([job_data(0, "taylor", 45.0)]), [lost, won]).splitlines()[:2]
    assert first.startswith("- **At 50 % of channels removed")
    assert second.startswith("- **No winner at 20 %")


def test_jobs_that_are_left_out_are_counted() -> None:
    jobs = [job_data(n, "taylor", 45.0, names=["eval/ab12"]) for n in range(3)]
    assert "1 jobs, 0 failed; 2 more equal one of them in settings and results." in note(sweep(jobs))


def test_whether_a_teacher_helps_is_said_before_all_else() -> None:
    jobs = [
        job_data(4 * n + seed, "taylor", 40.0 + n + seed, seed=seed, distill=distill, setting=setting)
        for n, distill in enumerate(("none", "kd"))
        for setting in [f"streets, unet; distill={distill}"]
        for seed in (0, 1)
    ]
    first, second = note(sweep(jobs)).splitlines()[:2]
    assert first.startswith("- **Does distill=kd on streets, unet help? It helps taylor")
    assert second.startswith("- **No winner at 30 %")


def test_a_threshold_and_what_was_not_timed_are_dashes() -> None:
    job = job_data(
        0, "slimming", 45.0, ratio=None, budget="threshold", speedup=None, realisation_efficiency=None
    )
    (line,) = table(note(sweep([job], overrides=())))[2:]
    assert (line[1], line[7]) == ("-", "-")
    assert "```" not in note(sweep([job], overrides=()))


def test_what_does_not_fit_is_counted() -> None:
    data = sweep([job_data(n, f"method{n:03}", 40.0) for n in range(500)])
    text = parent_note(data, [])
    shown = len(table(text)) - 2
    assert 10 < shown < 500
    assert text.endswith(f"|done|\n\nMore jobs in the report: {500 - shown}.\n")
    assert TAG_CHARACTERS - 100 < len(text) <= TAG_CHARACTERS
    whole = parent_note(data, [], limit=10**6)
    assert len(table(whole)) == 502
    assert "More jobs" not in whole
    assert parent_note(data, [], limit=len(whole)) == whole
    assert len(table(parent_note(data, [], limit=len(whole) - 1))) < 502


def test_names_stay_text() -> None:
    job = job_data(0, "l1", None, method="a|b_c*`<img>", setting="x [y](z)")
    job = replace(job, outcome=replace(job.outcome, reason="no\n\n# title " + "word " * 99))
    text = note(sweep([job]))
    assert r"|a\|b\_c\*\`&lt;img&gt;|" in text
    assert r"x \[y\](z)" in text
    assert "|**FAILED** no # title word" in text
    assert "word...|" in text
