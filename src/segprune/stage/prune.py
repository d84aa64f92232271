"""Prune: score, plan, cut, prove, re-estimate the BN statistics."""

import copy
import json
import logging
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import torch
from pydantic import Field
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from segprune.budget.budget import Budget, Reached
from segprune.budget.simulate import CostSimulator
from segprune.dataset.contract import Batch
from segprune.dataset.loading import calibration_batches
from segprune.errors import BudgetError, CutError
from segprune.graph.cut import cut, mask_error
from segprune.graph.group import ChannelGroup, Scores
from segprune.graph.trace import trace
from segprune.loss import calibration_loss
from segprune.model.contract import SegmentationNet
from segprune.pruner.contract import Calibration, Pruner
from segprune.seed import derive, seeded
from segprune.stage.contract import (
    Context,
    NetState,
    Trail,
    identity,
    note_source,
    read_state,
    write_state,
)
from segprune.store import fingerprint

log = logging.getLogger(__name__)
PLAN, SCORES, RAW = "plan.json", "scores.safetensors", "raw_buffers.safetensors"
LARGEST_MASK_ERROR = 1e-8
"""A right cut is at 1e-15, a wrong channel index at 1e-2 or more."""


@dataclass(frozen=True, kw_only=True)
class CalibrationSet:
    """Which training images score the channels and re-estimate the BN statistics.

    Attributes:
        images: How many, drawn without replacement; all when there are fewer.
        batch_size: Images per batch; criteria that square per-batch gradients depend on it.
    """

    images: Annotated[int, Field(ge=2)]
    batch_size: Annotated[int, Field(ge=2)]


@dataclass(frozen=True, kw_only=True)
class Prune:
    """Cut the last network of the trail down to a budget.

    Attributes:
        pruner: Which channels matter.
        budget: What the ratio is a fraction of, and its guards.
        ratio: Fraction to remove, in [0, 1).
        calibration: Labelled training images the criterion and the BN re-estimation may see.
        aux_weight: Weight of auxiliary heads in the loss that gradients come from, as in training.
    """

    pruner: Pruner
    budget: Budget
    ratio: float
    calibration: CalibrationSet
    aux_weight: float
    word: str = "prune"

    def __call__(self, ctx: Context, trail: Trail) -> Trail:
        """The trail, the network right after the cut (``pruned_raw``), and with re-estimated BN (``pruned``)."""
        before = trail[-1]
        key = fingerprint(
            self.word,
            {
                "data": ctx.data.identity.calibration,
                "size_hw": ctx.data.size_hw,
                "seed": ctx.seed,
                "from": before.fingerprint,
                "pruner": identity(self.pruner),
                "budget": identity(self.budget),
                "ratio": self.ratio,
                "calibration": identity(self.calibration),
                "aux_weight": self.aux_weight,
            },
        )
        entry = ctx.store.get(self.word, key, lambda folder: self._make(folder, ctx, before, key))
        note_source(entry, ctx, self.word)
        ctx.tracker.file(entry.folder / PLAN, "prune")
        ctx.tracker.metrics(_metrics(json.loads((entry.folder / PLAN).read_text())))
        pruned = read_state(entry, ctx, "pruned", key)
        raw = copy.deepcopy(pruned.net)
        buffers = load_file(entry.folder / RAW, device=str(ctx.hardware.device))
        raw.load_state_dict({**raw.state_dict(), **buffers})
        raw_state = NetState(name="pruned_raw", net=raw, plans=pruned.plans, fingerprint=f"{key}-raw")
        return (*trail, raw_state, pruned)

    def refuse_unreachable(self, ctx: Context) -> None:
        """Check that the dense network can be cut that far at all, before it is trained.

        Raises:
            BudgetError: It cannot.
        """
        net = ctx.build().to(ctx.hardware.device)
        groups = trace(net)
        self.budget.refuse_unreachable(groups, self.ratio, CostSimulator(net, groups, ctx.data.size_hw))

    def _make(self, folder: Path, ctx: Context, before: NetState, key: str) -> None:
        net, groups = before.net, trace(before.net)
        batches = self._batches(ctx)
        started = time.perf_counter()
        scores = self._scores(ctx, net, groups, batches)
        scoring_s = time.perf_counter() - started
        simulator = CostSimulator(net, groups, ctx.data.size_hw)
        reached = self.budget(
            groups, scores, ratio=self.ratio, paper_scope=self.pruner.scope, simulator=simulator
        )
        small = cut(net, reached.plan)
        error = mask_error(net, small, groups, reached.plan)
        if not error <= LARGEST_MASK_ERROR:
            raise CutError(
                f"the cut {type(net).__name__} differs from the network with the same channels set to zero by "
                f"{error:.1e} (float64, relative; at most {LARGEST_MASK_ERROR:.0e}): its channel groups are "
                "wrong, so no result of this cut can be trusted. Give traced_logits every coupling of channels."
            )
        log.info("%s", _line(self.pruner.name, self.budget.of, reached, error))
        save_file(_buffers(small), folder / RAW)
        reestimate_batchnorm(small, batches)
        save_file({name: score.contiguous() for name, score in scores.items()}, folder / SCORES)
        report = _report(self.pruner.name, self.budget.of, groups, reached)
        report |= {"mask_error": error, "scoring_s": round(scoring_s, 3)}
        (folder / PLAN).write_text(json.dumps(report, indent=1), encoding="utf-8")
        write_state(folder, ctx, small, (*before.plans, reached.plan), key)

    def _batches(self, ctx: Context) -> list[Batch]:
        device = ctx.hardware.device
        drawn = calibration_batches(
            ctx.data.calibration,
            count=self.calibration.images,
            batch_size=self.calibration.batch_size,
            seed=derive(ctx.seed, "calibration"),
        )
        return [
            Batch(image.to(device, memory_format=torch.channels_last), label.to(device))
            for image, label in drawn
        ]

    def _scores(
        self, ctx: Context, net: SegmentationNet, groups: Sequence[ChannelGroup], batches: Sequence[Batch]
    ) -> Scores:
        calibration = Calibration(
            batches=batches,
            loss=calibration_loss(ignore_index=ctx.data.ignore_index, aux_weight=self.aux_weight),
            device=ctx.hardware.device,
            seed=derive(ctx.seed, "pruner"),
        )
        with seeded(ctx.seed, "pruner"):
            scores = self.pruner(net, groups, calibration)
        for group in groups:
            score = scores.get(group.name)
            if score is None or score.shape != (group.size,) or not torch.isfinite(score).all():
                raise BudgetError(
                    f"pruner {self.pruner.name!r} gives no finite score for each of the {group.size} channels of "
                    f"{group.name!r}; a budget needs one score per channel of every group."
                )
        return scores


