"""The rule on several GPUs that train one network together."""

from dataclasses import replace

import torch
import torch.distributed as dist

from segprune.gpu_check.contract import Bench, Found
from segprune.gpu_check.parts import PLAIN, data_of, network, training_of
from segprune.model.contract import SegmentationNet
from segprune.training.loop import fit
from segprune.training.rank import Rank
from segprune.training.step import Epoch, Step
from segprune.training.together import Tell, together

APART = 0.01
"""Between losses on one GPU and on two, as a fraction; kernels for smaller batches round otherwise."""


def several_gpus(bench: Bench) -> Found:
    """A training on two GPUs beside the same on one; where there is one GPU, only whether NCCL starts."""
    if bench.device.type == "cuda" and torch.cuda.device_count() == 1:
        heard: list[float] = []
        together(1, bench.device, _answer, heard.append)
        return Found(measured="NCCL starts; two GPUs were not checked: there is one", holds=heard == [1.0])
    (alone, one), (shared, two) = (_trained(bench, gpus) for gpus in (1, 2))
    apart = max(abs(a.loss - b.loss) / a.loss for a, b in zip(one, two, strict=True))
    weights = max(
        float((mine - its).detach().abs().max())
        for mine, its in zip(alone.parameters(), shared.parameters(), strict=True)
    )
    what = "GPUs" if bench.device.type == "cuda" else "processes"
    return Found(
        measured=f"two {what}: losses {100 * apart:.4f} % apart, weights {weights:.1e}", holds=apart <= APART
    )


def _trained(bench: Bench, gpus: int) -> tuple[SegmentationNet, tuple[Epoch, ...]]:
    data, schedule = data_of(bench), replace(PLAIN, amp="none")
    training = training_of(data, bench.device, bench.folder / f"several-{gpus}", schedule)
    training = replace(training, hardware=replace(training.hardware, gpus=gpus))
    net, curve, _ = fit(network(bench, len(data.classes)), training, Step)
    return net, curve


def _answer(rank: Rank, tell: Tell) -> None:
    one = torch.ones(1, device=torch.device("cuda", rank.rank))
    dist.all_reduce(one)
    tell(float(one))
