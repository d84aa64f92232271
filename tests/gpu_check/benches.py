"""A bench of the CPU, on which every rule that can run is run."""

from pathlib import Path

import torch

from segprune.gpu_check.contract import Bench


def small(folder: Path) -> Bench:
    return Bench(device=torch.device("cpu"), folder=folder, is_small=True)