@torch.no_grad()
def reestimate_batchnorm(net: SegmentationNet, batches: Sequence[Batch]) -> None:
    """Set BN running statistics, in place, to their averages over the batches; no weight changes.

    Only BN layers run in training mode, so dropout stays off. Batches have at least two images, since a BN
    over 1x1 maps has no variance otherwise.
    """
    norms = [
        m for m in net.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm) and m.track_running_stats
    ]
    momenta = [norm.momentum for norm in norms]
    net.eval()
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # cumulative average: every batch counts the same
        norm.train()
    for batch in batches:
        net.all_logits(batch.image)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    net.eval()


def _buffers(net: nn.Module) -> dict[str, Tensor]:
    parameters = dict(net.named_parameters())
    return {k: v.detach().cpu().clone() for k, v in net.state_dict().items() if k not in parameters}


def _report(pruner: str, unit: str, groups: Sequence[ChannelGroup], reached: Reached) -> dict[str, object]:
    return {
        "pruner": pruner,
        "budget": unit,
        **{name: value for name, value in asdict(reached).items() if name != "plan"},
        "layers": [
            {"layer": g.name, "channels": g.size, "kept": g.size - len(reached.plan.get(g.name, ()))}
            for g in groups
        ],
        "plan": {name: list(channels) for name, channels in reached.plan.items()},
    }


def _metrics(report: dict[str, float]) -> dict[str, float]:
    removed = {
        f"prune/{unit}_removed": round(100 * report[unit], 2) for unit in ("channels", "macs", "params")
    }
    return {**removed, "prune/scoring_s": report["scoring_s"], "prune/mask_error": report["mask_error"]}


def _line(pruner: str, unit: str, reached: Reached, error: float) -> str:
    return (
        f"{pruner}: asked to remove {reached.asked:.1%} of {unit}; removed {reached.channels:.1%} of channels, "
        f"{reached.macs:.1%} of MACs, {reached.params:.1%} of params ({reached.scope} ranking); cut proven, "
        f"error {error:.0e}"
    )
