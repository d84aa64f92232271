"""How much time a cut saves on this machine: ``make bench``.

Random weights and random scores, since time does not depend on them. Networks are timed in turns; a speed-up is
the median of the ratios within each round, so that drift of the machine cancels out.
"""

import argparse
import logging
import sys
from collections.abc import Sequence

import numpy as np
import torch

from segprune.budget.fraction import FractionBudget
from segprune.budget.simulate import CostSimulator
from segprune.console import command
from segprune.graph.cut import cut
from segprune.graph.trace import trace
from segprune.measure.latency import Latency, Timing, interleaved
from segprune.measure.runners import eager
from segprune.model.contract import SegmentationNet
from segprune.model.unet import unet

log = logging.getLogger(__name__)
CASES = [(ratio, round_to) for ratio in (0.3, 0.5, 0.7) for round_to in (1, 8, 16)]


def main(arguments: Sequence[str]) -> int:
    """Time U-Nets of equal MACs and different roundings against the dense one."""
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument(
        "--size", nargs=2, type=int, default=(192, 256), metavar=("H", "W"), help="image in px"
    )
    parser.add_argument("--width", type=int, default=32, help="channels of the U-Net's first level")
    parser.add_argument("--rounds", type=int, default=30, help="timed passes of each network")
    options = parser.parse_args(arguments)
    size_hw = (options.size[0], options.size[1])
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        dense = unet(
            width=options.width,
            max_width=8 * options.width,
            depth=4,
            convs_per_level=2,
            upsample="bilinear",
            num_classes=19,
        )
    nets, kept = cuts(dense, size_hw)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    times = interleaved(
        [eager(net, device) for net in nets],
        Timing(batch_size=1, rounds=options.rounds, warmup=3),
        size_hw=size_hw,
        device=device,
        seed=0,
    )
    log.info("U-Net of width %d, %dx%d px, batch 1, %d rounds", options.width, *size_hw, options.rounds)
    log.info("%s", table(times, kept))
    return 0


def cuts(dense: SegmentationNet, size_hw: tuple[int, int]) -> tuple[list[SegmentationNet], list[float]]:
    """The dense network and one cut per case, with the fraction of MACs each keeps."""
    groups = trace(dense, size_hw)
    simulator = CostSimulator(dense, groups, size_hw)
    generator = torch.Generator().manual_seed(0)
    scores = {group.name: torch.rand(group.size, generator=generator) for group in groups}
    nets, kept = [dense], [1.0]
    for ratio, round_to in CASES:
        budget = FractionBudget(of="macs", scope="local", floor=0.05, round_to=round_to, tolerance=0.1)
        reached = budget(groups, scores, ratio=ratio, paper_scope="local", simulator=simulator)
        nets.append(cut(dense, reached.plan, size_hw))
        kept.append(1 - reached.macs)
    return nets, kept


def table(times: Sequence[Latency], kept: Sequence[float]) -> str:
    """One line per cut: MACs kept, measured speed-up with quartiles, and its share of the speed-up in MACs."""
    lines = [
        f"{'widths':>16} {'MACs kept':>10} {'ms':>8} {'speed-up (quartiles)':>24} {'of the MACs speed-up':>22}"
    ]
    names = ["dense", *(f"multiples of {round_to}" for _, round_to in CASES)]
    for name, time, share in zip(names, times, kept, strict=True):
        low, middle, high = np.percentile(np.divide(times[0].times_ms, time.times_ms), (25, 50, 75))
        speed = f"x{middle:.2f} ({low:.2f}-{high:.2f})"
        lines.append(f"{name:>16} {share:>10.3f} {time.median_ms:>8.1f} {speed:>24} {middle * share:>22.2f}")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(command(main, sys.argv[1:]))
