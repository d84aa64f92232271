from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from segprune.measure.quality import Quality, Rules
from segprune.stage.contract import Context, NetState, Trail
from segprune.stage.side_by_side import Timing, footprints, qualities
from tests.tiny import tiny_context
from tests.toys import Residual

RULES = Rules(boundary_width=0.05, small_object_area=0.3)


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


def test_a_network_is_measured_once_however_many_runs_share_it(tmp_path: Path) -> None:
    dense, first, second = state("dense", 0), state("pruned", 1), state("pruned", 2)
    before = measured(tiny_context(tmp_path), (dense, first))
    ctx = tiny_context(tmp_path)
    found = measured(ctx, (dense, second))
    assert passes((dense, first, second)) == [2, 1, 1]  # the second time as the reference of another network
    assert [name.split("/")[0] for name in ctx.store.computed] == ["quality"]
    assert torch.equal(found["dense"].image_counts, before["dense"].image_counts)
    assert measured(ctx, (dense, first)).keys() == before.keys()
    assert passes((dense, first, second)) == [2, 1, 1]


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
    found = footprints(ctx, trail, timing)
    assert found["dense"] is found["prepared"]
    assert (found["dense"].latency.rounds, found["dense"].latency.batch_size) == (3, 2)
    assert found["dense"].cost.params == sum(p.numel() for p in trail[0].net.parameters())
    assert found["dense"].file_size_bytes > 4 * found["dense"].cost.params
    assert found["dense"].peak_memory_mb >= 0
