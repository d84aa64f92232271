from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from segprune.errors import ConfigError
from segprune.graph.group import PrunePlan
from segprune.graph.trace import trace
from segprune.measure.cost import Cost
from segprune.measure.latency import Latency
from segprune.measure.quality import Quality
from segprune.result.row import Row, columns
from segprune.stage.facts import RowFacts
from segprune.stage.rows import channels_kept, groups_of, rows_of
from segprune.stage.side_by_side import Footprint
from segprune.stage.state import NetState, Trail
from segprune.transform.cut import Cut
from tests.graph.test_dependency import HiddenHead
from tests.tiny import tiny_context, tiny_data, tiny_net

FACTS = RowFacts(run="l1-r0.5-s0", model="toy", pruner="l1", budget="channels", scope="local", ratio=0.5)
# groups of the tiny network: stem.0 with 6 channels and inner.0 with 4
FIRST: PrunePlan = {"stem.0": (0, 2), "inner.0": (1,)}
SECOND: PrunePlan = {"stem.0": (1,)}


def state(name: str, *plans: PrunePlan) -> NetState:
    return NetState(name=name, net=tiny_net(), transforms=tuple(map(Cut, plans)), fingerprint=name)


# two images, two classes: pixels 5 and 5 right of 10 and 10; or 8 of 10 and 10 of 10
WORSE = torch.tensor([[[5, 0], [0, 0]], [[0, 5], [5, 5]]], dtype=torch.int32)
TWO_CLASSES = tiny_data(classes=("sky", "road"), palette=((0, 0, 0), (1, 1, 1)))
BETTER = torch.tensor([[[5, 0], [0, 10]], [[3, 2], [0, 0]]], dtype=torch.int32)


def quality(image_counts: torch.Tensor, **changes: list[int] | list[float]) -> Quality:
    return Quality(
        image_counts=image_counts,
        boundary=torch.tensor([[1, 0], [3, 0], [2, 9]]),
        small_objects=torch.tensor(changes.get("small_objects", [8, 2])),
        reconstruction=torch.tensor(changes.get("reconstruction", [10.0, 15.0, 20.0]), dtype=torch.float64),
    )


