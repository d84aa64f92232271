"""The origin of a run's numbers: command, configuration, code, packages, machine and data; kept with the run."""

import hashlib
import json
import os
import platform
import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path
from typing import Any

import torch

from segprune import durable
from segprune.checkpoint.checkpoint import prediction
from segprune.checkpoint.contract import DESCRIPTION
from segprune.dataset.contract import SegData
from segprune.run.assemble import Run
from segprune.status import ORIGIN
from segprune.store.code import HOME, code_of, target_modules
from segprune.tracking.contract import Tracker
from segprune.tracking.provenance import provenance
from segprune.tracking.secrets import redacted
from segprune.training.step import Hardware

FILE, ARTIFACT = ORIGIN, f"config/{ORIGIN}"
FORMAT, DIGITS = 1, 16
"""Raised when a key changes its meaning."""
PACKAGE = Path(__file__).parent.parent
ANEW = ("hydra", "sweep", "paths", "store", "tracking", "log_checkpoint", "workers", "threads", "device")
"""Keys that are not compared: they change no result, except device and threads, which the record tells."""


def keep_origin(tracker: Tracker, run: Run, data: SegData, hardware: Hardware) -> None:
    """Write it into the run's folder and its artifacts, without the passwords of URLs."""
    origin = origin_of(run, data, hardware)
    text = redacted(json.dumps(origin, indent=1, default=str))
    with durable.replacing(run.job.folder / FILE) as file:
        file.write(text.encode())
    tracker.text(text, ARTIFACT)
    on = origin["machine"]
    processor = on["gpus"][hardware.device.index or 0] if hardware.device.type == "cuda" else on["processor"]
    tracker.tags(
        {
            "machine.device": origin["device"],
            "machine.processor": processor,
            "machine.threads": str(origin["threads"]),
            "torch.version": origin["packages"]["torch"],
        }
    )


def origin_of(run: Run, data: SegData, hardware: Hardware) -> dict[str, Any]:
    """Everything that has to be equal for equal numbers, as plain JSON values."""
    return {
        "format": FORMAT,
        "places": list(run.job.places),
        "overrides": list(run.job.overrides),
        "config": {key: value for key, value in run.values.items() if key != "tracking"},
        "device": str(hardware.device),
        "threads": torch.get_num_threads(),
        "code": code(),
        "own": own(run.values),
        "files": files(run.values),
        "packages": packages(),
        "machine": machine(),
        "data": asdict(data.identity),
        "prediction": prediction(data, run.passes),
    }


def own(config: Mapping[str, Any]) -> Mapping[str, str]:
    """Package besides segprune that a configuration names -> digest of its code; library behind it -> version."""
    named = {*target_modules(config), *config["extensions"]}
    found = code_of(sorted(name for name in named if name.partition(".")[0] != HOME))
    packages = {name: digest for name, digest in found["code"].items() if name.startswith("package ")}
    return {**packages, **(found["libraries"] if packages else {})}


def files(config: Mapping[str, Any]) -> Mapping[str, str]:
    """Dotted key -> digest of the file that its value names, or of what describes the network in that folder."""
    read = {key: _file(value) for key, value in flat(config) if key.partition(".")[0] not in ANEW}
    return {
        key: hashlib.sha256(path.read_bytes()).hexdigest()[:DIGITS]
        for key, path in read.items()
        if path is not None
    }


def _file(value: object) -> Path | None:
    if not isinstance(value, str | Path):
        return None
    places = (Path(value), Path(value, DESCRIPTION))
    try:
        return next((path for path in places if path.is_file()), None)
    except (OSError, ValueError):  # too long a text for a path
        return None


def flat(node: object, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Every value of nested mappings by its dotted key; of a list, each by its number."""
    if not isinstance(node, Mapping | list):
        yield prefix[:-1], node
        return
    for key, value in node.items() if isinstance(node, Mapping) else enumerate(node):
        yield from flat(value, f"{prefix}{key}.")


def code() -> Mapping[str, str]:
    """The state of the clone, if there is one, and a digest of every source file of this package."""
    tags, sources = provenance(), hashlib.sha256()
    for path in sorted(PACKAGE.rglob("*.py")):
        sources.update(f"{path.relative_to(PACKAGE).as_posix()}\n".encode() + path.read_bytes())
    return {
        "commit": tags.get("mlflow.source.git.commit", "none"),
        "dirty": tags.get("git.dirty", "unknown"),
        "sources": sources.hexdigest(),
    }


def packages() -> Mapping[str, str]:
    """Name -> version of Python, of this package and of what it requires, as far as it is installed."""
    found = {"python": platform.python_version(), "segprune": version("segprune")}
    for requirement in sorted(requires("segprune") or []):
        name, _, marker = requirement.partition(";")
        short = re.match(r"[\w.-]+", name)
        if short is None or "dev" in marker:
            continue
        try:
            found[short[0]] = version(short[0])
        except PackageNotFoundError:
            continue
    return found


def machine() -> Mapping[str, Any]:
    """Facts that decide the last bits of a sum of floats, and the folder where relative paths begin.

    A driver that is too old for this build of torch counts GPUs that it cannot name.
    """
    gpus = range(torch.cuda.device_count() if torch.cuda.is_available() else 0)
    return {
        "folder": os.getcwd(),
        "processor": _processor(),
        "instructions": torch.backends.cpu.get_cpu_capability(),
        "gpus": [torch.cuda.get_device_name(number) for number in gpus],
        "cuda": torch.version.cuda,
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:  # not Linux
        lines = []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor() or platform.machine())
