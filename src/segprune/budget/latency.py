"""A fraction of the latency, and the plan that removes it: in the runtime where the network will live."""

import logging
import platform
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from time import perf_counter
from typing import Annotated, Literal

import torch
from pydantic import Field

from segprune.budget.contract import Found, Reached
from segprune.budget.fraction import FractionBudget
from segprune.budget.reached import reached_by, removed_by
from segprune.budget.search import Candidate, is_close, search
from segprune.budget.simulate import CostSimulator
from segprune.budget.stopwatch import stopwatch
from segprune.deploy.ready import device_of, refuse_unusable, version_of
from segprune.deploy.runtime import available
from segprune.errors import BudgetError, ConfigError
from segprune.graph.cut import cut
from segprune.graph.group import ChannelGroup, PrunePlan, Scores
from segprune.measure.contract import TimedIn
from segprune.measure.latency import Clock, Timing
from segprune.pruner.contract import Scope, Target

log = logging.getLogger(__name__)
WARMUP = 3
PlanOf = Callable[[float], PrunePlan]
"""Fraction of MACs to remove -> the allowed plan that comes closest."""


@dataclass(frozen=True, kw_only=True)
class LatencyBudget:
    """How much of the dense network's time is removed, measured while the cut is searched for.

    Time depends on widths alone, so what is timed is cut out of the network as it is, with no training.

    Attributes:
        runtime: Where time is measured; ``auto``: ONNX Runtime if it is installed, else PyTorch.
        scope: As of the other budgets.
        floor: Fraction of each group's channels that always stays.
        round_to: Kept widths are multiples of this; at others, time does not follow the MACs and no search is safe.
        tolerance: Largest allowed distance of the reached time from the asked one, as a fraction of the latter.
        clock: ``cpu``: processor time on one thread; ``wall``; ``auto``: ``cpu`` where a CPU computes.
        rounds: Timed passes of each network, dense and cut in turns.
        max_cuts: How many cuts may be timed.
        macs_ratio: What an earlier search found, as its plan.json says; then nothing is searched for.
    """

    runtime: TimedIn | Literal["auto"]
    scope: Literal["paper", "local", "global"]
    floor: Annotated[float, Field(ge=0, lt=1)]
    round_to: Annotated[int, Field(ge=1)]
    tolerance: Annotated[float, Field(gt=0, lt=1)]
    clock: Clock | Literal["auto"]
    rounds: Annotated[int, Field(ge=1)]
    max_cuts: Annotated[int, Field(ge=2)]
    macs_ratio: Annotated[float, Field(ge=0, le=1)] | None

    @property
    def of(self) -> str:
        """``latency_`` and the runtime."""
        return f"latency_{self._runtime}"

    def ranking(self, paper_scope: Scope) -> Scope:
        """Where scores are ranked, given the scope of the criterion's paper."""
        return self._of_macs.ranking(paper_scope)

    def checked(self, ratio: float | None) -> float:
        """The ratio, which has to be given.

        Raises:
            ConfigError: There is none.
        """
        if ratio is None:
            raise ConfigError(
                "ratio is null, but budget=latency needs it: give ratio=<fraction of time to remove>."
            )
        return ratio

    def target(self, ratio: float | None, simulator: CostSimulator) -> Target:
        """Nobody can say which time is expected of channels that stay by chance.

        Raises:
            ConfigError: Always.
        """
        del ratio, simulator
        raise ConfigError(
            "budget=latency times whole cuts, which a training that learns widths cannot aim at. Take budget=macs."
        )

    def setting(self, device: torch.device) -> dict[str, str]:
        """Machine, library, threads and clock; nothing where nothing is searched for.

        Raises:
            ConfigError: The runtime is not installed or not for this device, or the clock is not.
        """
        if self.macs_ratio is not None:
            return {}
        where = device_of(self._runtime, device)
        try:
            refuse_unusable(self._runtime, where)
        except ConfigError as error:
            raise ConfigError(f"budget.runtime is {self.runtime}: {error}") from error
        if self.clock == "cpu" and where.type != "cpu":
            raise ConfigError(
                f"budget.clock is cpu, but {self._runtime} computes on {where}, which takes no processor time. "
                "Give budget.clock=wall."
            )
        return {
            "host": platform.node(),
            "machine": platform.machine(),
            "instructions": torch.backends.cpu.get_cpu_capability(),
            "library": version_of(self._runtime),
            "timing": self._timing(device).describe(),
        }

    def refuse_unreachable(
        self, groups: Sequence[ChannelGroup], ratio: float | None, simulator: CostSimulator
    ) -> None:
        """Check that the deepest allowed cut is fast enough, by timing it; scores do not matter for that.

        Raises:
            BudgetError: It takes longer; says how long.
            ConfigError: The runtime is not installed, or cannot run the network.
        """
        ratio = self.checked(ratio)
        if self.macs_ratio is not None:
            self._of_macs.refuse_unreachable(groups, self.macs_ratio, simulator)
        elif ratio > 0:
            any_scores = {group.name: torch.zeros(group.size) for group in groups}
            with self._timer(self._planner(groups, any_scores, "local", simulator, None), simulator) as timed:
                self._deepest(timed, ratio)

    def __call__(
        self,
        groups: Sequence[ChannelGroup],
        scores: Scores,
        *,
        ratio: float | None,
        paper_scope: Scope,
        simulator: CostSimulator,
        gone: PrunePlan | None = None,
        is_last: bool = True,
    ) -> Reached:
        """The plan that removes ``ratio`` of the time.

        Of a plan that later rounds continue it is a fraction of MACs, which never takes more of the time away.

        Raises:
            BudgetError: The ratio is out of reach, or no cut that was timed comes close enough.
            ConfigError: The runtime is not installed, or cannot run the network.
        """
        ratio = self.checked(ratio)
        plan_of = self._planner(groups, scores, paper_scope, simulator, gone)
        found = None
        macs_ratio = ratio if not is_last or self.macs_ratio is None else self.macs_ratio
        if is_last and self.macs_ratio is None and ratio > 0:
            with self._timer(plan_of, simulator) as timed:
                found = self._found(timed, ratio, _device(simulator))
            macs_ratio = found.macs_ratio
        scope = self.ranking(paper_scope)
        reached = reached_by(
            plan_of(macs_ratio), simulator, of="macs", scope=scope, asked=ratio, round_to=self.round_to
        )
        return replace(reached, removed=None if found is None else 1 - found.latency, found=found)

    def _found(self, timed: Callable[[float], Candidate], ratio: float, device: torch.device) -> Found:
        """The cut that a search finds."""
        started, target, timing = perf_counter(), 1 - ratio, self._timing(device).describe()
        log.info(
            "%s: looking for a cut that takes %.3f of the dense network's time, give or take %.3f (%s, %s)",
            *(self.of, target, self.tolerance * target, version_of(self._runtime), timing),
        )
        cuts = search(
            timed,
            self._deepest(timed, ratio),
            target=target,
            tolerance=self.tolerance,
            max_cuts=self.max_cuts,
        )
        best = min(cuts, key=lambda one: abs(one.latency - target))
        if not is_close(best, target, self.tolerance):
            raise BudgetError(
                f"ratio={ratio} of {self.of}: the closest of {len(cuts)} cuts takes {best.latency:.3f} of the "
                f"dense network's time instead of {target:.3f}, beyond budget.tolerance={self.tolerance}. Raise "
                f"that, budget.max_cuts={self.max_cuts} or budget.rounds={self.rounds}, or change "
                f"budget.round_to={self.round_to}."
            )
        return Found(
            library=version_of(self._runtime),
            timing=timing,
            macs_ratio=best.macs_ratio,
            latency=best.latency,
            cuts=tuple((one.macs, one.latency) for one in cuts),
            seconds=round(perf_counter() - started, 2),
        )

    def _deepest(self, timed: Callable[[float], Candidate], ratio: float) -> Candidate:
        """The deepest cut.

        Raises:
            BudgetError: It takes longer than what is asked for.
        """
        deepest = timed(1.0)
        if deepest.latency > (1 - ratio) * (1 + self.tolerance):
            raise BudgetError(
                f"ratio={ratio} of {self.of} cannot be removed: the deepest cut that budget.floor={self.floor} and "
                f"budget.round_to={self.round_to} allow takes {deepest.latency:.3f} of the dense network's time "
                f"({version_of(self._runtime)}), so ratio can be 0 to {max(0.0, 1 - deepest.latency):.3f}. Ask for "
                "less, lower one of the two, or take another budget.runtime."
            )
        return deepest

    @contextmanager
    def _timer(self, plan_of: PlanOf, simulator: CostSimulator) -> Iterator[Callable[[float], Candidate]]:
        """Gives a function: fraction of MACs to remove -> that cut, timed."""
        timing = self._timing(_device(simulator))
        with stopwatch(simulator.net, self._runtime, timing, simulator.size_hw) as share:

            def timed(macs_ratio: float) -> Candidate:
                started, plan = perf_counter(), plan_of(macs_ratio)
                macs = removed_by(plan, simulator, "macs")
                found = Candidate(
                    macs_ratio=macs_ratio,
                    macs=macs,
                    latency=share(cut(simulator.net, plan)),
                )
                log.info(
                    "%s: without %.1f %% of the MACs %.3f of the time (%.1f s)",
                    *(self.of, 100 * macs, found.latency, perf_counter() - started),
                )
                return found

            yield timed

    def _planner(
        self,
        groups: Sequence[ChannelGroup],
        scores: Scores,
        paper_scope: Scope,
        simulator: CostSimulator,
        gone: PrunePlan | None,
    ) -> PlanOf:
        def plan_of(macs_ratio: float) -> PrunePlan:
            return self._of_macs(
                groups, scores, ratio=macs_ratio, paper_scope=paper_scope, simulator=simulator, gone=gone
            ).plan

        return plan_of

    @property
    def _runtime(self) -> TimedIn:
        if self.runtime != "auto":
            return self.runtime
        return "onnxruntime" if available("onnx") and available("onnxruntime") else "eager"

    @property
    def _of_macs(self) -> FractionBudget:
        """The closest cut, however close that is."""
        return FractionBudget(
            of="macs", scope=self.scope, floor=self.floor, round_to=self.round_to, tolerance=1 - 1e-9
        )

    def _timing(self, device: torch.device) -> Timing:
        is_cpu = device_of(self._runtime, device).type == "cpu"
        clock: Clock = ("cpu" if is_cpu else "wall") if self.clock == "auto" else self.clock
        return Timing(batch_size=1, rounds=self.rounds, warmup=WARMUP, clock=clock)


def _device(simulator: CostSimulator) -> torch.device:
    return next(simulator.net.parameters()).device
