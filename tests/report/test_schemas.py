"""docs/evaluation_report.md names every key of the JSON files, and no other."""

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from segprune.report import summary
from segprune.report.verdict import contests
from segprune.result import evaluation_report, row
from segprune.result.metrics import declared
from segprune.stage.eval import SCORES
from segprune.stage.oracle import OracleReport
from tests.report.sweeps import dense, job_data, sweep, unfinished
from tests.result.test_evaluation_report import TUNED, report
from tests.rows import CUT, DENSE

PAGE = Path(__file__).parents[2] / "docs" / "evaluation_report.md"
WHOLE = ("baseline.metrics", "jobs[].entries", "jobs[].rows")
"""What is described as one thing."""


def section(title: str) -> str:
    return PAGE.read_text(encoding="utf-8").split(f"\n## {title}\n")[1].split("\n## ")[0]


def documented(title: str) -> set[str]:
    """The keys of a section's tables; one that stands for all metrics is all of them."""
    keys = re.findall(r"^\| `([^`]+)` \|", section(title), re.MULTILINE)
    return {name for key in keys for name in (whole(key) if "<metric>" in key else [key])}


def whole(key: str) -> list[str]:
    if not key.endswith("_points"):
        return [key.replace("<metric>", name) for name in declared()]
    percent = [name for name, one in declared().items() if one.unit == "%" and not one.is_relative]
    return [key.replace("<metric>", name.removesuffix("_percent")) for name in percent]


def keys(value: Any, name: str = "") -> Iterator[str]:
    """Dotted names of everything in a JSON object; lists of plain values are one thing."""
    if name in WHOLE:
        yield name
    elif isinstance(value, dict):
        for key, inner in value.items():
            yield from keys(inner, f"{name}.{key}" if name else key)
    elif isinstance(value, list) and value and isinstance(value[0], dict):
        for inner in value:
            yield from keys(inner, f"{name}[]")
    else:
        yield name


def test_the_evaluation_report_is_documented_key_by_key() -> None:
    known = {"stage": "dense", "fingerprint": "ab", "miou_percent": 50.0, "since": "l1-r0.3"}
    made = report(DENSE, CUT, TUNED, more=("dice", "precision", "recall"), ancestor=known)
    assert made["candidate"].keys() == made["baseline"].keys()
    assert made["candidate"]["metrics"].keys() == made["baseline"]["metrics"].keys()
    oracle = {name for name in documented("evaluation_report.json") if name.startswith("oracle.")}
    found = set(keys({key: value for key, value in made.items() if key != "candidate"}))
    # the networks of this report have two of the scores of a class; the others have the same keys
    of_iou = [
        f"classes[].{key}" for key in ("baseline_iou_percent", "candidate_iou_percent", "iou_change_points")
    ]
    assert found.issuperset(of_iou)
    found |= {key.replace("iou", score) for key in of_iou for score in SCORES}
    assert documented("evaluation_report.json") - oracle == found


def test_the_oracle_is_documented_key_by_key() -> None:
    agreement = SimpleNamespace(precision_at_k=0.5, expected_precision=0.5, spearman=0.5)
    known = {"joint_loss_change": 1.0, "joint_loss_change_random": 1.0, "base_loss": 1.0, "channels": [0]}
    found = OracleReport.metrics(SimpleNamespace(agreement=agreement, **known))  # type: ignore[arg-type]
    names = {name for name in documented("evaluation_report.json") if name.startswith("oracle.")}
    assert names == {f"oracle.{name}" for name in found}


def test_the_summary_is_documented_key_by_key() -> None:
    jobs = [
        job_data(10 * n + seed, name, 40.0 + n, seed=seed)
        for n, name in enumerate(("l1", "l2"))
        for seed in (0, 1)
    ]
    jobs += [
        job_data(20 + seed, "l1", 41.0, seed=seed, distill="kd", setting="streets, unet; distill=kd")
        for seed in (0, 1)
    ]
    late = unfinished(job_data(98, "fgp", 40.0))
    data = sweep([*jobs, *(dense(90 + seed, 50.0, seed=seed) for seed in (0, 1)), late])
    data = replace(data, twins={"<number>": "0"})
    found = set(keys(summary.summary(data, contests(data))))
    # null for the best, where the others have an object
    found -= {"contests[].standings[].behind"}
    assert {name.removesuffix("[]") for name in documented("benchmark_summary.json")} == found


def test_rows_are_documented_field_by_field() -> None:
    assert documented("Rows") == set(row.columns())


def test_the_versions_are_those_of_the_code() -> None:
    versions = {
        "evaluation_report.json": evaluation_report.SCHEMA_VERSION,
        "benchmark_summary.json": summary.SCHEMA_VERSION,
        "Rows": row.SCHEMA_VERSION,
    }
    for title, version in versions.items():
        assert section(title).strip().startswith(f"`schema_version` {version}.")
