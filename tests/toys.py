"""Small networks with one structure each, for laws that must hold on every structure."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from segprune.dataset.contract import Batch
from segprune.model.contract import SegmentationNet
from segprune.pruner.contract import Calibration

CLASSES = 4
IGNORE = 255


def conv_bn(in_channels: int, out_channels: int, kernel_size: int = 3, **options: int) -> nn.Sequential:
    padding = options.get("dilation", 1) * (kernel_size // 2)
    return nn.Sequential(
        nn.Conv2d(in_channels, out_channels, kernel_size, padding=padding, bias=False, **options),
        nn.BatchNorm2d(out_channels),
    )


class Plain(SegmentationNet):
    """Convolution, norm, ReLU in place, twice; then one without a norm."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = conv_bn(3, 6), conv_bn(6, 5)
        self.bare = nn.Conv2d(5, 4, 1)
        self.head = nn.Conv2d(4, CLASSES, 1)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, image: Tensor) -> Tensor:
        x = self.relu(self.first(self.normalise(image)))
        x = self.relu(self.second(x))
        return self.head(self.relu(self.bare(x)))


class Residual(SegmentationNet):
    """A stream of 6 channels made by a stem, by a branch with a norm and by one without."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = conv_bn(3, 6)
        self.inner, self.outer = conv_bn(6, 4), conv_bn(4, 6, 1)
        self.bare = nn.Conv2d(6, 6, 3, padding=1)
        self.head = nn.Conv2d(6, CLASSES, 1)

    def forward(self, image: Tensor) -> Tensor:
        x = F.relu(self.stem(self.normalise(image)))
        x = F.relu(x + self.outer(F.relu(self.inner(x))))
        return self.head(F.relu(x + self.bare(x)))


class Concat(SegmentationNet):
    """Branches of dilation 1 and 2 and one that pools the image, side by side; and an auxiliary head."""

    training_only = ("aux",)

    def __init__(self) -> None:
        super().__init__()
        self.stem = conv_bn(3, 5)
        self.near, self.far, self.pooled = conv_bn(5, 4), conv_bn(5, 6, dilation=2), conv_bn(5, 4, 1)
        self.project = conv_bn(14, 6, 1)
        self.head = nn.Conv2d(6, CLASSES, 1)
        self.aux = nn.Conv2d(5, CLASSES, 1)

    def _stem(self, image: Tensor) -> Tensor:
        return F.relu(self.stem(self.normalise(image)))

    def _head(self, x: Tensor) -> Tensor:
        pooled = F.relu(self.pooled(F.adaptive_avg_pool2d(x, 1)))
        pooled = F.interpolate(pooled, size=x.shape[2:], mode="bilinear", align_corners=False)
        joined = torch.cat([F.relu(self.near(x)), F.relu(self.far(x)), pooled], dim=1)
        return self.head(F.relu(self.project(joined)))

    def forward(self, image: Tensor) -> Tensor:
        return self._head(self._stem(image))

    def all_logits(self, image: Tensor) -> tuple[Tensor, ...]:
        x = self._stem(image)
        return self._head(x), self.aux(x)


class Depthwise(SegmentationNet):
    """Expand, blur every channel for itself, project."""

    def __init__(self) -> None:
        super().__init__()
        self.expand, self.depthwise, self.project = (
            conv_bn(3, 8, 1),
            conv_bn(8, 8, groups=8),
            conv_bn(8, 5, 1),
        )
        self.head = nn.Conv2d(5, CLASSES, 1)

    def forward(self, image: Tensor) -> Tensor:
        x = F.relu(self.expand(self.normalise(image)))
        x = F.relu(self.depthwise(x))
        return self.head(F.relu(self.project(x)))


class Upsampling(SegmentationNet):
    """Down by 2, up by a transposed convolution, joined with the fine level."""

    def __init__(self) -> None:
        super().__init__()
        self.fine, self.coarse = conv_bn(3, 4), conv_bn(4, 6, stride=2)
        self.up = nn.Sequential(nn.ConvTranspose2d(6, 5, 2, stride=2), nn.BatchNorm2d(5))
        self.head = nn.Conv2d(9, CLASSES, 1)

    def forward(self, image: Tensor) -> Tensor:
        fine = F.relu(self.fine(self.normalise(image)))
        up = F.relu(self.up(F.relu(self.coarse(fine))))
        return self.head(torch.cat([up, fine], dim=1))


class SqueezeExcite(SegmentationNet):
    """Channels rescaled by what two linear layers make of their means."""

    def __init__(self) -> None:
        super().__init__()
        self.squeeze = nn.Sequential(nn.Linear(6, 4), nn.BatchNorm1d(4))
        self.excite = nn.Sequential(nn.Linear(4, 6))
        self.wide, self.project = conv_bn(3, 6), conv_bn(6, 5)
        self.head = nn.Conv2d(5, CLASSES, 1)

    def forward(self, image: Tensor) -> Tensor:
        x = F.relu(self.wide(self.normalise(image)))
        scale = self.excite(F.relu(self.squeeze(x.mean((2, 3)))))
        x = x * scale.sigmoid()[:, :, None, None]
        return self.head(F.relu(self.project(x)))


class PooledGate(SegmentationNet):
    """Channels rescaled by what a convolution and a norm make of their pooled maps, the factor first."""

    def __init__(self) -> None:
        super().__init__()
        self.excite = conv_bn(6, 6, 1)
        self.wide, self.head = conv_bn(3, 6), nn.Conv2d(6, CLASSES, 1)

    def forward(self, image: Tensor) -> Tensor:
        x = F.relu(self.wide(self.normalise(image)))
        return self.head(F.hardsigmoid(self.excite(F.adaptive_avg_pool2d(x, 1))) * x)


class Bypass(SegmentationNet):
    """A convolution that its norm reads and, past the norm, another convolution; not among the ``TOYS``."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.norm = nn.Conv2d(3, 6, 3, padding=1, bias=False), nn.BatchNorm2d(6)
        self.behind, self.past = nn.Conv2d(6, 5, 1), nn.Conv2d(6, 5, 1)
        self.head = nn.Conv2d(5, CLASSES, 1)

    def forward(self, image: Tensor) -> Tensor:
        x = self.stem(self.normalise(image))
        return self.head(F.relu(self.behind(F.relu(self.norm(x))) + self.past(x)))


