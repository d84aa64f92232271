import json
import logging
import os
from pathlib import Path
from typing import Any

import pytest

from segprune.errors import ConfigError, SegpruneError
from segprune.reproduce.__main__ import as_found, changes, command_of, compared, composed, main
from segprune.reproduce.origin import FILE
from tests.test_cli import TINY, run
from tests.test_conf import CONF
from tests.warm import Warm

MADE: dict[str, Any] = {"format": 1, "overrides": [], "device": "cpu", "threads": 2}


def test_the_command_says_what_was_typed_and_goes_to_places_of_its_own() -> None:
    typed = [
        *(
            "experiment=camvid_cpu",
            "sweep=grid",
            "finetune@between=standard",
            "+pruner.fault=none",
        ),
        *(
            "hydra.run.dir=/x",
            "+hydra.callbacks.a._target_=os.system",
            "tracking=silent",
            "store.reuse=false",
        ),
        *("paths.outputs=/x", "threads=1", "device=auto", "workers=4", "ratio=0.4"),
        "weights=retrained",
    ]
    assert command_of({**MADE, "overrides": typed}, Path("/new place")) == [
        *("run", "experiment=camvid_cpu", "finetune@between=standard", "+pruner.fault=none"),
        *("ratio=0.4", "init=scratch", "device=cpu", "threads=2"),
        *('store.root="/new place/store"', 'hydra.run.dir="/new place/run"'),
    ]


def test_a_run_that_searched_by_a_clock_is_repeated_with_what_it_found() -> None:
    stages = {"train": {"makes": "dense"}, "prune": {"budget": {"macs_ratio": None}}}
    config = {"budget": {"macs_ratio": None}, "seed": 0, "stage": stages}
    made = {**MADE, "overrides": ["budget=latency"], "config": config}
    given = as_found(made, 0.625)
    assert command_of(given, Path("/new"))[:3] == ["run", "budget=latency", "budget.macs_ratio=0.625"]
    assert given["config"] == {
        "budget": {"macs_ratio": 0.625},
        "seed": 0,
        "stage": {"train": {"makes": "dense"}, "prune": {"budget": {"macs_ratio": 0.625}}},
    }
    assert as_found(made, None) is made
    assert as_found(given, 0.625) is given
    other = {**made, "config": {"budget": {"of": "macs"}, "seed": 0}}
    assert as_found(other, None) is other


def test_a_flag_is_no_override() -> None:
    with pytest.raises(ConfigError, match=r"'--config-dir=/x' was recorded as an override and is none"):
        command_of({**MADE, "overrides": ["--config-dir=/x"]}, Path("/new"))
    for wrong in ("--help", "hydra.callbacks=x", "--config-dir"):
        with pytest.raises(
            ConfigError, match=rf"'{wrong}' was recorded as a place of configurations and is none"
        ):
            command_of({**MADE, "places": ["--config-name=x", wrong]}, Path("/new"))


def test_the_command_is_composed_as_it_would_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "conf" / "pruner").mkdir(parents=True)
    mine = (CONF / "pruner" / "fpgm.yaml").read_text()
    (tmp_path / "conf" / "pruner" / "mine.yaml").write_text(mine)
    monkeypatch.chdir(tmp_path)
    made = {
        **MADE,
        "places": [f"--config-dir={tmp_path}/conf"],
        "overrides": ["pruner=mine", "dataset.seed=3"],
    }
    command = command_of(made, tmp_path / "a b")
    config = composed(command)
    assert (config["pruner"]["norm_mix"], config["dataset"]["seed"], config["threads"]) == (0.0, 3, 2)
    assert config["store"]["root"] == f"{tmp_path}/a b/store"
    with pytest.raises(ConfigError, match=r"the recorded command is not valid any more: .*gone"):
        composed(["run", "pruner=gone"])


@pytest.mark.slow
def test_what_cannot_be_found_here_is_told_with_the_folder_of_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    there = tmp_path / "there"
    there.mkdir()
    made = {**MADE, "overrides": ["dataset=folder", "dataset.root=data", "dataset.classes=[a,b]"]}
    made |= {"config": {"paths": {"outputs": "/x"}}, "machine": {"folder": str(there)}}
    made |= {"code": {"sources": "", "dirty": "true", "commit": "0"}, "packages": {}}
    monkeypatch.chdir(tmp_path)
    command = command_of(made, tmp_path / "out")
    with pytest.raises(
        SegpruneError, match=rf"data is not a folder.* begin here, in {tmp_path}; .* in {there}\."
    ):
        changes(made, command)
    monkeypatch.chdir(there)
    with pytest.raises(SegpruneError, match=r"data is not a folder") as told:
        changes(made, command)
    assert "begin here" not in str(told.value)


def test_rows_that_differ_are_named(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    dense = {"stage": "dense", "miou_percent": 1.0}
    assert compared([dense], [dense]) == 0
    assert compared([dense], [{**dense, "miou_percent": 2.0}]) == 1
    assert compared([], []) == 0
    assert compared([{**dense, "fingerprint": "a"}], [{**dense, "fingerprint": "b"}], was_found=True) == 0
    assert compared([{**dense, "fingerprint": "a"}], [{**dense, "fingerprint": "b"}]) == 1
    assert [record.message for record in caplog.records] == [
        "repeated: all 1 rows are equal bit for bit, times left out",
        "differs: row dense: miou_percent was 1.0, is 2.0",
        "the run has no rows, so there is nothing to compare with",
        "repeated: all 1 rows are equal bit for bit, times left out",
        "differs: row dense: fingerprint was a, is b",
    ]


def test_on_a_gpu_the_tolerance_is_told(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    then, now = ({"stage": "dense", "miou_percent": value} for value in (50.0, 51.0))
    assert compared([then], [now], is_on_gpu=True) == 0
    assert compared([then], [now], is_on_gpu=False) == 1
    assert caplog.messages[0] == (
        "repeated: all 1 rows are equal within 2 points of per cent and 10 % of other numbers, times left out"
    )


def test_a_run_without_a_record_is_refused_in_one_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(tmp_path)]) == 1
    assert capsys.readouterr().err.startswith("segprune: the run left no origin.json")


@pytest.mark.slow
def test_a_job_of_a_sweep_is_repeated_bit_for_bit(tmp_path: Path) -> None:
    swept = run(tmp_path, "-m", "sweep=grid", "hydra.sweeper.params={pruner: 'random,l1', ratio: 0.4}", *TINY)
    assert swept.returncode == 0, swept.stderr
    (job,) = tmp_path.glob("sweeps/*/*/1")
    assert json.loads((job / FILE).read_text())["threads"] == 1
    environment = {**os.environ, "SEGPRUNE_OUTPUTS": str(tmp_path / "again")}
    environment.pop("OMP_NUM_THREADS", None)  # all threads, were the number not recorded
    process = Warm(["-m", "segprune.reproduce", str(job), "--run", "tracking=silent"], environment)
    said, error = process.communicate()
    assert process.returncode == 0, said + error
    assert "pruner=l1 ratio=0.4" in said
    assert "code, packages, machine, configuration and data are as they were" in said
    assert "repeated: all 4 rows are equal bit for bit" in said
    assert len(list(tmp_path.glob("again/reproduced/*/store/train/*/net.json"))) == 1
