import time
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from segprune.measure import latency
from segprune.measure.latency import CLOCKS, Latency, Timing, interleaved, speedup
from tests.gpus import with_gpus, without_memory

CPU = torch.device("cpu")


class Clock:
    """Time in seconds that passes only in forward passes, and a record of these."""

    def __init__(self) -> None:
        self.now = 0.0
        self.calls: list[str] = []
        self.images: list[Tensor] = []
        self.threads: set[int] = set()

    def read(self) -> float:
        return self.now


class Timed:
    """Takes ``seconds`` and then half as long again each time; like a session of a runtime it cannot be copied."""

    memory_format = torch.channels_last

    def __init__(self, clock: Clock, name: str, seconds: float) -> None:
        self.clock, self.name, self.seconds = clock, name, seconds

    def __deepcopy__(self, memo: dict[int, object]) -> "Timed":
        raise TypeError("cannot be copied")

    def __call__(self, image: Tensor) -> Tensor:
        assert torch.is_inference_mode_enabled()
        self.clock.threads.add(torch.get_num_threads())
        self.clock.now += self.seconds
        self.seconds *= 1.5
        self.clock.calls.append(self.name)
        self.clock.images.append(image)
        return image


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(latency, "perf_counter", clock.read)
    monkeypatch.setattr(latency, "CLOCKS", {"wall": clock.read, "cpu": lambda: 3 * clock.now})
    return clock


def run(nets: list[Timed], *, rounds: int, warmup: int, seed: int = 0, **how: Any) -> tuple[Latency, ...]:
    timing = Timing(batch_size=2, rounds=rounds, warmup=warmup, **how)
    return interleaved(nets, timing, size_hw=(4, 6), device=CPU, seed=seed)


def test_times_are_in_ms_by_network_and_round_without_the_warmup(clock: Clock) -> None:
    # after one warm-up: 0.2 * 1.5 = 0.3 s, then 0.45 s; twice that for the other
    fast, slow = run([Timed(clock, "fast", 0.2), Timed(clock, "slow", 0.4)], rounds=2, warmup=1)
    assert fast.times_ms == pytest.approx((300, 450))
    assert slow.times_ms == pytest.approx((600, 900))
    assert (fast.rounds, fast.batch_size) == (2, 2)


def test_processor_time_is_that_of_one_thread(clock: Clock) -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        run([Timed(clock, "net", 0.2)], rounds=1, warmup=0)
        assert clock.threads == {2}
        clock.threads.clear()
        (ran,) = run([Timed(clock, "net", 0.2)], rounds=1, warmup=0, clock="cpu")
        assert ran.times_ms == pytest.approx((600,))  # that clock runs three times as fast
        assert clock.threads == {1}
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_what_waits_takes_no_processor_time() -> None:
    def waits(image: Tensor) -> Tensor:
        time.sleep(0.05)
        return image

    wall, cpu = (
        interleaved(
            [waits],
            Timing(batch_size=1, rounds=1, warmup=0, clock=clock),
            size_hw=(2, 2),
            device=CPU,
            seed=0,
        )[0]
        for clock in CLOCKS
    )
    assert wall.median_ms >= 50
    assert cpu.median_ms < 25


def test_the_timing_says_how_it_was_taken() -> None:
    timing = Timing(batch_size=2, rounds=30, warmup=1, clock="cpu")
    assert timing.describe() == "processor time, batch 2, 30 passes, CPU threads 1"
    threads = torch.get_num_threads()
    said = f"wall time, batch 2, 30 passes, CPU threads {threads}"
    assert replace(timing, clock="wall").describe() == said


def test_every_round_runs_every_network_once_in_changing_order(clock: Clock) -> None:
    run([Timed(clock, name, 0.1) for name in "abc"], rounds=20, warmup=0)
    turns = ["".join(clock.calls[start : start + 3]) for start in range(0, 60, 3)]
    assert {"".join(sorted(turn)) for turn in turns} == {"abc"}
    assert len(set(turns)) > 1


def test_the_seed_decides_order_and_images(clock: Clock) -> None:
    def trial(seed: int) -> tuple[list[str], Tensor]:
        clock.calls.clear()
        clock.images.clear()
        run([Timed(clock, name, 0.1) for name in "abc"], rounds=10, warmup=0, seed=seed)
        return list(clock.calls), clock.images[0]

    (order, image), (same_order, same_image), (other_order, other_image) = trial(1), trial(1), trial(2)
    assert order == same_order
    assert torch.equal(image, same_image)
    assert order != other_order
    assert not torch.equal(image, other_image)


def test_all_networks_see_the_same_channels_last_images(clock: Clock) -> None:
    run([Timed(clock, "a", 0.1), Timed(clock, "b", 0.1)], rounds=2, warmup=1)
    first = clock.images[0]
    assert first.shape == (2, 3, 4, 6)
    assert first.is_contiguous(memory_format=torch.channels_last)
    assert all(torch.equal(image, first) for image in clock.images)


