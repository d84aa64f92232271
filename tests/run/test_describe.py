import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf

from segprune.checkpoint.ancestry import Ancestry, Cause, Step
from segprune.checkpoint.contract import DESCRIPTION, WEIGHTS
from segprune.dataset.contract import RoleSummary
from segprune.run.assemble import checked
from segprune.run.describe import cut_before, describe, describe_data, describe_result, run_start
from segprune.stage.kept import write_state
from segprune.stage.state import NetState
from segprune.store.fingerprint import fingerprint
from segprune.store.store import Store
from tests.test_conf import composed
from tests.tiny import tiny_context, tiny_data, tiny_net

pytestmark = pytest.mark.usefixtures("composer")


class Recorder:
    run_id, url_hint = "run-1", ""

    def __init__(self) -> None:
        self.logged: dict[str, Any] = {}
        self.texts: dict[str, str] = {}
        self.splits: list[str] = []
        self.figures: list[str] = []
        self.given: dict[str, str] = {}
        self.files: set[str] = set()

    def params(self, values: Mapping[str, Any], /) -> None:
        self.logged |= values

    def tags(self, values: Mapping[str, str], /) -> None:
        self.given |= values

    def text(self, content: str, /, name: str) -> None:
        self.texts[name] = content

    def file(self, path: Path, /, folder: str = "") -> None:
        self.files.add(f"{folder}/{path.name}")

    def figure(self, figure: object, /, name: str) -> None:
        self.figures.append(name)

    def dataset(self, *, split: str, **_: object) -> None:
        self.splits.append(split)


def run_of(folder: Path, *overrides: str):
    cfg = composed(f"hydra.runtime.output_dir={folder}", *overrides)
    return checked(OmegaConf.masked_copy(cfg, [str(key) for key in cfg if key != "hydra"]))


def test_params_are_flat_and_say_which_options_were_chosen(tmp_path: Path) -> None:
    tracker = Recorder()
    describe(tracker, run_of(tmp_path, "pruner=fpgm", "dataset.data_seed=12"), tiny_data())
    assert tracker.logged["pruner.name"] == "fpgm"
    assert tracker.logged["dataset.data_seed"] == 12
    assert tracker.logged["stages"] == "['train', 'prune', 'finetune', 'eval']"
    assert not any(key.startswith(("tracking", "store", "paths", "workers")) for key in tracker.logged)
    assert tracker.splits == ["train", "test"]


@pytest.mark.slow
def test_what_a_left_out_stage_would_have_used_is_not_logged(tmp_path: Path) -> None:
    tracker = Recorder()
    describe(tracker, run_of(tmp_path, "stages=[train,eval]"), tiny_data())
    cut = ("ratio", "phase_epochs", "rounds", "init", "pruner", "budget", "between", "calibration")
    unused = (*cut, "finetune")
    assert not [key for key in tracker.logged if key.split(".")[0] in unused]


def test_the_tracking_settings_are_not_written_down(tmp_path: Path) -> None:
    tracker = Recorder()
    run = run_of(tmp_path, "tracking.uri=http://user:secret@127.0.0.1:5000")
    describe(tracker, run, tiny_data())
    assert "secret" not in "".join(tracker.texts["config/config.yaml"])


@pytest.mark.slow
def test_a_dense_run_has_its_own_name_and_colour(tmp_path: Path) -> None:
    dense = run_start(run_of(tmp_path, "stages=[train,eval]"), "parent")
    cut = run_start(run_of(tmp_path), None)
    assert (dense.name, dense.parent_run_id, cut.name) == ("dense-s0", "parent", "taylor-r0.3-s0")
    assert dense.color != cut.color


@pytest.mark.slow
def test_how_earlier_runs_cut_a_network_is_logged(tmp_path: Path) -> None:
    def cause(ratio: float) -> Cause:
        return Cause(pruner="l1", budget="channels", scope="local", ratio=ratio)

    past = Ancestry(network="dense", fingerprint="a", weights_sha256=None, place=None)
    for ratio in (0.1, 0.2):
        past = past.then(Step(network="pruned", label="l1", cut=cause(ratio)))
    run = run_of(tmp_path, "stages=[train,eval]")
    assert cut_before(run) == {}
    run, tracker = replace(run, past=past), Recorder()
    describe(tracker, run, tiny_data())
    asked = {key: tracker.logged[key] for key in ("pruner.name", "budget.name", "ratio")}
    assert asked == {"pruner.name": "l1", "budget.name": "channels", "ratio": pytest.approx(1 - 0.9 * 0.8)}
    again = replace(run_of(tmp_path, "pruner=l1", "ratio=0.3"), past=past)
    assert cut_before(again)["ratio"] == pytest.approx(1 - 0.9 * 0.8 * 0.7)


def test_what_was_taken_of_other_code_is_a_tag(tmp_path: Path) -> None:
    own, other = (fingerprint("train", {"code": {"training": digest}}) for digest in ("a", "b"))
    Store(root=tmp_path, reuse=True).get("train", other, lambda folder: None)
    tracker = Recorder()
    store = Store(root=tmp_path, reuse=True, accept=["train"])
    ctx = replace(tiny_context(tmp_path), tracker=tracker, store=store)
    trail = (NetState(name="dense", net=tiny_net(), transforms=(), fingerprint=other),)
    describe_result(ctx, trail, with_weights=False)
    assert tracker.given == {"baseline": other, "fingerprint": other}
    store.get("train", own, lambda folder: pytest.fail("it was made again"))
    describe_result(ctx, trail, with_weights=False)
    assert tracker.given["accepted"] == "train"


def test_a_network_that_another_run_made_is_logged_with_the_colours_of_this_one(tmp_path: Path) -> None:
    ctx = tiny_context(tmp_path)
    write_state(tmp_path, ctx, tiny_net(), (), "key")
    state = NetState(name="dense", net=tiny_net(), transforms=(), fingerprint="key", folder=tmp_path)
    tracker = Recorder()
    recoloured = replace(ctx, data=tiny_data(palette=((9, 9, 9),) * 4), tracker=tracker)
    describe_result(recoloured, (state,), with_weights=True)
    made, logged = (
        json.loads(text) for text in ((tmp_path / DESCRIPTION).read_text(), *tracker.texts.values())
    )
    assert tracker.texts.keys() == {f"checkpoint/{DESCRIPTION}"}
    assert logged == {**made, "palette": [[9, 9, 9]] * 4}
    assert tracker.files == {f"checkpoint/{WEIGHTS}"}


def test_what_files_hold_is_said_and_shown(caplog: pytest.LogCaptureFixture) -> None:
    tracker, data = Recorder(), tiny_data()
    describe_data(tracker, data)
    assert (tracker.texts, tracker.figures) == ({}, [])  # nothing was read from files
    share = len(data.classes)
    held = RoleSummary(
        images=7, sizes={"8x6": 7}, modes={"RGB": 7}, stored={"0": 9}, pixels=(9,) * share, ignored=9 * share
    )
    caplog.set_level("INFO")
    describe_data(tracker, replace(data, summary={"fit": held, "report": held}))
    assert [line.split(":")[0] for line in caplog.messages[-1].splitlines()] == ["fit", "report"]
    assert "50.0 % of the pixels ignored" in caplog.messages[-1]
    assert tracker.texts["data/summary.txt"].splitlines()[-1].split()[-1] == f"{100 / share:.2f}"
    assert tracker.figures == ["data/masks.png"]
