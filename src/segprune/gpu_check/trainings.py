"""Rules on training: half precision, resuming, loading processes, memory given back."""

import contextlib
import gc
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import cycle, islice

import psutil  # type: ignore[import-untyped]
import torch

from segprune.budget.fraction import FractionBudget
from segprune.budget.simulate import CostSimulator
from segprune.dataset.contract import Batch
from segprune.dataset.loading import FitLoader
from segprune.errors import TrainingError
from segprune.gpu_check.contract import Bench, Found
from segprune.gpu_check.parts import PLAIN, batches_of, data_of, network, training_of
from segprune.graph.cut import cut
from segprune.graph.group import ChannelGroup
from segprune.graph.trace import trace
from segprune.loss.ce import CrossEntropy
from segprune.measure.quality import Rules, assess
from segprune.model.contract import SegmentationNet
from segprune.pruner.cap import ContextTraining
from segprune.pruner.contract import Calibration, Target
from segprune.pruner.dmcp import MarkovStep, MarkovTraining
from segprune.pruner.l1 import L1
from segprune.pruner.sparse import SparseTraining
from segprune.training.loop import fit
from segprune.training.loss import calibration_loss
from segprune.training.step import Epoch, Step, Training

RULES = Rules(boundary_width=0.02, small_object_area=0.0033)
MB = 1e6
StepOf = Callable[[SegmentationNet, Sequence[ChannelGroup], Training, int], Step]


class KilledError(Exception):
    """What ends a training in the middle here."""


def half_precision(bench: Bench) -> Found:
    """Float16 forced on every kind of training: all stays finite, and updates that overflow change nothing."""
    faults = []
    for name, make in _steps().items():
        net, step, batches = _half(bench, name, make)
        step.epoch(batches, 0)
        if not all(bool(value.isfinite().all()) for value in net.parameters()):
            faults.append(f"{name} is not finite")
        before = [value.detach().clone() for value in net.parameters()]
        step.scaler = torch.amp.GradScaler(bench.device.type, init_scale=3e38)
        try:
            step.epoch(batches[:1] * len(batches), 1)
        except TrainingError:  # every update overflowed, and it says so
            if not all(map(torch.equal, before, net.parameters())):
                faults.append(f"{name} is changed by an overflow")
    return Found(measured="; ".join(faults) or f"{', '.join(_steps())}: finite, unchanged", holds=not faults)


def _half(bench: Bench, name: str, make: StepOf) -> tuple[SegmentationNet, Step, list[Batch]]:
    data = data_of(bench)
    schedule = replace(PLAIN, accumulate=2, grad_clip=1.0, epochs=4)
    training = training_of(data, bench.device, bench.folder / f"half-{name}", schedule)
    net = network(bench, len(data.classes)).to(bench.device)
    batches = list(islice(cycle(batches_of(data, torch.device("cpu"))), bench.size(20, 4)))
    step = make(net, trace(net), training, len(batches))
    step.amp, step.scaler = torch.float16, torch.amp.GradScaler(bench.device.type, init_scale=2.0**10)
    return net, step, batches


def _steps() -> dict[str, StepOf]:
    """Name -> what makes the step of a training."""
    sparse = SparseTraining(penalty=0.01, schedule=PLAIN)
    context = ContextTraining(penalty=0.01, memory=0.9, softening=0.1, pool=17, schedule=PLAIN)
    return {
        "train": lambda net, _, training, steps: Step(net, training, steps),
        "slimming": sparse.step,
        "cap": context.step,
        "dmcp": _markov,
    }


def _markov(net: SegmentationNet, groups: Sequence[ChannelGroup], training: Training, steps: int) -> Step:
    phase = MarkovTraining(
        chunks=4,
        start=3.0,
        gate_lr=0.05,
        gates_from=0.0,
        budget_weight=0.1,
        sampled=1,
        order="index",
        schedule=PLAIN,
    )
    ranks = {group.name: torch.arange(group.size) for group in groups}
    target = Target(
        share=0.5, remaining=lambda keep: torch.stack([one.mean() for one in keep.values()]).mean()
    )
    return MarkovStep(net, training, steps, phase=phase, groups=groups, ranks=ranks, target=target)


def resuming(bench: Bench) -> Found:
    """A training killed after its first epoch and started again, beside one that was not."""
    data, schedule = data_of(bench), replace(PLAIN, epochs=3)

    def run(name: str, on_epoch: Callable[[Epoch], None] = lambda _: None) -> tuple[tuple[Epoch, ...], Step]:
        training = training_of(data, bench.device, bench.folder / name, schedule, on_epoch)
        _, curve, step = fit(network(bench, len(data.classes)), training, Step)
        return curve, step

    def kill(epoch: Epoch) -> None:
        if epoch.epoch == 0:
            raise KilledError

    whole, straight = run("whole")
    with contextlib.suppress(KilledError):
        run("killed", kill)
    curve, resumed = run("killed")
    apart = abs(curve[-1].loss - whole[-1].loss) / whole[-1].loss
    same = (
        len(curve) == len(whole)
        and resumed.scaler.state_dict() == straight.scaler.state_dict()
        and resumed.optimizer.state_dict()["param_groups"] == straight.optimizer.state_dict()["param_groups"]
    )
    said = "equal epochs, scaler and optimiser" if same else "other epochs, scaler or optimiser"
    return Found(measured=f"{said}; last loss {100 * apart:.2f} % apart", holds=same and apart <= 0.02)


def loading(bench: Bench) -> Found:
    """Two epochs with eight loading processes: all batches come, and no process is left behind."""
    data, workers = data_of(bench), bench.size(8, 2)
    before = {child.pid for child in psutil.Process().children(recursive=True)}
    loader = FitLoader(
        data.fit, batch_size=4, seed=0, workers=workers, pin_memory=bench.device.type == "cuda"
    )
    count = sum(len(batch.image.to(bench.device)) for epoch in range(2) for batch in loader.epoch(epoch))
    expected = 2 * len(loader) * 4
    del loader
    gc.collect()
    left = {child.pid for child in psutil.Process().children(recursive=True)} - before
    return Found(
        measured=f"{count} of {expected} images by {workers} processes, {len(left)} left behind",
        holds=count == expected and not left,
    )


def memory_given_back(bench: Bench) -> Found:
    """Train, prune and evaluate twice in this process: the second time leaves no more memory in use."""
    used = []
    for turn in range(3):  # what the first turn leaves are libraries' own buffers
        _chain(bench, turn)
        gc.collect()
        used.append(torch.cuda.memory_allocated(bench.device) / MB if bench.device.type == "cuda" else 0.0)
    grown = used[2] - used[1]
    return Found(measured=f"{grown:+.2f} MB", holds=abs(grown) <= 1.0)


def _chain(bench: Bench, turn: int) -> None:
    data = data_of(bench)
    folder = bench.folder / f"chain-{turn}"
    net, _, _ = fit(network(bench, len(data.classes)), training_of(data, bench.device, folder), Step)
    groups = trace(net)
    loss = calibration_loss(CrossEntropy(), ignore_index=data.ignore_index, aux_weight=0.0)
    scores = L1(normalize="none")(
        net, groups, Calibration(batches=(), loss=loss, device=bench.device, seed=0)
    )
    budget = FractionBudget(of="channels", scope="local", floor=0.1, round_to=1, tolerance=0.1)
    simulator = CostSimulator(net, groups, data.size_hw)
    plan = budget(groups, scores, ratio=0.3, paper_scope="local", simulator=simulator).plan
    small = cut(net, plan)
    assess([net, small], net, data, RULES, batch_size=4, workers=0, device=bench.device)
