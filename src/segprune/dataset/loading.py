"""From items to batches: seeded training epochs, evaluation in order, a fixed calibration set."""

import atexit
import multiprocessing
import os
import signal
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from multiprocessing.queues import Queue
from types import FrameType
from typing import Any, cast, overload

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, Sampler

from segprune import stop
from segprune.dataset.contract import Batch, Items, same_shape
from segprune.errors import DataError
from segprune.seed import derive
from segprune.shortage import NO_ROOM, is_about_memory, shortage

_FROM_OUTSIDE = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2)
"""What Ctrl-C and schedulers send, to the whole process group."""


class _EpochSampler(Sampler[list[int]]):
    """Lists of ``epoch * n + i``, the i shuffled by (seed, epoch), the incomplete last list left out."""

    def __init__(self, count: int, batch_size: int, seed: int, part: slice) -> None:
        self.epoch, self._part = 0, part
        self._count, self._batch_size, self._seed = count, batch_size, seed

    def __len__(self) -> int:
        return self._count // self._batch_size

    def __iter__(self) -> Iterator[list[int]]:
        first = self.epoch * self._count
        shuffle = np.random.default_rng(derive(self._seed, "order", self.epoch))
        order = shuffle.permutation(self._count).tolist()
        for step in range(len(self)):
            batch = order[step * self._batch_size : (step + 1) * self._batch_size]
            yield [first + i for i in batch[self._part]]


class FitLoader:
    """Training batches; epoch e is always the same batches in the same order, with any number of workers."""

    def __init__(
        self,
        items: Items,
        *,
        batch_size: int,
        seed: int,
        workers: int,
        pin_memory: bool = False,
        part: slice = slice(None),
    ) -> None:
        """Prepare the loader; worker processes start with the first epoch and stay.

        Args:
            items: Training items whose index is ``epoch * n + i``.
            batch_size: N of every batch. Each epoch leaves out the last n modulo N images of its order, so that
            no batch is too small for batch statistics.
            seed: The run's seed, >= 0.
            workers: Processes that make items; 0: this one.
            pin_memory: Whether batches are page-locked, so that their copy to a GPU can overlap with computing.
            part: Which images of every batch are loaded here.

        Raises:
            DataError: There are fewer items than one batch.
        """
        if len(items) < batch_size:
            raise DataError(
                f"batch_size is {batch_size} but there are only {len(items)} training images; lower "
                f"batch_size to at most {len(items)}, or raise dataset.limit or the number of images"
            )
        self._sampler = _EpochSampler(len(items), batch_size, seed, part)
        self._loader: DataLoader[Batch] = DataLoader(
            cast("Dataset[Batch]", items),
            batch_sampler=self._sampler,
            num_workers=workers,
            persistent_workers=workers > 0,
            multiprocessing_context=_start_method(workers),
            collate_fn=_stack,
            pin_memory=pin_memory,
            worker_init_fn=_begin_worker,
            generator=_own_generator(),
        )

    def __len__(self) -> int:
        """Steps per epoch."""
        return len(self._sampler)

    def epoch(self, number: int) -> Iterator[Batch]:
        """The batches of one epoch, counted from 0."""
        self._sampler.epoch = number
        with _told_of_death():
            yield from _begun(self._loader)


def batches(items: Items, *, batch_size: int, workers: int, pin_memory: bool = False) -> Iterator[Batch]:
    """Every item once, in order.

    Consecutive items of equal image and label size share a batch of at most ``batch_size``; where sizes
    change, a new batch begins. ``pin_memory`` as in ``FitLoader``.
    """
    loader: DataLoader[Batch] = DataLoader(
        cast("Dataset[Batch]", items),
        batch_size=None,
        num_workers=workers,
        multiprocessing_context=_start_method(workers),
        collate_fn=_single,
        worker_init_fn=_begin_worker,
        generator=_own_generator(),
    )
    finish = _pinned if pin_memory else _single
    with _told_of_death():
        yield from _joined(_begun(loader), batch_size, finish)


def _joined(items: Iterable[Batch], batch_size: int, finish: Callable[[Batch], Batch]) -> Iterator[Batch]:
    held: list[Batch] = []
    for item in items:
        if len(held) == batch_size or (held and not same_shape([held[0], item])):
            yield finish(_stack(held))
            held = []
        held.append(item)
    if held:
        yield finish(_stack(held))


