"""deploy.json: what exported files are, take and give, and how nearly they predict what the network does."""

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from segprune.deploy.form import Output
from segprune.deploy.parity import Parity
from segprune.durable import sha256
from segprune.result.files import ONNX, PT2
from segprune.stage.contract import Context
from segprune.stage.state import NetState
from segprune.transform.registry import to_record

FORMAT = 1
"""Raised when a key changes its meaning or is removed."""
OF_LOGITS = ("max_abs_error", "max_abs_logit", "relative_error")


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


def of_parity(found: Mapping[str, Parity], output: Output) -> dict[str, Any]:
    """Runtime -> how nearly the file is the network there; errors of logits are null where it gives class ids."""
    facts = {name: {**asdict(one), "relative_error": one.relative_error} for name, one in found.items()}
    if output == "logits":
        return facts
    return {name: {**one, **dict.fromkeys(OF_LOGITS)} for name, one in facts.items()}


def line(facts: Mapping[str, Any]) -> str:
    """What was written and how well it predicts, for the console."""
    if facts["output"] == "logits":
        what, found = "largest error by largest logit", "{relative_error:.1g}"
    else:
        what, found = "pixels with the network's class id", "{argmax_agreement:.4%}"
    where = (f"{found.format(**one)} in {name}" for name, one in facts["parity"].items())
    onnx, megabytes = facts["onnx"], facts["files"][ONNX]["bytes"] / 1e6
    return (
        f"{ONNX}: {facts['network']['name']}, {megabytes:.2f} MB, opset {onnx['opset']}, by {onnx['exporter']}; "
        f"{what}: {', '.join(where)}"
    )


def metrics(word: str, facts: Mapping[str, Any]) -> dict[str, float]:
    """Metrics: of all runtimes the worst; none of logits where the file gives class ids."""
    parities = facts["parity"].values()
    names = {"parity_max_abs": "max_abs_error", "parity_relative": "relative_error"}
    of_logits = names if facts["output"] == "logits" else {}
    return {
        **{f"{word}/{name}": max(one[key] for one in parities) for name, key in of_logits.items()},
        f"{word}/argmax_agreement_percent": 100 * min(one["argmax_agreement"] for one in parities),
        f"{word}/file_size_bytes": facts["files"][ONNX]["bytes"],
        f"{word}/nodes": facts["onnx"]["nodes"],
    }
