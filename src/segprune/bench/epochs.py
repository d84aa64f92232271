"""What an epoch costs beside its updates: the loop around them, the progress on disk, and tracking."""

import copy
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch
from torch.nn import functional as F

from segprune.bench.contract import Bench, Figure
from segprune.bench.job import single
from segprune.bench.spent import Spent, compared, figure, here, in_turns, times
from segprune.dataset.contract import SegData
from segprune.dataset.loading import FitLoader
from segprune.loss.ce import CrossEntropy
from segprune.model.contract import SegmentationNet
from segprune.model.unet import unet
from segprune.schedule.schedule import Schedule
from segprune.tracking.contract import RunStart, Tracker
from segprune.tracking.mlflow_tracker import MlflowTracking
from segprune.tracking.silent import SilentTracking
from segprune.training.loop import fit
from segprune.training.step import Epoch, Hardware, Step, Training

BATCH, LR, EPOCHS = 4, 3e-3, 2
PLAIN = Schedule(
    epochs=EPOCHS,
    batch_size=BATCH,
    accumulate=1,
    optimizer="adamw",
    lr=LR,
    weight_decay=0.0,
    momentum=0.9,
    decay="constant",
    poly_power=0.9,
    warmup_epochs=0.0,
    loss=CrossEntropy(),
    class_weights="none",
    aux_weight=0.4,
    penalty=0.0,
    amp="auto",
    compile=False,
    checkpointing=False,
    grad_clip=None,
    keep="last",
)


def measure(bench: Bench) -> Iterator[Figure]:
    """Two epochs without a choice of the epoch: bare updates, the loop, and the loop with MLflow."""
    job, turns = single(bench), bench.turns(5, 3)
    data = replace(job.data(bench.cache), select=None)
    net = unet(
        width=16, max_width=96, depth=4, convs_per_level=1, upsample="bilinear", num_classes=len(data.classes)
    ).to(memory_format=torch.channels_last)
    silent = SilentTracking().open(_start(bench, "silent"))
    place = bench.place("mlflow")
    tracking = MlflowTracking(uri=None, root=place, experiment="bench", flush_seconds=5)
    tracked = tracking.open(_start(bench, "tracked"))
    try:
        works: dict[str, Callable[[], Spent]] = {
            "bare updates": lambda: here(lambda: bare(net, data)),
            "loop": lambda: here(lambda: looped(net, data, bench.folder / "loop", silent)),
            "loop with MLflow": lambda: here(lambda: looped(net, data, bench.folder / "loop", tracked)),
        }
        works["bare updates"]()  # the first pass of a process makes what later ones find
        found = in_turns(works, turns)
        sizes = f"unet, {job.height}x{job.width} px, {job.fit} images, {EPOCHS} epochs of batches of {BATCH}"
        for name, spent in found.items():
            yield from times(f"training, {name}", spent, sizes)
        yield from compared("training, loop by bare updates", found["loop"], found["bare updates"], sizes)
        yield from compared("training, MLflow by none", found["loop with MLflow"], found["loop"], sizes)
        calls = [here(partial(tracked.metrics, {"loss": 1.0, "miou": 2.0}, step=step)) for step in range(50)]
        one = "a call with two numbers"
        yield figure(
            "tracking, time that the caller waits", [1000 * call.wall_s for call in calls], "ms", one
        )
    finally:
        closing = here(lambda: tracked.close("FINISHED"))
        silent.close("FINISHED")
    yield figure("tracking, the end of a run", [closing.wall_s], "s", "SQLite, what is still to be sent")


def looped(net: SegmentationNet, data: SegData, folder: Path, tracker: Tracker) -> None:
    """Train by this program's loop, which keeps its progress and logs each epoch."""
    folder.mkdir(exist_ok=True)
    (folder / "progress.pt").unlink(missing_ok=True)

    def log(epoch: Epoch) -> None:
        tracker.metrics({"train/loss": epoch.loss, "train/lr": epoch.lr}, step=epoch.epoch)

    training = Training(
        data=data,
        schedule=PLAIN,
        seed=0,
        hardware=Hardware(device=torch.device("cpu"), workers=0),
        folder=folder,
        on_epoch=log,
    )
    fit(net, training, Step)


def bare(net: SegmentationNet, data: SegData) -> None:
    """The same updates on the same images, and nothing else."""
    net = copy.deepcopy(net).train()
    loader = FitLoader(data.fit, batch_size=BATCH, seed=0, workers=0)
    optimizer = torch.optim.AdamW(net.parameters(), lr=LR, weight_decay=0.0)
    for epoch in range(EPOCHS):
        for batch in loader.epoch(epoch):
            image = batch.image.to(memory_format=torch.channels_last)
            loss = F.cross_entropy(net(image), batch.label.long(), ignore_index=data.ignore_index)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()


def _start(bench: Bench, name: str) -> RunStart:
    return RunStart(name=name, kind="job", folder=bench.place(name))
