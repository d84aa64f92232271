import json
import os
import signal
from pathlib import Path

import numpy as np
import pytest
from omegaconf import OmegaConf
from PIL import Image

from segprune import status, stop
from segprune.app import run_job
from segprune.predict.__main__ import COLOURS, IDS, predict
from segprune.result.row import from_record
from tests.dataset.trees import labels, picture, save
from tests.test_cli import TINY
from tests.test_conf import composed

pytestmark = pytest.mark.usefixtures("composer")


def test_a_run_that_is_asked_to_stop_before_it_works_makes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stop, "_asked", [signal.SIGTERM])
    place = [f"paths.outputs={tmp_path}", f"hydra.runtime.output_dir={tmp_path}"]
    cfg = composed("tracking=silent", *place, *TINY)
    keys = [str(key) for key in cfg if key != "hydra"]
    with pytest.raises(SystemExit) as ended:
        run_job(OmegaConf.masked_copy(cfg, keys), None, pytest.fail, pytest.fail)
    assert ended.value.code == 143
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_a_run_with_other_colours_takes_the_network_and_predicts_in_its_own(tmp_path: Path) -> None:
    for seed, role in enumerate(("train", "val", "test", *["train"] * 3)):
        save(tmp_path / role / "images" / f"{seed}.png", picture(seed, (32, 32)))
        save(tmp_path / role / "masks" / f"{seed}.png", labels(seed, 2, (32, 32)))
    own = ["dataset=folder", f"dataset.root={tmp_path}", "dataset.image_suffix=.png", "dataset.classes=[a,b]"]
    palettes = {"first": [[1, 2, 3], [4, 5, 6]], "second": [[7, 8, 9], [10, 11, 12]]}
    for name, palette in palettes.items():
        folder = tmp_path / name
        folder.mkdir()
        place = [f"paths.outputs={tmp_path}", f"hydra.runtime.output_dir={folder}", "tracking=silent"]
        tiny = [one for one in TINY if not one.startswith("dataset.counts")]
        cfg = composed(*place, *own, *tiny, "stages=[train,eval]", f"dataset.palette={palette}")
        keys = [str(key) for key in cfg if key != "hydra"]
        summary = run_job(OmegaConf.masked_copy(cfg, keys), None, lambda _: None, lambda *_: None)
        status.write(folder, {"status": "done", **summary})
    assert [one.partition("/")[0] for one in summary["computed"]] == [
        "eval"
    ]  # the network is that of the first
    for name, palette in palettes.items():
        predict(tmp_path / name, tmp_path / "test" / "images", tmp_path / name / "masks")
        ids, colours = (
            np.array(Image.open(tmp_path / name / "masks" / one / "2.png")) for one in (IDS, COLOURS)
        )
        assert np.array_equal(colours, np.array(palette)[ids])


@pytest.mark.slow
def test_a_run_gives_its_rows_and_says_what_of_the_store_it_used(tmp_path: Path) -> None:
    def run() -> dict[str, object]:
        place = [f"paths.outputs={tmp_path}", f"hydra.runtime.output_dir={tmp_path}"]
        cfg = composed("tracking=silent", "pruner=l1", *place, *TINY)
        keys = [str(key) for key in cfg if key != "hydra"]
        return run_job(OmegaConf.masked_copy(cfg, keys), None, opened.append, lambda *used: uses.append(used))

    opened: list[str] = []
    uses: list[tuple[Path, str]] = []
    first = run()
    os.link(tmp_path / "rows.jsonl", tmp_path / "first.jsonl")
    second = run()
    assert opened == ["", ""]
    assert (first["was_reused"], second["was_reused"]) == (False, True)
    assert first["rows"] == second["rows"]
    assert [from_record(row).stage for row in first["rows"]] == ["dense", "pruned_raw", "pruned", "finetuned"]
    assert {entry.split("/")[0] for entry in first["entries"]} == {
        *("train", "score", "prune", "finetune", "eval", "quality"),
    }
    assert uses == [(tmp_path / "store", entry) for entry in [*first["entries"], *second["entries"]]]
    lines = (tmp_path / "rows.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines] == first["rows"]
    # another file took its place, so whoever reads or stops in between finds a whole one
    assert not (tmp_path / "rows.jsonl").samefile(tmp_path / "first.jsonl")
