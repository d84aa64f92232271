"""Rows: the measurements of a trail as flat records, each network against the first one."""

from collections.abc import Mapping, Sequence

from segprune import gpu
from segprune.graph.group import ChannelGroup
from segprune.graph.trace import trace
from segprune.measure.quality import Quality
from segprune.model.contract import SegmentationNet
from segprune.result.contract import Footprint, Measured
from segprune.result.metrics import declared
from segprune.result.row import SCHEMA_VERSION, Row, Value, from_record
from segprune.stage.contract import Context, NetState, RowFacts, Trail
from segprune.transform.cut import Cut


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
    measured = {
        state.name: Measured(
            quality=qualities[state.name],
            footprint=footprints[state.name],
            channels=channels_kept(first, state, groups),
            size_hw=ctx.pass_hw,
            frames=ctx.data.report_frames,
            budget=facts.budget if cuts(first, state) else None,
        )
        for state in trail
    }
    return [
        from_record(
            {
                "schema_version": SCHEMA_VERSION,
                **_setting(ctx, state, facts, is_cut=bool(cuts(first, state))),
                "absent": _absent(ctx, qualities[state.name]),
                "timing": footprints[state.name].timing,
                **_metrics(measured[state.name], measured[first.name]),
            }
        )
        for state in trail
    ]


def cuts(first: NetState, state: NetState) -> tuple[Mapping[str, tuple[int, ...]], ...]:
    """The plans by which this run made the network of the trail's first one."""
    return tuple(one.plan for one in state.transforms[len(first.transforms) :] if isinstance(one, Cut))


def channels_kept(first: NetState, state: NetState, groups: Sequence[ChannelGroup]) -> dict[str, int]:
    """Group name -> channels that are left of the first network's ``groups``."""
    return {
        group.name: group.size - sum(len(plan.get(group.name, ())) for plan in cuts(first, state))
        for group in groups
    }


def groups_of(state: NetState) -> tuple[ChannelGroup, ...]:
    """The channel groups of a network; none of a runner, whose inside nobody knows."""
    return trace(state.net) if isinstance(state.net, SegmentationNet) else ()


def _setting(ctx: Context, state: NetState, facts: RowFacts, *, is_cut: bool) -> dict[str, Value]:
    return {
        "run": facts.run,
        "stage": state.name,
        "dataset": ctx.data.name,
        "split": ctx.data.report_split,
        "model": facts.model,
        "pruner": facts.pruner if is_cut else None,
        "budget": facts.budget if is_cut else None,
        "scope": facts.scope if is_cut else None,
        "ratio_asked": facts.ratio if is_cut else None,
        "transforms": "; ".join(one.describe() for one in state.transforms) or None,
        "seed": ctx.seed,
        "size_h_px": ctx.data.size_hw[0],
        "size_w_px": ctx.data.size_hw[1],
        "passes": ctx.passes.describe(),
        "device": str(ctx.hardware.device),
        "gpu": gpu.name_of(ctx.hardware.device),
        "precision": gpu.precision_of(ctx.hardware.device),
        "training": state.training,
        "fingerprint": str(state.fingerprint),
    }


def _absent(ctx: Context, quality: Quality) -> str | None:
    labelled = quality.counts.sum(1).tolist()
    return (
        ", ".join(name for name, pixels in zip(ctx.data.classes, labelled, strict=True) if not pixels) or None
    )


def _metrics(net: Measured, dense: Measured) -> dict[str, Value]:
    return {name: metric.get(net, dense) for name, metric in declared().items()}
