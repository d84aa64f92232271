"""What a teacher makes of images."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from segprune.distill.contract import Seen
from segprune.distill.look import Tap, look
from segprune.model.contract import SegmentationNet


@dataclass(frozen=True, kw_only=True)
class Teacher:
    """One network or several, in evaluation mode.

    Attributes:
        nets: On the device; several teach by the mean of their logits.
        taps: Place -> where the map of the only network is taken; none of several networks.
    """

    nets: Sequence[SegmentationNet]
    taps: Mapping[str, Tap]

    @torch.no_grad()
    def __call__(self, image: Tensor) -> Seen:
        """(N, 3, H, W) -> logits and maps, without gradients; auxiliary heads do not run."""
        seen = [look(net, partial(_main, net), image, self.taps) for net in self.nets]
        logits = torch.stack([heads[0].float() for heads, _ in seen]).mean(dim=0)
        return Seen(logits=logits, features=seen[0][1])

    @property
    def size_mb(self) -> float:
        """Of all weights, in MB (10^6 bytes)."""
        tensors = (tensor for net in self.nets for tensor in net.state_dict().values())
        return float(sum(tensor.nbytes for tensor in tensors)) / 1e6


def _main(net: SegmentationNet, image: Tensor) -> tuple[Tensor, ...]:
    return (net(image),)