def footprint(macs: int, times_ms: tuple[float, ...]) -> Footprint:
    latency = Latency(times_ms=times_ms, batch_size=2)
    return Footprint(
        cost=Cost(params=macs // 10, macs=macs),
        latency=latency,
        file_size_bytes=500,
        peak_memory_mb=1.5,
        conv_inputs=(16, 8, 12, 3),
    )


def rows(tmp_path: Path, trail: Trail, facts: RowFacts = FACTS, **changes: list[int]) -> Mapping[str, Row]:
    dense, small = footprint(1000, (8.0, 8.0, 8.0)), footprint(400, (4.0, 4.0, 8.0))
    made = rows_of(
        tiny_context(tmp_path, data=TWO_CLASSES),
        trail,
        facts,
        trace(trail[0].net),
        {one.name: quality(BETTER if one is trail[0] else WORSE, **changes) for one in trail},
        {one.name: small if one.transforms[len(trail[0].transforms) :] else dense for one in trail},
    )
    return {row.stage: row for row in made}


def test_quality_worked_by_hand(tmp_path: Path) -> None:
    found = rows(tmp_path, (state("dense"), state("pruned", FIRST)))
    dense, pruned = found["dense"], found["pruned"]
    # better: class 0 8/10, class 1 10/12; worse: class 0 5 / (10 + 5), class 1 5 / (10 + 5)
    assert dense["miou_percent"] == pytest.approx(100 * (8 / 10 + 10 / 12) / 2)
    assert pruned["miou_percent"] == pytest.approx(100 / 3)
    assert pruned["miou_retention"] == pytest.approx((1 / 3) / ((8 / 10 + 10 / 12) / 2))
    assert (dense["pixel_accuracy_percent"], pruned["pixel_accuracy_percent"]) == (90, 50)
    assert pruned["pixel_accuracy_retention"] == pytest.approx(5 / 9)
    assert pruned["boundary_iou_percent"] == pytest.approx(
        25
    )  # 1 / (3 + 2 - 1); class 1 has no labelled border
    assert (pruned["small_objects"], pruned["small_object_recall_percent"]) == (8, 25)
    assert (pruned["logit_mse"], pruned["argmax_agreement_percent"]) == (0.5, 75)
    assert (dense["logit_mse"], dense["argmax_agreement_percent"]) == (None, None)
    nothing_small = rows(tmp_path, (state("dense"), state("pruned", FIRST)), small_objects=[0, 0])
    assert nothing_small["pruned"]["small_object_recall_percent"] is None
    assert dense.absent is None


def test_a_baseline_without_a_right_pixel_leaves_no_retention(tmp_path: Path) -> None:
    wrong = torch.tensor([[[0, 4], [0, 0]]], dtype=torch.int32)
    trail = (state("dense"), state("finetuned"))
    whole = footprint(1000, (8.0,))
    made = rows_of(
        tiny_context(tmp_path, data=TWO_CLASSES),
        trail,
        FACTS,
        trace(trail[0].net),
        {one.name: quality(wrong) for one in trail},
        {one.name: whole for one in trail},
    )
    assert (made[1]["miou_retention"], made[1]["pixel_accuracy_retention"]) == (None, None)
    assert made[1].absent == "road"  # its row of the counts is empty


def test_speed_worked_by_hand(tmp_path: Path) -> None:
    found = rows(tmp_path, (state("dense"), state("pruned", FIRST)))
    dense, pruned = found["dense"], found["pruned"]
    assert (pruned["latency_batch_size"], pruned["latency_ms_median"], pruned["speedup"]) == (2, 4, 2)
    assert (pruned["latency_rounds"], pruned["latency_ms_p90"], pruned["latency_ms_p95"]) == (3, None, None)
    # two images of 16 x 16 px in 4 ms
    assert (pruned["frames_per_s"], pruned["pixels_per_s"]) == (500, 500 * 256)
    # the MACs promise x2.5, of which x2 is there
    assert pruned["realisation_efficiency"] == pytest.approx(0.8)
    assert (dense["speedup"], dense["realisation_efficiency"]) == (1, None)
    assert (pruned["file_size_bytes"], pruned["peak_memory_mb"]) == (500, 1.5)
    # of the widths 16, 8, 12 and 5, and without the image's 3
    assert (pruned["layers_aligned_4_percent"], pruned["layers_aligned_8_percent"]) == (75, 50)


def test_speed_in_another_runtime_is_told_beside_that_in_pytorch(tmp_path: Path) -> None:
    def timed(macs: int, eager: Sequence[float], ort: Sequence[float]) -> Footprint:
        others = {"onnxruntime": Latency(times_ms=tuple(ort), batch_size=1)}
        return replace(footprint(macs, tuple(eager)), others=others, timing="wall time")

    trail = (state("dense"), state("pruned", FIRST))
    dense, pruned = rows_of(
        tiny_context(tmp_path, data=TWO_CLASSES),
        trail,
        FACTS,
        trace(trail[0].net),
        {one.name: quality(BETTER) for one in trail},
        {"dense": timed(1000, [8, 8], [3, 3]), "pruned": timed(400, [4, 4], [4, 4])},
    )
    assert (pruned["speedup"], pruned["realisation_efficiency"]) == (2, pytest.approx(0.8))
    assert (dense["latency_onnxruntime_ms"], pruned["latency_onnxruntime_ms"]) == (3, 4)
    assert pruned["speedup_onnxruntime"] == 0.75
    assert pruned["realisation_efficiency_onnxruntime"] == pytest.approx(0.3)  # of x2.5
    assert (pruned["latency_openvino_ms"], pruned["speedup_openvino"]) == (None, None)
    assert pruned.timing == "wall time"


def test_what_was_timed_elsewhere_alone_has_no_time_in_pytorch(tmp_path: Path) -> None:
    trail = (state("dense"),)
    (dense,) = rows_of(
        tiny_context(tmp_path, data=TWO_CLASSES),
        trail,
        FACTS,
        trace(trail[0].net),
        {"dense": quality(BETTER)},
        {"dense": replace(footprint(1000, (8.0,)), latency=None)},
    )
    timed = [
        name for name in columns() if name.startswith(("latency", "speed", "realis", "frames", "pixels"))
    ]
    assert {dense[name] for name in timed} == {None}


def test_a_network_that_was_only_trained_is_not_called_cut(tmp_path: Path) -> None:
    found = rows(tmp_path, (state("dense"), state("prepared"), state("pruned", FIRST)))
    prepared = found["prepared"]
    assert (prepared.pruner, prepared.ratio_asked, prepared["realisation_efficiency"]) == (None, None, None)
    assert (prepared["channels_kept"], prepared["argmax_agreement_percent"]) == (1, 75)
    assert (found["pruned"].pruner, found["pruned"]["channels"], found["pruned"]["ratio_reached"]) == (
        "l1",
        7,
        pytest.approx(0.3),
    )


def test_a_threshold_asks_for_nothing(tmp_path: Path) -> None:
    facts = RowFacts(run="x", model="toy", pruner="l1", budget="macs", scope="global", ratio=None)
    pruned = rows(tmp_path, (state("dense"), state("pruned", FIRST)), facts)["pruned"]
    assert (pruned.ratio_asked, pruned["ratio_reached"]) == (None, 0.6)  # of the MACs


def test_channels_are_counted_over_all_cuts_of_this_run_only() -> None:
    groups = trace(tiny_net())
    assert channels_kept(state("dense"), state("pruned", FIRST, SECOND), groups) == {
        "stem.0": 3,
        "inner.0": 3,
    }
    # a run that began with the first cut: its groups would be smaller, these are as the trace of the whole network
    assert channels_kept(state("start", FIRST), state("pruned", FIRST, SECOND), groups)["stem.0"] == 5


def test_only_channels_that_are_cut_have_to_be_followed(tmp_path: Path) -> None:
    dense, small = replace(state("train"), net=HiddenHead()), replace(state("prune", FIRST), net=HiddenHead())
    assert [group.name for group in groups_of(tiny_context(tmp_path), [state("train")])] == [
        "stem.0",
        "inner.0",
    ]
    assert groups_of(tiny_context(tmp_path), [dense, dense]) == ()
    with pytest.raises(ConfigError, match="runs layers that its traced_logits does not reach: extra"):
        groups_of(tiny_context(tmp_path), [dense, small])
