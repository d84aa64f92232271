"""deploy.json: what exported files are, take and give, and how nearly they predict what the network does."""

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from segprune.deploy.parity import Parity
from segprune.durable import sha256
from segprune.result.files import ONNX, PT2
from segprune.stage.contract import Context, NetState
from segprune.transform.registry import to_record

FORMAT = 1
"""Raised when a key changes its meaning or is removed."""


def of_files(folder: Path) -> dict[str, Any]:
    """The format, and the files."""
    paths = [path for name in (ONNX, PT2) if (path := folder / name).exists()]
    return {
        "format": FORMAT,
        "files": {path.name: {"sha256": sha256(path), "bytes": path.stat().st_size} for path in paths},
    }


def of_network(source: NetState, ctx: Context) -> dict[str, Any]:
    """Where the network comes from."""
    return {
        "name": source.name,
        "fingerprint": source.fingerprint,
        "model": ctx.about.get("model"),
        "transforms": [to_record(one) for one in source.transforms],
    }


def of_parity(found: Mapping[str, Parity]) -> dict[str, Any]:
    """Runtime -> how nearly the file is the network there."""
    return {name: {**asdict(one), "relative_error": one.relative_error} for name, one in found.items()}


def line(facts: Mapping[str, Any]) -> str:
    """What was written and how well it predicts, for the console."""
    errors = (f"{one['relative_error']:.1g} in {name}" for name, one in facts["parity"].items())
    onnx, megabytes = facts["onnx"], facts["files"][ONNX]["bytes"] / 1e6
    return (
        f"{ONNX}: {facts['network']['name']}, {megabytes:.2f} MB, opset {onnx['opset']}, by {onnx['exporter']}; "
        f"largest error by largest logit: {', '.join(errors)}"
    )


def metrics(word: str, facts: Mapping[str, Any]) -> dict[str, float]:
    """Metrics: of all runtimes the worst."""
    parities = facts["parity"].values()
    return {
        f"{word}/parity_max_abs": max(one["max_abs_error"] for one in parities),
        f"{word}/parity_relative": max(one["relative_error"] for one in parities),
        f"{word}/argmax_agreement_percent": 100 * min(one["argmax_agreement"] for one in parities),
        f"{word}/file_size_bytes": facts["files"][ONNX]["bytes"],
        f"{word}/nodes": facts["onnx"]["nodes"],
    }
