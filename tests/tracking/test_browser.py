"""The UI as a person sees it: a real server, started as ``make ui`` does, in a real browser."""

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from selenium import webdriver
from selenium.common.exceptions import WebDriverException
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait

from segprune.report.collect import collect
from segprune.report.write import NOTE, write_report
from segprune.result.headline import headline
from segprune.tracking.color import color
from segprune.tracking.contract import RunStart
from segprune.tracking.mlflow_tracker import MlflowTracking
from segprune.tracking.views import WORKFLOW
from tests.report.sweeps import job_data, store, write_job
from tests.rows import changed
from tests.tracking.conftest import free_port, stop_server, wait_for_server

BROWSER, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        BROWSER is None or DRIVER is None,
        reason="needs a browser and its driver; on Debian: apt-get install chromium chromium-driver",
    ),
]
SECONDS = 120  # a cold server on a busy machine
ARGUMENTS = (
    "--headless",
    "--no-sandbox",  # which root cannot have; the pages are our own
    "--disable-dev-shm-usage",
    "--disable-gpu",
    "--window-size=1700,1200",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",  # whatever a page asks for, it has this machine
)
MIOU = {
    ("taylor", 0.2): 48.6, ("taylor", 0.3): 48.09, ("taylor", 0.5): 45.1,
    ("fpgm", 0.2): 47.23, ("fpgm", 0.3): 46.11, ("fpgm", 0.5): 36.46,
    ("sirfp", 0.2): 44.97, ("sirfp", 0.3): 43.44, ("sirfp", 0.5): 36.41,
}  # fmt: skip
HEADLINE = (
    "No winner at 20 % of channels removed, streets, unet, nor at 30 % of channels removed, streets, unet"
)


@dataclass(frozen=True, kw_only=True)
class Sweep:
    outputs: Path
    folder: Path
    experiment_id: str
    run_id: str


@pytest.fixture(scope="module")
def sweep(tmp_path_factory) -> Sweep:
    """A finished sweep of nine jobs, as its jobs and its parent leave it, without the training."""
    outputs = tmp_path_factory.mktemp("outputs")
    folder, entries = outputs / "sweep", store(outputs / "store", "ab12", [1])
    tracking = MlflowTracking(uri=None, root=outputs, experiment="segprune-streets", flush_seconds=1000.0)
    parent = tracking.open(RunStart(name="sweep 01-02 03:04", kind="sweep", folder=folder, note="running"))
    for number, ((pruner, ratio), miou) in enumerate(MIOU.items()):
        names = [] if number else entries
        job = job_data(
            number, pruner, miou, ratio=ratio, root=outputs / "store", names=names, macs_kept=1 - ratio
        )
        rows = tuple(changed(row, ratio_reached=row.pruner and ratio) for row in job.outcome.rows)
        job = replace(job, outcome=replace(job.outcome, rows=rows))
        write_job(folder / str(number), job, typed=[f"pruner={pruner}", f"ratio={ratio}"])
        start = RunStart(
            name=f"{pruner}-r{ratio}-s0",
            kind="job",
            folder=folder / str(number),
            color=color(pruner, ratio),
            parent_run_id=parent.run_id,
        )
        run = tracking.open(start)
        run.params({"pruner.name": pruner, "ratio": ratio})
        run.metrics(headline(rows))
        run.close("FINISHED")
    for path in write_report(collect(folder, "pruner=taylor,fpgm,sirfp ratio=0.2,0.3,0.5"), folder):
        parent.file(path, "figures" if path.parent != folder else "")
    parent.note((folder / NOTE).read_text(encoding="utf-8"))
    parent.close("FINISHED")
    (experiment_id,) = re.findall(r"experiments/(\d+)/", parent.url_hint)
    return Sweep(outputs=outputs, folder=folder, experiment_id=experiment_id, run_id=parent.run_id)


