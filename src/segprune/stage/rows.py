"""Rows: the measurements of a trail as flat records, each network against the first one."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from segprune.budget.simulate import Unit
from segprune.graph.group import ChannelGroup
from segprune.measure.boundary import boundary_scores
from segprune.measure.latency import speedup
from segprune.measure.miou import scores
from segprune.measure.quality import Quality
from segprune.measure.reconstruction import reconstruction
from segprune.pruner.contract import Scope
from segprune.result.row import SCHEMA_VERSION, Row, Value, from_record
from segprune.stage.contract import Context, NetState, Trail
from segprune.stage.side_by_side import Footprint


@dataclass(frozen=True, kw_only=True)
class RowFacts:
    """What the rows say besides the measurements.

    Attributes:
        run: Name of the run.
        model: Option of the config group.
        pruner: Likewise.
        budget: What the ratio is a fraction of.
        scope: Where the scores were ranked.
        ratio: Fraction asked to be removed; ``None`` where a threshold decides.
    """

    run: str
    model: str
    pruner: str
    budget: Unit
    scope: Scope
    ratio: float | None


def rows_of(
    ctx: Context,
    trail: Trail,
    facts: RowFacts,
    groups: Sequence[ChannelGroup],
    qualities: Mapping[str, Quality],
    footprints: Mapping[str, Footprint],
) -> list[Row]:
    """One checked row per network of the trail.

    Args:
        ctx: The run.
        trail: Its networks; the first is what the others are compared with.
        facts: What else the rows say.
        groups: Channel groups of the first network.
        qualities: Name -> what the network predicts.
        footprints: Name -> what it costs.
    """
    first = trail[0]
    base, dense = qualities[first.name], footprints[first.name]
    return [
        from_record(
            {
                "schema_version": SCHEMA_VERSION,
                **_setting(ctx, state, facts),
                **_size(first, state, facts, groups, footprints[state.name], dense),
                **_worth(qualities[state.name], base),
                **_likeness(qualities[state.name], is_first=state is first),
                **_speed(footprints[state.name], dense, ctx.data.size_hw, is_cut=bool(cuts(first, state))),
            }
        )
        for state in trail
    ]


def cuts(first: NetState, state: NetState) -> tuple[Mapping[str, tuple[int, ...]], ...]:
    """The plans by which this run made the network of the trail's first one."""
    return state.plans[len(first.plans) :]


def channels_kept(first: NetState, state: NetState, groups: Sequence[ChannelGroup]) -> dict[str, int]:
    """Group name -> channels that are left of the first network's ``groups``."""
    return {
        group.name: group.size - sum(len(plan.get(group.name, ())) for plan in cuts(first, state))
        for group in groups
    }


def _setting(ctx: Context, state: NetState, facts: RowFacts) -> dict[str, Value]:
    return {
        "run": facts.run,
        "stage": state.name,
        "dataset": ctx.data.name,
        "split": ctx.data.report_split,
        "model": facts.model,
        "seed": ctx.seed,
        "size_h_px": ctx.data.size_hw[0],
        "size_w_px": ctx.data.size_hw[1],
        "device": str(ctx.hardware.device),
        "fingerprint": str(state.fingerprint),
    }


def _size(
    first: NetState,
    state: NetState,
    facts: RowFacts,
    groups: Sequence[ChannelGroup],
    mine: Footprint,
    dense: Footprint,
) -> dict[str, Value]:
    channels = sum(group.size for group in groups)
    kept = sum(channels_kept(first, state, groups).values())
    fractions = {
        "channels": kept / channels,
        "macs": mine.cost.macs / dense.cost.macs,
        "params": mine.cost.params / dense.cost.params,
    }
    is_cut = bool(cuts(first, state))
    return {
        "pruner": facts.pruner if is_cut else None,
        "budget": facts.budget if is_cut else None,
        "scope": facts.scope if is_cut else None,
        "ratio_asked": facts.ratio if is_cut else None,
        "ratio_reached": 1 - fractions[facts.budget] if is_cut else None,
        "params": mine.cost.params,
        "macs": mine.cost.macs,
        "channels": kept,
        "channels_dense": channels,
        **{f"{unit}_kept": fraction for unit, fraction in fractions.items()},
        "file_size_bytes": mine.file_size_bytes,
    }


def _worth(quality: Quality, dense: Quality) -> dict[str, Value]:
    mine, base = scores(quality.counts), scores(dense.counts)
    border = boundary_scores(quality.boundary).mean
    small, recalled = quality.small_objects.tolist()
    return {
        "miou_percent": 100 * mine.miou,
        "pixel_accuracy_percent": 100 * mine.pixel_accuracy,
        "mean_accuracy_percent": 100 * mine.mean_accuracy,
        "fw_iou_percent": 100 * mine.fw_iou,
        "classes_scored": mine.classes_scored,
        "miou_retention": mine.miou / base.miou if base.miou > 0 else None,
        "pixel_accuracy_retention": mine.pixel_accuracy / base.pixel_accuracy
        if base.pixel_accuracy > 0
        else None,
        "boundary_iou_percent": None if border is None else 100 * border,
        "small_objects": small,
        "small_object_recall_percent": 100 * recalled / small if small else None,
    }


def _likeness(quality: Quality, *, is_first: bool) -> dict[str, Value]:
    if is_first:
        return {"logit_mse": None, "argmax_agreement_percent": None}
    found = reconstruction(quality.reconstruction)
    return {"logit_mse": found.logit_mse, "argmax_agreement_percent": 100 * found.argmax_agreement}


def _speed(mine: Footprint, dense: Footprint, size_hw: tuple[int, int], *, is_cut: bool) -> dict[str, Value]:
    time, gain = mine.latency, speedup(dense.latency, mine.latency)
    return {
        "latency_batch_size": time.batch_size,
        "latency_ms_median": time.median_ms,
        "latency_ms_p95": time.p95_ms,
        "latency_ms_iqr": time.iqr_ms,
        "frames_per_s": time.frames_per_s,
        "pixels_per_s": time.frames_per_s * size_hw[0] * size_hw[1],
        "speedup": gain,
        "realisation_efficiency": gain * mine.cost.macs / dense.cost.macs if is_cut else None,
        "peak_memory_mb": mine.peak_memory_mb,
    }
