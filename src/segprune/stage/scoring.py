"""Scores of a criterion, and what they cost; one network is scored once for all budgets."""

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from segprune.errors import BudgetError
from segprune.graph.group import ChannelGroup, Scores
from segprune.graph.units import by_unit, unit_of
from segprune.measure.memory import peak_memory
from segprune.model.contract import SegmentationNet
from segprune.pruner.contract import Calibration, Pruner
from segprune.result.files import SCORES
from segprune.seed import seeded
from segprune.stage.contract import Context
from segprune.store.fingerprint import Fingerprint

WORD, PRICE = "score", "price.json"


@dataclass(frozen=True, kw_only=True)
class Scored:
    """Scores, and the time and memory that scoring took.

    Attributes:
        scores: For every group of the network.
        seconds: Wall time.
        peak_mb: Most memory needed beyond what was in use before, in MB (10^6 bytes).
    """

    scores: Scores
    seconds: float
    peak_mb: float


def score(
    pruner: Pruner,
    ctx: Context,
    net: SegmentationNet,
    groups: Sequence[ChannelGroup],
    calibration: Calibration,
) -> Scored:
    """Score a network; channels of one unit have the score of the unit.

    Raises:
        BudgetError: The criterion gives no finite score for each channel of a group.
    """
    seen = [by_unit(group) for group in groups]
    with peak_memory(ctx.hardware.device) as peak:
        started = time.perf_counter()
        with seeded(ctx.seed, "pruner"):
            scores = pruner(net, seen, calibration)
        seconds = time.perf_counter() - started
    for group in seen:
        found = scores.get(group.name)
        if found is None or found.shape != (group.size,) or not torch.isfinite(found).all():
            raise BudgetError(
                f"pruner {pruner.name!r} gives no finite score for each of the {group.size} channels of "
                f"{group.name!r}; a budget needs one score per channel of every group."
            )
    scores = {group.name: scores[group.name].cpu()[unit_of(group)] for group in groups}
    return Scored(scores=scores, seconds=seconds, peak_mb=peak.mb)


def score_once(ctx: Context, key: Fingerprint, score_now: Callable[[], Scored]) -> Scored:
    """The scores that the store has under the key; ``score_now`` computes them if it has none."""

    def make(folder: Path) -> None:
        made = score_now()
        save_file({name: values.contiguous() for name, values in made.scores.items()}, folder / SCORES)
        price = {"seconds": made.seconds, "peak_mb": made.peak_mb}
        (folder / PRICE).write_text(json.dumps(price), encoding="utf-8")

    entry = ctx.store.get(WORD, key, make)
    price = json.loads((entry.folder / PRICE).read_text(encoding="utf-8"))
    return Scored(scores=load_file(entry.folder / SCORES), **price)
