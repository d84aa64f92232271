"""Rows: the measurements of a trail as flat records, each network against the first one."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from segprune import gpu
from segprune.errors import ConfigError
from segprune.graph.group import ChannelGroup
from segprune.graph.trace import trace
from segprune.measure.cost import cost
from segprune.measure.quality import Quality
from segprune.model.contract import SegmentationNet
from segprune.result.contract import Footprint, Measured
from segprune.result.metrics import declared
from segprune.result.row import SCHEMA_VERSION, Row, Value, from_record
from segprune.stage.contract import Context
from segprune.stage.dense import is_orphan, shell
from segprune.stage.facts import RowFacts, facts_at
from segprune.stage.state import NetState, Trail
from segprune.transform.cut import Cut

NOT_TIMED = "the dense network was not timed beside it: its checkpoint is not there"


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
        groups: Channel groups of the dense network, see ``groups_of``.
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
            budget=facts_at(facts, state).budget if cuts(first, state) else None,
        )
        for state in trail
    }
    dense, timing = measured[first.name], ""
    if is_orphan(first):
        dense, timing = _not_there(ctx, dense, groups), f"; {NOT_TIMED}"
    return [
        from_record(
            {
                "schema_version": SCHEMA_VERSION,
                **_setting(ctx, state, facts_at(facts, state), is_cut=bool(cuts(first, state))),
                "absent": _absent(ctx, qualities[state.name]),
                "timing": f"{footprints[state.name].timing or ''}{timing}" or None,
                **_metrics(measured[state.name], dense),
                **(_by_record(measured[state.name], dense_row(ctx, first)) if is_orphan(first) else {}),
            }
        )
        for state in trail
    ]


def dense_row(ctx: Context, first: NetState) -> Mapping[str, Value] | None:
    """The row that a dense network which is not there had on the same images; None if it had none."""
    if first.ancestry is None:
        return None
    size = {
        "size_h_px": ctx.data.size_hw[0],
        "size_w_px": ctx.data.size_hw[1],
        "passes": ctx.passes.describe(),
    }
    return first.ancestry.row_of(ctx.data.identity.report, **size)


def _not_there(ctx: Context, first: Measured, groups: Sequence[ChannelGroup]) -> Measured:
    """What is known of a dense network without its weights: what it costs, and no time."""
    footprint = Footprint(
        cost=cost(shell(ctx), ctx.pass_hw), latency=None, file_size_bytes=None, peak_memory_mb=None
    )
    return replace(
        first, footprint=footprint, channels={group.name: group.size for group in groups}, budget=None
    )


def _by_record(net: Measured, row: Mapping[str, Value] | None) -> dict[str, Value]:
    """The metrics that compare predictions with those of a dense network of which only a row is there, if that."""
    found = net.segmentation
    own = {
        "miou_retention": (100 * found.miou, "miou_percent"),
        "pixel_accuracy_retention": (100 * found.pixel_accuracy, "pixel_accuracy_percent"),
    }
    whole = {name: row.get(of) if row else None for name, (_, of) in own.items()}
    retained: dict[str, Value] = {
        name: value / base if isinstance(base := whole[name], int | float) and base else None
        for name, (value, _) in own.items()
    }
    return {**retained, "logit_mse": None, "argmax_agreement_percent": None}


def cuts(first: NetState, state: NetState) -> tuple[Mapping[str, tuple[int, ...]], ...]:
    """The plans that made a network of the dense one; where that is not known, of the trail's first one."""
    if not is_of(first, state):
        return ()
    before = len(first.transforms) if first.ancestry is None else 0
    return tuple(one.plan for one in state.transforms[before:] if isinstance(one, Cut))


def is_of(first: NetState, state: NetState) -> bool:
    """Whether a network was made of a trail's first one; two that are only compared may have nothing in common."""
    made_so = state.transforms[: len(first.transforms)] == first.transforms
    return state is first or (made_so and state.model == first.model)


def channels_kept(first: NetState, state: NetState, groups: Sequence[ChannelGroup]) -> dict[str, int]:
    """Group name -> channels that are left of ``groups``; none where a network was not made of the first one."""
    if not is_of(first, state):
        return {}
    return {
        group.name: group.size - sum(len(plan.get(group.name, ())) for plan in cuts(first, state))
        for group in groups
    }


def groups_of(ctx: Context, trail: Trail) -> tuple[ChannelGroup, ...]:
    """The channel groups of the dense network; none of a runner, whose inside nobody knows.

    Args:
        ctx: The run.
        trail: The first network is the dense one, unless that is known and not there. If none is cut, it may be one
            whose channels cannot be followed, which has no groups.

    Raises:
        ConfigError: The channels of a network that is cut cannot be followed.
    """
    first = trail[0]
    if is_orphan(first):
        return trace(shell(ctx))
    if not isinstance(first.net, SegmentationNet):
        return ()
    try:
        return trace(first.net)
    except ConfigError:
        if any(cuts(first, state) for state in trail):
            raise
        return ()


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
        "threshold": facts.threshold if is_cut else None,
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
