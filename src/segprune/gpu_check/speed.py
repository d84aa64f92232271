"""Rules on speed: what training, evaluation and the latency measurement cost beside the least that they could."""

import copy
import time
import warnings
from collections.abc import Iterator
from dataclasses import replace
from itertools import repeat

import torch

from segprune.dataset.contract import Batch
from segprune.gpu_check.contract import Bench, Found
from segprune.gpu_check.parts import PLAIN, data_of, network, training_of
from segprune.gpu_check.trainings import MB, RULES
from segprune.loss.ce import CrossEntropy
from segprune.measure.latency import Timing, interleaved, speedup
from segprune.measure.quality import assess
from segprune.measure.runners import eager, graphed
from segprune.model.contract import SegmentationNet
from segprune.model.torchvision_seg import deeplabv3_resnet50
from segprune.schedule.schedule import autocast_dtype, make_optimizer
from segprune.training.loss import segmentation_loss
from segprune.training.step import Step

STEPS, WARM = 40, 10


def training_speed(bench: Bench) -> Found:
    """DeepLab, batches of eight made once: images a second beside a bare loop, memory, and waits for the GPU."""
    net, batch = _deeplab(bench), _synthetic(bench)
    bare = _bare_seconds(copy.deepcopy(net), batch, bench)
    step = _step(net, bench)
    used: list[float] = []
    moments: list[float] = []
    if bench.device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(bench.device)
    step.epoch(_watched(batch, bench, used, moments), 0)
    _finish(bench)
    own = time.perf_counter() - moments[WARM]
    peak = torch.cuda.max_memory_allocated(bench.device) / MB if bench.device.type == "cuda" else 0.0
    waits = _waits(step, batch, bench)
    speed, grown = bare / own, used[-1] - used[WARM]
    images = len(batch.image) * (STEPS - WARM) / own
    return Found(
        measured=f"{images:.1f} images/s, {speed:.2f} of a bare loop; peak {peak:.0f} MB, {grown:+.1f} MB from "
        f"step {WARM} to {STEPS}; {waits:.2f} waits a step",
        holds=speed >= 0.95 and abs(grown) <= 1.0 and waits <= 2,
    )


def latency(bench: Bench) -> Found:
    """A network beside its copy; and, on a GPU, its passes one by one beside a replay that starts none."""
    net = network(bench, 11)
    size_hw = (bench.size(192, 32), bench.size(256, 32))
    first, other = (eager(net, bench.device) for _ in range(2))
    whole = first
    if bench.device.type == "cuda":
        whole = graphed(first, torch.rand(1, 3, *size_hw, device=bench.device))
    own, twin, replay = interleaved(
        [first, other, whole],
        Timing(batch_size=1, rounds=bench.size(200, 20), warmup=bench.size(50, 5)),
        size_hw=size_hw,
        device=bench.device,
        seed=0,
    )
    ratio, share = speedup(own, twin), 1 / speedup(own, replay)
    note = "" if share >= 0.9 else ": the CPU that starts the work sets the time"
    return Found(
        measured=f"x{ratio:.3f} against its copy; the work takes {100 * share:.0f} % of the time{note}",
        holds=abs(ratio - 1) <= 0.03,
    )


def evaluation_speed(bench: Bench) -> Found:
    """The report evaluation of two networks on images of 1024x2048 px."""
    data = data_of(bench, (1024, 2048), 20)
    nets = [network(bench, len(data.classes)).to(bench.device) for _ in range(2)]
    items = replace(data, report=[data.report[index] for index in range(len(data.report))])

    def run() -> None:
        assess(nets, nets[0], items, RULES, batch_size=1, workers=0, device=bench.device)
        _finish(bench)

    run()
    started = time.perf_counter()
    run()
    seconds = (time.perf_counter() - started) / len(data.report) / len(nets)
    return Found(measured=f"{seconds:.3f} s an image and network", holds=seconds <= 0.15)


def _deeplab(bench: Bench) -> SegmentationNet:
    if bench.is_small:
        return network(bench, 19)
    return deeplabv3_resnet50(weights="none", aux=True, num_classes=19)


def _synthetic(bench: Bench) -> Batch:
    generator = torch.Generator().manual_seed(0)
    size_hw = (bench.size(512, 32), bench.size(1024, 32))
    image = torch.rand(bench.size(8, 2), 3, *size_hw, generator=generator)
    return Batch(image, torch.randint(19, (len(image), *size_hw), generator=generator))


def _step(net: SegmentationNet, bench: Bench) -> Step:
    data, schedule = data_of(bench), replace(PLAIN, lr=1e-4, epochs=4)
    moved = net.to(bench.device).to(memory_format=torch.channels_last)
    return Step(moved, training_of(data, bench.device, bench.folder / "speed", schedule), STEPS)


def _watched(batch: Batch, bench: Bench, used: list[float], moments: list[float]) -> Iterator[Batch]:
    """The batch again and again; notes time and memory in use before each step."""
    for number in range(STEPS):
        if number in (WARM, STEPS - 1):
            _finish(bench)
        moments.append(time.perf_counter())
        used.append(torch.cuda.memory_allocated(bench.device) / MB if bench.device.type == "cuda" else 0.0)
        yield batch


def _bare_seconds(net: SegmentationNet, batch: Batch, bench: Bench) -> float:
    """The same training as short as it can be written, without anything around it."""
    net = net.to(bench.device).to(memory_format=torch.channels_last).train()
    schedule = replace(PLAIN, lr=1e-4)
    optimizer, amp = make_optimizer(schedule, net), autocast_dtype(schedule, bench.device)
    scaler = torch.amp.GradScaler(bench.device.type, enabled=amp == torch.float16)
    loss = segmentation_loss(CrossEntropy(), ignore_index=255, class_weights=None, aux_weight=0.4)
    started = 0.0
    for number in range(STEPS):
        if number == WARM:
            _finish(bench)
            started = time.perf_counter()
        image = batch.image.to(bench.device, memory_format=torch.channels_last)
        label = batch.label.to(bench.device)
        with torch.autocast(bench.device.type, dtype=amp, enabled=amp is not None):
            value = loss(net.all_logits(image), label)
        torch.autograd.backward(scaler.scale(value))
        scaler.step(optimizer)
        scaler.update()
        optimizer.zero_grad(set_to_none=True)
    _finish(bench)
    return time.perf_counter() - started


def _waits(step: Step, batch: Batch, bench: Bench) -> float:
    """How often a step waits for the GPU, mean over an epoch; torch warns of each."""
    if bench.device.type != "cuda":
        return 0.0
    moved = step.on_device(batch)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        torch.cuda.set_sync_debug_mode("warn")
        try:
            step.epoch(repeat(moved, STEPS), 1)
        finally:
            torch.cuda.set_sync_debug_mode("default")
    return sum("synchronizing" in str(one.message) for one in said) / STEPS


def _finish(bench: Bench) -> None:
    if bench.device.type == "cuda":
        torch.cuda.synchronize(bench.device)
