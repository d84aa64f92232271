from pathlib import Path

import pytest
from hydra.errors import HydraException

from segprune.config.dataset_node import composed_dataset
from segprune.errors import ConfigError


def test_missing_keys_are_left_out_and_others_are_as_in_a_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SEGPRUNE_OUTPUTS", str(tmp_path))
    found = composed_dataset(["dataset=folder", "dataset.limit=3", "seed=7", "train.batch_size=5"])
    assert not {"root", "classes"} & found.node.keys()
    assert (found.node["limit"], found.node["seed"]) == (3, 7)
    assert found.node["cache_dir"] == str(tmp_path / "cache")
    assert found.batch_sizes["train.batch_size"] == 5


def test_a_place_of_ones_own_is_looked_into_whichever_way_it_is_named(tmp_path: Path) -> None:
    for folder, limit in (("one", 2), ("two", 3)):
        (tmp_path / folder / "dataset").mkdir(parents=True)
        (tmp_path / folder / "dataset" / f"{folder}.yaml").write_text(
            f"defaults: [folder, _self_]\nlimit: {limit}\n"
        )
    places = ["--config-dir", str(tmp_path / "one"), f"hydra.searchpath=[file://{tmp_path}/two]"]
    assert composed_dataset(["dataset=one", *places]).node["limit"] == 2
    assert composed_dataset([*places, "dataset=two"]).node["limit"] == 3
    (tmp_path / "two" / "dataset" / "folder.yaml").touch()
    with pytest.raises(ConfigError, match=r"two/dataset/folder\.yaml has the name of .*/conf/dataset/folder"):
        composed_dataset([*places, "dataset=two"])
    with pytest.raises(HydraException, match=r"--epochs"):
        composed_dataset(["dataset=folder", "--epochs", "limit=2"])


def test_a_wrong_override_is_refused() -> None:
    with pytest.raises(HydraException, match=r"Could not override 'dataset.limits'"):
        composed_dataset(["dataset=folder", "dataset.limits=3"])
