"""The oracle of one cut: which channels the loss would remove, and how many of them the criterion chose."""

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import numpy as np
import torch
from pydantic import Field
from safetensors.torch import load_file

from segprune.dataset.loading import HostBatches, calibration_batches
from segprune.errors import ConfigError
from segprune.graph.group import Scores
from segprune.graph.trace import trace
from segprune.loss.contract import Loss
from segprune.measure.agreement import Agreement, Channel, Values, agreement, lowest, values_of
from segprune.measure.loss_change import Loss as LossOfBatch
from segprune.measure.loss_change import (
    Removal,
    joint_loss_change,
    loss_changes,
    mean_losses,
    sample_channels,
)
from segprune.pruner.contract import Scope
from segprune.result.files import PLAN, SCORES
from segprune.result.removed import removed_of
from segprune.seed import derive
from segprune.stage.contract import Context
from segprune.stage.identity import fingerprint_of, identity
from segprune.stage.state import NetState, Trail
from segprune.store.fingerprint import Fingerprint
from segprune.training.loss import segmentation_loss

if TYPE_CHECKING:
    import pandas as pd

log = logging.getLogger(__name__)
WORD, CHANGES, JOINT = "oracle", "loss_changes.json", "joint.json"
WITHOUT = ("measure.agreement",)
"""How far scores agree with loss changes is no part of these."""


@dataclass(frozen=True, kw_only=True)
class OracleSettings:
    """How many channels are removed one at a time, and on which images the loss is measured.

    Attributes:
        samples: Channels probed, of all groups together; 0: no oracle.
        images: Training images, drawn independently of those that scored the channels; all when there are fewer.
        batch_size: Images per batch.
        copies: Channels probed in one forward pass; changes speed and memory, and on a GPU the last bits of what is
            measured.
        loss: Of which the changes are, as in training but without class weights and auxiliary heads.
    """

    samples: Annotated[int, Field(ge=0)]
    images: Annotated[int, Field(ge=2)]
    batch_size: Annotated[int, Field(ge=1)]
    copies: Annotated[int, Field(ge=1)]
    loss: Loss

    def inputs(self, device: torch.device) -> dict[str, Any]:
        """What can change a result on this device, for fingerprints."""
        still = () if device.type == "cuda" else ("copies",)
        return {name: value for name, value in identity(self).items() if name not in still}


@dataclass(frozen=True, kw_only=True)
class OracleReport:
    """What the oracle says about a criterion.

    Attributes:
        agreement: On the probed channels.
        base_loss: Loss of the network as it is.
        joint_loss_change: Of removing all channels at once that the criterion ranks lowest among the probed.
        joint_loss_change_random: Of as many drawn ones of each group; the control.
        channels: One row per probed channel: layer, channel, loss_change (signed), score.
    """

    agreement: Agreement
    base_loss: float
    joint_loss_change: float
    joint_loss_change_random: float
    channels: "pd.DataFrame"

    def metrics(self) -> dict[str, float]:
        """By the names under which they are logged; what is not defined is left out."""
        values = {
            "precision_at_k": self.agreement.precision_at_k,
            "precision_at_k_random": self.agreement.expected_precision,
            "spearman": self.agreement.spearman,
            "joint_loss_change": self.joint_loss_change,
            "joint_loss_change_random": self.joint_loss_change_random,
            "channels": len(self.channels),
            "base_loss": self.base_loss,
        }
        return {name: value for name, value in values.items() if value is not None}


def oracle_of_trail(settings: OracleSettings, ctx: Context, trail: Trail) -> OracleReport | None:
    """The oracle of the cut in a trail; None without one, or if no channel is to be probed.

    After several rounds there is none: the scores are of a network that was cut and trained meanwhile.
    """
    found = cut_of(trail) if settings.samples else None
    if found is None:
        return None
    scored, folder, plan = found
    if plan["rounds"] > 1:
        log.warning(
            "no oracle: after %d rounds the scores are not of the network before the cut", plan["rounds"]
        )
        return None
    scores = load_file(folder / SCORES)
    return oracle_report(
        settings, ctx, scored, scores, ratio=removed_of(plan, "channels"), scope=plan["scope"]
    )


def cut_of(trail: Trail) -> tuple[NetState, Path, Mapping[str, Any]] | None:
    """The network of a trail whose channels were scored, the folder of what was cut of it, and ``plan.json`` there.

    Both may come from checkpoints. None unless both are in the trail; of several cuts it is the last one.
    """
    for state in reversed(trail):
        if state.folder is None or not (state.folder / PLAN).exists():
            continue
        plan = json.loads((state.folder / PLAN).read_text(encoding="utf-8"))
        before_raw = (one for one, after in pairwise(trail) if after.name == "pruned_raw")
        named = (one for one in trail if one.fingerprint == plan.get("scored"))
        scored = next(named if "scored" in plan else before_raw, None)  # earlier versions did not name it
        if scored is not None:
            return scored, state.folder, plan
    return None


def scored_of(trail: Trail) -> NetState | None:
    """The network of a trail whose channels were scored; None without one."""
    found = cut_of(trail)
    return found[0] if found else None


def refuse_no_cut(samples: int, key: str) -> NoReturn:
    """Say what an oracle needs, where a trail does not have it.

    Raises:
        ConfigError: Always.
    """
    raise ConfigError(
        f"{key}.oracle.samples is {samples}, but the oracle needs a network right after its cut, as the stage "
        "prune leaves it, and the one that was scored for that cut, and these are not the networks here. Give "
        "candidate=<checkpoint of the pruned network> with baseline=<the network that it was cut from>, or repeat "
        f"the run that cut it with {key}.oracle.samples={samples}: all but eval comes from the store."
    )


