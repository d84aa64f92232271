"""How much time a cut saves on this machine, by rounding and runtime.

Random weights and random scores, since time does not depend on them. Networks are timed in turns; a speed-up is
the median of the ratios within each round, so that drift of the machine cancels out.
"""

import argparse
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import get_args

import numpy as np
import torch
import yaml  # type: ignore[import-untyped]

from segprune.bench.contract import Bench, Figure
from segprune.budget.fraction import FractionBudget
from segprune.budget.simulate import CostSimulator
from segprune.config.component import component
from segprune.deploy.ready import Place, device_of, ready, refuse_unusable
from segprune.errors import ConfigError
from segprune.graph.cut import cut
from segprune.graph.trace import trace
from segprune.measure.contract import TimedIn
from segprune.measure.latency import CLOCKS, Latency, Timing, interleaved
from segprune.model.contract import SegmentationNet
from segprune.model.initial import initial

CLASSES, SEED = 11, 0


def measure(options: argparse.Namespace, bench: Bench) -> Iterator[Figure]:
    """Time cuts of networks of the group `model` against the dense ones; the spread of a ratio is its quartiles."""
    size_hw = (options.size[0], options.size[1])
    rounds = bench.turns(30, 5)
    timing = Timing(batch_size=1, rounds=rounds, warmup=3, clock=options.clock)
    for runtime in options.runtimes:
        refuse_unusable(runtime, device_of(runtime, _device()))
    for name in options.models:
        nets, kept = cuts(network(name), size_hw, options.ratios, options.round_to)
        sizes = f"{name}, {size_hw[0]}x{size_hw[1]} px, {timing.describe()}"
        for runtime in options.runtimes:
            times = timed(list(nets.values()), runtime, timing, size_hw)
            yield from figures(runtime, times, list(nets), kept, sizes)


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


def figures(
    runtime: str, times: Sequence[Latency], names: Sequence[str], kept: Sequence[float], sizes: str
) -> Iterator[Figure]:
    """Per network its time, and of a cut one the speed-up with quartiles and its share of the speed-up in MACs."""
    for name, time, share in zip(names, times, kept, strict=True):
        what, is_cut = f"{name}, {runtime}", time is not times[0]
        yield Figure(what=what, value=time.median_ms, unit="ms", sizes=sizes, count=time.rounds)
        if is_cut:
            quartiles = np.percentile(np.divide(times[0].times_ms, time.times_ms), (25, 50, 75))
            low, middle, high = (float(value) for value in quartiles)
            yield Figure(
                what=f"{what}, speed-up",
                value=middle,
                unit="x",
                sizes=sizes,
                low=low,
                high=high,
                count=time.rounds,
            )
            of = f"{what}, of the speed-up in MACs (x{1 / share:.2f})"
            yield Figure(what=of, value=middle * share, unit="fraction", sizes=sizes, count=time.rounds)


def add_options(group: argparse._ArgumentGroup) -> None:
    """Which networks, cuts and runtimes."""
    add = group.add_argument
    add("--models", nargs="+", default=["unet"], help="options of the group model")
    add("--size", nargs=2, type=int, default=(96, 128), metavar=("H", "W"), help="image in px")
    add("--ratios", nargs="+", type=float, default=(0.3, 0.5, 0.7), help="fractions of MACs removed")
    add("--round-to", nargs="+", type=int, default=(1, 8, 16), help="kept widths are multiples of these")
    add("--runtimes", nargs="+", choices=get_args(TimedIn), default=["eager"], help="where they are timed")
    add("--clock", choices=list(CLOCKS), default="wall", help="cpu: processor time on one thread")


def _device() -> torch.device:
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")
