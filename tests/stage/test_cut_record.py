from dataclasses import replace

import pytest
import torch

from segprune.budget.contract import Found, Reached
from segprune.graph.grouping import Whole
from segprune.graph.trace import Followed, followed
from segprune.stage.cut_record import by_threshold, left_whole, line, metrics, record, unaligned
from segprune.stage.rounds import Outcome
from tests.toys import Plain


def outcome(**changes: object) -> Outcome:
    """Two of the 6 channels of the first group are removed, of groups of 6, 5 and 4."""
    values = {
        "plan": {"first.0": (1, 4)},
        "scope": "local",
        "asked": 0.1,
        "removed": 0.125,
        "channels": 2 / 15,
        "macs": 0.125,
        "params": 0.5,
        **changes,
    }
    return Outcome(
        followed=followed(Plain()),
        unscored={},
        net=Plain(),
        cuts=(),
        reached=Reached(**values),
        scores={},
        scoring_s=1.23456,
        scoring_peak_mb=7.89,
        error=2e-15,
    )


@pytest.mark.parametrize(
    ("threshold", "plan", "told"),
    [
        (0.05, {}, "budget.threshold=0.05 is not above the smallest score, so nothing is removed"),
        (
            0.65,
            {"first.0": (0, 1, 2)},
            "6 of 10 channels score below budget.threshold=0.65, and 3 of them stay",
        ),
        (0.35, {"first.0": (0, 1, 2)}, ""),
        (
            1.5,
            {"first.0": (0, 1, 2, 3, 4)},
            "budget.threshold=1.5 is above the largest score, so 5 of 10 channels stay because of budget.floor",
        ),
    ],
)
def test_where_scores_lie_and_what_decided_besides_a_threshold_is_told(
    threshold: float, plan: dict[str, tuple[int, ...]], told: str
) -> None:
    scores = {"first.0": torch.arange(1, 7) / 10, "second.0": torch.arange(7, 11) / 10}
    found = by_threshold(replace(outcome(threshold=threshold, plan=plan), scores=scores))
    assert found[0] == (
        "scores are 0.1 to 1; this share of channels scores below a budget.threshold of 0.25 (20%), 0.55 (50%), "
        "0.85 (80%)"
    )
    assert len(found) == 1 + bool(told)
    assert found[-1].startswith(told)
    assert by_threshold(outcome()) == []


def test_thresholds_that_fit_the_scores_are_in_the_plan() -> None:
    scores = {"first.0": torch.arange(1, 7) / 10, "second.0": torch.arange(7, 11) / 10}
    cut = replace(outcome(threshold=0.35), scores=scores)
    assert record("bn_scale", "channels", cut)["thresholds"] == {"20%": 0.25, "50%": 0.55, "80%": 0.85}
    assert record("l1", "channels", outcome())["thresholds"] is None


def test_the_plan_file_has_fractions_under_the_names_of_mlflow_and_counts_per_layer() -> None:
    plan = record("l1", "macs", outcome())
    assert (plan["pruner"], plan["budget"], plan["asked"], plan["removed"]) == ("l1", "macs", 0.1, 0.125)
    assert [plan[f"{unit}_removed"] for unit in ("channels", "macs", "params")] == [2 / 15, 0.125, 0.5]
    assert plan["layers"][0] == {"layer": "first.0", "channels": 6, "kept": 4}
    assert [layer["kept"] for layer in plan["layers"]] == [4, 5, 4]
    assert (plan["plan"], plan["rounds"], plan["scoring_s"]) == ({"first.0": [1, 4]}, 0, 1.235)


def test_metrics_are_percents_also_of_a_plan_of_an_earlier_version_and_of_a_unit_of_its_own() -> None:
    plan = record("l1", "macs", outcome())
    expected = {
        "prune/channels_removed": 13.33,
        "prune/macs_removed": 12.5,
        "prune/params_removed": 50.0,
        "prune/scoring_s": 1.235,
        "prune/scoring_peak_mb": 7.9,
        "prune/mask_error": 2e-15,
    }
    assert metrics(plan) == expected
    assert metrics({name.removesuffix("_removed"): value for name, value in plan.items()}) == expected
    own = metrics(record("l1", "latency_ms", outcome(removed=0.25)))
    assert own == {**expected, "prune/latency_ms_removed": 25.0}


def test_the_line_says_what_was_asked_and_what_was_removed() -> None:
    assert line("l1", "macs", outcome()) == (
        "l1: asked to remove 10.0% of macs; removed 13.3% of channels, 12.5% of MACs, 50.0% of params (local "
        "ranking); cut proven, error 2e-15"
    )
    own = line("l1", "latency_ms", outcome(asked=None, removed=0.25))
    assert own.startswith("l1: removed 25.0% of latency_ms, 13.3% of channels, ")


def test_five_widths_that_are_no_multiples_are_named() -> None:
    widths = {f"layer{number}": number for number in range(1, 8)}
    assert unaligned(outcome(round_to=8, unaligned=widths).reached) == (
        "no multiple of budget.round_to=8 is the width of layer1 1, layer2 2, layer3 3, layer4 4, layer5 5 and 2 "
        "more"
    )


def test_what_a_search_found_is_recorded_and_shown() -> None:
    found = Found(
        library="torch",
        timing="wall",
        macs_ratio=0.6,
        latency=0.48,
        cuts=((0.9, 0.2), (0.6, 0.48)),
        seconds=1.5,
    )
    plan = record("l1", "latency_eager", outcome(removed=0.52, found=found))
    assert plan["found"]["macs_ratio"] == 0.6
    shown = metrics(plan)
    assert shown["prune/latency_eager_removed"] == 52
    assert {name: value for name, value in shown.items() if name.startswith("latency_search/")} == {
        "latency_search/cuts": 2,
        "latency_search/macs_ratio": 0.6,
        "latency_search/latency_kept": 0.48,
        "latency_search/time_s": 1.5,
    }


def test_time_that_nobody_measured_is_not_shown() -> None:
    assert "prune/latency_eager_removed" not in metrics(record("l1", "latency_eager", outcome(removed=None)))


PART = Followed(
    groups=(),
    whole=(
        Whole(layer="attn.q", channels=6, reason="a cut of them fails"),
        Whole(layer="norm", channels=4, reason="a LayerNorm over several of its channels"),
        *(Whole(layer=f"attn.{name}", channels=2, reason="a cut of them fails") for name in "kvo"),
    ),
    channels=40,
)


def test_what_stays_whole_is_said_with_its_reasons_and_in_the_plan() -> None:
    assert left_whole(PART) == (
        "60% of all channels can be cut. Whole: attn.q, attn.k, attn.v and 1 more (a cut of them fails); norm (a "
        "LayerNorm over several of its channels)"
    )
    cut = replace(outcome(), followed=PART)
    assert "removed 13.3% of the 60% of channels that can be cut, 12.5% of MACs" in line("l1", "macs", cut)
    plan = record("l1", "macs", cut)
    assert plan["cuttable"] == 0.6
    assert plan["whole"][1] == {  # type: ignore[index]
        "layer": "norm",
        "channels": 4,
        "reason": "a LayerNorm over several of its channels",
    }


def test_more_reasons_than_a_line_can_name_are_counted() -> None:
    many = tuple(Whole(layer=f"l{n}", channels=1, reason=f"reason {n}") for n in range(7))
    assert left_whole(Followed(groups=(), whole=many, channels=10)).endswith(
        "l4 (reason 4); and for 2 other reasons, see plan.json"
    )
