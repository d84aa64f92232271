"""Hydra without the work that it repeats: nearly every test composes, which takes it longer than what is tested."""

import pickle
from pathlib import Path
from typing import Any
from unittest.mock import _patch, patch

from hydra._internal.hydra import Hydra
from omegaconf import OmegaConf

CONF = Path(__file__).parent.parent / "conf"


def read_files_once() -> None:
    """A process parses each text of a YAML file once; to copy the result takes a twentieth of that."""
    load, known = OmegaConf.load, dict[str, bytes]()

    def copied(file_: Any) -> Any:
        if not hasattr(file_, "read"):
            return load(file_)
        text = file_.read()
        if text not in known:
            file_.seek(0)  # an error names the file
            known[text] = pickle.dumps(load(file_))
        return pickle.loads(known[text])  # noqa: S301 - written above

    OmegaConf.load = staticmethod(copied)
    for path in CONF.rglob("*.yaml"):
        with path.open(encoding="utf-8") as file:
            OmegaConf.load(file)


def without_asking_the_mode() -> "_patch[Any]":
    """Hydra composes every command twice, first for ``hydra.mode`` alone, of which no file of ``conf/`` speaks."""
    ask = Hydra.get_mode

    def mode(hydra: Hydra, config_name: str | None, overrides: list[str]) -> object:
        return ask(hydra, config_name, overrides) if "hydra.mode" in str(overrides) else None

    return patch.object(Hydra, "get_mode", mode)
