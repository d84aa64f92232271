import pytest
import torch
from torch import Tensor, nn

from segprune.measure import latency
from segprune.measure.latency import Latency, interleaved, speedup

CPU = torch.device("cpu")


class Clock:
    """Time in seconds that passes only in forward passes, and a record of these."""

    def __init__(self) -> None:
        self.now = 0.0
        self.calls: list[str] = []
        self.images: list[Tensor] = []

    def read(self) -> float:
        return self.now

    def __deepcopy__(self, memo: dict[int, object]) -> "Clock":
        return self


class Timed(nn.Module):
    """Takes ``seconds`` and then half as long again each time."""

    def __init__(self, clock: Clock, name: str, seconds: float) -> None:
        super().__init__()
        self.clock, self.name, self.seconds = clock, name, seconds
        self.conv = nn.Conv2d(3, 4, 3)

    def forward(self, image: Tensor) -> Tensor:
        assert not self.training
        assert torch.is_inference_mode_enabled()
        assert self.conv.weight.is_contiguous(memory_format=torch.channels_last)
        self.clock.now += self.seconds
        self.seconds *= 1.5
        self.clock.calls.append(self.name)
        self.clock.images.append(image)
        return image


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(latency, "perf_counter", clock.read)
    return clock


def run(nets: list[nn.Module], *, rounds: int, warmup: int, seed: int = 0) -> tuple[Latency, ...]:
    return interleaved(
        nets, size_hw=(4, 6), batch_size=2, rounds=rounds, warmup=warmup, device=CPU, seed=seed
    )


def test_times_are_in_ms_by_network_and_round_without_the_warmup(clock: Clock) -> None:
    # after one warm-up: 0.2 * 1.5 = 0.3 s, then 0.45 s; twice that for the other
    fast, slow = run([Timed(clock, "fast", 0.2), Timed(clock, "slow", 0.4)], rounds=2, warmup=1)
    assert fast.times_ms == pytest.approx((300, 450))
    assert slow.times_ms == pytest.approx((600, 900))
    assert (fast.rounds, fast.batch_size) == (2, 2)


def test_a_runner_is_timed_in_its_turn(clock: Clock) -> None:
    def runner(image: Tensor) -> Tensor:
        clock.now += 0.7
        return image

    net, ran = run([Timed(clock, "net", 0.2), runner], rounds=1, warmup=0)
    assert (net.times_ms, ran.times_ms) == (pytest.approx((200,)), pytest.approx((700,)))


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


def test_networks_and_the_global_generator_are_left_as_they_were(clock: Clock) -> None:
    net = Timed(clock, "a", 0.1)
    net.train()
    net.conv.eval()
    weight, state = net.conv.weight.clone(), torch.get_rng_state()
    run([net], rounds=1, warmup=1)
    assert (net.training, net.conv.training, net.seconds) == (True, False, 0.1)
    assert net.conv.weight.is_contiguous()
    assert torch.equal(net.conv.weight, weight)
    assert torch.equal(torch.get_rng_state(), state)


def test_statistics_worked_by_hand() -> None:
    # sorted 1 2 3 4 10; percentile p at position p * 4: 25 % -> 2, 75 % -> 4, 95 % -> 3.8: 4 + 0.8 * 6
    measured = Latency(times_ms=(3, 1, 10, 2, 4), batch_size=1)
    assert measured.median_ms == 3
    assert measured.iqr_ms == 2
    assert measured.p95_ms == pytest.approx(8.8)
    assert measured.rounds == 5
    # 3 ms at the median for one image, or for four
    assert measured.frames_per_s == pytest.approx(1000 / 3)
    assert Latency(times_ms=measured.times_ms, batch_size=4).frames_per_s == pytest.approx(4000 / 3)


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


def test_a_gpu_is_waited_for_before_and_after_the_pass(monkeypatch: pytest.MonkeyPatch, clock: Clock) -> None:
    cuda = torch.device("cuda", 1)
    monkeypatch.setattr(torch.cuda, "synchronize", lambda device: clock.calls.append(f"wait {device}"))
    net = Timed(clock, "net", 0.1).to(memory_format=torch.channels_last).eval()
    with torch.inference_mode():
        assert latency._forward_ms(net, torch.zeros(1), cuda) == pytest.approx(100)
    assert clock.calls == ["wait cuda:1", "net", "wait cuda:1"]
