from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor

from segprune.measure.answers import Answers
from segprune.measure.cost import Cost
from segprune.measure.latency import Timing
from segprune.measure.quality import Quality, Rules, assess
from segprune.model.contract import SegmentationNet
from segprune.stage import side_by_side
from segprune.stage.contract import Context
from segprune.stage.side_by_side import footprints, qualities, quality_keys
from segprune.stage.state import NetState, Trail
from segprune.transform import registry
from segprune.transform.cut import Cut
from tests.gpus import with_gpus
from tests.tiny import CPU, tiny_context, tiny_data
from tests.toys import Residual

EAGER = ("eager",)
RULES = Rules(boundary_width=0.05, small_object_area=0.3)


@pytest.fixture(autouse=True)
def _nothing_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(side_by_side, "_of_reference", Answers())


class Counted(Residual):
    """Counts its forward passes."""

    passes = 0

    def forward(self, image: Tensor) -> Tensor:
        self.passes += 1
        return super().forward(image)


def state(name: str, seed: int) -> NetState:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return NetState(name=name, net=Counted().eval(), transforms=(), fingerprint=f"{name}-{seed}")


def passes(trail: Trail) -> list[int]:
    return [one.net.passes for one in trail if isinstance(one.net, Counted)]


def measured(ctx: Context, trail: Trail, rules: Rules = RULES) -> dict[str, Quality]:
    return qualities(ctx, trail, rules, batch_size=6)  # all six report images in one forward pass


def test_one_pass_measures_all_networks_of_the_trail(tmp_path: Path) -> None:
    trail = (state("dense", 0), state("pruned", 1), state("finetuned", 2))
    found = measured(tiny_context(tmp_path), trail)
    assert passes(trail) == [1, 1, 1]
    assert list(found) == ["dense", "pruned", "finetuned"]
    assert found["dense"].image_counts.shape == (6, 4, 4)


def test_the_next_job_of_a_process_does_not_ask_the_same_reference_again(tmp_path: Path) -> None:
    first, second = (state("dense", 0), state("pruned", 1)), (state("dense", 0), state("pruned", 2))
    measured(tiny_context(tmp_path / "first"), first)
    found = measured(tiny_context(tmp_path / "second"), second)
    assert (passes(first), passes(second)) == ([1, 1], [0, 1])
    alone = state("dense", 0)
    expected = assess(
        [alone.net, second[1].net], alone.net, tiny_data(), RULES, batch_size=6, workers=0, device=CPU.device
    )
    for one, other in zip(found.values(), expected, strict=True):
        for name, value in vars(one).items():
            assert torch.equal(value, vars(other)[name]), name


def test_another_reference_is_asked(tmp_path: Path) -> None:
    trails = [(state("dense", seed), state("pruned", 9)) for seed in (0, 1, 0)]
    for number, trail in enumerate(trails):
        measured(tiny_context(tmp_path / str(number)), trail)
    assert [passes(trail) for trail in trails] == [[1, 1]] * 3


def test_what_a_network_predicts_is_known_by_images_rules_and_the_two_networks(tmp_path: Path) -> None:
    dense, other, pruned = state("dense", 0), state("dense", 1), state("pruned", 1)
    ctx, data = tiny_context(tmp_path), tiny_data()
    elsewhere = replace(ctx, data=replace(data, identity=replace(data.identity, report="other")))
    keys = [
        quality_keys(ctx, (dense, pruned), RULES, 6),
        quality_keys(elsewhere, (dense, pruned), RULES, 6),
        quality_keys(ctx, (dense, pruned), replace(RULES, boundary_width=0.1), 6),
        quality_keys(ctx, (other, pruned), RULES, 6),
    ]
    assert len({key["pruned"] for key in keys}) == len(keys)
    assert quality_keys(ctx, (dense, state("pruned", 2)), RULES, 6)["pruned"] != keys[0]["pruned"]
    assert quality_keys(ctx, (dense, other, pruned), RULES, 6)["pruned"] == keys[0]["pruned"]


def test_the_number_of_images_at_a_time_counts_on_a_gpu_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trail, here = (state("dense", 0),), tiny_context(tmp_path)
    with_gpus(monkeypatch, 1)
    there = replace(here, hardware=replace(CPU, device=torch.device("cuda", 0)))
    assert len({quality_keys(here, trail, RULES, size)["dense"] for size in (1, 6)}) == 1
    assert len({quality_keys(there, trail, RULES, size)["dense"][:16] for size in (1, 6)}) == 2


