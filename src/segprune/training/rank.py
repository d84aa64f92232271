"""What the processes that train one network together tell each other: logits, gradients, counts."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, cast

import torch
import torch.distributed as dist
from torch import Tensor

from segprune.dataset.contract import Batch, Items

TIMEOUT = timedelta(minutes=30)
"""How long the processes wait for one that does not answer, although it is there."""


class LostError(RuntimeError):
    """Another process does not answer any more."""


@dataclass(frozen=True)
class Rank:
    """One of the processes that train one network together, each with an equal part of every batch.

    Attributes:
        rank: Its number, from 0.
        world: How many there are.
    """

    rank: int = 0
    world: int = 1

    @property
    def is_first(self) -> bool:
        """Whether it is the one that writes and tells."""
        return self.rank == 0

    @property
    def name(self) -> tuple[str | int, ...]:
        """What makes the seed of this process its own; nothing for one that is alone."""
        return () if self.world == 1 else ("rank", self.rank)

    def part(self, batch_size: int) -> slice:
        """Its images of a batch, whose size is a multiple of ``world``."""
        share = batch_size // self.world
        return slice(self.rank * share, (self.rank + 1) * share)

    def share(self, items: Items) -> Items:
        """Every ``world``-th of the items, so that together the processes have each one once."""
        return items if self.world == 1 else _Share(items, range(self.rank, len(items), self.world))

    def gathered(self, mine: Tensor) -> Tensor:
        """(N / world, ...) of each process -> (N, ...) of all, in the order of the batch, in each process.

        Gradients go back to the part that is a process's own: a loss of what was gathered, which every process
        computes, has the gradient of the whole batch once the processes' gradients are added up.
        """
        return mine if self.world == 1 else cast("Tensor", _Gather.apply(mine, self))

    def summed(self, counts: Tensor, device: torch.device) -> Tensor:
        """Counts of all processes together, on the CPU.

        Args:
            counts: Of this process.
            device: Where the processes compute.
        """
        if self.world == 1:
            return counts
        total = counts.to(device)
        _told(lambda: dist.all_reduce(total))
        return total.cpu()

    def add_up(self, parameters: Iterable[Tensor]) -> None:
        """Give every process the sum of the gradients, in one message."""
        if self.world == 1:
            return
        grads = [one.grad for one in parameters if one.grad is not None]
        flat = torch.cat([grad.reshape(-1) for grad in grads])
        _told(lambda: dist.all_reduce(flat))
        for grad, part in zip(grads, torch.split(flat, [grad.numel() for grad in grads]), strict=True):
            grad.copy_(part.view(grad.shape))


ALONE = Rank()


@dataclass(frozen=True)
class Arithmetic:
    """How torch computes in a process, so that another one can do it in the same way.

    Attributes:
        threads: On a CPU.
        precisions: Of products and convolutions in float32.
        is_deterministic: Whether torch is bound to deterministic algorithms, and cuDNN.
        is_timed: Whether cuDNN takes the fastest algorithm.
    """

    threads: int
    precisions: tuple[str, str]
    is_deterministic: tuple[bool, bool]
    is_timed: bool

    @classmethod
    def here(cls) -> "Arithmetic":
        """That of this process."""
        cudnn = torch.backends.cudnn
        convolutions: str = cudnn.conv.fp32_precision  # type: ignore[attr-defined]
        return cls(
            threads=torch.get_num_threads(),
            precisions=(torch.backends.cuda.matmul.fp32_precision, convolutions),
            is_deterministic=(torch.are_deterministic_algorithms_enabled(), cudnn.deterministic),
            is_timed=cudnn.benchmark,
        )

    def set(self, processes: int) -> None:
        """Compute so in this process, one of so many that share the threads."""
        torch.set_num_threads(max(1, self.threads // processes))
        torch.backends.cuda.matmul.fp32_precision, convolutions = self.precisions
        torch.backends.cudnn.conv.fp32_precision = convolutions  # type: ignore[attr-defined]
        torch.use_deterministic_algorithms(self.is_deterministic[0])
        torch.backends.cudnn.deterministic = self.is_deterministic[1]
        torch.backends.cudnn.benchmark = self.is_timed


def join(rank: Rank, device: torch.device, place: Path, arithmetic: Arithmetic) -> None:
    """Become one of the processes that train together, and wait for the others.

    Args:
        rank: Its number, and how many there are.
        device: ``cuda``: it takes the GPU of its number; ``cpu``: they share the threads.
        place: A folder where they meet.
        arithmetic: How it computes.
    """
    arithmetic.set(rank.world if device.type == "cpu" else 1)
    if device.type == "cuda":
        torch.cuda.set_device(rank.rank)
    dist.init_process_group(
        "nccl" if device.type == "cuda" else "gloo",
        f"file://{place / 'met'}",
        rank=rank.rank,
        world_size=rank.world,
        timeout=TIMEOUT,
    )


@dataclass(frozen=True)
class _Share:
    items: Items
    chosen: Sequence[int]

    def __len__(self) -> int:
        return len(self.chosen)

    def __getitem__(self, index: int, /) -> Batch:
        return self.items[self.chosen[index]]


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, mine: Tensor, rank: Rank) -> Tensor:
        ctx.rank = rank
        parts = [mine.new_empty(mine.shape) for _ in range(rank.world)]
        _told(lambda: dist.all_gather(parts, mine.contiguous()))
        return torch.cat(parts)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        rank: Rank = ctx.rank
        return grads[0].chunk(rank.world)[rank.rank], None


def summed(mine: Tensor) -> Tensor:
    """The sum over the processes; gradients are added up likewise."""
    return cast("Tensor", _Sum.apply(mine))


class _Sum(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, mine: Tensor) -> Tensor:  # noqa: ARG004 - torch's signature
        return _total(mine)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:  # noqa: ARG004
        return _total(grads[0])


def _total(mine: Tensor) -> Tensor:
    total = mine.contiguous().clone()
    _told(lambda: dist.all_reduce(total))
    return total


def _told(message: Callable[[], object]) -> None:
    """Send a message to the other processes and take theirs.

    Raises:
        LostError: One of them is gone.
    """
    try:
        message()
    except RuntimeError as error:
        raise LostError(str(error).partition("\n")[0]) from error
