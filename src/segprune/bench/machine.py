"""On what a number was measured, and how busy that was."""

import os
import platform
from pathlib import Path

import psutil  # type: ignore[import-untyped]
import torch

from segprune.dataset.workers import cores
from segprune.gpu import inputs_of


def machine() -> dict[str, object]:
    """Processor, cores, threads, memory and versions; not the name of the machine."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return {
        "processor": _processor(),
        "cores": cores(),
        "threads": torch.get_num_threads(),
        "memory_gb": round(psutil.virtual_memory().total / 1e9, 1),
        "system": platform.system(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "device": str(device),
        **inputs_of(device),
    }


def load() -> str:
    """Processes that want to compute, mean of the last minute, by the cores that this process may use."""
    return f"{os.getloadavg()[0]:.1f} on {cores()} cores"


def described(about: dict[str, object]) -> str:
    """It in a line."""
    return (
        f"{about['processor']}, {about['cores']} cores, {about['threads']} threads, {about['memory_gb']} GB, "
        f"Python {about['python']}, torch {about['torch']}, {about['device']}"
    )


def _processor() -> str:
    listed = Path("/proc/cpuinfo")
    if listed.is_file():
        for line in listed.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
