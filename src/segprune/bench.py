"""How much time a cut saves on this machine, by rounding and runtime: ``make bench``.

Random weights and random scores, since time does not depend on them. Networks are timed in turns; a speed-up is
the median of the ratios within each round, so that drift of the machine cancels out.
"""

import argparse
import logging
import os
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import get_args

import numpy as np
import torch
import yaml  # type: ignore[import-untyped]

from segprune.budget.fraction import FractionBudget
from segprune.budget.simulate import CostSimulator
from segprune.config.compose import component
from segprune.console import command
from segprune.deploy.ready import Place, device_of, ready, refuse_unusable
from segprune.errors import ConfigError
from segprune.graph.cut import cut
from segprune.graph.trace import trace
from segprune.measure.contract import TimedIn
from segprune.measure.latency import CLOCKS, Latency, Timing, interleaved
from segprune.model.contract import SegmentationNet
from segprune.model.initial import initial
from segprune.result.table import aligned

log = logging.getLogger(__name__)
CLASSES, SEED = 11, 0
TITLES = ["widths", "MACs kept", "runtime", "ms", "speed-up (quartiles)", "of the MACs speed-up"]


def main(arguments: Sequence[str]) -> int:
    """Time cuts of networks of the group `model` against the dense ones."""
    options = _options(arguments)
    size_hw = (options.size[0], options.size[1])
    timing = Timing(batch_size=1, rounds=options.rounds, warmup=3, clock=options.clock)
    for runtime in options.runtimes:
        refuse_unusable(runtime, device_of(runtime, _device()))
    for name in options.models:
        nets, kept = cuts(network(name), size_hw, options.ratios, options.round_to)
        body = [
            line
            for runtime in options.runtimes
            for line in lines(runtime, timed(list(nets.values()), runtime, timing, size_hw), list(nets), kept)
        ]
        load = " ".join(f"{load:.1f}" for load in os.getloadavg())
        log.info("%s, %dx%d px, %s, load %s", name, *size_hw, timing.describe(), load)
        log.info("%s", aligned(TITLES, body, text_columns=1))
    return 0


def network(name: str) -> SegmentationNet:
    """A network of the group ``model`` with random weights.

    Raises:
        ConfigError: There is none of that name.
    """
    path = Path("conf", "model", f"{name}.yaml")
    if not path.is_file():
        raise ConfigError(
            f"there is no {path} in {Path.cwd()}; give the name of one, in the folder that has it."
        )
    node = yaml.safe_load(path.read_text(encoding="utf-8"))
    make = component(node, "model", runtime=("num_classes",))
    return initial(make, num_classes=CLASSES, seed=SEED).eval().to(_device())


def cuts(
    dense: SegmentationNet, size_hw: tuple[int, int], ratios: Sequence[float], round_to: Sequence[int]
) -> tuple[Mapping[str, SegmentationNet], list[float]]:
    """The dense network and a cut per ratio of MACs and rounding, by name; and the fraction of MACs each keeps."""
    groups = trace(dense)
    simulator = CostSimulator(dense, groups, size_hw)
    generator = torch.Generator().manual_seed(SEED)
    scores = {group.name: torch.rand(group.size, generator=generator) for group in groups}
    nets, kept = {"dense": dense}, [1.0]
    for ratio in ratios:
        for multiple in round_to:
            budget = FractionBudget(of="macs", scope="local", floor=0.05, round_to=multiple, tolerance=0.1)
            reached = budget(groups, scores, ratio=ratio, paper_scope="local", simulator=simulator)
            nets[f"-{ratio:.0%} MACs, multiples of {multiple}"] = cut(dense, reached.plan)
            kept.append(1 - reached.macs)
    return nets, kept


def timed(
    nets: Sequence[SegmentationNet], runtime: TimedIn, timing: Timing, size_hw: tuple[int, int]
) -> tuple[Latency, ...]:
    """Times of the networks, in turns."""
    device = device_of(runtime, _device())
    image = torch.rand(timing.batch_size, 3, *size_hw, device=device)
    with tempfile.TemporaryDirectory() as folder:
        runners = ready(nets, runtime, Place(image=image, threads=timing.threads, folder=Path(folder)))
        return interleaved(runners, timing, size_hw=size_hw, device=device, seed=SEED)


def lines(
    runtime: str, times: Sequence[Latency], names: Sequence[str], kept: Sequence[float]
) -> Iterator[list[str]]:
    """One line per network: MACs kept, speed-up with quartiles, and its share of the speed-up in MACs."""
    for name, time, share in zip(names, times, kept, strict=True):
        low, middle, high = np.percentile(np.divide(times[0].times_ms, time.times_ms), (25, 50, 75))
        speed = f"x{middle:.2f} ({low:.2f}-{high:.2f})"
        yield [name, f"{share:.3f}", runtime, f"{time.median_ms:.2f}", speed, f"{middle * share:.2f}"]


def _options(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    add = parser.add_argument
    add("--models", nargs="+", default=["unet"], help="options of the group model")
    add("--size", nargs=2, type=int, default=(96, 128), metavar=("H", "W"), help="image in px")
    add("--ratios", nargs="+", type=float, default=(0.3, 0.5, 0.7), help="fractions of MACs removed")
    add("--round-to", nargs="+", type=int, default=(1, 8, 16), help="kept widths are multiples of these")
    add("--runtimes", nargs="+", choices=get_args(TimedIn), default=["eager"], help="where they are timed")
    add("--rounds", type=int, default=30, help="timed passes of each network")
    add("--clock", choices=list(CLOCKS), default="wall", help="cpu: processor time on one thread")
    return parser.parse_args(arguments)


def _device() -> torch.device:
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


if __name__ == "__main__":
    sys.exit(command(main, sys.argv[1:]))
