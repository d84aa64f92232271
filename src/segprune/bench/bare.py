"""The chain as a script of plain PyTorch: what is left when all that this program adds is taken away.

Same network, images, augmentation and schedule. torch-pruning scores and cuts; a network is judged by its mIoU
alone, and nothing is kept but the numbers. ``python -m segprune.bench.bare <job> <cache> <file>``.
"""

import copy
import json
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
import torch_pruning as tp
from torch import Tensor, nn
from torch.nn import functional as F

from segprune.bench.job import read
from segprune.dataset.contract import Batch, Items, SegData
from segprune.dataset.loading import calibration_batches
from segprune.model.contract import SegmentationNet
from segprune.model.unet import unet

BATCH, CALIBRATION, LR, DECAY, POWER = 4, 64, 3e-3, 1e-2, 0.9
IMPORTANCES = {
    "taylor": tp.importance.GroupTaylorImportance,
    "fpgm": tp.importance.FPGMImportance,
    "sirfp": tp.importance.GroupMagnitudeImportance,  # it has none of sirfp
}


def main(arguments: Sequence[str]) -> int:
    """Train, then cut, finetune and judge once for every method and ratio; writes when each part began."""
    text, cache, out = arguments
    torch.manual_seed(0)
    job = read(text)
    began: list[tuple[str, float]] = []
    miou: dict[str, float] = {}
    data = job.data(Path(cache))
    began.append(("train", time.time()))
    dense = trained(network(len(data.classes)), data, job.epochs, warmup=1.0)
    began.append(("eval", time.time()))
    miou["dense"] = mean_iou(dense, data.report, data)
    for method in job.methods:
        for ratio in job.ratios:
            began.append(("prune", time.time()))
            raw = cut_by_torch_pruning(dense, method, ratio, data)
            began.append(("finetune", time.time()))
            final = trained(raw, data, job.finetune, warmup=0.5)
            began.append(("eval", time.time()))
            for name, net in (("pruned", raw), ("finetuned", final)):
                miou[f"{method}-{ratio} {name}"] = mean_iou(net, data.report, data)
    Path(out).write_text(json.dumps({"began": began, "miou": miou}), encoding="utf-8")
    return 0


def network(classes: int) -> SegmentationNet:
    """The default network."""
    return unet(
        width=16, max_width=96, depth=4, convs_per_level=1, upsample="bilinear", num_classes=classes
    ).to(memory_format=torch.channels_last)


def trained(net: SegmentationNet, data: SegData, epochs: int, *, warmup: float) -> SegmentationNet:
    """A trained copy, of the epoch that is best on the select images."""
    net = copy.deepcopy(net)
    weights = inverse_root_weights(data)
    optimizer = torch.optim.AdamW(net.parameters(), lr=LR, weight_decay=DECAY)
    steps = len(data.fit) // BATCH
    first, total = max(1, round(min(warmup, epochs / 2) * steps)), epochs * steps
    best, kept = -1.0, copy.deepcopy(net.state_dict())
    for epoch in range(epochs):
        net.train()
        for step, batch in enumerate(shuffled(data.fit, epoch)):
            done = epoch * steps + step
            share = (done + 1) / first if done < first else (1 - (done - first) / (total - first)) ** POWER
            for group in optimizer.param_groups:
                group["lr"] = LR * share
            image = batch.image.to(memory_format=torch.channels_last)
            loss = F.cross_entropy(net(image), batch.label.long(), weights, ignore_index=data.ignore_index)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
        if data.select is not None and (reached := mean_iou(net, data.select, data)) > best:
            best, kept = reached, copy.deepcopy(net.state_dict())
    net.load_state_dict(kept)
    return net.eval()


def shuffled(items: Items, epoch: int) -> Iterator[Batch]:
    """Batches of an epoch, each item augmented anew."""
    order = np.random.default_rng(epoch).permutation(len(items)) + epoch * len(items)
    for start in range(0, len(items) - BATCH + 1, BATCH):
        yield stacked([items[int(index)] for index in order[start : start + BATCH]])


def stacked(items: Sequence[Batch]) -> Batch:
    """Items as a batch."""
    return Batch(torch.stack([one.image for one in items]), torch.stack([one.label for one in items]))


def inverse_root_weights(data: SegData) -> Tensor:
    """(K,) weights by the inverse root of each class's share of the pixels; of absent ones the largest."""
    counts = torch.zeros(len(data.classes), dtype=torch.float64)
    for index in range(len(data.calibration)):
        label = data.calibration[index].label.flatten()
        counts += torch.bincount(label[label != data.ignore_index].long(), minlength=len(counts))
    share = counts / counts.sum()
    weights = share.clamp(min=share[share > 0].min()) ** -0.5
    return (weights / (weights * share).sum()).float()


def cut_by_torch_pruning(net: SegmentationNet, method: str, ratio: float, data: SegData) -> SegmentationNet:
    """A cut copy, its batch statistics taken anew."""
    net = copy.deepcopy(net).eval()
    batches = calibration_batches(data.calibration, count=CALIBRATION, batch_size=8, seed=0)
    net.zero_grad()
    if method == "taylor":
        for batch in batches:
            logits = net(batch.image)
            F.cross_entropy(logits, batch.label.long(), ignore_index=data.ignore_index).backward()  # type: ignore[no-untyped-call]
    heads = [
        one for one in net.modules() if isinstance(one, nn.Conv2d) and one.out_channels == len(data.classes)
    ]
    tp.pruner.BasePruner(
        net,
        batches[0].image[:1],
        importance=IMPORTANCES[method](),
        pruning_ratio=ratio,
        global_pruning=method == "taylor",
        ignored_layers=heads,
    ).step()
    for norm in (one for one in net.modules() if isinstance(one, nn.BatchNorm2d)):
        norm.reset_running_stats()
        norm.momentum = None
    net.train()
    with torch.no_grad():
        for batch in batches:
            net(batch.image)
    for norm in (one for one in net.modules() if isinstance(one, nn.BatchNorm2d)):
        norm.momentum = 0.1
    return net.eval()


@torch.inference_mode()
def mean_iou(net: SegmentationNet, items: Items, data: SegData) -> float:
    """Mean IoU over the classes that labels show, a fraction."""
    classes = len(data.classes)
    counts = torch.zeros(classes * classes, dtype=torch.int64)
    net.eval()
    for start in range(0, len(items), 8):
        batch = stacked([items[index] for index in range(start, min(start + 8, len(items)))])
        found, label = net(batch.image).argmax(1), batch.label.long()
        cells = (label * classes + found)[label != data.ignore_index]
        counts += torch.bincount(cells, minlength=classes * classes)
    matrix = counts.view(classes, classes).double()
    occurs = matrix.sum(1) > 0
    hit, either = matrix.diag(), matrix.sum(0) + matrix.sum(1) - matrix.diag()
    return float((hit[occurs] / either[occurs]).mean())


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
