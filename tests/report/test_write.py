import csv
import json
import re
import shutil
from pathlib import Path

import pytest

from segprune.errors import CheckpointError
from segprune.report.collect import collect
from segprune.report.write import write_report
from segprune.result.row import columns, from_record, to_record
from tests.report.sweeps import job_data, store, write_job
from tests.rows import VERSION_1, version_1


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "store"
    job = job_data(0, "taylor", 45.0, root=root, names=store(root, "ab12", [1]))
    write_job(tmp_path / "sweep" / "0", job)
    write_job(tmp_path / "sweep" / "1", job_data(1, "fgp", None))
    return tmp_path / "sweep"


def test_the_whole_report_is_written(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "new" / "report"
    written = write_report(collect(folder, "pruner=taylor,fgp ratio=0.3"), out)
    assert all(path.is_file() for path in written)
    assert [path.relative_to(out).as_posix() for path in written[:4]] == [
        "report.html",
        "benchmark_summary.json",
        "note.md",
        "rows.csv",
    ]
    pictures = {path.stem for path in written if path.suffix == ".png"}
    assert pictures == {path.stem for path in written[4:] if path.suffix == ".csv"}
    assert {"cost-1", "retention-1-channels", "classes-1-channels", "layers-0-taylor"} <= pictures
    with (out / "rows.csv").open(newline="") as file:
        assert [line["stage"] for line in csv.DictReader(file)] == ["dense", "pruned", "finetuned"]
    for name in ("report.html", "note.md"):
        assert "python run.py -m pruner=taylor,fgp ratio=0.3" in (out / name).read_text()


def test_written_again_it_is_the_same(folder: Path, tmp_path: Path) -> None:
    shutil.rmtree(tmp_path / "store" / "train")  # fewer figures
    shutil.rmtree(tmp_path / "store" / "finetune")
    first = write_report(collect(folder, "pruner=taylor,fgp"), tmp_path / "a")
    second = write_report(collect(folder, "pruner=taylor,fgp"), tmp_path / "b")
    assert [path.read_bytes() for path in first] == [path.read_bytes() for path in second]


def test_what_the_page_misses_is_in_the_summary_too(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "store" / "prune" / "ab12" / "plan.json").unlink()
    write_report(collect(folder, ""), tmp_path / "out")
    summary = json.loads((tmp_path / "out" / "benchmark_summary.json").read_text())
    assert "prune/ab12/plan.json is not there" in summary["jobs"][0]["missing"]


def test_reports_of_older_sweeps_are_still_built(tmp_path: Path) -> None:
    jobs = [job_data(n, name, 40.0 + n) for n, name in enumerate(("taylor", "l1", "random"))]
    for job in jobs:
        rows = [version_1(row) for row in job.outcome.rows]
        # the summary of a job named no entries then, and knew no controls
        asked = {
            key: getattr(job.outcome, key)
            for key in ("dataset", "model", "pruner", "budget", "ratio", "seed")
        }
        status = {"asked": asked, "seconds": 1.5, "status": "done", "was_reused": False, "rows": rows}
        (tmp_path / "sweep" / job.number).mkdir(parents=True)
        (tmp_path / "sweep" / job.number / "status.json").write_text(json.dumps(status))
    page, summary, note, table, *figures = write_report(collect(tmp_path / "sweep", ""), tmp_path / "out")
    text = re.sub(r"base64,[\w+/=]+", "", page.read_text())
    assert "nan" not in text
    assert text.count("<td>80.0</td>") == 1  # mIoU kept by taylor
    assert "|random|30.0|0|30.0|100.0|42.00|84.0|x1.50|done|" in note.read_text()
    assert {"cost-1", "speed-1", "retention-1-channels"} <= {path.stem for path in figures}
    with table.open(newline="") as file:
        lines = list(csv.DictReader(file))
    assert set(lines[0]) == set(columns())
    for line in lines:  # what was not measured is empty, and nothing else
        empty = {name for name, value in line.items() if not value}
        assert set(columns()) - set(VERSION_1) - {"schema_version"} <= empty
    first = json.loads(summary.read_text())["jobs"][0]["rows"]
    assert first == [to_record(from_record(version_1(row))) for row in jobs[0].outcome.rows]


def test_a_folder_that_is_no_sweep_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="holds no job"):
        write_report(collect(tmp_path, ""), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_figures_of_an_earlier_report_go_and_files_of_others_stay(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    first = write_report(collect(folder), out)
    own = [out / "figures" / name for name in ("cost-2.png", "notes.txt")]
    for path in own:
        path.write_text("mine")
    (out / "rows.csv").with_name("figure.png").write_text("mine")
    (tmp_path / "store" / "prune" / "ab12" / "plan.json").unlink()
    second = write_report(collect(folder), out)
    gone = {*first} - {*second}
    assert "layers-0-taylor.png" in {path.name for path in gone}
    assert {*out.rglob("*")} == {*second, *own, out / "figure.png", out / "figures"}
