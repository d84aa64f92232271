import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from segprune.report.entries import entries_of
from segprune.result.files import CURVE, IMAGE_COUNTS
from tests.report.sweeps import PNG, counts, store


def test_everything_a_job_left_is_read(tmp_path: Path) -> None:
    found = entries_of(tmp_path, store(tmp_path, "ab12", [10, 20]))
    curve, plan, scores, classes = found.curve("train"), found.plan(), found.scores(), found.per_class()
    assert curve is not None
    assert curve["select_miou_percent"].tolist() == [0.0, 10.0]
    assert plan is not None
    assert plan["layers"][0] == {"layer": "a", "channels": 4, "kept": 3}
    assert scores is not None
    assert scores["a"].tolist() == [3.0, 0.5, 1.0, 2.0]
    assert classes is not None
    assert classes.loc["road", "finetuned"] == 40.0
    assert classes.loc["pole"].isna().all()
    assert found.predictions() == PNG
    assert found.about()["fingerprint"] == "ab12"
    read = found.image_counts("finetuned")
    assert read is not None
    assert np.array_equal(read, counts([10, 20]))
    assert found.missing == []


def test_a_stage_that_was_not_run_is_nothing_and_not_missing(tmp_path: Path) -> None:
    found = entries_of(tmp_path, [])
    assert found.curve("train") is None
    assert found.plan() is None
    assert found.scores() is None
    assert found.per_class() is None
    assert found.predictions() is None
    assert found.image_counts("finetuned") is None
    assert found.about() == {}
    assert found.missing == []


def test_a_file_that_is_gone_is_named_once(tmp_path: Path) -> None:
    found = entries_of(tmp_path, store(tmp_path, "ab12", [10]))
    (tmp_path / "prune" / "ab12" / "plan.json").unlink()
    assert (found.plan(), found.plan()) == (None, None)
    assert found.missing == ["prune/ab12/plan.json is not there"]


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("train/ab12/curve.json", b"[{"),
        ("prune/ab12/plan.json", b"[]"),
        ("prune/ab12/plan.json", b'{"layers": [{"layer": "a"}], "plan": {}}'),
        ("prune/ab12/scores.safetensors", b"\x80\x04pickle"),
        ("finetune/ab12/net.json", b"\xff"),
        ("eval/ab12/per_class.csv", b"class,dense\nroad,high\n"),
        ("eval/ab12/predictions.png", b"<svg onload=alert(1)>"),
    ],
)
def test_a_damaged_file_is_named_and_not_read(tmp_path: Path, file: str, content: bytes) -> None:
    found = entries_of(tmp_path, store(tmp_path, "ab12", [10]))
    (tmp_path / file).write_bytes(content)
    values = [found.curve("train"), found.plan(), found.scores(), found.per_class(), found.predictions()]
    assert sum(value is None for value in values) + (found.about() == {}) == 1
    (missing,) = found.missing
    assert missing.startswith(f"{file} cannot be read: ")


def test_a_stage_without_counts_is_missing(tmp_path: Path) -> None:
    found = entries_of(tmp_path, store(tmp_path, "ab12", [10]))
    save_file({"dense": counts([1])}, tmp_path / "eval" / "ab12" / IMAGE_COUNTS)
    assert found.image_counts("finetuned") is None
    assert found.missing == ["eval/ab12/image_counts.safetensors cannot be read: 'finetuned'"]


def test_names_that_lead_elsewhere_are_left_out(tmp_path: Path) -> None:
    found = entries_of(
        tmp_path,
        ["train/../../secret", "/etc/passwd", "train/ab12", "distil/cd34", "score/e", "quality/ab12", 7],
    )
    assert found.names == {"train": "train/ab12", "distil": "distil/cd34"}


def test_what_else_an_epoch_measured_is_read(tmp_path: Path) -> None:
    found = entries_of(tmp_path, store(tmp_path, "ab12", [10]))
    curve = [{"epoch": 0, "loss": 1.0, "facts": {"teacher_mb": 2.5}}, {"epoch": 1, "loss": 1.0}]
    (tmp_path / "finetune" / "ab12" / CURVE).write_text(json.dumps(curve))
    facts, none = found.facts("finetune"), found.facts("train")
    assert facts is not None
    assert facts["teacher_mb"].tolist()[0] == 2.5
    assert none is not None
    assert none.columns.empty
