"""What scores cost: by this program, by torch-pruning's importances, and written down plainly."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch_pruning as tp
import yaml  # type: ignore[import-untyped]
from torch import Tensor, nn

from segprune.bench.contract import Bench, Figure
from segprune.bench.job import single
from segprune.bench.spent import compared, here, in_turns, times
from segprune.config.component import component
from segprune.dataset.contract import Batch
from segprune.dataset.loading import HostBatches, calibration_batches
from segprune.graph.trace import trace
from segprune.loss.ce import CrossEntropy
from segprune.model.contract import SegmentationNet
from segprune.model.unet import unet
from segprune.pruner.contract import Calibration, Pruner
from segprune.training.loss import calibration_loss, segmentation_loss

CLASSES = 11
WITHOUT_TRAINING = (
    "random",
    "l1",
    "l2",
    "fpgm",
    "lamp",
    "group_l2",
    "bn_scale",
    "taylor",
    "fisher",
    "apoz",
    "fgp",
    "sirfp",
)
IMPORTANCES: Mapping[str, Callable[[], Any]] = {
    "random": tp.importance.RandomImportance,
    "l1": lambda: tp.importance.GroupMagnitudeImportance(p=1),
    "l2": lambda: tp.importance.GroupMagnitudeImportance(p=2),
    "group_l2": lambda: tp.importance.GroupMagnitudeImportance(p=2),
    "fpgm": tp.importance.FPGMImportance,
    "lamp": tp.importance.LAMPImportance,
    "bn_scale": tp.importance.BNScaleImportance,
    "taylor": tp.importance.GroupTaylorImportance,
    "fisher": lambda: tp.importance.GroupHessianImportance(group_reduction="mean"),
}
"""Those of the same idea; what joins the channels of a group differs in details."""


def measure(bench: Bench) -> Iterator[Figure]:
    """Each criterion that needs no training of its own, on random weights; the channels are known beforehand."""
    job, turns = single(bench), bench.turns(5, 2)
    net = unet(
        width=bench.size(32, 16),
        max_width=bench.size(256, 96),
        depth=4,
        convs_per_level=1,
        upsample="bilinear",
        num_classes=CLASSES,
    ).eval()
    data, groups = job.data(bench.cache), trace(net)
    ignored = data.ignore_index
    loss = segmentation_loss(CrossEntropy(), ignore_index=ignored, class_weights=None, aux_weight=0.4)
    of_net = calibration_loss(CrossEntropy(), ignore_index=ignored, aux_weight=0.4)
    drawn = calibration_batches(data.calibration, count=bench.size(64, 16), batch_size=8, seed=0)
    cpu = torch.device("cpu")
    calibration = Calibration(batches=HostBatches(drawn, cpu), loss=of_net, device=cpu, seed=0)
    sizes = (
        f"unet, {sum(group.size for group in groups)} channels, "
        f"{sum(len(batch.image) for batch in drawn)} images of {job.height}x{job.width} px"
    )
    theirs = tp_groups(net, drawn[0].image[:1])
    weights = [one.weight.detach() for one in convs(net)]
    for name in WITHOUT_TRAINING:
        works: dict[str, Callable[[], object]] = {
            "this program": partial(criterion(name), net, groups, calibration)
        }
        if name in IMPORTANCES:
            works["torch-pruning"] = partial(by_torch_pruning, name, net, theirs, calibration.batches, loss)
        if name in NAIVE:
            works["naive"] = partial(naively, name, weights)
        for work in works.values():
            work()
        found = in_turns({who: partial(here, work) for who, work in works.items()}, turns)
        for who, spent in found.items():
            yield times(f"{name}, {who}", spent, sizes)[0]
        for who in list(works)[1:]:
            yield compared(f"{name}, by {who}", found["this program"], found[who], sizes)[1]


def criterion(name: str) -> Pruner:
    """An option of the group ``pruner``."""
    node = yaml.safe_load(Path("conf", "pruner", f"{name}.yaml").read_text(encoding="utf-8"))
    made: Pruner = component(node, "pruner")()
    return made


def tp_groups(net: nn.Module, image: Tensor) -> list[object]:
    """Every group that torch-pruning finds, but that of the logits."""
    graph = tp.DependencyGraph().build_dependency(net, example_inputs=image)
    heads = [one for one in net.modules() if isinstance(one, nn.Conv2d) and one.out_channels == CLASSES]
    return list(graph.get_all_groups(ignored_layers=heads, root_module_types=[nn.Conv2d]))


def by_torch_pruning(
    name: str,
    net: SegmentationNet,
    groups: Sequence[object],
    batches: Sequence[Batch],
    loss: Callable[[Sequence[Tensor], Tensor], Tensor],
) -> list[Tensor]:
    """Scores of all groups, gradients included where the importance needs them."""
    importance = IMPORTANCES[name]()
    net.zero_grad()
    for batch in batches if name in ("taylor", "fisher") else ():
        # the second order is of the gradients of each image, and takes them one by one
        parts = len(batch.image) if name == "fisher" else 1
        for image, label in zip(batch.image.chunk(parts), batch.label.chunk(parts), strict=True):
            if name == "fisher":
                net.zero_grad()
            loss(net.all_logits(image), label).backward()  # type: ignore[no-untyped-call]
            if name == "fisher":
                importance.accumulate_grad(net)
    scores = [importance(group) for group in groups]
    net.zero_grad()
    return scores


def convs(net: nn.Module) -> list[nn.Conv2d]:
    """The convolutions whose filters can be cut: all but that of the logits."""
    return [one for one in net.modules() if isinstance(one, nn.Conv2d) and one.out_channels != CLASSES]


def naively(name: str, weights: Sequence[Tensor]) -> list[object]:
    """Scores of the filters of each layer."""
    return [NAIVE[name](weight) for weight in weights]


def naive_norms(weight: Tensor, order: int) -> list[float]:
    """Norm of each filter, one after the other."""
    return [float(filters.flatten().norm(order)) for filters in weight]


def naive_distances(weight: Tensor) -> list[float]:
    """Sum of the distances of each filter to all others, pair by pair."""
    flat = weight.flatten(1)
    return [float(sum((one - other).norm() for other in flat)) for one in flat]


def naive_lamp(weight: Tensor) -> list[float]:
    """Squared norm of each filter by the sum of those that are not smaller."""
    squares = [float(filters.square().sum()) for filters in weight]
    return [one / sum(other for other in squares if other >= one) for one in squares]


NAIVE: Mapping[str, Callable[[Tensor], object]] = {
    "l1": lambda weight: naive_norms(weight, 1),
    "l2": lambda weight: naive_norms(weight, 2),
    "fpgm": naive_distances,
    "lamp": naive_lamp,
}
"""Criteria as one reads them in their papers, filter by filter."""
