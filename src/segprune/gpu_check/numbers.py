"""Rules on numbers: what a GPU computes is what a CPU computes, as far as it rounds alike."""

import copy
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import torch
import yaml  # type: ignore[import-untyped]
from torch import Tensor

from segprune.config.component import component
from segprune.gpu_check.contract import Bench, Found
from segprune.gpu_check.parts import batches_of, data_of, network, trained
from segprune.graph.trace import trace
from segprune.loss.ce import CrossEntropy
from segprune.measure.agreement import spearman
from segprune.pruner.contract import Calibration, Pruner
from segprune.training.loss import calibration_loss, segmentation_loss

CONF = Path("conf") / "pruner"
AGREE, AGREE_FULL = 0.999, 0.9999
RANK, RANK_FULL, RANK_AGAIN = 0.99, 0.9999, 0.9999
BIAS = 0.005


@contextmanager
def full_precision() -> Iterator[None]:
    """Without TF32."""
    parts = (torch.backends.cudnn.conv, torch.backends.cuda.matmul)  # type: ignore[attr-defined]
    before = [part.fp32_precision for part in parts]
    for part in parts:
        part.fp32_precision = "ieee"
    try:
        yield
    finally:
        for part, setting in zip(parts, before, strict=True):
            part.fp32_precision = setting


def same_classes(bench: Bench) -> Found:
    """One trained network, on the CPU and on the GPU: how many pixels get the same class."""
    data = data_of(bench)
    net = trained(bench, data)
    images = torch.stack([data.report[index].image for index in range(len(data.report))])
    there = copy.deepcopy(net).to(bench.device)
    with torch.inference_mode():
        expected = net(images).argmax(1)
        usual = _share(there(images.to(bench.device)), expected)
        with full_precision():
            full = _share(there(images.to(bench.device)), expected)
    return Found(
        measured=f"{100 * usual:.3f} % of pixels, {100 * full:.3f} % without TF32",
        holds=usual >= AGREE and full >= AGREE_FULL,
    )


def same_ranking(bench: Bench) -> Found:
    """Every criterion without a training of its own: its ranking on the CPU, on the GPU, and there again."""
    data = data_of(bench)
    net = trained(bench, data)
    here, there = (_calibration(bench, torch.device("cpu")), _calibration(bench, bench.device))
    moved = copy.deepcopy(net).to(bench.device)
    worst = {"usual": 1.0, "full": 1.0, "again": 1.0}
    faults = []
    for name, pruner in criteria().items():
        groups = trace(net)
        before = _state(moved)
        expected, usual = pruner(net, groups, here), pruner(moved, groups, there)
        again = pruner(moved, groups, there)
        with full_precision():
            full = pruner(moved, groups, there)
        if _state(moved) != before:
            faults.append(name)
        for kind, one, other in (
            ("usual", expected, usual),
            ("full", expected, full),
            ("again", usual, again),
        ):
            worst[kind] = min(worst[kind], _rank_agreement(one, other))
    holds = worst["usual"] >= RANK and worst["full"] >= RANK_FULL and worst["again"] >= RANK_AGAIN
    lowest = f"lowest Spearman {worst['usual']:.4f}, {worst['full']:.4f} without TF32"
    changed = f"; left changed by {', '.join(faults)}" if faults else ""
    return Found(
        measured=f"{lowest}, {worst['again']:.4f} when repeated{changed}", holds=holds and not faults
    )


def gradient_bias(bench: Bench) -> Found:
    """The gradient of bfloat16 logits that the loss enlarges, against that of float32 ones."""
    data = data_of(bench)
    batch = batches_of(data, bench.device, 1)[0]
    with torch.no_grad():
        net = network(bench, len(data.classes)).to(bench.device)
        logits = net(batch.image)[:, :, ::4, ::4].contiguous()
    loss = segmentation_loss(
        CrossEntropy(), ignore_index=data.ignore_index, class_weights=None, aux_weight=0.0
    )

    def gradient(dtype: torch.dtype) -> Tensor:
        leaf = logits.to(dtype).requires_grad_()
        with torch.autocast(bench.device.type, dtype=torch.bfloat16, enabled=dtype == torch.bfloat16):
            found: Tensor = torch.autograd.grad(loss([leaf], batch.label), leaf)[0]
        return found.double().flatten()

    full, half = gradient(torch.float32), gradient(torch.bfloat16)
    bias = float(half @ full / (full @ full)) - 1
    return Found(measured=f"bias {100 * bias:+.2f} %", holds=abs(bias) <= BIAS)


def criteria() -> Mapping[str, Pruner]:
    """Name -> every criterion of ``conf/pruner`` that has no training of its own."""
    nodes = {
        path.stem: yaml.safe_load(path.read_text(encoding="utf-8")) for path in sorted(CONF.glob("*.yaml"))
    }
    return {
        name: component(node, "pruner")()
        for name, node in nodes.items()
        if "_target_" in node and "defaults" not in node
    }


def _calibration(bench: Bench, device: torch.device) -> Calibration:
    data = data_of(bench)
    loss = calibration_loss(CrossEntropy(), ignore_index=data.ignore_index, aux_weight=0.0)
    return Calibration(batches=batches_of(data, device), loss=loss, device=device, seed=0)


def _share(logits: Tensor, expected: Tensor) -> float:
    return float((logits.argmax(1).cpu() == expected).double().mean())


def _state(net: torch.nn.Module) -> tuple[object, ...]:
    """All that a criterion must leave as it was: modes, gradient flags, hooks, and the generators."""
    modules, parameters = list(net.modules()), list(net.parameters())
    device = parameters[0].device
    generator = torch.cuda.get_rng_state(device) if device.type == "cuda" else torch.get_rng_state()
    return (
        [module.training for module in modules],
        [parameter.requires_grad for parameter in parameters],
        [len(module._forward_hooks) + len(module._forward_pre_hooks) for module in modules],
        generator.tolist(),
    )


def _rank_agreement(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> float:
    """The lowest correlation of all groups; two constant ones agree."""
    found = (spearman(one[name].numpy(), other[name].numpy()) for name in one)
    return min((value for value in found if value is not None), default=1.0)
