"""Tiny image/label trees on disk for tests, and pipelines that change nothing."""

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from segprune.dataset.contract import Identity

ALL = {"fit", "calibration", "select", "report"}
OFF: Mapping[str, Any] = {"crop_area": None, "flip": 0.0, "jitter": 0.0}


def picture(seed: int, size_hw: tuple[int, int] = (12, 16)) -> np.ndarray:
    """(H, W, 3) uint8 noise."""
    return np.random.default_rng(seed).integers(0, 256, (*size_hw, 3), dtype=np.uint8)


def labels(seed: int, classes: int, size_hw: tuple[int, int] = (12, 16)) -> np.ndarray:
    """(H, W) uint8 noise in 0..classes-1."""
    return np.random.default_rng(1000 + seed).integers(0, classes, size_hw, dtype=np.uint8)


def save(path: Path, pixels: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
    return path


def touched(before: Identity, after: Identity) -> set[str]:
    """The roles whose digests differ."""
    old, new = asdict(before), asdict(after)
    return {role for role in old if old[role] != new[role]}


def camvid_tree(root: Path, counts: Mapping[str, int]) -> Path:
    """root/<split>/k.png and root/<split>annot/k.png; images differ everywhere."""
    for place, (split, count) in enumerate(counts.items()):
        for k in range(count):
            save(root / split / f"{k}.png", picture(100 * place + k))
            save(root / f"{split}annot" / f"{k}.png", labels(100 * place + k, 12))
    return root
