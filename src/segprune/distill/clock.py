"""How long parts of a step take, without waiting for the device."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

import torch


class Clock:
    """Seconds that parts of a step took, by name; on a GPU the time between two marks in its queue."""

    def __init__(self, device: torch.device) -> None:
        self._is_gpu = device.type == "cuda"
        self._seconds: dict[str, float] = {}
        self._marks: list[tuple[str, torch.cuda.Event, torch.cuda.Event]] = []

    @contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        """Time the ``with`` block."""
        if self._is_gpu:
            before, after = (torch.cuda.Event(enable_timing=True) for _ in range(2))  # type: ignore[no-untyped-call]
            before.record()
            yield
            after.record()
            self._marks.append((name, before, after))
            return
        started = time.perf_counter()
        yield
        self._add(name, time.perf_counter() - started)

    def seconds(self, name: str) -> float:
        """All that was timed by a name since ``clear``; on a GPU once its queue is done."""
        if self._marks:
            torch.cuda.synchronize()
        for marked, before, after in self._marks:
            self._add(marked, before.elapsed_time(after) / 1000)
        self._marks.clear()
        return self._seconds.get(name, 0.0)

    def clear(self) -> None:
        """Begin again."""
        self._seconds.clear()
        self._marks.clear()

    def _add(self, name: str, seconds: float) -> None:
        self._seconds[name] = self._seconds.get(name, 0.0) + seconds
