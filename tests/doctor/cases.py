"""A data set of folders as the doctor meets it."""

from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from segprune.doctor.case import Case
from tests.test_conf import CONF


def case_of(root: Path, **keys: Any) -> Case:
    """The keys of ``dataset=folder`` for the files of ``sick.folders``, some of them others."""
    node: Any = OmegaConf.to_container(OmegaConf.load(CONF / "dataset" / "folder.yaml"), resolve=False)
    usual = {"root": str(root), "image_suffix": ".png", "classes": ["a", "b"], "seed": 0, "size_hw": [12, 16]}
    return Case({**node, **usual, "cache_dir": str(root / "cache"), **keys}, root / "tables")
