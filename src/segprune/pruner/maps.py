"""How alike the feature maps of a layer's channels are."""

from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from segprune.dataset.contract import Batch
from segprune.model.contract import SegmentationNet
from segprune.pruner.gather import BatchNorm

Similarity = Literal["cosine", "l1"]
PLAIN_NORMS = (BatchNorm.forward, nn.SyncBatchNorm.forward)
L1_EPSILON = 1e-5
"""Added to the L1 norm of a map, as in the official code of SIRFP."""


@dataclass(frozen=True, kw_only=True)
class MapStatistics:
    """Statistics of the feature maps of one layer, plain means over the images.

    Attributes:
        similarity: (C_layer, C_layer) float64 CPU, absolute value of the mean signed similarity.
        edge: (C_layer,) float64 CPU, mean spatial standard deviation of the Sobel magnitude.
        alive: (C_layer,) bool, whether any pixel of any image is not 0.
        images: How many images were seen.
        is_spatial: Whether the maps have more than one pixel. If not, the images take the place of the
            pixels.
    """

    similarity: Tensor
    edge: Tensor
    alive: Tensor
    images: int
    is_spatial: bool


@dataclass(kw_only=True)
class _Sums:
    """Running sums of one layer, and the values of its one-pixel maps."""

    similarity: Tensor | float = 0.0
    edge: Tensor | float = 0.0
    alive: Tensor | bool = False
    images: int = 0
    points: list[Tensor] = field(default_factory=list)


def map_statistics(
    net: SegmentationNet,
    layers: Mapping[str, nn.Module],
    batches: Iterable[Batch],
    *,
    similarity: Similarity,
    pool: int,
    with_edge: bool,
) -> dict[str, MapStatistics]:
    """Run the batches once and compare the output maps of every layer; a layer that never runs is left out.

    Maps are reduced inside the hooks, before an activation in place can change them.

    Args:
        net: In eval mode.
        layers: Name -> layer with outputs (N, C, H, W).
        batches: Their images are run.
        similarity: See ``summed_similarity``.
        pool: Larger maps are averaged down to this side, in px, before they are compared.
        with_edge: Whether to measure edges; without, they are 0.
    """
    sums = {name: _Sums() for name in layers}
    with ExitStack() as hooks, torch.no_grad():
        for name, layer in layers.items():
            add = partial(_add, sums[name], similarity=similarity, pool=pool, with_edge=with_edge)
            hooks.enter_context(layer.register_forward_hook(add))
        for batch in batches:
            net.all_logits(batch.image)
    return {name: _finish(found, similarity) for name, found in sums.items() if found.images or found.points}


def before_activation(layer: nn.Module, given: Tensor, output: Tensor) -> Tensor:
    """The output of a layer; of a batch norm with an activation inside, as in timm, the output before that.

    Args:
        layer: In eval mode.
        given: Its input.
        output: Its output.
    """
    if (
        not isinstance(layer, BatchNorm)
        or type(layer).forward in PLAIN_NORMS
        or not layer.track_running_stats
    ):
        return output
    return F.batch_norm(
        given, layer.running_mean, layer.running_var, layer.weight, layer.bias, training=False, eps=layer.eps
    )


def summed_similarity(maps: Tensor, kind: Similarity) -> Tensor:
    """(N, C, P) maps -> (C, C) signed inner products of the normalised maps, summed over N.

    ``cosine`` divides a map by its L2 norm (a map of zeros stays zeros); ``l1`` by its L1 norm + 1e-5, so
    that a flat map has similarity 1/P with itself and a one-pixel peak 1.
    """
    if kind == "cosine":
        norm = torch.linalg.vector_norm(maps, dim=2, keepdim=True)
        unit = maps / torch.where(norm > 0, norm, 1.0)
    else:
        unit = maps / (maps.abs().sum(dim=2, keepdim=True) + L1_EPSILON)
    flat = unit.transpose(0, 1).flatten(1)  # (C, N * P)
    return torch.mm(flat, flat.t())


def summed_edges(maps: Tensor) -> Tensor:
    """(N, C, H, W) -> (C,) spatial standard deviation of the Sobel magnitude, summed over N.

    Zero padding gives even a constant map a frame of edges, as in the official code of SIRFP.
    """
    padded = F.pad(maps, (1, 1, 1, 1))
    # the kernel is [1/2, 1, 1/2] across [-1, 0, 1]; sums of shifted maps are many times faster than convolving each
    right, down = padded[..., 2:] - padded[..., :-2], padded[..., 2:, :] - padded[..., :-2, :]
    across = right[..., 1:-1, :] + (right[..., :-2, :] + right[..., 2:, :]) / 2
    along = down[..., 1:-1] + (down[..., :-2] + down[..., 2:]) / 2
    magnitude = torch.hypot(across, along).flatten(2)  # (N, C, H * W)
    return torch.std(magnitude, dim=2, correction=0).sum(0)


def _add(
    sums: _Sums,
    layer: nn.Module,
    inputs: tuple[Tensor, ...],
    output: Tensor,
    *,
    similarity: Similarity,
    pool: int,
    with_edge: bool,
) -> None:
    maps = before_activation(layer, inputs[0], output).detach().float()
    sums.alive |= (maps != 0).any(dim=3).any(dim=2).any(dim=0)
    if maps.shape[2:].numel() == 1:
        sums.points.append(maps[:, :, 0, 0].clone())
        return
    if with_edge:
        sums.edge += summed_edges(maps)
    side = (min(maps.shape[2], pool), min(maps.shape[3], pool))
    small = F.adaptive_avg_pool2d(maps, side).flatten(2)  # (N, C, P)
    sums.similarity += summed_similarity(small, similarity)
    sums.images += len(maps)


def _finish(sums: _Sums, similarity: Similarity) -> MapStatistics:
    is_spatial = sums.images > 0
    if is_spatial:
        matrix = torch.as_tensor(sums.similarity) / sums.images
        edge = torch.as_tensor(sums.edge) / sums.images
    else:
        points = torch.cat(sums.points).T[None]  # (1, C, N)
        matrix, edge = summed_similarity(points, similarity), torch.zeros(())
    matrix = matrix.double().cpu()
    return MapStatistics(
        similarity=((matrix + matrix.T) / 2).abs(),
        edge=edge.double().cpu().expand(len(matrix)),
        alive=torch.as_tensor(sums.alive).cpu(),
        images=sums.images if is_spatial else sum(len(point) for point in sums.points),
        is_spatial=is_spatial,
    )