def calibration_batches(items: Items, *, count: int, batch_size: int, seed: int) -> list[Batch]:
    """``count`` items drawn without replacement, or all if there are fewer; a smaller draw begins a larger one.

    A last batch of one item is joined to the one before it: batch statistics need more than one image.
    """
    shuffle = np.random.default_rng(derive(seed, "calibration"))
    drawn = shuffle.permutation(len(items))[:count].tolist()
    parts = [drawn[start : start + batch_size] for start in range(0, len(drawn), batch_size)]
    if len(parts) > 1 and len(parts[-1]) == 1:
        parts[-2:] = [parts[-2] + parts[-1]]
    return [_stack([items[index] for index in part]) for part in parts]


class HostBatches(Sequence[Batch]):
    """Batches that stay in the memory of the host; each goes to a device when it is taken.

    For a GPU they lie in page-locked memory, so that they get there quickly; for a CPU they are there.
    """

    def __init__(self, batches: Sequence[Batch], device: torch.device) -> None:
        self._held = [_held(batch, device) for batch in batches]
        self._device = device

    def __len__(self) -> int:
        return len(self._held)

    @overload
    def __getitem__(self, index: int) -> Batch: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Batch]: ...
    def __getitem__(self, index: int | slice) -> Batch | Sequence[Batch]:
        if isinstance(index, slice):
            return [batch.on(self._device) for batch in self._held[index]]
        return self._held[index].on(self._device)


def _held(batch: Batch, device: torch.device) -> Batch:
    """The batch in host memory, as far on its way to the device as it can be there."""
    if device.type == "cpu":
        return batch.on(device)
    image = batch.image.contiguous(memory_format=torch.channels_last)
    return (
        Batch(image.pin_memory(), batch.label.pin_memory())
        if device.type == "cuda"
        else Batch(image, batch.label)
    )


def _start_method(workers: int) -> str | None:
    """Forked workers share memory, and are there at once; a process that was spawned would spawn its own too."""
    return "fork" if workers and sys.platform == "linux" else None


def _own_generator() -> torch.Generator:
    """A generator for the number that a DataLoader draws at every start, so that the global one stays untouched."""
    return torch.Generator().manual_seed(0)


def _begun(loader: DataLoader[Batch]) -> Iterator[Batch]:
    """What a loader gives; while its workers start, signals wait until each of them can deal with them."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _FROM_OUTSIDE)
    try:
        return iter(loader)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _begin_worker(worker: int) -> None:  # noqa: ARG001 - the loader passes its number
    """Make a worker leave signals to its parent, and end when what it made cannot be handed over.

    Ctrl-C and what schedulers send reach the whole process group, but only the parent can end a run in order, which
    it cannot if a worker died before. So the first SIGTERM is ignored; the parent sends another to a worker that
    does not end by itself. An item for which /dev/shm has no room would be lost, and the parent wait for ever.
    """
    for number in (signal.SIGINT, signal.SIGUSR1, signal.SIGUSR2):
        signal.signal(number, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, _first_of_two)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _FROM_OUTSIDE)  # blocked since before this process began
    Queue._on_queue_feeder_error = staticmethod(_give_up)  # type: ignore[attr-defined]


@atexit.register
def end_workers() -> None:
    """End the workers that are left: Python would ask them once, which they ignore, and wait for them for ever."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # torch would raise an error about each
    for child in multiprocessing.active_children():
        if child.daemon:
            child.kill()


def _first_of_two(number: int, _: FrameType | None) -> None:
    signal.signal(number, signal.SIG_DFL)


def _give_up(error: Exception, _: object) -> None:
    """End a worker whose item cannot be sent; its exit code is the number of the system's error."""
    sys.stderr.write(f"a data loading process cannot hand over what it made: {error}\n")
    sys.stderr.flush()
    os._exit(getattr(error, "errno", None) or NO_ROOM if is_about_memory(str(error)) else 1)


@contextmanager
def _told_of_death() -> Iterator[None]:
    """A worker that died is told with a remedy; a lack of memory is told by ``shortage``."""
    try:
        yield
    except RuntimeError as error:
        if not str(error).startswith("DataLoader worker") or shortage(error, lambda _: None):
            raise
        stop.if_asked()
        raise DataError(
            f"a data loading process ended: {str(error).partition('.')[0]}. Give workers=0, so that the images are "
            "loaded where the error can be told, or fewer workers if memory is short"
        ) from error


def _pinned(batch: Batch) -> Batch:
    """The batch in page-locked memory; the loader's own pinning would be lost, since items are stacked after it."""
    return Batch(batch.image.pin_memory(), batch.label.pin_memory())


def _single(item: Any) -> Any:
    return item


def _stack(items: Sequence[Batch]) -> Batch:
    """Items (3, H, W) and (H, W) -> batch (N, 3, H, W) and (N, H, W)."""
    return Batch(torch.stack([item.image for item in items]), torch.stack([item.label for item in items]))
