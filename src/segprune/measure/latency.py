"""Latency of whatever predicts, measured side by side."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from time import perf_counter, process_time
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from segprune.model.contract import Predicts

Clock = Literal["wall", "cpu"]
CLOCKS: Mapping[Clock, Callable[[], float]] = {"wall": perf_counter, "cpu": process_time}
GPU_WARMUP_S = 1.0
"""A GPU raises its clock within the first second of work."""


@dataclass(frozen=True, kw_only=True)
class Timing:
    """How carefully time is measured.

    Attributes:
        batch_size: Images in one forward pass.
        rounds: Timed passes of each runner, in turns, at least 1.
        warmup: Untimed ones before; on a GPU at least as many as take a second.
        clock: ``wall``: time as it passes; ``cpu``: processor time of this process on one thread, which the work of
            other programs disturbs far less; for CPUs.
    """

    batch_size: int
    rounds: int
    warmup: int
    clock: Clock = "wall"

    @property
    def threads(self) -> int:
        """CPU threads of a pass."""
        return 1 if self.clock == "cpu" else torch.get_num_threads()

    def describe(self) -> str:
        """It in words, for rows."""
        clock = "processor time" if self.clock == "cpu" else "wall time"
        return f"{clock}, batch {self.batch_size}, {self.rounds} passes, CPU threads {self.threads}"


@dataclass(frozen=True, kw_only=True)
class Latency:
    """Forward times of one runner, one per round, in the order of the rounds.

    Attributes:
        times_ms: Time of one batch in ms.
        batch_size: Images in the batch.
    """

    times_ms: tuple[float, ...]
    batch_size: int

    @property
    def rounds(self) -> int:
        """Number of timed forward passes."""
        return len(self.times_ms)

    @property
    def median_ms(self) -> float:
        """Median time of one batch."""
        return float(np.median(self.times_ms))

    @property
    def iqr_ms(self) -> float:
        """75th less 25th percentile, linearly interpolated."""
        low, high = np.percentile(self.times_ms, (25, 75))
        return float(high - low)

    @property
    def p90_ms(self) -> float | None:
        """90th percentile, linearly interpolated; None below 10 passes, of which none need lie above it."""
        return self._percentile(90)

    @property
    def p95_ms(self) -> float | None:
        """95th percentile, likewise; None below 20 passes."""
        return self._percentile(95)

    @property
    def p95_bound_ms(self) -> float | None:
        """With 95 % confidence, 95 % of all passes take no longer; None below 59 passes.

        The order statistic that the percentile exceeds in at most 5 % of samples: of 59 passes the longest.
        """
        from scipy.special import bdtr

        at_most = bdtr(
            np.arange(self.rounds), self.rounds, 0.95
        )  # chance that at most so many passes lie below it
        order = int(np.searchsorted(at_most, 0.95))
        return sorted(self.times_ms)[order] if order < self.rounds else None

    @property
    def frames_per_s(self) -> float:
        """Images per second at the median time."""
        return 1000 * self.batch_size / self.median_ms

    def _percentile(self, percent: int) -> float | None:
        is_enough = self.rounds * (100 - percent) >= 100
        return float(np.percentile(self.times_ms, percent)) if is_enough else None


def interleaved(
    runners: Sequence[Predicts],
    timing: Timing,
    *,
    size_hw: tuple[int, int],
    device: torch.device,
    seed: int,
    bands: int = 3,
) -> tuple[Latency, ...]:
    """Time runners in turns, so that whatever slows the machine down slows all of them down.

    Each round calls every runner once, in a new order. Inference mode, the same random float32 images for all, in
    the memory format that each runner takes them in. Nothing is copied or changed: see ``measure.runners`` for what
    makes a network ready.

    Args:
        runners: Whatever predicts, e.g. the dense and the cut network; its attribute ``memory_format`` says how it
            takes images, channels-last where there is none.
        timing: How carefully.
        size_hw: (H, W) of the images in px.
        device: Where the images are, and what has to be waited for.
        seed: Of the images and of the orders.
        bands: Of the images.

    Returns:
        One latency per runner, in the order of ``runners``; round r is the same moment in all of them.

    Raises:
        ValueError: Processor time was asked for on a GPU.
    """
    if timing.clock == "cpu" and device.type != "cpu":
        raise ValueError(f"the clock is cpu, but {device} computes")
    generator = torch.Generator().manual_seed(seed)
    images = torch.rand(timing.batch_size, bands, *size_hw, generator=generator)
    passes = [(run, images.to(device, memory_format=_memory_format(run))) for run in runners]
    orders, times = np.random.default_rng(seed), np.zeros((len(runners), timing.rounds))
    with torch.inference_mode(), _threads(timing.threads):
        _warm_up(passes, timing.warmup, device)
        for turn in range(timing.rounds):
            for index in orders.permutation(len(runners)):
                run, image = passes[index]
                times[index, turn] = _forward_ms(run, image, device, CLOCKS[timing.clock])
    return tuple(Latency(times_ms=tuple(row), batch_size=timing.batch_size) for row in times.tolist())


def speedup(dense: Latency, cut: Latency) -> float:
    """Median over the rounds of dense time by cut time; above 1, the cut network is faster.

    The ratio is taken within each round, where both ran under the same load, not between the two medians. It is
    also the gain in frames per second.

    Raises:
        ValueError: The two were not measured together.
    """
    if (dense.rounds, dense.batch_size) != (cut.rounds, cut.batch_size):
        raise ValueError(
            f"{dense.rounds} rounds of batch {dense.batch_size} cannot be paired with "
            f"{cut.rounds} rounds of batch {cut.batch_size}; measure both in one call of interleaved"
        )
    return float(np.median(np.divide(dense.times_ms, cut.times_ms)))


@contextmanager
def _threads(count: int) -> Iterator[None]:
    """Within the block, torch computes on so many threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _memory_format(run: Predicts) -> torch.memory_format:
    found: torch.memory_format = getattr(run, "memory_format", torch.channels_last)
    return found


def _warm_up(passes: Sequence[tuple[Predicts, Tensor]], least: int, device: torch.device) -> None:
    seconds = GPU_WARMUP_S if device.type == "cuda" else 0.0
    started, done = perf_counter(), 0
    while done < least or perf_counter() - started < seconds:
        for run, image in passes:
            run(image)
        _finish(device)
        done += 1


def _forward_ms(run: Predicts, image: Tensor, device: torch.device, now: Callable[[], float]) -> float:
    _finish(device)
    start = now()
    run(image)
    _finish(device)
    return 1000 * (now() - start)


def _finish(device: torch.device) -> None:
    # A call returns before the GPU has finished.
    if device.type == "cuda":
        torch.cuda.synchronize(device)