class Normed(SegmentationNet):
    """A norm behind a convolution and one behind a depthwise convolution; not among the ``TOYS``."""

    def __init__(self, norm: Callable[[int], nn.Module]) -> None:
        super().__init__()
        self.stem, self.norm = nn.Conv2d(3, 6, 3, padding=1), norm(6)
        self.depthwise, self.passing = nn.Conv2d(6, 6, 3, padding=1, groups=6, bias=False), norm(6)
        self.head = nn.Conv2d(6, CLASSES, 1)

    def forward(self, image: Tensor) -> Tensor:
        x = F.relu(self.norm(self.stem(self.normalise(image))))
        return self.head(F.relu(self.passing(self.depthwise(x))))


TOYS: tuple[type[SegmentationNet], ...] = (Plain, Residual, Concat, Depthwise, Upsampling)


class InGroups(SegmentationNet):
    """A norm and a convolution in groups."""

    def __init__(self) -> None:
        super().__init__()
        self.normed, self.norm = nn.Conv2d(3, 9, 3, padding=1), nn.GroupNorm(3, 9)
        self.into, self.over = conv_bn(9, 8), conv_bn(8, 6, groups=2)
        self.last, self.head = conv_bn(6, 12), nn.Conv2d(12, CLASSES, 1)

    def features(self, image: Tensor) -> Tensor:
        x = F.relu(self.norm(self.normed(self.normalise(image))))
        return F.relu(self.last(F.relu(self.over(F.relu(self.into(x))))))

    def forward(self, image: Tensor) -> Tensor:
        return self.head(self.features(image))


def toy(kind: type[SegmentationNet], *, seed: int = 0) -> SegmentationNet:
    """The network with every weight, norm scale, norm statistic and bias drawn, none at its usual start."""
    net = kind()
    generator = torch.Generator().manual_seed(seed)
    for module in net.modules():
        for name, tensor in [*module.named_parameters(recurse=False), *module.named_buffers(recurse=False)]:
            if module is net or not tensor.is_floating_point():
                continue
            noise = torch.randn(tensor.shape, generator=generator)
            if name == "running_var" or (isinstance(module, nn.BatchNorm2d) and name == "weight"):
                noise = 0.5 + torch.rand(tensor.shape, generator=generator)
            elif name == "weight":
                noise = noise / (tensor.numel() / tensor.shape[0]) ** 0.5
            else:
                noise = 0.3 * noise
            tensor.data.copy_(noise)
    return net.eval()


def toy_batches(*, seed: int = 0, count: int = 2, size_hw: tuple[int, int] = (16, 16)) -> list[Batch]:
    """Batches of two images of noise; about a tenth of the pixels is ignored."""
    generator = torch.Generator().manual_seed(seed)
    batches = []
    for _ in range(count):
        image = torch.rand(2, 3, *size_hw, generator=generator)
        label = torch.randint(CLASSES, (2, *size_hw), generator=generator)
        label[torch.rand(label.shape, generator=generator) < 0.1] = IGNORE
        batches.append(Batch(image, label))
    return batches


def toy_loss(net: SegmentationNet, batch: Batch) -> Tensor:
    """Cross-entropy over the pixels with a class, all heads added."""
    heads = net.all_logits(batch.image)
    losses = [F.cross_entropy(logits, batch.label, ignore_index=IGNORE) for logits in heads]
    return torch.stack(losses).sum()


def toy_calibration(*, seed: int = 0, count: int = 2) -> Calibration:
    return Calibration(
        batches=toy_batches(seed=seed, count=count), loss=toy_loss, device=torch.device("cpu"), seed=seed
    )