def test_a_runner_gets_the_same_images_in_the_memory_format_that_it_takes(clock: Clock) -> None:
    file = Timed(clock, "file", 0.1)
    file.memory_format = torch.contiguous_format
    run([file, Timed(clock, "net", 0.1)], rounds=2, warmup=1)
    images = dict(zip(clock.calls, clock.images, strict=True))
    assert images["file"].is_contiguous()
    assert images["net"].is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(images["file"], images["net"])
    assert len({image.data_ptr() for image in clock.images}) == 2  # none is copied within a pass


def test_the_global_generator_is_left_as_it_was(clock: Clock) -> None:
    state = torch.get_rng_state()
    run([Timed(clock, "a", 0.1)], rounds=1, warmup=1)
    assert torch.equal(torch.get_rng_state(), state)


def test_statistics_worked_by_hand() -> None:
    # sorted 1 2 3 4 10; percentile p at position p * 4: 25 % -> 2, 75 % -> 4, 95 % -> 3.8: 4 + 0.8 * 6
    measured = Latency(times_ms=(3, 1, 10, 2, 4), batch_size=1)
    assert measured.median_ms == 3
    assert measured.iqr_ms == 2
    assert measured.rounds == 5
    # 1 to 21: percentile p at position p * 20: 90 % -> the 19th, 95 % -> the 20th
    ladder = Latency(times_ms=tuple(range(21, 0, -1)), batch_size=1)
    assert (ladder.p90_ms, ladder.p95_ms) == (19, 20)
    # 3 ms at the median for one image, or for four
    assert measured.frames_per_s == pytest.approx(1000 / 3)
    assert Latency(times_ms=measured.times_ms, batch_size=4).frames_per_s == pytest.approx(4000 / 3)


def test_no_percentile_is_told_above_which_no_pass_lies() -> None:
    def ladder(rounds: int) -> Latency:
        return Latency(times_ms=tuple(range(1, rounds + 1)), batch_size=1)

    assert (ladder(9).p90_ms, ladder(19).p95_ms) == (None, None)
    assert ladder(10).p90_ms == pytest.approx(9.1)
    assert ladder(20).p95_ms == pytest.approx(19.05)
    # all of n passes are below the percentile in 0.95 ** n of samples: 5.1 % for 58, 4.8 % for 59
    assert (ladder(58).p95_bound_ms, ladder(59).p95_bound_ms) == (None, 59)
    # all but at most one in 0.95 ** n + n * 0.05 * 0.95 ** (n - 1): 5.02 % for 92, 4.8 % for 93
    assert (ladder(92).p95_bound_ms, ladder(93).p95_bound_ms) == (92, 92)


def test_speedup_is_the_median_of_the_ratios_within_a_round() -> None:
    # ratios 2, 2, 10: median 2. The ratio of the medians would be 20 / 4 = 5.
    dense = Latency(times_ms=(8, 20, 40), batch_size=1)
    cut = Latency(times_ms=(4, 10, 4), batch_size=1)
    assert speedup(dense, cut) == 2
    assert speedup(dense, dense) == 1


@pytest.mark.parametrize(
    "other", [Latency(times_ms=(1, 2), batch_size=1), Latency(times_ms=(1,), batch_size=4)]
)
def test_speedup_of_separate_measurements_is_refused(other: Latency) -> None:
    message = f"cannot be paired with {other.rounds} rounds of batch {other.batch_size}; measure both in one"
    with pytest.raises(ValueError, match=message):
        speedup(Latency(times_ms=(1,), batch_size=1), other)


@pytest.fixture
def cuda(monkeypatch: pytest.MonkeyPatch, clock: Clock) -> torch.device:
    """A GPU whose driver only notes that it is waited for."""
    device = torch.device("cuda", 1)
    with_gpus(monkeypatch, 2)
    monkeypatch.setattr(torch.cuda, "_exchange_device", lambda _: 0)
    monkeypatch.setattr(torch.cuda, "_maybe_exchange_device", lambda _: 1)
    monkeypatch.setattr(torch._C, "_cuda_synchronize", lambda: clock.calls.append("wait"), raising=False)
    return device


def test_a_gpu_is_waited_for_before_and_after_the_pass(cuda: torch.device, clock: Clock) -> None:
    with torch.inference_mode():
        run = Timed(clock, "net", 0.1)
        assert latency._forward_ms(run, torch.zeros(1), cuda, clock.read) == pytest.approx(100)
    assert clock.calls == ["wait", "net", "wait"]


def test_a_gpu_is_warmed_up_for_a_second(cuda: torch.device, clock: Clock) -> None:
    with without_memory():
        timing = Timing(batch_size=1, rounds=1, warmup=2)
        interleaved([Timed(clock, "net", 0.1)], timing, size_hw=(4, 4), device=cuda, seed=0)
    # 0.1 + 0.15 + 0.225 + 0.3375 + 0.50625 s: the fifth pass ends after 1 s; then the timed one
    assert clock.calls.count("net") == 6
    assert all(image.device == cuda for image in clock.images)


def test_a_gpu_takes_no_processor_time(cuda: torch.device, clock: Clock) -> None:
    with pytest.raises(ValueError, match="the clock is cpu, but cuda:1 computes"):
        interleaved(
            [], Timing(batch_size=1, rounds=1, warmup=0, clock="cpu"), size_hw=(4, 4), device=cuda, seed=0
        )
