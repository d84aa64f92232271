"""Real-time networks, small and after their papers: what libraries lack and people train."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def _conv(
    n_in: int, n_out: int, size: int = 3, stride: int = 1, groups: int = 1, dilation: int = 1
) -> nn.Sequential:
    padding = dilation * (size // 2)
    conv = nn.Conv2d(n_in, n_out, size, stride, padding, dilation, groups, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(n_out), nn.ReLU(inplace=True))


def _separable(n_in: int, n_out: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(_conv(n_in, n_in, 3, stride, groups=n_in), _conv(n_in, n_out, 1))


class Bottleneck(nn.Module):
    """An inverted residual, as in MobileNetV2."""

    def __init__(self, n_in: int, n_out: int, stride: int, factor: int = 2) -> None:
        super().__init__()
        wide = factor * n_in
        self.body = nn.Sequential(
            _conv(n_in, wide, 1),
            _conv(wide, wide, 3, stride, groups=wide),
            nn.Conv2d(wide, n_out, 1, bias=False),
            nn.BatchNorm2d(n_out),
        )
        self.adds = stride == 1 and n_in == n_out

    def forward(self, x: Tensor) -> Tensor:
        """(N, n_in, H, W) -> (N, n_out, H / stride, W / stride)."""
        return x + self.body(x) if self.adds else self.body(x)


class FastSCNN(nn.Module):
    """Learning to downsample, a deep branch, and their sum. arXiv:1902.04502, half as wide."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.down = nn.Sequential(_conv(3, 16, 3, 2), _separable(16, 24, 2), _separable(24, 32, 2))
        deep = [Bottleneck(32, 32, 2), Bottleneck(32, 32, 1), Bottleneck(32, 48, 2), Bottleneck(48, 64, 1)]
        self.deep = nn.Sequential(*deep)
        self.pools = nn.ModuleList(
            nn.Sequential(nn.AdaptiveAvgPool2d(size), _conv(64, 16, 1)) for size in (1, 2, 3)
        )
        self.joined = _conv(64 + 48, 64, 1)
        self.low = nn.Sequential(_conv(64, 64, 3, groups=64), nn.Conv2d(64, 64, 1))
        self.high = nn.Conv2d(32, 64, 1)
        self.head = nn.Sequential(_separable(64, 64), nn.Dropout(0.1), nn.Conv2d(64, num_classes, 1))

    def forward(self, image: Tensor) -> Tensor:
        """(N, 3, H, W) -> logits (N, K, H, W)."""
        high = self.down(image)
        deep = self.deep(high)
        pooled = [F.interpolate(pool(deep), size=deep.shape[2:], mode="bilinear") for pool in self.pools]
        deep = self.joined(torch.cat([deep, *pooled], 1))
        deep = self.low(F.interpolate(deep, size=high.shape[2:], mode="bilinear"))
        logits = self.head(F.relu(deep + self.high(high)))
        return F.interpolate(logits, size=image.shape[2:], mode="bilinear")


class GatherExpand(nn.Module):
    """BiSeNetV2's layer, without its convolution of several outputs for each input."""

    def __init__(self, n_in: int, n_out: int, stride: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            _conv(n_in, n_in),
            _conv(n_in, n_in, 3, stride, groups=n_in),
            nn.Conv2d(n_in, n_out, 1, bias=False),
            nn.BatchNorm2d(n_out),
        )
        self.short = (
            nn.Conv2d(n_in, n_out, 1, stride, bias=False) if stride > 1 or n_in != n_out else nn.Identity()
        )

    def forward(self, x: Tensor) -> Tensor:
        """(N, n_in, H, W) -> (N, n_out, H / stride, W / stride)."""
        return F.relu(self.body(x) + self.short(x))


