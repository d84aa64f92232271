from pathlib import Path

import pytest
from hydra.errors import HydraException

from segprune.config.dataset_node import composed_dataset


def test_missing_keys_are_left_out_and_others_are_as_in_a_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SEGPRUNE_OUTPUTS", str(tmp_path))
    found = composed_dataset(["dataset=folder", "dataset.limit=3", "seed=7", "train.batch_size=5"])
    assert not {"root", "classes"} & found.node.keys()
    assert (found.node["limit"], found.node["seed"]) == (3, 7)
    assert found.node["cache_dir"] == str(tmp_path / "cache")
    assert found.batch_sizes["train.batch_size"] == 5


def test_a_wrong_override_is_refused() -> None:
    with pytest.raises(HydraException, match=r"Could not override 'dataset.limits'"):
        composed_dataset(["dataset=folder", "dataset.limits=3"])