@pytest.fixture(scope="module")
def leaderboard(sweep: Sweep) -> Iterator[str]:
    """The link that ``make ui`` prints, while it serves."""
    port, log = free_port(), sweep.outputs / "ui.log"
    line = [
        sys.executable,
        "-m",
        "segprune.tracking.ui",
        "--outputs",
        str(sweep.outputs),
        "--port",
        str(port),
    ]
    with log.open("wb") as file:
        process = subprocess.Popen(line, stdout=file, stderr=file, start_new_session=True)
    try:
        wait_for_server(process, f"http://127.0.0.1:{port}", log)
        (link,) = re.findall(r"segprune-streets: (http://\S+)", log.read_text())
        yield link
    finally:
        stop_server(process)


@pytest.fixture(scope="module")
def browser(tmp_path_factory) -> Iterator[webdriver.Chrome]:
    options = webdriver.ChromeOptions()
    options.binary_location = BROWSER
    for argument in (*ARGUMENTS, f"--user-data-dir={tmp_path_factory.mktemp('browser')}"):
        options.add_argument(argument)
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(executable_path=DRIVER))
    yield driver
    driver.quit()


def until(browser: webdriver.Chrome, found):
    """What ``found`` gives as soon as it is something; pages may change while they are read."""
    return WebDriverWait(browser, SECONDS, ignored_exceptions=[WebDriverException]).until(lambda _: found())


def rows(browser: webdriver.Chrome) -> list[list[str]]:
    """The lines of the runs table from the top, each with the words in its cells."""
    cells = browser.execute_script(
        "return [...document.querySelectorAll('[role=row][row-index] [role=gridcell]')]"
        ".map(cell => [Number(cell.closest('[role=row]').getAttribute('row-index')), cell.innerText])"
    )
    lines: dict[int, list[str]] = {}
    for number, words in cells:
        lines.setdefault(number, []).extend(words.split())
    return [lines[number] for number in sorted(lines)]


def text(browser: webdriver.Chrome) -> str:
    return browser.find_element(By.TAG_NAME, "body").text


def test_the_leaderboard_shows_nine_jobs_with_their_miou_the_best_first(leaderboard, browser):
    browser.get(leaderboard)
    until(browser, lambda: any(str(min(MIOU.values())) in line for line in rows(browser)))
    found = rows(browser)
    assert len(found) == 9
    best_first = sorted(MIOU, key=lambda job: -MIOU[job])
    for line, (pruner, ratio) in zip(found, best_first, strict=True):
        assert f"{pruner}-r{ratio}-s0" in line
        assert {pruner, f"{ratio}", f"{MIOU[pruner, ratio]}"} <= set(line)


def test_the_parent_run_says_at_first_sight_what_came_of_the_sweep(sweep, leaderboard, browser):
    site = leaderboard.split("/#/")[0]
    browser.get(f"{site}/#/experiments/{sweep.experiment_id}/runs/{sweep.run_id}?{WORKFLOW}")
    until(browser, lambda: HEADLINE in text(browser))


def test_the_report_opens_among_the_artifacts(sweep, leaderboard, browser):
    site = leaderboard.split("/#/")[0]
    browser.get(
        f"{site}/#/experiments/{sweep.experiment_id}/runs/{sweep.run_id}/artifacts/report.html?{WORKFLOW}"
    )
    browser.switch_to.frame(until(browser, lambda: browser.find_element(By.TAG_NAME, "iframe")))
    assert HEADLINE in until(browser, lambda: text(browser))
    browser.switch_to.default_content()


def test_the_report_opens_by_itself_and_asks_for_nothing(sweep, browser):
    (page,) = (sweep.outputs / "mlartifacts").rglob("report.html")
    browser.get(page.as_uri())
    assert HEADLINE in text(browser)
    pictures = browser.execute_script("return [...document.images].map(image => image.naturalWidth)")
    assert len(pictures) > 5
    assert all(pictures)
    asked = browser.execute_script("return performance.getEntriesByType('resource').map(entry => entry.name)")
    assert [name for name in asked if not name.startswith("data:")] == []