def oracle_report(
    settings: OracleSettings, ctx: Context, scored: NetState, scores: Scores, *, ratio: float, scope: Scope
) -> OracleReport | None:
    """Compare a criterion's scores with the loss changes they stand for; None if no channel is to be probed.

    Loss changes are measured once per network, for all criteria that scored it.

    Args:
        settings: How much is measured.
        ctx: The run.
        scored: The network that was scored.
        scores: Of the criterion, for every group of that network.
        ratio: Fraction of channels to remove.
        scope: Where scores and loss changes are ranked.
    """
    if settings.samples == 0:
        return None
    key = key_of(settings, ctx, scored)
    probed, changes, base_loss = _loss_changes(settings, ctx, scored, key)
    score = values_of(scores, probed)
    chosen = [probed[position] for position in lowest(score, probed, ratio, scope)]
    removals = {"criterion": _together(chosen), "random": _together(_drawn(probed, chosen, ctx.seed))}
    joint = _joint_loss_changes(settings, ctx, scored, key, removals)
    return OracleReport(
        agreement=agreement(scores, changes, probed, ratio, scope),
        base_loss=base_loss,
        joint_loss_change=joint["criterion"],
        joint_loss_change_random=joint["random"],
        channels=_table(probed, changes, score),
    )


def key_of(settings: OracleSettings, ctx: Context, scored: NetState) -> Fingerprint:
    """The fingerprint of the loss changes of single channels."""
    inputs = {
        "data": ctx.data.identity.calibration,
        "size_hw": ctx.pass_hw,
        "seed": ctx.seed,
        "device": ctx.hardware.device.type,
        "net": scored.fingerprint,
        "oracle": settings.inputs(ctx.hardware.device),
    }
    return fingerprint_of(ctx, WORD, inputs, settings, without=WITHOUT)


def _loss_changes(
    settings: OracleSettings, ctx: Context, scored: NetState, key: Fingerprint
) -> tuple[tuple[Channel, ...], Values, float]:
    """The probed channels, the loss change of each, and the loss of the network as it is."""

    def make(folder: Path) -> None:
        groups, batches, loss = trace(scored.module), _batches(settings, ctx), _loss(settings, ctx)
        probed = sample_channels(groups, settings.samples, derive(ctx.seed, "oracle", "units"))
        changes = loss_changes(scored.module, groups, probed, batches, loss, settings.copies)
        (base_loss,) = mean_losses(scored.module, groups, [{}], batches, loss, copies=1).tolist()
        found = {"base_loss": base_loss, "channels": probed, "loss_changes": changes.tolist()}
        (folder / CHANGES).write_text(json.dumps(found, allow_nan=False), encoding="utf-8")

    entry = ctx.store.get(WORD, key, make)
    found = json.loads((entry.folder / CHANGES).read_text(encoding="utf-8"))
    probed = tuple(
        (name, channel) for name, channel in found.get("channels") or found["units"]
    )  # of results kept before
    return probed, np.array(found["loss_changes"], dtype=np.float64), found["base_loss"]


def _joint_loss_changes(
    settings: OracleSettings,
    ctx: Context,
    scored: NetState,
    changes: Fingerprint,
    removals: Mapping[str, Removal],
) -> dict[str, float]:
    """Name of each removal -> its loss change, on the same images as the single channels."""

    def make(folder: Path) -> None:
        groups, batches, loss = trace(scored.module), _batches(settings, ctx), _loss(settings, ctx)
        found = {
            name: joint_loss_change(scored.module, groups, removal, batches, loss)
            for name, removal in removals.items()
        }
        (folder / JOINT).write_text(json.dumps(found, allow_nan=False), encoding="utf-8")

    inputs = {"changes": ctx.store.choice(WORD, changes), "removals": removals}
    key = fingerprint_of(ctx, WORD, inputs, settings, without=WITHOUT)
    entry = ctx.store.get(WORD, key, make)
    found: dict[str, float] = json.loads((entry.folder / JOINT).read_text(encoding="utf-8"))
    return found


def _together(probed: Sequence[Channel]) -> dict[str, list[int]]:
    return {name: [c for group, c in probed if group == name] for name, _ in probed}


def _drawn(probed: Sequence[Channel], chosen: Sequence[Channel], seed: int) -> list[Channel]:
    """As many of the probed channels of each group as are chosen of it, drawn."""
    drawn: list[Channel] = []
    for name, channels in _together(chosen).items():
        of_group = _together(probed)[name]
        order = np.random.default_rng(derive(seed, "oracle", "control", name)).permutation(of_group)
        drawn += [(name, channel) for channel in sorted(order[: len(channels)].tolist())]
    return drawn


def _table(probed: Sequence[Channel], changes: Values, score: Values) -> "pd.DataFrame":
    import pandas as pd

    layers, channels = zip(*probed, strict=True)
    return pd.DataFrame({"layer": layers, "channel": channels, "loss_change": changes, "score": score})


def _batches(settings: OracleSettings, ctx: Context) -> HostBatches:
    drawn = calibration_batches(
        ctx.data.calibration,
        count=settings.images,
        batch_size=settings.batch_size,
        seed=derive(ctx.seed, "oracle"),
    )
    return HostBatches(drawn, ctx.hardware.device)


def _loss(settings: OracleSettings, ctx: Context) -> LossOfBatch:
    """Unweighted: what the deployed head says of the images, not how it was trained."""
    return segmentation_loss(
        settings.loss, ignore_index=ctx.data.ignore_index, class_weights=None, aux_weight=0.0
    )
