"""Small networks that multiply outside of layers, or whose layers do not all make the logits."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from segprune.model.contract import SegmentationNet
from tests.toys import CLASSES, conv_bn


class _Attention(SegmentationNet):
    """A stem of 6 channels and a head; in between every position reads all others."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = conv_bn(3, 6, stride=2)
        self.query, self.key, self.value = nn.Conv2d(6, 4, 1), nn.Conv2d(6, 4, 1), nn.Conv2d(6, 4, 1)
        self.project, self.head = nn.Conv2d(4, 6, 1), nn.Conv2d(6, CLASSES, 1)

    def forward(self, image: Tensor) -> Tensor:
        x = F.relu(self.stem(self.normalise(image)))
        read = self.attend(self.query(x).flatten(2), self.key(x).flatten(2), self.value(x).flatten(2))
        x = x + self.project(read.unflatten(2, x.shape[2:]))
        return F.interpolate(self.head(x), size=image.shape[2:], mode="bilinear", align_corners=False)

    def attend(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """(N, C, P) each -> (N, C of the value, P)."""
        raise NotImplementedError


class NonLocal(_Attention):
    """By matrix products, with a softmax over positions."""

    def attend(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        weights = (query.transpose(1, 2) @ key).softmax(-1)
        return value @ weights.transpose(1, 2)


class Einsum(_Attention):
    """By einsum, without a softmax."""

    def attend(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        weights = torch.einsum("ncp, ncq -> npq", query, key) / query.shape[-1]
        return torch.einsum("n...q, npq -> n...p", value, weights)


class Scaled(_Attention):
    """By torch's one function for it, with a scale that does not depend on the channels."""

    def attend(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        q, k, v = (x.transpose(1, 2) for x in (query, key, value))
        return F.scaled_dot_product_attention(q, k, v, scale=0.5).transpose(1, 2)


class Multihead(SegmentationNet):
    """A module of torch's own, whose width is fixed, between layers that can be cut."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.into = conv_bn(3, 6, stride=4), nn.Conv2d(6, 4, 1)
        self.attention = nn.MultiheadAttention(4, 2, batch_first=True)
        self.out, self.head = nn.Conv2d(4, 6, 1), nn.Conv2d(6, CLASSES, 1)

    def forward(self, image: Tensor) -> Tensor:
        x = self.into(F.relu(self.stem(self.normalise(image))))
        tokens = x.flatten(2).transpose(1, 2)
        tokens, _ = self.attention(tokens, tokens, tokens, need_weights=False)
        x = F.relu(self.out(tokens.transpose(1, 2).unflatten(2, x.shape[2:])))
        return F.interpolate(self.head(x), size=image.shape[2:], mode="bilinear", align_corners=False)


class ChannelAttention(SegmentationNet):
    """Every channel reads all others by how alike they are; the channels count twice in the products."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.head = conv_bn(3, 6), nn.Conv2d(6, CLASSES, 1)

    def forward(self, image: Tensor) -> Tensor:
        x = F.relu(self.stem(self.normalise(image)))
        flat = x.flatten(2)
        alike = flat @ flat.transpose(1, 2) / flat.shape[-1]
        return self.head(x + (alike @ flat).unflatten(2, x.shape[2:]))


class FunctionalConvs(SegmentationNet):
    """A convolution of the image with a parameter, and a fixed blur of however many channels there are."""

    def __init__(self) -> None:
        super().__init__()
        self.kernel = nn.Parameter(torch.randn(3, 3, 3, 3))
        self.stem, self.head = conv_bn(3, 6), nn.Conv2d(6, CLASSES, 1)

    def forward(self, image: Tensor) -> Tensor:
        x = F.conv2d(self.normalise(image), self.kernel, padding=1)
        x = F.relu(self.stem(x))
        blur = torch.full((x.shape[1], 1, 3, 3), 1 / 9, device=x.device, dtype=x.dtype)
        return self.head(F.conv2d(x, blur, padding=1, groups=x.shape[1]))


class DroppedHead(SegmentationNet):
    """Computes an auxiliary head in ``forward`` and throws its logits away."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.deep = conv_bn(3, 6), conv_bn(6, 5)
        self.aux = nn.Sequential(nn.Conv2d(6, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, CLASSES, 1))
        self.head = nn.Conv2d(5, CLASSES, 1)

    def forward(self, image: Tensor) -> Tensor:
        return self.all_logits(image)[0]

    def all_logits(self, image: Tensor) -> tuple[Tensor, ...]:
        x = F.relu(self.stem(self.normalise(image)))
        return self.head(F.relu(self.deep(x))), self.aux(x)


class DeadStages(SegmentationNet):
    """An encoder with deep stages that never run, as PSPNet has of a backbone."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.ModuleList([conv_bn(3, 6), conv_bn(6, 5), conv_bn(5, 40), conv_bn(40, 40)])
        self.head = nn.Conv2d(5, CLASSES, 1)

    def forward(self, image: Tensor) -> Tensor:
        x = self.normalise(image)
        for stage in self.encoder[:2]:
            x = F.relu(stage(x))
        return self.head(x)


ODD_NETS: tuple[type[SegmentationNet], ...] = (
    *(NonLocal, Einsum, Scaled, Multihead, ChannelAttention),
    *(FunctionalConvs, DroppedHead, DeadStages),
)
