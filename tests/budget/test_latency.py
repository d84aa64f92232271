from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest
import torch

from segprune.budget import latency
from segprune.budget.contract import Budget, MeasuredBudget
from segprune.budget.fraction import FractionBudget
from segprune.budget.latency import LatencyBudget
from segprune.budget.simulate import CostSimulator
from segprune.errors import BudgetError, ConfigError
from segprune.graph.trace import trace
from segprune.measure.cost import cost
from segprune.model.contract import SegmentationNet
from segprune.model.unet import unet

SIZE = (32, 32)
CPU = torch.device("cpu")
BUDGET = LatencyBudget(
    runtime="eager",
    scope="local",
    floor=0.1,
    round_to=8,
    tolerance=0.05,
    clock="auto",
    rounds=5,
    max_cuts=6,
    macs_ratio=None,
)


@pytest.fixture(scope="module")
def net() -> SegmentationNet:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return unet(
            width=32, max_width=64, depth=3, convs_per_level=1, upsample="bilinear", num_classes=4
        ).eval()


@pytest.fixture(scope="module")
def simulator(net: SegmentationNet) -> CostSimulator:
    return CostSimulator(net, trace(net), SIZE)


def planned(budget: Budget, simulator: CostSimulator, ratio: float | None, **how: Any) -> Any:
    groups = trace(simulator.net)
    generator = torch.Generator().manual_seed(0)
    scores = {group.name: torch.rand(group.size, generator=generator) for group in groups}
    return budget(groups, scores, ratio=ratio, paper_scope="local", simulator=simulator, **how)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Time is a fixed part and one that follows the MACs; gives the MACs kept of what was timed."""
    timed: list[float] = []

    @contextmanager
    def fake(dense: SegmentationNet, *_: object) -> Iterator[Callable[[SegmentationNet], float]]:
        def share(other: SegmentationNet) -> float:
            timed.append(cost(other, SIZE).macs / cost(dense, SIZE).macs)
            return 0.2 + 0.8 * timed[-1]

        yield share

    monkeypatch.setattr(latency, "stopwatch", fake)
    return timed


def test_it_is_a_budget_that_measures() -> None:
    assert isinstance(BUDGET, MeasuredBudget)
    assert not isinstance(
        FractionBudget(of="macs", scope="local", floor=0, round_to=1, tolerance=0), MeasuredBudget
    )


@pytest.mark.slow
@pytest.mark.parametrize("ratio", [0.2, 0.4, 0.6])
@pytest.mark.parametrize("scope", ["local", "global"])
def test_the_plan_takes_the_asked_time_within_the_tolerance(
    simulator: CostSimulator, clock: list[float], ratio: float, scope: Any
) -> None:
    reached = planned(replace(BUDGET, scope=scope), simulator, ratio)
    assert reached.removed == pytest.approx(ratio, abs=0.05 * (1 - ratio))
    assert reached.removed == pytest.approx(0.8 * reached.macs)
    assert (reached.asked, reached.scope) == (ratio, scope)
    assert [share for _, share in reached.found.cuts] == pytest.approx([0.2 + 0.8 * kept for kept in clock])
    assert min(clock) == clock[0]  # the deepest cut comes first
    assert len(clock) <= 4
    widths = [group.size - len(reached.plan.get(group.name, ())) for group in trace(simulator.net)]
    assert all(width % 8 == 0 for width in widths)


@pytest.mark.slow
def test_what_was_found_makes_the_same_plan_without_a_clock(
    simulator: CostSimulator, clock: list[float]
) -> None:
    first = planned(BUDGET, simulator, 0.4)
    clock.clear()
    again = replace(BUDGET, macs_ratio=first.found.macs_ratio)
    assert again.setting(CPU) == {}
    again.refuse_unreachable(trace(simulator.net), 0.4, simulator)
    repeated = planned(again, simulator, 0.4)
    assert repeated.plan == first.plan
    assert (repeated.removed, repeated.found, clock) == (None, None, [])


@pytest.mark.slow
def test_what_is_out_of_reach_is_refused_with_the_range(simulator: CostSimulator, clock: list[float]) -> None:
    with pytest.raises(
        BudgetError, match=r"ratio=0\.9 of latency_eager cannot be removed: .* can be 0 to 0\.7"
    ) as e:
        BUDGET.refuse_unreachable(trace(simulator.net), 0.9, simulator)
    most = float(str(e.value).split("ratio can be 0 to ")[1].split(". ")[0])
    assert most == pytest.approx(0.8 * (1 - clock[0]), abs=0.001)
    BUDGET.refuse_unreachable(trace(simulator.net), most - 0.001, simulator)
    with pytest.raises(BudgetError, match="cannot be removed"):
        planned(BUDGET, simulator, 0.9)


def test_a_cut_that_is_not_close_enough_is_refused_with_the_closest(
    simulator: CostSimulator, clock: list[float]
) -> None:
    with pytest.raises(
        BudgetError, match=r"the closest of 2 cuts takes 0\.\d+ of the dense network's time instead of"
    ):
        planned(replace(BUDGET, tolerance=1e-6, max_cuts=2), simulator, 0.4)
    assert len(clock) == 2


@pytest.mark.slow
def test_nothing_is_timed_for_nothing_or_for_a_round_that_others_follow(
    simulator: CostSimulator, clock: list[float]
) -> None:
    assert planned(BUDGET, simulator, 0.0).plan == {}
    first = planned(BUDGET, simulator, 0.2, is_last=False)
    assert first.macs == pytest.approx(0.2, abs=0.1)
    assert clock == []
    last = planned(BUDGET, simulator, 0.4, gone=first.plan)
    assert all({*first.plan[name]} <= {*last.plan[name]} for name in first.plan)
    assert last.removed == pytest.approx(0.4, abs=0.03)


def test_a_ratio_must_be_given_and_no_training_can_aim_at_time(simulator: CostSimulator) -> None:
    with pytest.raises(ConfigError, match="ratio is null, but budget=latency needs it"):
        planned(BUDGET, simulator, None)
    with pytest.raises(ConfigError, match=r"Take budget=macs\."):
        BUDGET.target(0.5, simulator)


def test_a_result_depends_on_machine_library_threads_and_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    here = BUDGET.setting(CPU)
    assert here["library"] == f"torch {torch.__version__}"
    assert here["timing"] == "processor time, batch 1, 5 passes, CPU threads 1"
    assert replace(BUDGET, clock="wall").setting(CPU) != here
    monkeypatch.setattr("platform.node", lambda: "another")
    assert BUDGET.setting(CPU) != here


def test_a_runtime_or_clock_that_cannot_be_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"budget\.runtime is cuda_graph: cuda_graph needs a GPU"):
        replace(BUDGET, runtime="cuda_graph").setting(CPU)
    with pytest.raises(ConfigError, match=r"Give budget\.clock=wall"):
        replace(BUDGET, clock="cpu").setting(torch.device("cuda", 0))


def test_the_runtime_of_choice_is_onnx_runtime_where_it_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    budget = replace(BUDGET, runtime="auto")
    monkeypatch.setattr(latency, "available", lambda _: True)
    assert budget.of == "latency_onnxruntime"
    monkeypatch.setattr(latency, "available", lambda name: name == "onnx")
    assert budget.of == "latency_eager"


@pytest.mark.slow
@pytest.mark.parametrize("runtime", ["eager", "onnxruntime"])
def test_a_real_clock_finds_a_real_cut(simulator: CostSimulator, runtime: Any) -> None:
    pytest.importorskip("torch" if runtime == "eager" else runtime)
    budget = replace(BUDGET, runtime=runtime, rounds=25, tolerance=0.1)
    reached = planned(budget, simulator, 0.3)
    assert reached.removed == pytest.approx(0.3, abs=0.07)
    assert 0.1 < reached.macs < 0.8
