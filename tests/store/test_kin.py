import json
import shutil
from pathlib import Path

from segprune.store import manifest
from segprune.store.fingerprint import SCHEMA, Fingerprint, fingerprint
from segprune.store.kin import changed, kin

NOW = {"code": {"training": "b", "seed.py": "a"}, "libraries": {"torch": "2.9.1"}}


def made(folder: Path, created: str = "", **inputs: object) -> Fingerprint:
    """A finished result of these inputs."""
    key = fingerprint("train", inputs)
    (folder / key).mkdir(parents=True)
    manifest.seal(folder / key, schema=SCHEMA, stage="train", fingerprint=key, inputs=key.inputs)
    if created:
        path = folder / key / manifest.NAME
        path.write_text(json.dumps({**json.loads(path.read_text()), "created": created}))
    return key


def test_kin_are_the_results_of_the_same_inputs_by_other_code_the_newest_first(tmp_path: Path) -> None:
    old = made(tmp_path, "2026-01-01T00:00:00+00:00", seed=1, code={"training": "a"})
    new = made(tmp_path, "2026-02-01T00:00:00+00:00", seed=1, code={"training": "c"})
    made(tmp_path, seed=2, code={"training": "a"})
    wanted = fingerprint("train", {"seed": 1, **NOW})
    (tmp_path / f"{old}.partial").mkdir()
    shutil.copytree(tmp_path / old, tmp_path / f"{old}.damaged-0")
    assert [one.fingerprint for one in kin(tmp_path, wanted)] == [new, old]
    assert [one.fingerprint for one in kin(tmp_path, old)] == [new]
    assert kin(tmp_path, fingerprint("finetune", {"seed": 1, **NOW})) == []
    assert kin(tmp_path, str(wanted)) == ()


def test_what_only_begins_like_kin_is_none(tmp_path: Path) -> None:
    other = made(tmp_path, seed=1, code={"training": "a"})
    path = tmp_path / other / manifest.NAME
    path.write_text(path.read_text().replace('"seed": 1', '"seed": 2'))
    unreadable = tmp_path / f"{other[:16]}{'0' * 8}"
    unreadable.mkdir()
    (unreadable / manifest.NAME).write_text("{")
    assert kin(tmp_path, fingerprint("train", {"seed": 1, **NOW})) == []


def test_inputs_are_compared_as_they_are_read_back(tmp_path: Path) -> None:
    inputs = {"size_hw": (3, 4), "root": Path("here"), "weighted_by": None}
    other = made(tmp_path, **inputs, code={"training": "a"})
    assert [one.fingerprint for one in kin(tmp_path, fingerprint("train", {**inputs, **NOW}))] == [other]


def test_what_changed_is_said_in_words() -> None:
    then = {"code": {"training": "a", "seed.py": "a"}, "libraries": {"torch": "2.9.0", "timm": "1.0"}}
    assert changed(then, NOW) == "code of training/ and timm (1.0, now not used) and torch (2.9.0, now 2.9.1)"
    rooms = {"training": "b", "seed.py": "b", "package usernet": "a"}
    assert changed({"code": rooms}, {"code": dict.fromkeys(rooms, "c")}) == (
        "code of package usernet, seed.py, training/"
    )
    assert changed({}, {"code": {"training": "a"}}) == "code of training/"


def test_another_gpu_is_named() -> None:
    then, now = ({"gpu": {"name": name, "products": "float32"}} for name in ("A100", "H100"))
    assert changed(then, now) == "the GPU's name (A100, now H100)"
