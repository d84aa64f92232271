"""What the processes that train one network together tell each other: logits, gradients, counts."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
import torch.distributed as dist
from torch import Tensor

from segprune.dataset.contract import Batch, Items


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
