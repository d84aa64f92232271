import pytest
import torch
from torch import Tensor

from segprune.budget import stopwatch as here
from segprune.budget.stopwatch import stopwatch
from segprune.errors import ConfigError
from segprune.measure.latency import Timing
from tests.toys import Residual

TIMING = Timing(batch_size=1, rounds=3, warmup=0)


class Counted(Residual):
    """Counts the passes of all copies."""

    passes = 0

    def forward(self, image: Tensor) -> Tensor:
        Counted.passes += 1
        return super().forward(image)


class Busy(Counted):
    """Takes several times as long."""

    def forward(self, image: Tensor) -> Tensor:
        for _ in range(9):
            super().forward(image)
        return super().forward(image)


def test_a_network_takes_its_own_time_and_another_one_the_share_that_it_takes() -> None:
    timing = Timing(batch_size=1, rounds=45, warmup=5, clock="cpu")
    # so large that a pass takes longer than what is around it, also beside other processes
    with stopwatch(Counted(), "eager", timing, (96, 96)) as share:
        assert share(Counted()) == pytest.approx(1, abs=0.3)
    with stopwatch(Busy(), "eager", timing, (96, 96)) as share:
        wide = Counted()
        wide.extra = torch.nn.Parameter(torch.zeros(1))
        assert share(wide) == pytest.approx(0.1, abs=0.05)


def test_equal_widths_are_timed_once_in_a_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(here, "_KNOWN", {})
    Counted.passes = 0
    for _ in range(2):
        with stopwatch(Counted(), "eager", TIMING, (16, 16)) as share:
            first, again = share(Counted()), share(Counted())
            assert first == again
    assert Counted.passes == 6
    with stopwatch(Counted(), "eager", TIMING, (16, 20)) as share:
        share(Counted())
    assert Counted.passes == 12


def test_a_runtime_that_cannot_be_is_refused_at_once() -> None:
    with (
        pytest.raises(ConfigError, match="needs a GPU"),
        stopwatch(Counted(), "cuda_graph", TIMING, (16, 16)),
    ):
        pass