def test_a_network_is_measured_once_however_many_runs_share_it(tmp_path: Path) -> None:
    dense, first, second = state("dense", 0), state("pruned", 1), state("pruned", 2)
    before = measured(tiny_context(tmp_path), (dense, first))
    ctx = tiny_context(tmp_path)
    found = measured(ctx, (dense, second))
    assert passes((dense, first, second)) == [1, 1, 1]  # also as the reference of another network
    assert [name.split("/")[0] for name in ctx.store.computed] == ["quality"]
    assert torch.equal(found["dense"].image_counts, before["dense"].image_counts)
    assert measured(ctx, (dense, first)).keys() == before.keys()
    assert passes((dense, first, second)) == [1, 1, 1]


def test_what_is_read_back_is_what_was_measured(tmp_path: Path) -> None:
    trail = (state("dense", 0), state("pruned", 1))
    first, again = (measured(tiny_context(tmp_path), trail)["pruned"] for _ in range(2))
    for name, value in vars(first).items():
        assert torch.equal(value, getattr(again, name))
        assert value.dtype == getattr(again, name).dtype


def test_other_rules_and_another_reference_are_other_measurements(tmp_path: Path) -> None:
    trail = (state("dense", 0), state("pruned", 1))
    ctx = tiny_context(tmp_path)
    measured(ctx, trail)
    for trail_now, rules, new in (
        (trail, RULES, 0),
        (trail, replace(RULES, boundary_width=0.2), 2),
        (trail, replace(RULES, small_object_area=0.1), 2),
        ((state("dense", 3), trail[1]), RULES, 2),
    ):
        ctx.store.computed.clear()
        measured(ctx, trail_now, rules)
        assert len(ctx.store.computed) == new


def test_networks_of_the_same_widths_share_one_footprint(tmp_path: Path) -> None:
    ctx, timing = tiny_context(tmp_path), Timing(batch_size=2, rounds=3, warmup=1)
    trail = (state("dense", 0), state("prepared", 1))
    found = footprints(ctx, trail, timing, EAGER)
    assert found["dense"] is found["prepared"]
    assert (found["dense"].latency.rounds, found["dense"].latency.batch_size) == (3, 2)
    assert found["dense"].cost.params == sum(p.numel() for p in trail[0].net.parameters())
    assert found["dense"].file_size_bytes > 4 * found["dense"].cost.params
    assert found["dense"].peak_memory_mb >= 0


@dataclass(frozen=True)
class Folded:
    """Stands for a transform that leaves shapes alone and changes speed."""

    kind: ClassVar[str] = "folded"

    def to_json(self) -> dict[str, Any]:
        return {}

    @classmethod
    def from_json(cls, _: Mapping[str, Any]) -> "Folded":
        return cls()

    def replay(self, net: SegmentationNet) -> SegmentationNet:
        return net

    def describe(self) -> str:
        return "folded"


def test_networks_of_other_transforms_do_not_share_a_footprint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(registry, "_KINDS", {**registry._kinds(), "folded": Folded})
    dense = state("dense", 0)
    folded = replace(dense, name="folded", transforms=(Folded(),))
    uncut = replace(dense, name="uncut", transforms=(Cut({}),))
    found = footprints(
        tiny_context(tmp_path), (dense, folded, uncut), Timing(batch_size=1, rounds=1, warmup=0), EAGER
    )
    assert found["dense"] is found["uncut"]
    assert found["dense"] is not found["folded"]


def test_a_runner_says_what_it_costs_or_nothing(tmp_path: Path) -> None:
    dense = state("dense", 0)
    silent = NetState(name="silent", net=dense.module.forward, transforms=(), fingerprint="a")
    known = replace(silent, name="known", cost=Cost(params=7, macs=9), file_size_bytes=11)
    found = footprints(
        tiny_context(tmp_path), (dense, silent, known), Timing(batch_size=1, rounds=2, warmup=0), EAGER
    )
    empty, full = found["silent"], found["known"]
    assert (empty.cost, empty.file_size_bytes, empty.peak_memory_mb) == (None, None, None)
    assert (full.cost, full.file_size_bytes, full.peak_memory_mb) == (Cost(params=7, macs=9), 11, None)
    assert empty.latency.rounds == 2
    assert found["dense"].cost is not None
