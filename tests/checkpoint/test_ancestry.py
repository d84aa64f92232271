import json
from dataclasses import replace
from pathlib import Path

import pytest

from segprune.checkpoint.ancestry import Ancestry, Cause, Measured, Step, read, write
from segprune.checkpoint.contract import ANCESTRY

DENSE = Ancestry(network="dense", fingerprint="ab", weights_sha256="cd", place="train/ab")


def cause(ratio: float | None, **changes: str) -> Cause:
    values = {"pruner": "l1", "budget": "channels", "scope": "local", **changes}
    return Cause(ratio=ratio, **values)  # type: ignore[arg-type]


def measured(data: str, miou: float, **about: object) -> Measured:
    setting = {"split": "test", "size_h_px": 8, "size_w_px": 8, "passes": None}
    return Measured(data=data, row={**setting, "miou_percent": miou, **about})


def test_what_is_written_is_read(tmp_path: Path) -> None:
    cut = DENSE.then(Step(network="pruned", label="l1-r0.3", cut=cause(0.3)))
    tuned = cut.then(Step(network="finetuned", label="ft"))
    for one in (DENSE, cut, replace(tuned, measured=(measured("d", 50.0),))):
        write(tmp_path, replace(one, fingerprint=str(len(one.steps))))
        assert read(tmp_path) == replace(one, fingerprint=str(len(one.steps)))
    assert (DENSE.label, cut.label, tuned.label) == ("", "l1-r0.3", "l1-r0.3-ft")
    assert (DENSE.cuts, tuned.cuts) == ([], [cause(0.3)])


def test_rows_of_other_images_are_added_and_those_of_the_same_are_replaced(tmp_path: Path) -> None:
    for one in (measured("a", 50.0), measured("b", 60.0), measured("a", 70.0)):
        write(tmp_path, replace(DENSE, measured=(one,)))
    write(tmp_path, DENSE)  # as a stage does, which measures nothing
    found = read(tmp_path)
    assert found is not None
    size = {"size_h_px": 8, "size_w_px": 8}
    assert [(found.row_of(name, **size) or {}).get("miou_percent") for name in ("a", "b", "c")] == [
        70,
        60,
        None,
    ]
    assert found.row_of("a", size_h_px=16, size_w_px=8) is None
    write(tmp_path, replace(DENSE, fingerprint="another"))
    assert read(tmp_path) == replace(DENSE, fingerprint="another")


@pytest.mark.parametrize("content", ["", "{", "[]", '{"format": 2}', '{"format": 1}', "damaged ratio"])
def test_what_cannot_be_read_is_not_known(content: str, tmp_path: Path) -> None:
    write(tmp_path, DENSE.then(Step(network="pruned", label="l1-r0.3", cut=cause(0.3))))
    if content == "damaged ratio":
        known = json.loads((tmp_path / ANCESTRY).read_text())
        known["steps"][0]["cut"]["ratio"] = 3
        content = json.dumps(known)
    (tmp_path / ANCESTRY).write_text(content)
    assert read(tmp_path) is None
    assert read(tmp_path / "no such folder") is None


def test_a_folder_that_cannot_be_written_stays_as_it_is(tmp_path: Path) -> None:
    write(tmp_path / "no such folder", DENSE)
    assert list(tmp_path.iterdir()) == []
