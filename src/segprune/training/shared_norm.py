"""Batch norm over the images of all processes that train one network together."""

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from segprune.training.rank import Rank, summed


class SharedNorm(nn.BatchNorm2d):
    """What ``nn.SyncBatchNorm`` is, for a CPU, which that refuses; every process has maps of the same size.

    The variance is that around the common mean, for which the processes speak to each other twice.
    """

    world: int

    def forward(self, maps: Tensor) -> Tensor:
        """(N, C, H, W) -> the same shape, in training by the statistics of the maps of all processes."""
        if not self.training:
            return super().forward(maps)
        mean = summed(maps.mean((0, 2, 3))) / self.world  # (C,)
        centred = maps - mean.view(1, -1, 1, 1)
        variance = summed(centred.square().mean((0, 2, 3))) / self.world
        self._remember(mean.detach(), variance.detach(), self.world * maps.numel() // maps.shape[1])
        maps = centred * (variance + self.eps).rsqrt().view(1, -1, 1, 1)
        return maps * self.weight.view(1, -1, 1, 1) + self.bias.view(1, -1, 1, 1) if self.affine else maps

    def _remember(self, mean: Tensor, variance: Tensor, count: int) -> None:
        if self.running_mean is None or self.running_var is None or self.num_batches_tracked is None:
            return
        self.num_batches_tracked.add_(1)
        momentum = 1 / float(self.num_batches_tracked) if self.momentum is None else self.momentum
        self.running_mean.lerp_(mean, momentum)
        self.running_var.lerp_(variance * count / (count - 1), momentum)


class _Activated(nn.Module):
    """With what norms of timm do after they have normalised."""

    drop: nn.Module
    act: nn.Module

    def forward(self, maps: Tensor) -> Tensor:
        normed: Tensor = super().forward(maps)
        result: Tensor = self.act(self.drop(normed))
        return result


class _SharedNormAct(_Activated, SharedNorm):
    pass


class _SyncBatchNormAct(_Activated, nn.SyncBatchNorm):
    pass


KINDS = {
    "BatchNorm2d": {"cpu": SharedNorm, "cuda": nn.SyncBatchNorm},
    "BatchNormAct2d": {"cpu": _SharedNormAct, "cuda": _SyncBatchNormAct},
}
"""Norms of torch and timm -> what takes their place, by the kind of device."""


def share_norms(net: nn.Module, rank: Rank, device: torch.device) -> None:
    """Have the batch norms of a network normalise by the images of all processes; their tensors stay the same."""
    if rank.world == 1:
        return
    for norm in _norms(net):
        norm.__class__ = KINDS[type(norm).__name__][device.type]
        norm.process_group, norm.world = None, rank.world  # type: ignore[assignment]


def foreign_norms(net: nn.Module) -> list[str]:
    """The kinds of batch norms in a network that processes cannot share."""
    return sorted({type(norm).__name__ for norm in _norms(net)} - {*KINDS})


def _norms(net: nn.Module) -> list[_BatchNorm]:
    return [module for module in net.modules() if isinstance(module, _BatchNorm)]
