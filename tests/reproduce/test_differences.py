import re
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from segprune.config.component import component
from segprune.reproduce.differences import differences, row_differences
from segprune.reproduce.origin import code, files, machine, own, packages


def config(folder: Path, **changes: object) -> dict[str, Any]:
    streets = {
        "_target_": "segprune.dataset.streets.streets",
        "size_hw": [32, 32],
        "counts": {"fit": 3, "select": 2, "report": 2},
        "data_seed": 0,
        "augment": {"crop_area": None, "flip": 0.0, "jitter": 0.0},
        "seed": 0,
        "cache_dir": f"{folder}/cache",
        **changes,
    }
    return {
        "dataset": streets,
        "paths": {"outputs": str(folder)},
        "store": {"root": f"{folder}/store"},
        "threads": None,
        "extensions": [],
    }


@pytest.fixture
def made(tmp_path: Path) -> dict[str, Any]:
    then = config(tmp_path / "then")
    data = component(then["dataset"], "dataset")()
    return {
        "config": then,
        "code": code(),
        "packages": packages(),
        "machine": machine(),
        "data": asdict(data.identity),
    }


def test_nothing_differs_where_only_places_do(made: Mapping[str, Any], tmp_path: Path) -> None:
    now = {**config(tmp_path / "now"), "threads": 3, "tracking": {"uri": None}}
    assert list(differences(made, now)) == []


def test_a_key_that_has_another_name_today_is_no_difference(made: Mapping[str, Any], tmp_path: Path) -> None:
    then = {**made, "config": {**made["config"], "weights": "retrained"}}
    assert list(differences(then, config(tmp_path) | {"init": "scratch"})) == []
    assert list(differences(then, config(tmp_path) | {"init": "inherited"})) == [
        "config: init was scratch, is inherited"
    ]


def test_other_data_is_told_by_its_role_and_an_other_key_by_its_values(
    made: Mapping[str, Any], tmp_path: Path
) -> None:
    now = config(tmp_path, counts={"fit": 3, "select": 2, "report": 1})
    assert list(differences(made, now)) == [
        "config: dataset.counts.report was 2, is 1",
        "data: other images, labels or augmentation in the role report",
    ]


@pytest.mark.parametrize(
    ("dirty", "line"),
    [
        ("false", r"code: commit 0123456789ab then, commit \S+.* now; git checkout 0123456789abcdef"),
        ("true", r"code: commit 0123456789ab with changes then, commit \S+.* now$"),
    ],
)
def test_other_code_is_told_by_its_commit(
    made: Mapping[str, Any], tmp_path: Path, dirty: str, line: str
) -> None:
    then = {**made, "code": {"commit": "0123456789abcdef", "dirty": dirty, "sources": "other"}}
    (found,) = differences(then, config(tmp_path))
    assert re.match(line, found)


def test_the_same_sources_at_another_commit_are_the_same_code(
    made: Mapping[str, Any], tmp_path: Path
) -> None:
    then = {**made, "code": {**made["code"], "commit": "0123456789abcdef"}}
    assert list(differences(then, config(tmp_path))) == []


def test_code_of_ones_own_and_files_that_changed_are_named(
    made: Mapping[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "my_losses.py").write_text("weight = 2\n")
    weights = tmp_path / "best.pth"
    weights.write_bytes(b"abc")
    now = {**config(tmp_path), "extensions": ["my_losses"], "model": {"checkpoint": str(weights)}}
    was = {**made, "config": {**now, "paths": made["config"]["paths"]}}
    then = {**was, "own": own(now), "files": files(now)}
    assert list(differences(then, now)) == []
    weights.write_bytes(b"")
    other = {**then, "own": {"package my_losses": "other"}}
    code_line, file_line = differences(other, now)
    assert code_line == f"own: package my_losses was other, is {own(now)['package my_losses']}"
    assert file_line == "files: model.checkpoint was ba7816bf8f01cfea, is e3b0c44298fc1c14"
    assert [line.partition(", is")[0] for line in differences(was, now)] == [  # a record of before
        *("own: package my_losses was not recorded", "files: model.checkpoint was not recorded"),
    ]


def test_other_packages_and_another_machine_are_named(made: Mapping[str, Any], tmp_path: Path) -> None:
    then = {
        **made,
        "packages": {**made["packages"], "torch": "1.0", "gone": "2.0"},
        "machine": {**made["machine"], "gpus": ["H100"]},
    }
    torch, gone, gpus = differences(then, config(tmp_path))
    assert torch == f"packages: torch was 1.0, is {made['packages']['torch']}"
    assert gone == "packages: gone was 2.0, is not there"
    assert gpus.startswith("machine: gpus was ['H100'], is ")


def test_rows_differ_in_values_and_not_in_times() -> None:
    dense = {"stage": "dense", "miou_percent": 0.1 + 0.2, "speedup": 1.0, "run": "a"}
    small = {"stage": "pruned", "miou_percent": 5.0}
    assert (
        list(row_differences([dense, small], [{**dense, "speedup": 1.1, "run": "b"}, small], is_on_gpu=False))
        == []
    )
    assert list(row_differences([dense], [{**dense, "miou_percent": 0.3}], is_on_gpu=False)) == [
        "row dense: miou_percent was 0.30000000000000004, is 0.3"
    ]
    assert list(row_differences([dense, small], [dense], is_on_gpu=False)) == [
        "row pruned: stage was pruned, is not there",
        "row pruned: miou_percent was 5.0, is not there",
    ]
    assert list(row_differences([dense], [dense, small], is_on_gpu=False)) == [
        "row pruned: stage was not there, is pruned",
        "row pruned: miou_percent was not there, is 5.0",
    ]


@pytest.mark.parametrize(
    ("name", "was", "close", "far"),
    [("miou_percent", 50.0, 52.0, 52.1), ("macs", 1000, 1110, 1120), ("logit_mse", 0.5, 0.45, 0.44)],
)
def test_on_a_gpu_numbers_may_differ_a_little(name: str, was: float, close: float, far: float) -> None:
    def found(value: float) -> list[str]:
        then, now = ({"stage": "dense", "gpu": "A100", name: one} for one in (was, value))
        return list(row_differences([then], [now], is_on_gpu=True))

    assert found(close) == []
    assert found(far) == [f"row dense: {name} was {was}, is {far}"]


def test_on_a_gpu_what_a_row_is_about_and_what_is_missing_may_not_differ() -> None:
    then = {"stage": "dense", "gpu": "A100", "seed": 10, "boundary_iou_percent": None}
    now = {"stage": "dense", "gpu": "H100", "seed": 11, "boundary_iou_percent": 1.0}
    assert len(list(row_differences([then], [now], is_on_gpu=True))) == 3
    assert len(list(row_differences([then, then], [then], is_on_gpu=True))) == 4


def test_what_a_clock_measured_of_the_budget_is_left_out() -> None:
    row = {"stage": "pruned", "budget": "latency_onnxruntime", "ratio_reached": 0.48}
    assert list(row_differences([row], [{**row, "ratio_reached": 0.51}], is_on_gpu=False)) == []
    macs = {**row, "budget": "macs"}
    assert len(list(row_differences([macs], [{**macs, "ratio_reached": 0.51}], is_on_gpu=False))) == 1
