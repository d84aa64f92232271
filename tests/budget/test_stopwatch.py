from collections.abc import Callable
from functools import partial

import pytest
import torch
from torch import Tensor

from segprune.budget import stopwatch as here
from segprune.budget.stopwatch import stopwatch
from segprune.errors import ConfigError
from segprune.graph.kept import Kept
from segprune.measure.latency import CLOCKS, Timing
from tests.toys import Residual

TIMING = Timing(batch_size=1, rounds=3, warmup=0)


class Counted(Residual):
    """Counts the passes of all copies over images of the sizes that are timed here."""

    passes = 0

    def forward(self, image: Tensor) -> Tensor:
        Counted.passes += image.shape[-2] == 16
        return super().forward(image)


class Clocked(Residual):
    """Takes as many units of time as it has on its own clock, whatever else the machine does."""

    now = 0.0

    def __init__(self, units: float) -> None:
        super().__init__()
        self.units = units

    def forward(self, image: Tensor) -> Tensor:
        Clocked.now += self.units
        return super().forward(image)


@pytest.fixture(autouse=True)
def nothing_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(here, "_KNOWN", Kept(64))


def test_a_network_takes_its_own_time_and_another_one_the_share_that_it_takes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(CLOCKS, "cpu", lambda: Clocked.now)  # type: ignore[misc]
    timing = Timing(batch_size=1, rounds=5, warmup=1, clock="cpu")
    with stopwatch(Clocked(4), "eager", timing, (16, 16)) as share:
        assert share(Clocked(4)) == 1
        assert share(Clocked(1)) == 0.25
    # of equal parameters; what else a network is decides its time too
    with stopwatch(Clocked(2), "eager", timing, (16, 16)) as share:
        assert share(Clocked(1)) == 0.5


@pytest.mark.parametrize(
    "change",
    [
        lambda net: setattr(net.stem[0], "stride", (2, 2)),
        lambda net: setattr(net.stem[0], "dilation", (2, 2)),
        lambda net: setattr(net, "forward", partial(_twice, net)),
        lambda net: net.double(),
        lambda net: net.to(memory_format=torch.channels_last),
    ],
)
def test_networks_of_equal_parameters_that_compute_otherwise_are_different_kinds(
    change: Callable[[Residual], object],
) -> None:
    plain, other = Residual(), Residual()
    assert here._kind(plain) == here._kind(other)
    change(other)
    assert here._kind(plain) != here._kind(other)


def _twice(net: Residual, image: Tensor) -> Tensor:
    Residual.forward(net, image)
    return Residual.forward(net, image)


def test_equal_networks_are_timed_once_in_a_process() -> None:
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
