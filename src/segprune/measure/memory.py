"""Peak memory of a piece of work, and of a forward pass."""

import threading
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import psutil  # type: ignore[import-untyped]
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from segprune.allocator import give_back
from segprune.model.copies import channels_last, duplicate

_MB = 1e6
_INTERVAL_S = 0.001
_open: list["PeakMemory"] = []
"""The blocks that are watched on CUDA, from the outermost one."""


@dataclass
class PeakMemory:
    """What a block needed.

    Attributes:
        mb: Most memory in use within the block beyond that at its start, in MB (10^6 bytes); set at its end.
        whole_mb: Most tensor memory in use within the block, in MB; on CUDA only.
    """

    mb: float = 0.0
    whole_mb: float = 0.0


@contextmanager
def peak_memory(device: torch.device) -> Iterator[PeakMemory]:
    """Watch the memory within the block.

    On CUDA, the exact bytes of tensors. On a CPU, resident memory of this process, read every millisecond: it
    includes the memory of other threads and what the allocator keeps, some 10 MB in a process that has run for
    long, so it can compare large amounts but not small ones.
    """
    peak = PeakMemory()
    with _cuda_peak(peak, device) if device.type == "cuda" else _resident_peak(peak):
        yield peak


def inference_peak_mb(
    net: nn.Module, *, size_hw: tuple[int, int], batch_size: int, device: torch.device, bands: int = 3
) -> float:
    """Peak memory of one forward pass beyond weights and image, in MB (10^6 bytes); the network stays as it is.

    Bytes of tensors alive at once. On CUDA with the memory that kernels use while they run; on a CPU only the
    tensors that operations return, which gives the same number on every CPU. Evaluation mode, inference mode,
    float32, channels-last, as in the latency measurement.
    """
    image = torch.zeros(batch_size, bands, *size_hw, device=device).to(memory_format=torch.channels_last)
    measured = channels_last(duplicate(net).to(device)).eval()
    with torch.inference_mode():
        if device.type == "cuda":
            measured(image)  # the first pass loads kernels, which stay in memory
            with peak_memory(device) as peak:
                measured(image)
            return peak.mb
        tensors = _TensorBytes(without=(image, *measured.parameters(), *measured.buffers()))
        with tensors:
            measured(image)
    return tensors.peak / _MB


class _TensorBytes(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Follows the storage of every tensor that an operation returns, from its first to its last use.

    Attributes:
        peak: Most bytes alive at once.
    """

    def __init__(self, *, without: Iterable[Tensor]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.peak = self._alive = 0
        self._known = {tensor.untyped_storage().data_ptr() for tensor in without}

    def __torch_dispatch__(
        self,
        func: Callable[..., Any],
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(result):
            if isinstance(leaf, Tensor):
                self._follow(leaf.untyped_storage())
        return result

    def _follow(self, storage: torch.UntypedStorage) -> None:
        address, size = storage.data_ptr(), storage.nbytes()
        if address in self._known or size == 0:
            return
        self._known.add(address)
        self._alive += size
        self.peak = max(self.peak, self._alive)
        weakref.finalize(storage, self._forget, address, size)

    def _forget(self, address: int, size: int) -> None:
        self._known.discard(address)
        self._alive -= size


@contextmanager
def _cuda_peak(peak: PeakMemory, device: torch.device) -> Iterator[None]:
    torch.cuda.synchronize(device)
    _note(device)
    torch.cuda.reset_peak_memory_stats(device)
    start = torch.cuda.memory_allocated(device)
    _open.append(peak)
    try:
        yield
    finally:
        torch.cuda.synchronize(device)
        _note(device)
        _open.pop()
        peak.mb = peak.whole_mb - start / _MB


def _note(device: torch.device) -> None:
    """Tell all open blocks the peak so far, which a block inside of them is about to reset."""
    for peak in _open:
        peak.whole_mb = max(peak.whole_mb, torch.cuda.max_memory_allocated(device) / _MB)


@contextmanager
def _resident_peak(peak: PeakMemory) -> Iterator[None]:
    process, ended = psutil.Process(), threading.Event()
    give_back()  # the block could take what is free without any growth to be seen
    start = process.memory_info().rss

    def look() -> None:
        peak.mb = max(peak.mb, (process.memory_info().rss - start) / _MB)

    def watch() -> None:
        while not ended.wait(_INTERVAL_S):
            look()

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield
    finally:
        ended.set()
        watcher.join()
        look()
