"""How time grows: the exponent p of ``time ~ size^p``, fitted over several sizes."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import TypeVar

import numpy as np
import torch
from torch.nn import functional as F

from segprune.bench.commands import of_command
from segprune.bench.contract import Bench, Figure
from segprune.bench.job import single
from segprune.bench.scoring import criterion
from segprune.bench.spent import figure, here, in_turns
from segprune.bench.startup import grid
from segprune.dataset.contract import Batch
from segprune.graph.trace import trace
from segprune.loss.ce import CrossEntropy
from segprune.measure.cost import cost
from segprune.measure.evaluate import evaluate
from segprune.model.contract import SegmentationNet
from segprune.model.unet import unet
from segprune.pruner.contract import Calibration, Pruner
from segprune.training.loss import calibration_loss

CLASSES, IGNORED = 11, 255
S = TypeVar("S")


def measure(bench: Bench) -> Iterator[Figure]:
    """By the network's multiply-adds, its channels, the images, and the jobs of a sweep; processor time."""
    turns = bench.turns(5, 2)
    widths = (8, 16, 32) if bench.is_quick else (8, 16, 32, 64)
    nets = {width: network(width) for width in widths}
    size_hw = (bench.size(96, 48), bench.size(128, 64))
    image, label = torch.rand(4, 3, *size_hw), torch.randint(CLASSES, (4, *size_hw))
    batch = Batch(image, label)
    by_macs = {cost(net, size_hw).macs: net for net in nets.values()}
    yield grown(
        "an update, by multiply-adds",
        by_macs,
        lambda net: update(net, batch),
        turns,
        f"unet, 4 images of {size_hw[0]}x{size_hw[1]} px",
    )
    groups = {width: trace(net) for width, net in nets.items()}
    by_channels = {sum(group.size for group in groups[width]): width for width in widths}
    calibration = Calibration(
        batches=[batch],
        loss=calibration_loss(CrossEntropy(), ignore_index=IGNORED, aux_weight=0.4),
        device=torch.device("cpu"),
        seed=0,
    )
    for name in ("l1", "fpgm", "taylor", "sirfp"):
        pruner = criterion(name)

        def score(width: int, pruner: Pruner = pruner) -> None:
            pruner(nets[width], groups[width], calibration)

        yield grown(f"{name}, by channels", by_channels, score, turns, "unet, 4 images")
    yield _by_images(bench, nets[16], turns)
    yield _by_jobs(bench)


def network(width: int) -> SegmentationNet:
    """A U-Net of some width with random weights."""
    return unet(
        width=width, max_width=6 * width, depth=4, convs_per_level=1, upsample="bilinear", num_classes=CLASSES
    ).eval()


def update(net: SegmentationNet, batch: Batch) -> None:
    """Forward and backward."""
    loss = F.cross_entropy(net(batch.image), batch.label)
    loss.backward()  # type: ignore[no-untyped-call]
    net.zero_grad()


def grown(what: str, sizes: Mapping[int, S], work: Callable[[S], object], turns: int, where: str) -> Figure:
    """The exponent, one for each turn; each size is done once before."""
    for one in sizes.values():
        work(one)
    found = in_turns({str(size): partial(here, partial(work, one)) for size, one in sizes.items()}, turns)
    measured = [[found[str(size)][turn].cpu_s for size in sizes] for turn in range(turns)]
    exponents = [exponent(list(sizes), seconds) for seconds in measured]
    return figure(what, exponents, "exponent", f"{where}, {min(sizes)} to {max(sizes)}")


def exponent(sizes: Sequence[float], seconds: Sequence[float]) -> float:
    """The p of ``seconds = c sizes^p`` with the least squares of the logarithms.

    Args:
        sizes: At least two different ones, above 0.
        seconds: Of each size, above 0.

    Raises:
        ValueError: There are fewer sizes, or one number is not above 0.
    """
    if len(set(sizes)) < 2 or min(*sizes, *seconds) <= 0:
        raise ValueError(f"no exponent fits times {list(seconds)} of sizes {list(sizes)}")
    return float(np.polyfit(np.log(sizes), np.log(seconds), 1)[0])


def _by_images(bench: Bench, net: SegmentationNet, turns: int) -> Figure:
    data = replace(single(bench), report=bench.size(128, 32)).data(bench.cache)
    items = [data.report[index] for index in range(len(data.report))]

    def judge(count: int) -> None:
        evaluate(
            net,
            items[:count],
            num_classes=len(data.classes),
            ignore_index=data.ignore_index,
            batch_size=8,
            workers=0,
            device=torch.device("cpu"),
        )

    counts = [len(items) // 4, len(items) // 2, len(items)]
    return grown("an evaluation, by images", {count: count for count in counts}, judge, turns, "unet, images")


def _by_jobs(bench: Bench) -> Figure:
    """Of whole commands, whose start is in it: the exponent nears 1 as the jobs outweigh it."""
    environment = {"SEGPRUNE_OUTPUTS": str(bench.outputs)}

    def cpu_s(jobs: int) -> float:
        command = ["run.py", "-m", *grid(jobs), "hydra/launcher=plan", "tracking=silent"]
        return of_command(command, output=bench.folder / f"plan_{jobs}", environment=environment).cpu_s

    sizes = (9, 18, 36) if bench.is_quick else (9, 27, 81, 243)
    value = exponent(sizes, [cpu_s(jobs) for jobs in sizes])
    return figure("a plan, by jobs", [value], "exponent", f"whole commands, {sizes[0]} to {sizes[-1]} jobs")
