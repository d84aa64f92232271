import threading

import pytest
import torch
from torch import Tensor, nn

from segprune.measure.memory import inference_peak_mb, peak_memory
from tests.gpus import with_gpus, without_memory

CPU = torch.device("cpu")
MB = 10**6


class Process:
    """A process whose memory is what a test says; ``seen`` is set whenever the present value was read."""

    def __init__(self) -> None:
        self.rss = 0
        self.seen = threading.Event()

    def memory_info(self) -> "Process":
        self.seen.set()
        return self

    def use(self, mb: int, *, is_watched: bool) -> None:
        self.rss = mb * MB
        if is_watched:
            self.seen.clear()
            assert self.seen.wait(30)
            self.seen.clear()
            assert self.seen.wait(30)  # the first look may have begun before the change


@pytest.fixture
def process(monkeypatch: pytest.MonkeyPatch) -> Process:
    fake = Process()
    monkeypatch.setattr("psutil.Process", lambda: fake)
    return fake


@pytest.mark.slow
def test_the_peak_is_the_growth_since_the_start_even_if_it_is_gone_at_the_end(process: Process) -> None:
    process.use(100, is_watched=False)
    with peak_memory(CPU) as peak:
        process.use(350, is_watched=True)
        process.use(120, is_watched=True)
    assert peak.mb == 250


@pytest.mark.slow
def test_a_peak_at_the_very_end_is_seen(process: Process) -> None:
    with peak_memory(CPU) as peak:
        process.use(70, is_watched=False)
    assert peak.mb == 70


@pytest.mark.slow
def test_memory_that_only_shrinks_has_no_peak(process: Process) -> None:
    process.use(100, is_watched=False)
    with peak_memory(CPU) as peak:
        process.use(50, is_watched=True)
    assert peak.mb == 0


@pytest.mark.slow
def test_the_watcher_ends_with_the_block_also_when_that_fails(process: Process) -> None:
    before = set(threading.enumerate())
    peaks = []

    def fail() -> None:
        with peak_memory(CPU) as peak:
            peaks.append(peak)
            process.use(30, is_watched=True)
            raise RuntimeError("boom")

    with pytest.raises(RuntimeError, match="boom"):
        fail()
    assert set(threading.enumerate()) <= before
    assert peaks[0].mb == 30


@pytest.mark.slow
def test_real_memory_is_seen() -> None:
    with peak_memory(CPU) as peak:
        held = torch.ones(40, MB // 4)  # 40 MB, touched
    assert 38 <= peak.mb < 400
    del held


def test_on_cuda_the_allocator_is_asked_and_its_older_peak_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    driver = with_gpus(monkeypatch, 2)
    driver.use(900 * MB)
    driver.use(5 * MB)
    with peak_memory(torch.device("cuda", 1)) as peak:
        driver.use(25 * MB)
        driver.use(6 * MB)
    assert peak.mb == 20
    assert driver.waits  # what is still being computed counts


class Net(nn.Module):
    """A convolution and what is made of it; ``seen`` gets a line per forward pass."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[tuple[int, ...], bool, bool]] = []
        self.conv = nn.Conv2d(3, 4, 1)
        self.register_buffer("mean", torch.zeros(1, 3, 1, 1))

    def __deepcopy__(self, memo: dict[int, object]) -> "Net":
        twin = Net()
        twin.seen = self.seen
        return twin

    def forward(self, image: Tensor) -> Tensor:
        self.seen.append((tuple(image.shape), self.training, torch.is_inference_mode_enabled()))
        assert image.is_contiguous(memory_format=torch.channels_last)
        assert self.conv.weight.is_contiguous(memory_format=torch.channels_last)
        x = self.conv(image - self.mean)
        x = nn.functional.relu(x, inplace=True).flatten(1)  # neither takes memory
        twice = torch.cat([x, x])
        del x
        return twice.sum(1) + self.conv.weight.view(-1)[0]


def test_a_forward_pass_takes_what_its_tensors_take_while_they_live() -> None:
    # 2 images of 8 x 6 px, float32: 4 * 2 * 48 bytes a channel. The image less the mean has 3 channels; the
    # convolution adds 4, after which the 3 go; the concatenation adds 8 to these 4: 12 is the most.
    net = Net()
    peak = inference_peak_mb(net, size_hw=(8, 6), batch_size=2, device=CPU)
    assert peak == pytest.approx(12 * 4 * 2 * 48 / MB, abs=1e-12)
    assert net.seen == [((2, 3, 8, 6), False, True)]
    assert net.training
    assert inference_peak_mb(net, size_hw=(8, 6), batch_size=2, device=CPU) == peak


def test_on_cuda_a_forward_pass_is_measured_after_one_that_loads_the_kernels(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    driver, gpu = with_gpus(monkeypatch, 2), torch.device("cuda", 1)
    driver.use(5 * MB)

    class Growing(nn.Module):
        passes = 0

        def forward(self, image: Tensor) -> Tensor:
            assert image.device == gpu
            Growing.passes += 1
            driver.use(5 * MB + {1: 500, 2: 40}[Growing.passes] * MB)
            driver.use(5 * MB)
            return image

    with without_memory():
        assert inference_peak_mb(Growing(), size_hw=(8, 6), batch_size=2, device=gpu) == 40


def test_a_block_inside_takes_no_peak_from_the_one_around_it(monkeypatch: pytest.MonkeyPatch) -> None:
    driver, gpu = with_gpus(monkeypatch, 1), torch.device("cuda", 0)
    driver.use(driver.used + 10 * MB)
    with peak_memory(gpu) as outer:
        driver.use(driver.used + 50 * MB)
        driver.use(driver.used + -40 * MB)
        with peak_memory(gpu) as inner:
            driver.use(driver.used + 15 * MB)
            driver.use(driver.used + -15 * MB)
        driver.use(driver.used + 5 * MB)
    assert (inner.mb, inner.whole_mb) == (15, 35)
    assert (outer.mb, outer.whole_mb) == (50, 60)