class BiSeNetV2(nn.Module):
    """Details and semantics, each gating the other. arXiv:2004.02147, much narrower."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.detail = nn.Sequential(
            _conv(3, 16, 3, 2), _conv(16, 16), _conv(16, 32, 3, 2), _conv(32, 32, 3, 2)
        )
        self.stem = _conv(3, 8, 3, 4)
        self.semantic = nn.Sequential(
            GatherExpand(8, 16, 2), GatherExpand(16, 16, 1), GatherExpand(16, 32, 2), GatherExpand(32, 32, 2)
        )
        self.context = _conv(32, 32, 1)
        self.detail_keep = nn.Sequential(_conv(32, 32, 3, groups=32), nn.Conv2d(32, 32, 1))
        self.detail_down = nn.Sequential(nn.Conv2d(32, 32, 3, 2, 1), nn.AvgPool2d(3, 2, 1))
        self.semantic_up = nn.Conv2d(32, 32, 3, padding=1)
        self.semantic_keep = nn.Sequential(_conv(32, 32, 3, groups=32), nn.Conv2d(32, 32, 1))
        self.head = nn.Sequential(_conv(32, 64), nn.Conv2d(64, num_classes, 1))

    def forward(self, image: Tensor) -> Tensor:
        """(N, 3, H, W) -> logits (N, K, H, W)."""
        detail, semantic = self.detail(image), self.semantic(self.stem(image))
        semantic = semantic + self.context(semantic.mean((2, 3), keepdim=True))
        gate = F.interpolate(self.semantic_up(semantic), size=detail.shape[2:], mode="bilinear").sigmoid()
        fine = self.detail_keep(detail) * gate
        coarse = self.detail_down(detail)
        coarse = self.semantic_keep(semantic) * F.interpolate(coarse, size=semantic.shape[2:]).sigmoid()
        joined = fine + F.interpolate(coarse, size=detail.shape[2:], mode="bilinear")
        return F.interpolate(self.head(joined), size=image.shape[2:], mode="bilinear")


class ENetBlock(nn.Module):
    """A bottleneck with PReLU; one that halves the image pads the channels of its pooled path with zeros."""

    def __init__(self, n_in: int, n_out: int, *, halves: bool = False, dilation: int = 1) -> None:
        super().__init__()
        inner = n_in // 2
        first = nn.Conv2d(n_in, inner, 2 if halves else 1, 2 if halves else 1, bias=False)
        self.body = nn.Sequential(
            *(first, nn.BatchNorm2d(inner), nn.PReLU()),
            *(
                nn.Conv2d(inner, inner, 3, padding=dilation, dilation=dilation),
                nn.BatchNorm2d(inner),
                nn.PReLU(),
            ),
            *(nn.Conv2d(inner, n_out, 1, bias=False), nn.BatchNorm2d(n_out)),
        )
        self.halves, self.missing, self.out = halves, n_out - n_in, nn.PReLU()

    def forward(self, x: Tensor) -> Tensor:
        """(N, n_in, H, W) -> (N, n_out, H, W), or half of it."""
        short = F.max_pool2d(x, 2) if self.halves else x
        if self.missing:
            short = torch.cat([short, short.new_zeros(len(x), self.missing, *short.shape[2:])], 1)
        return self.out(self.body(x) + short)


class ENet(nn.Module):
    """arXiv:1606.02147, narrower, with transposed convolutions in place of unpooling."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.initial = nn.Conv2d(3, 13, 3, 2, 1)
        self.norm = nn.Sequential(nn.BatchNorm2d(16), nn.PReLU())
        self.encoder = nn.Sequential(
            *(ENetBlock(16, 32, halves=True), ENetBlock(32, 32), ENetBlock(32, 64, halves=True)),
            *(ENetBlock(64, 64, dilation=2), ENetBlock(64, 64, dilation=4)),
        )
        self.up = nn.Sequential(
            nn.ConvTranspose2d(64, 32, 2, 2), nn.BatchNorm2d(32), nn.PReLU(), ENetBlock(32, 32)
        )
        self.up2 = nn.Sequential(
            nn.ConvTranspose2d(32, 16, 2, 2), nn.BatchNorm2d(16), nn.PReLU(), ENetBlock(16, 16)
        )
        self.head = nn.ConvTranspose2d(16, num_classes, 2, 2)

    def forward(self, image: Tensor) -> Tensor:
        """(N, 3, H, W) -> logits (N, K, H, W)."""
        x = self.norm(torch.cat([self.initial(image), F.max_pool2d(image, 2)], 1))
        return self.head(self.up2(self.up(self.encoder(x))))


class ESP(nn.Module):
    """Reduce, split over dilations, add up step by step, concatenate. arXiv:1803.06815."""

    def __init__(self, n_in: int, n_out: int, stride: int = 1) -> None:
        super().__init__()
        inner = n_out // 4
        self.reduce = nn.Conv2d(
            n_in, inner, 3 if stride > 1 else 1, stride, 1 if stride > 1 else 0, bias=False
        )
        self.branches = nn.ModuleList(
            nn.Conv2d(inner, inner, 3, padding=dilation, dilation=dilation, bias=False)
            for dilation in (1, 2, 4, 8)
        )
        self.norm, self.adds = (
            nn.Sequential(nn.BatchNorm2d(4 * inner), nn.PReLU(4 * inner)),
            n_in == n_out and stride == 1,
        )

    def forward(self, x: Tensor) -> Tensor:
        """(N, n_in, H, W) -> (N, n_out, H / stride, W / stride)."""
        reduced = self.reduce(x)
        first, *others = (branch(reduced) for branch in self.branches)
        parts = [first]
        for other in others:
            parts.append(other + parts[-1] if len(parts) > 1 else other)
        joined = torch.cat(parts, 1)
        return self.norm(joined + x if self.adds else joined)


class ESPNet(nn.Module):
    """arXiv:1803.06815, with the image beside the features and a light decoder."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.first, self.second = _conv(3, 16, 3, 2), ESP(19, 64, 2)
        self.middle, self.third = nn.Sequential(ESP(64, 64), ESP(64, 64)), ESP(64, 64, 2)
        self.deep = nn.Sequential(ESP(64, 64), ESP(64, 64))
        self.up = nn.ConvTranspose2d(64, 32, 2, 2)
        self.fuse, self.head = _conv(96, 32), nn.Conv2d(32, num_classes, 1)

    def forward(self, image: Tensor) -> Tensor:
        """(N, 3, H, W) -> logits (N, K, H, W)."""
        x = torch.cat([self.first(image), F.avg_pool2d(image, 2)], 1)
        fine = self.middle(self.second(x))
        x = self.fuse(torch.cat([self.up(self.deep(self.third(fine))), fine], 1))
        return F.interpolate(self.head(x), size=image.shape[2:], mode="bilinear")
