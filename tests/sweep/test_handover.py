"""A job in a process of its own and one of Hydra's own launcher get the same configuration."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from hydra.core.utils import setup_globals
from omegaconf import OmegaConf

from segprune.sweep import handover
from segprune.sweep.callback import SweepCallback
from tests import mini_app

ODD = [
    "+plain=with spaces",
    "+note='with, a comma and a \"quote\"'",
    "+german=größe",
    "+list=[1,'b c']",
    "+map={x: 1}",
    "+nothing=null",
    "+late='${ratio}'",
]


def composed(folder: Path, launcher: str) -> dict[str, Any]:
    """What Hydra wrote about the second of two jobs, without what is its own: folder, time and launcher."""
    mini_app.make(folder)
    (folder / "more" / "pruner").mkdir(parents=True)
    (folder / "more" / "pruner" / "c.yaml").write_text("stamp: ${now:%f}\ncwd: ${hydra:runtime.cwd}\n")
    (folder / "more" / "other.yaml").write_text(
        "defaults: [config, _self_]\nother: 1\nhydra: {mode: MULTIRUN}\n"
    )
    (folder / "found" / "model").mkdir(parents=True)
    (folder / "found" / "model" / "far.yaml").write_text("name: far\n")
    arguments = ["pruner=a,c", "model=far", *ODD, "hydra.verbose=true", f"hydra/launcher={launcher}"]
    places = [f"--config-dir={folder}/more", "-cn", "other", f"hydra.searchpath=[file://{folder}/found]"]
    paths = [f"hydra.sweep.dir={folder}/${{now:%f}}", "hydra.sweep.subdir=${hydra:job.override_dirname}"]
    code, _, err = mini_app.run(folder, *places, *arguments, *paths)
    assert code == 0, err
    (made,) = (path.parent for path in folder.glob("*/*pruner=c*/.hydra"))
    own = {str(folder): "FOLDER", made.parent.name: "STAMP"}
    found = {path.name: path.read_text() for path in (made / ".hydra").iterdir()} | {"folder": made.name}
    for old, new in own.items():
        found = {name: text.replace(old, new) for name, text in found.items()}
    return found


def test_it_is_composed_as_by_hydras_own_launcher(tmp_path: Path) -> None:
    own = composed(tmp_path / "one", "basic")
    mine = composed(tmp_path / "two", "processes")
    assert own.keys() == {"config.yaml", "hydra.yaml", "overrides.yaml", "folder"}
    hydra, my_hydra = (yaml.safe_load(found.pop("hydra.yaml"))["hydra"] for found in (own, mine))
    assert own == mine
    config = yaml.safe_load(own["config.yaml"])
    assert (config["other"], config["german"], config["model"]["name"]) == (1, "größe", "far")
    assert (my_hydra["job"]["num"], my_hydra["job"]["id"], my_hydra["verbose"]) == (1, "1", True)
    assert my_hydra["run"]["dir"] == my_hydra["runtime"]["output_dir"] == hydra["runtime"]["output_dir"]
    for node in (hydra, my_hydra):
        del node["launcher"], node["runtime"]["choices"]["hydra/launcher"]
        del (
            node["run"],
            node["sweep"]["dir"],
            node["mode"],
            node["overrides"]["hydra"],
        )  # a job is a single run
        node["job"]["id"] = str(node["job"]["id"])
    assert hydra == my_hydra


def test_a_job_has_the_time_of_its_sweep_and_a_single_run_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    sweep, job = (OmegaConf.create({"stamp": "${now:%f}"}) for _ in range(2))
    setup_globals()
    stamp = sweep.stamp
    monkeypatch.setattr(
        handover, "_handed", json.loads(handover.hand_over(sweep, grace_s=1)[handover.VARIABLE])
    )
    assert handover.is_job()
    SweepCallback().on_run_start(job)
    assert job.stamp == stamp
    handover._handed.clear()
    assert not handover.is_job()
