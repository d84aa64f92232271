import json
from importlib.metadata import version
from pathlib import Path

import pytest
import torch

from segprune.reproduce import origin
from segprune.reproduce.origin import ARTIFACT, FILE, keep_origin, origin_of
from tests.gpus import with_gpus
from tests.run.test_describe import Recorder, run_of
from tests.tiny import CPU, tiny_data

pytestmark = pytest.mark.usefixtures("composer")


def test_it_says_all_that_the_numbers_come_from(tmp_path: Path) -> None:
    run = run_of(tmp_path, "pruner=fpgm", "ratio=0.4")
    made = origin_of(run, tiny_data(), CPU)
    assert made["overrides"][-2:] == ["pruner=fpgm", "ratio=0.4"]
    assert made["config"]["ratio"] == 0.4
    assert made["config"]["seed"] == 0
    assert "tracking" not in made["config"]
    assert (made["device"], made["threads"]) == ("cpu", torch.get_num_threads())
    assert made["packages"]["torch"] == version("torch")
    assert {"python", "segprune", "numpy", "opencv-python-headless"} <= made["packages"].keys()
    assert "pytest" not in made["packages"]
    assert made["machine"]["folder"] == str(Path.cwd())
    assert made["machine"]["processor"]
    assert made["data"] == {"fit": "f", "calibration": "c", "select": "s", "report": "r"}
    assert made["prediction"] == {"palette": tiny_data().palette, "size_hw": (16, 16), "passes": None}


def test_it_is_kept_in_the_folder_and_in_the_tracker_without_passwords(tmp_path: Path) -> None:
    tracker = Recorder()
    run = run_of(tmp_path, "tracking.uri=http://user:secret@127.0.0.1:5000", "ratio=0.4")
    keep_origin(tracker, run, tiny_data(), CPU)
    kept = (tmp_path / FILE).read_text()
    assert tracker.texts == {ARTIFACT: kept}
    assert tracker.given["machine.device"] == "cpu"
    assert tracker.given["machine.threads"] == str(torch.get_num_threads())
    assert tracker.given["torch.version"] == version("torch")
    assert "secret" not in kept
    assert json.loads(kept)["overrides"][-1] == "ratio=0.4"


def test_the_code_is_known_by_the_content_and_the_names_of_its_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(origin, "PACKAGE", tmp_path)
    (tmp_path / "one.py").write_text("a = 1\n")
    first = origin.code()["sources"]
    (tmp_path / "notes.txt").write_text("nothing that runs")
    assert origin.code()["sources"] == first
    (tmp_path / "one.py").rename(tmp_path / "two.py")
    renamed = origin.code()["sources"]
    (tmp_path / "two.py").write_text("a = 2\n")
    assert len({first, renamed, origin.code()["sources"]}) == 3


def test_code_of_ones_own_is_known_by_its_content(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    for name in ("my_nets_one", "my_nets_two", "my_nets_same"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text(f"import torch\nslope = {len(name)}\n")
    nodes = [
        {"model": {"_target_": "my_nets_one.Net"}},
        {"model": {"factory": "my_nets_one:net", "_target_": "segprune.a.b"}},
    ]
    found = [origin.own({**node, "extensions": []}) for node in nodes]
    found += [origin.own({"extensions": ["my_nets_one"]})]
    assert found[0] == found[1] == found[2]
    assert found[0].keys() == {"package my_nets_one", "torch"}
    assert found[0]["torch"] == torch.__version__
    two = origin.own({"extensions": ["my_nets_two", "my_nets_same"]})
    assert len({found[0]["package my_nets_one"], two["package my_nets_same"]}) == 2
    assert origin.own({"model": {"_target_": "segprune.model.unet.unet"}, "extensions": []}) == {}


def test_files_that_a_configuration_names_are_known_by_their_content(tmp_path: Path) -> None:
    weights, taught = tmp_path / "best.pth", tmp_path / "taught"
    weights.write_bytes(b"abc")
    taught.mkdir()
    (taught / "net.json").write_bytes(b"")
    config = {
        "model": {
            "checkpoint": str(weights),
            "name": "x" * 5000,
            "missing": str(tmp_path / "none"),
            "width": 4,
        },
        "teacher": {"checkpoint": [str(taught), str(tmp_path)]},
        "paths": {"cache": str(weights)},
    }
    assert origin.files(config) == {
        "model.checkpoint": "ba7816bf8f01cfea",  # SHA-256 of abc, from FIPS 180
        "teacher.checkpoint.0": "e3b0c44298fc1c14",  # and of nothing
    }


def test_the_gpus_of_the_machine_are_named_where_they_can_be_used(monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        with_gpus(patch, 2)
        assert origin.machine()["gpus"] == ["Stub A100", "Stub A100"]
    with_gpus(monkeypatch, 2, is_too_old=True)
    assert torch.cuda.device_count() == 2
    assert origin.machine()["gpus"] == []
