"""A job in a process of its own and one of Hydra's own launcher get the same configuration."""

from pathlib import Path

import yaml

from tests import mini_app


def composed(folder: Path, launcher: str) -> dict[str, str]:
    """What Hydra wrote about the second of two jobs, without what is its own: folder, time and launcher."""
    mini_app.make(folder)
    (folder / "more" / "pruner").mkdir(parents=True)
    (folder / "more" / "pruner" / "c.yaml").write_text("stamp: ${now:%f}\ncwd: ${hydra:runtime.cwd}\n")
    arguments = ["pruner=a,c", "+note='with, a comma'", f"hydra/launcher={launcher}"]
    paths = [f"hydra.sweep.dir={folder}/${{now:%f}}", "hydra.sweep.subdir=${hydra:job.override_dirname}"]
    code, _, err = mini_app.run(folder, "--config-dir", str(folder / "more"), *arguments, *paths)
    assert code == 0, err
    (made,) = (path.parent for path in folder.glob("*/*pruner=c*/.hydra"))
    stamp = made.parent.name
    own = {str(folder): "FOLDER", stamp: "STAMP", f"hydra/launcher={launcher}": "LAUNCHER"}
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
    assert (my_hydra["job"]["num"], my_hydra["mode"]) == (1, "MULTIRUN")
    for node in (hydra, my_hydra):
        del node["launcher"], node["runtime"]["choices"]["hydra/launcher"]
    assert hydra == my_hydra
