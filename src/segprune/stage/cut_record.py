"""What is recorded of a cut: the content of ``plan.json``, metrics for the tracker, and lines for the log."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import torch
from torch import Tensor

from segprune.budget.contract import Reached
from segprune.graph.trace import Followed
from segprune.pruner.partial import scorable
from segprune.result.removed import removed_of
from segprune.stage.rounds import Outcome

SHARES = (0.2, 0.5, 0.8)
"""Of channels, that are told for other thresholds."""
UNITS = ("channels", "macs", "params")
_NAMED = 5
"""Layers that a line of the log names."""


def record(pruner: str, unit: str, result: Outcome) -> dict[str, object]:
    """The content of ``plan.json``.

    Args:
        pruner: Name of the criterion.
        unit: Of the budget.
        result: The cut.
    """
    reached = result.reached
    return {
        "pruner": pruner,
        "budget": unit,
        **{
            f"{name}_removed" if name in UNITS else name: value
            for name, value in asdict(reached).items()
            if name != "plan"
        },
        "layers": [
            {"layer": g.name, "channels": g.size, "kept": g.size - len(reached.plan.get(g.name, ()))}
            for g in scorable(result.followed.groups, result.unscored)
        ],
        "cuttable": round(result.followed.share, 4),
        "whole": [asdict(one) for one in result.followed.whole],
        "unscored": [
            {"layer": g.name, "channels": g.size, "reason": result.unscored[g.name]}
            for g in result.followed.groups
            if g.name in result.unscored
        ],
        "plan": {name: list(channels) for name, channels in reached.plan.items()},
        "rounds": len(result.cuts),
        "thresholds": suggested(result),
        "mask_error": result.error,
        "scoring_s": round(result.scoring_s, 3),
        "scoring_peak_mb": round(result.scoring_peak_mb, 1),
    }


def metrics(plan: Mapping[str, Any]) -> dict[str, float]:
    """What is removed, in percent, and what scoring and the proof of the cut measured; from ``plan.json``."""
    fractions = {unit: removed_of(plan, unit) for unit in UNITS}
    if plan["removed"] is not None:
        fractions[plan["budget"]] = plan["removed"]
    removed = {f"prune/{unit}_removed": round(100 * fraction, 2) for unit, fraction in fractions.items()}
    proof_and_price = {f"prune/{name}": plan[name] for name in ("scoring_s", "scoring_peak_mb", "mask_error")}
    return removed | proof_and_price | _search(plan.get("found"))


def _search(found: Mapping[str, Any] | None) -> dict[str, float]:
    """Of a budget that searches."""
    if found is None:
        return {}
    named = {"macs_ratio": "macs_ratio", "latency_kept": "latency", "time_s": "seconds"}
    return {
        "latency_search/cuts": len(found["cuts"]),
        **{f"latency_search/{name}": found[key] for name, key in named.items()},
    }


def line(pruner: str, unit: str, result: Outcome) -> str:
    """What the criterion was asked for and what was removed, in one line."""
    reached = result.reached
    goal = "" if reached.asked is None else f"asked to remove {reached.asked:.1%} of {unit}; "
    can = result.followed.share
    channels = "channels" if can == 1 else f"the {can:.0%} of channels that can be cut"
    removed = {channels: reached.channels, "MACs": reached.macs, "params": reached.params}
    if reached.removed is not None and unit.lower() not in UNITS:
        removed = {unit: reached.removed, **removed}
    shares = ", ".join(f"{share:.1%} of {name}" for name, share in removed.items())
    return f"{pruner}: {goal}removed {shares} ({reached.scope} ranking); cut proven, error {result.error:.0e}"


def by_threshold(result: Outcome) -> list[str]:
    """What to know of a cut by a threshold: where scores lie, and what decided besides it; empty otherwise."""
    threshold = result.reached.threshold
    if threshold is None:
        return []
    scores = torch.cat([score.double().flatten() for score in result.scores.values()]).sort().values
    count, below = len(scores), int((scores < threshold).sum())
    removed = sum(map(len, result.reached.plan.values()))
    useful = ", ".join(f"{one:.4g} ({share})" for share, one in (suggested(result) or {}).items())
    lines = [
        f"scores are {scores[0]:.4g} to {scores[-1]:.4g}; this share of channels scores below a budget.threshold "
        f"of {useful}"
    ]
    if not below:
        lines.append(f"budget.threshold={threshold:g} is not above the smallest score, so nothing is removed")
    elif below == count:
        lines.append(
            f"budget.threshold={threshold:g} is above the largest score, so {count - removed} of {count} channels "
            "stay because of budget.floor and budget.round_to alone"
        )
    elif removed < below:
        lines.append(
            f"{below} of {count} channels score below budget.threshold={threshold:g}, and {below - removed} of "
            "them stay because of budget.floor and budget.round_to"
        )
    return lines


def suggested(result: Outcome) -> dict[str, float] | None:
    """Share of channels that score below it -> threshold; None where a ratio decided."""
    if result.reached.threshold is None:
        return None
    scores = torch.cat([score.double().flatten() for score in result.scores.values()]).sort().values
    return {f"{share:.0%}": float(f"{_between(scores, share):.4g}") for share in SHARES}


def _between(scores: Tensor, share: float) -> float:
    """A threshold that a share of sorted scores is below, halfway to the next score."""
    place = min(len(scores) - 1, round(share * len(scores)))
    return float(scores[max(0, place - 1)] + scores[place]) / 2


def left_whole(found: Followed) -> str:
    """How many of all channels can be cut, and what stays whole and why."""
    whole = by_reason({one.layer: one.reason for one in found.whole})
    return f"{found.share:.0%} of all channels can be cut. Whole: {whole}"


def by_reason(whole: Mapping[str, str]) -> str:
    """Layers that stay whole, and why, from each one's reason."""
    parts: dict[str, list[str]] = {}
    for layer, reason in whole.items():
        parts.setdefault(reason, []).append(layer)
    named = [f"{_few(layers)} ({reason})" for reason, layers in parts.items()]
    more = f"; and for {len(named) - _NAMED} other reasons, see plan.json" if len(named) > _NAMED else ""
    return f"{'; '.join(named[:_NAMED])}{more}"


def _few(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def unaligned(reached: Reached) -> str:
    """The groups whose widths are no multiples, so that a slow network has a reason."""
    widths = [f"{name} {width}" for name, width in reached.unaligned.items()]
    more = f" and {len(widths) - _NAMED} more" if len(widths) > _NAMED else ""
    return f"no multiple of budget.round_to={reached.round_to} is the width of {', '.join(widths[:_NAMED])}{more}"
