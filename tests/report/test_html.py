import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
from matplotlib.figure import Figure

from segprune.report.collect import SweepData
from segprune.report.gallery import Picture
from segprune.report.html import html
from segprune.report.verdict import contests
from tests.report.sweeps import dense, job_data, store, sweep, unfinished
from tests.report.test_timing import timed
from tests.rows import changed

EVIL = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)>{{ 7 * 7 }}"


class Reader(HTMLParser):
    """Tags, what they point to, and the text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.words: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())


def page(data: SweepData, caption: str = "what it shows") -> Reader:
    pictures = [
        Picture(name=kind, kind=kind, caption=caption, table=data.rows, draw=lambda: Figure((1, 1)))
        for kind in ("method", "job")
    ]
    return Reader(html(data, contests(data), pictures))


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Reader:
    """Three methods with two seeds, the last beyond doubt; controls; a failed one; one with lost predictions."""
    root = tmp_path_factory.mktemp("store")
    hits = {"random": ([50, 52], 30.0), "l1": ([60, 61], 35.0), "taylor": ([80, 82], 45.0)}
    jobs = [
        job_data(
            10 * n + seed, name, miou, seed=seed, root=root, names=store(root, f"{name}{seed}", images * 4)
        )
        for n, (name, (images, miou)) in enumerate(hits.items())
        for seed in (0, 1)
    ]
    jobs += [dense(50 + seed, 52.0, seed=seed) for seed in (0, 1)]
    (root / "eval" / "random0" / "predictions.png").unlink()
    return page(sweep([*jobs, job_data(99, "fgp", None)]))


def test_the_page_loads_and_runs_nothing(whole: Reader) -> None:
    assert not {"script", "link", "iframe", "object", "form", "base"} & set(whole.tags)
    attributes = dict(whole.attributes)
    assert attributes["content"] is not None
    assert ("http-equiv", "Content-Security-Policy") in whole.attributes
    assert any(
        value == "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
        for _, value in whole.attributes
    )
    sources = [value for name, value in whole.attributes if name in ("src", "href")]
    assert sources
    assert all(value is not None and value.startswith("data:image/png;base64,") for value in sources)
    assert not any(name.startswith("on") for name, _ in whole.attributes)


def test_every_picture_has_a_text(whole: Reader) -> None:
    assert whole.tags.count("img") == sum(bool(value) for name, value in whole.attributes if name == "alt")


def test_the_headline_names_the_winner_with_its_uncertainty(whole: Reader) -> None:
    assert (
        "At 30 % of channels removed, streets, unet, taylor keeps the most mIoU of the 3 methods"
        in whole.text
    )
    assert "(97.5 % interval" in whole.text
    assert "over 2 seeds) ahead of l1." in whole.text


def test_the_dense_network_is_there_to_compare_with(whole: Reader) -> None:
    assert "Dense network: mIoU 50.00 %" in whole.text


def test_failures_and_losses_are_told(whole: Reader) -> None:
    assert "9 jobs, 1 failed" in whole.text
    assert "BudgetError: out of reach" in whole.text
    assert "job 0: eval/random0/predictions.png is not there" in whole.text


def test_a_page_of_a_sweep_that_is_not_finished_says_what_is_missing() -> None:
    killed = unfinished(job_data(1, "l2", 40.0), "killed", "stopped before its end")
    data = sweep([job_data(0, "l1", 40.0), killed, job_data(2, "fgp", None)])
    text = page(replace(data, is_noted=True, unknown=("3",), finish="python run.py -m a=1")).text
    assert "4 jobs asked: 1 done, 1 failed, 1 killed, 1 not started." in text
    assert "Not all jobs have finished. This finishes the sweep; what is done comes from the store:" in text
    assert text.count("python run.py -m a=1") == 1
    assert "Not finished job method" in text
    assert "1 l2 streets, unet channels 0.300 0 killed stopped before its end 3 - - - - - not started" in text
    assert text.index("BudgetError: out of reach") < text.index("Not finished job method")


def test_what_reproduces_the_sweep_is_told(whole: Reader) -> None:
    assert "python run.py -m pruner=l1,taylor ratio=0.3" in whole.text
    for fact in (
        "streets val",
        "96x128 px",
        "seeds seed 0; seed 1",
        "torch 2.9, python 3.11",
        "train/taylor1 prune/taylor1",
    ):
        assert fact in whole.text


def test_asked_and_reached_stand_side_by_side(whole: Reader) -> None:
    (line,) = re.findall(r"taylor 0 1 45\.00 0\.00 45\.0 to 45\.0 [-. \d]*", whole.text)
    # no distance to itself; asked, reached; MACs and params kept; GMACs, Mparams; mIoU kept; ms, speed-up
    assert line.split()[8:] == [
        "-",
        "-",
        "-",
        "30.0",
        "30.0",
        "100.0",
        "100.0",
        "0.712",
        "0.485",
        "90.0",
        "12.5",
        "1.50",
    ]


def test_no_winner_without_controls_and_the_command_that_adds_them() -> None:
    found = page(sweep([job_data(0, "taylor", 45.0), job_data(1, "l1", 40.0)]))
    assert (
        "No winner at 30 % of channels removed, streets, unet: no control random; no dense network "
        "finetuned by the same schedule; fewer than" in found.text
    )
    assert "python run.py -m ratio=0.3 pruner=taylor seed=0,1,2 protocol=fair" in found.text
    assert "keeps the most" not in found.text


def test_one_command_for_all_budgets_is_shown_once() -> None:
    found = page(sweep([job_data(n, "taylor", 45.0, ratio=ratio) for n, ratio in enumerate((0.2, 0.3, 0.5))]))
    # at 20 and 50 % for the same reasons: the jobs reached 30 %
    assert found.text.count("No winner") == 2
    assert found.text.count("To find out, run this; finished jobs are not run again.") == 1
    assert found.text.count("seed=0,1,2") == 1


def test_what_one_seed_does_not_tell_is_a_dash() -> None:
    found = page(sweep([job_data(0, "taylor", 45.0)]))
    assert "taylor 0 45.00 - - - - - 30.0" in found.text


def test_controls_stand_below_the_methods_with_their_distance(tmp_path: Path) -> None:
    jobs = [job_data(seed, "taylor", 45.0, seed=seed) for seed in (0, 1)]
    jobs += [dense(9 + seed, 44.0 - seed, seed=seed) for seed in (0, 1)]
    found = page(sweep(jobs))
    assert "dense network, finetuned by the same schedule 0 1 43.50 0.71 100.0 taylor 1.50" in found.text


def test_what_is_missing_is_shown_as_missing() -> None:
    found = page(sweep([job_data(0, "l1", None)], overrides=()))
    assert "The jobs have no predictions." in found.text
    assert "The jobs have no table of classes." in found.text
    assert "The command of this sweep is not known." in found.text
    assert "No job finished." in found.text
    assert "versions unknown" in found.text


def test_hostile_names_stay_text(tmp_path: Path) -> None:
    names = store(tmp_path, "ab12", [1])
    about = {"versions": {EVIL: EVIL}, "python": EVIL}
    (tmp_path / "finetune" / "ab12" / "net.json").write_text(json.dumps(about))
    job = job_data(
        0, EVIL, 40.0, setting=EVIL, root=tmp_path, names=names, dataset=EVIL, split=EVIL, device=EVIL
    )
    failed = job_data(1, "l1", None, setting=EVIL)
    failed = replace(failed, outcome=replace(failed.outcome, reason=EVIL))
    found = page(sweep([job, failed], overrides=(f"pruner={EVIL}",)), caption=EVIL)
    assert "script" not in found.tags
    assert not any(name.startswith("on") for name, _ in found.attributes)
    assert "{{ 7 * 7 }}" in found.text
    assert found.text.count("<script>alert(1)</script>") > 5


def test_few_images_are_told_beside_the_verdicts() -> None:
    one = job_data(0, "l1", 40.0)
    few = replace(
        one,
        outcome=replace(one.outcome, rows=tuple(changed(row, report_images=7) for row in one.outcome.rows)),
    )
    assert "7 report images of streets val: fewer than 60" in page(sweep([few])).text
    assert "fewer than 60" not in page(sweep([one])).text


def test_times_that_cannot_be_compared_are_told_above_the_table() -> None:
    jobs = [job_data(0, "l1", 40.0), job_data(1, "random", 41.0)]
    for index, latency_ms in enumerate((10.0, 100.0)):
        first, *others = jobs[index].outcome.rows
        rows = (timed(first, latency_ms), *others)
        jobs[index] = replace(jobs[index], outcome=replace(jobs[index].outcome, rows=rows))
    assert "Times cannot be compared" in page(sweep(jobs)).text
    assert "Times cannot be compared" not in page(sweep(jobs[:1])).text


def test_a_teacher_has_a_verdict_and_a_line_for_each_method(whole: Reader) -> None:
    jobs = [
        job_data(
            10 * n + seed,
            "l1",
            40.0 + 3 * n + seed,
            seed=seed,
            distill=name,
            setting=f"streets, unet; distill={name}",
        )
        for n, name in enumerate(("none", "kd"))
        for seed in (0, 1)
    ]
    found = page(sweep(jobs)).text
    assert (
        "Does distill=kd on streets, unet help? It helps l1 at 30 % of channels removed (3.00 points" in found
    )
    assert "streets, unet kd l1 channels 30.0 0 1 40.50 43.50 3.00" in found
    assert "Does a teacher help?" not in whole.text


def test_cautions_name_the_job_of_runs_with_one_name() -> None:
    told = page(
        sweep([job_data(n, "l1", 40.0, setting=f"loss {n}", speedup=0.5 + n / 10) for n in (0, 1)])
    ).text
    run = "taylor-r0.3"
    assert f"although cut: {run} (job 0) in eager (x0.50), {run} (job 1) in eager (x0.60)." in told
