"""The store entries of one job; missing or damaged ones are named."""

import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any, TypeVar

import pandas as pd
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load

from segprune.checkpoint.contract import DESCRIPTION
from segprune.result.files import CURVE, IMAGE_COUNTS, PER_CLASS, PLAN, PREDICTIONS, SCORES

_ENTRY = re.compile(r"(\w+)/\w+")
_PARTS = ("quality", "score", "oracle")
"""Entries in which stages share parts of their work; all others are of stages, also of a user's own."""
_UNREADABLE = (OSError, ValueError, KeyError, TypeError, SafetensorError)
Value = TypeVar("Value")


@dataclass(frozen=True, kw_only=True)
class Entries:
    """Finished results of one job.

    Attributes:
        root: Folder of the store.
        names: Stage -> ``<stage>/<fingerprint>``.
        missing: Files that are not there or cannot be read, one text for each; grows while files are read.
    """

    root: Path
    names: Mapping[str, str]
    missing: list[str] = field(default_factory=list)

    def about(self) -> dict[str, Any]:
        """``net.json`` of the last network: fingerprint, versions, classes."""
        last = next((stage for stage in ("finetune", "prune", "train") if stage in self.names), "")
        return self._read(last, DESCRIPTION, _object) or {}

    def curve(self, stage: str) -> pd.DataFrame | None:
        """One row per epoch: ``epoch``, ``loss``, ``lr``, ``select_miou_percent``."""
        return self._read(stage, CURVE, _curve)

    def facts(self, stage: str) -> pd.DataFrame | None:
        """One row per epoch: what else its steps measured, by name of the metric."""
        return self._read(stage, CURVE, _facts)

    def plan(self) -> dict[str, Any] | None:
        """What was cut: ``layers`` (``layer``, ``channels``, ``kept``), and ``plan``: layer -> removed channels."""
        return self._read("prune", PLAN, _plan)

    def scores(self) -> dict[str, NDArray[Any]] | None:
        """Layer -> (C,) scores."""
        return self._read("prune", SCORES, load)

    def per_class(self) -> pd.DataFrame | None:
        """Index: class; a column of IoU in percent per stage, and others of its change."""
        return self._read("eval", PER_CLASS, _table)

    def predictions(self) -> bytes | None:
        """PNG of images, labels and predictions."""
        return self._read("eval", PREDICTIONS, _png)

    def image_counts(self, stage: str) -> NDArray[Any] | None:
        """(N, K, K) integer confusion counts of each report image for one stage's network."""
        return self._read("eval", IMAGE_COUNTS, lambda raw: load(raw)[stage])

    def _read(self, stage: str, file: str, reader: Callable[[bytes], Value]) -> Value | None:
        if stage not in self.names:
            return None
        try:
            return reader((self.root / self.names[stage] / file).read_bytes())
        except FileNotFoundError:
            found = f"{self.names[stage]}/{file} is not there"
        except _UNREADABLE as error:
            found = f"{self.names[stage]}/{file} cannot be read: {error}"
        if found not in self.missing:
            self.missing.append(found)
        return None


def entries_of(root: Path, names: Iterable[object]) -> Entries:
    """The entries that a job's status names; names that are not below the store are left out."""
    found = filter(None, map(_ENTRY.fullmatch, map(str, names)))
    return Entries(root=root, names={name[1]: name[0] for name in found if name[1] not in _PARTS})


def _object(raw: bytes) -> dict[str, Any]:
    value = json.loads(raw)
    if not isinstance(value, dict):
        raise ValueError("not a JSON object")
    return value


def _curve(raw: bytes) -> pd.DataFrame:
    return pd.DataFrame(json.loads(raw), columns=["epoch", "loss", "lr", "select_miou_percent"]).astype(float)


def _facts(raw: bytes) -> pd.DataFrame:
    return pd.DataFrame([dict(epoch.get("facts", {})) for epoch in json.loads(raw)]).astype(float)


def _plan(raw: bytes) -> dict[str, Any]:
    value = _object(raw)
    layers = [{key: layer[key] for key in ("layer", "channels", "kept")} for layer in value["layers"]]
    return {**value, "layers": layers, "plan": dict(value["plan"])}


def _table(raw: bytes) -> pd.DataFrame:
    table = pd.read_csv(BytesIO(raw), dtype={"class": str}, keep_default_na=False, na_values=[""])
    return table.set_index("class").astype(float)


def _png(raw: bytes) -> bytes:
    if not raw.startswith(b"\x89PNG\r\n\x1a\n"):
        raise ValueError("not a PNG")
    return raw
