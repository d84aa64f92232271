"""Latency of networks, measured side by side."""

from collections.abc import Sequence
from dataclasses import dataclass
from time import perf_counter

import numpy as np
import torch
from torch import Tensor, nn

from segprune.model.contract import Predicts
from segprune.model.copies import duplicate


@dataclass(frozen=True, kw_only=True)
class Latency:
    """Forward times of one network, one per round, in the order of the rounds.

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
    def p95_ms(self) -> float:
        """95th percentile, linearly interpolated."""
        return float(np.percentile(self.times_ms, 95))

    @property
    def frames_per_s(self) -> float:
        """Images per second at the median time."""
        return 1000 * self.batch_size / self.median_ms


def interleaved(
    nets: Sequence[Predicts],
    *,
    size_hw: tuple[int, int],
    batch_size: int,
    rounds: int,
    warmup: int,
    device: torch.device,
    seed: int,
) -> tuple[Latency, ...]:
    """Time networks in turns, so that whatever slows the machine down slows all of them down.

    Each round runs every network once, in a new order. Evaluation mode, inference mode, float32,
    channels-last, the same random images for all. Copies are timed; the networks stay as they are.
    A runner, which is no module, is timed itself.

    Args:
        nets: Networks, e.g. dense and cut.
        size_hw: (H, W) of the images in px.
        batch_size: Images in one forward pass.
        rounds: Timed forward passes of each network, at least 1.
        warmup: Forward passes of each network before the first timed one.
        device: Where to measure.
        seed: Of the images and of the orders.

    Returns:
        One latency per network, in the order of ``nets``; round r is the same moment in all of them.
    """
    generator = torch.Generator().manual_seed(seed)
    image = torch.rand(batch_size, 3, *size_hw, generator=generator)
    image = image.to(device, memory_format=torch.channels_last)
    timed = [_ready(net, device) for net in nets]
    times = np.zeros((len(timed), rounds))
    with torch.inference_mode():
        for net in timed:
            for _ in range(warmup):
                _forward_ms(net, image, device)
        for turn in range(rounds):
            for index in torch.randperm(len(timed), generator=generator).tolist():
                times[index, turn] = _forward_ms(timed[index], image, device)
    return tuple(Latency(times_ms=tuple(row), batch_size=batch_size) for row in times.tolist())


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


def _ready(net: Predicts, device: torch.device) -> Predicts:
    if not isinstance(net, nn.Module):
        return net
    return duplicate(net).to(device).to(memory_format=torch.channels_last).eval()


def _forward_ms(net: Predicts, image: Tensor, device: torch.device) -> float:
    _finish(device)
    start = perf_counter()
    net(image)
    _finish(device)
    return 1000 * (perf_counter() - start)


def _finish(device: torch.device) -> None:
    # A call returns before the GPU has finished.
    if device.type == "cuda":
        torch.cuda.synchronize(device)
