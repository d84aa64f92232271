"""Small networks as people bring them: each does one thing that a trace can get wrong, and says what can be cut."""

import warnings
from collections.abc import Callable
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn import utils
from torch.nn.utils import parametrizations

from segprune.model.contract import SegmentationNet
from tests.toys import CLASSES, conv_bn


class Foreign(SegmentationNet):
    """Three layers; what is between the first and the last is each network's own.

    Attributes:
        cuttable: Names of the groups that can be cut.
    """

    cuttable: ClassVar[set[str]] = {"first.0", "middle.0", "last.0"}

    def __init__(self) -> None:
        super().__init__()
        self.first, self.middle, self.last = conv_bn(3, 8), conv_bn(8, 8), conv_bn(8, 12)
        self.head = nn.Conv2d(12, CLASSES, 1)

    def forward(self, image: Tensor) -> Tensor:
        x = self.between(F.relu(self.first(self.normalise(image))))
        return self.head(F.relu(self.last(x)))

    def between(self, x: Tensor) -> Tensor:
        """(N, 8, H, W) -> (N, 8, H, W)."""
        return F.relu(self.middle(x))


def _with(change: Callable[[Foreign], None], name: str, *cuttable: str) -> type[Foreign]:
    class Changed(Foreign):
        def __init__(self) -> None:
            super().__init__()
            change(self)

    Changed.__name__ = Changed.__qualname__ = name
    Changed.cuttable = set(cuttable)
    return Changed


def _reweighted(layer: nn.Sequential, how: Callable[[nn.Module], nn.Module]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # the old ones, which many networks still have
        layer[0] = how(layer[0])


class Tied(Foreign):
    """Two layers with one weight: its outputs are its inputs too."""

    cuttable: ClassVar[set[str]] = {"last.0"}

    def __init__(self) -> None:
        super().__init__()
        self.again = nn.Conv2d(8, 8, 3, padding=1)
        self.again.weight = self.middle[0].weight

    def between(self, x: Tensor) -> Tensor:
        return F.relu(self.again(F.relu(self.middle(x))))


class Recurrent(Foreign):
    """A GRU over the pixels, which knows the number of its inputs."""

    cuttable: ClassVar[set[str]] = {"middle.0", "last.0"}

    def __init__(self) -> None:
        super().__init__()
        self.over = nn.GRU(8, 8, batch_first=True)

    def between(self, x: Tensor) -> Tensor:
        read, _ = self.over(F.avg_pool2d(x, 8).flatten(2).transpose(1, 2))
        return F.relu(self.middle(read.mean(1)[:, :, None, None] * torch.ones_like(x[:, :1])))


class Cell(Foreign):
    """One step of a recurrent layer over the channels' means."""

    cuttable: ClassVar[set[str]] = {"middle.0", "last.0"}

    def __init__(self) -> None:
        super().__init__()
        self.over = nn.LSTMCell(8, 8)

    def between(self, x: Tensor) -> Tensor:
        read, _ = self.over(x.mean((2, 3)))
        return F.relu(self.middle(read[:, :, None, None] * torch.ones_like(x[:, :1])))


class OwnCell(Foreign):
    """The same, of parameters of its own."""

    cuttable: ClassVar[set[str]] = {"middle.0", "last.0"}

    def __init__(self) -> None:
        super().__init__()
        self.read, self.kept = (nn.Parameter(torch.randn(32, 8) / 8) for _ in range(2))

    def between(self, x: Tensor) -> Tensor:
        state = torch.zeros(len(x), 8, device=x.device, dtype=x.dtype)
        read, _ = torch.lstm_cell(x.mean((2, 3)), (state, state), self.read, self.kept)
        return F.relu(self.middle(x + read[:, :, None, None]))


class Unrolled(Foreign):
    """A GRU by hand, over eight rows."""

    cuttable: ClassVar[set[str]] = {"last.0"}

    def __init__(self) -> None:
        super().__init__()
        self.x, self.h = nn.Linear(8, 24), nn.Linear(8, 24)

    def between(self, x: Tensor) -> Tensor:
        state = torch.zeros(len(x), 8, device=x.device, dtype=x.dtype)
        for row in F.adaptive_avg_pool2d(x, (8, 1))[..., 0].unbind(2):
            (r, z, n), (hr, hz, hn) = self.x(row).chunk(3, 1), self.h(state).chunk(3, 1)
            z = torch.sigmoid(z + hz)
            state = (1 - z) * torch.tanh(n + torch.sigmoid(r + hr) * hn) + z * state
        return x + state[..., None, None]


class GroupedQueries(Foreign):
    """Two heads of keys and values for four of queries."""

    cuttable: ClassVar[set[str]] = {"first.0", "last.0"}

    def __init__(self) -> None:
        super().__init__()
        self.q, self.k, self.v, self.o = (nn.Linear(8, n) for n in (16, 8, 8, 8))
        self.o = nn.Linear(16, 8)

    def between(self, x: Tensor) -> Tensor:
        n, _, h, w = (small := F.avg_pool2d(x, 8)).shape
        tokens = small.flatten(2).transpose(1, 2)
        q, k, v = (layer(tokens).view(n, h * w, -1, 4).transpose(1, 2) for layer in (self.q, self.k, self.v))
        k, v = (one.repeat_interleave(2, 1) for one in (k, v))
        read = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(n, h * w, 16)
        read = self.o(read).transpose(1, 2).reshape(n, 8, h, w)
        return F.interpolate(read, size=x.shape[2:])


class ChunkAndCat(Foreign):
    """Halves that change places."""

    def between(self, x: Tensor) -> Tensor:
        return torch.cat(super().between(x).chunk(2, 1)[::-1], 1)


class TwoReaders(Foreign):
    """Halves that are read several times and out of order (the block C2f of YOLO), and one that gates the other."""

    cuttable: ClassVar[set[str]] = {"first.0", "middle.0", "one.0", "two.0", "last.0"}

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = conv_bn(4, 4), conv_bn(12, 16)

    def between(self, x: Tensor) -> Tensor:
        a, b = super().between(x).chunk(2, 1)
        a, b = self.two(torch.cat([F.relu(self.one(b)), b, a], 1)).chunk(2, dim=1)
        return a * torch.sigmoid(b)


class FusedQueries(Foreign):
    """Query, key and value from one layer, by chunks, whose heads have a fixed width."""

    cuttable: ClassVar[set[str]] = {"first.0", "middle.0", "qkv", "last.0"}

    def __init__(self) -> None:
        super().__init__()
        self.qkv, self.o = nn.Linear(8, 24), nn.Linear(8, 8)

    def between(self, x: Tensor) -> Tensor:
        n, _, h, w = (x := super().between(F.adaptive_avg_pool2d(x, 4))).shape
        q, k, v = self.qkv(x.flatten(2).transpose(1, 2)).chunk(3, dim=-1)
        q, k, v = (one.view(n, h * w, -1, 4).transpose(1, 2) for one in (q, k, v))
        read = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(n, h * w, -1)
        return x + self.o(read).transpose(1, 2).unflatten(2, (h, w))


class HalvesOfTwo(Foreign):
    """Halves across two layers: the same place of both would have to go, which are in two groups."""

    cuttable: ClassVar[set[str]] = {"first.0", "two.0", "last.0"}

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = conv_bn(8, 6), conv_bn(7, 8)

    def between(self, x: Tensor) -> Tensor:
        a, b = torch.cat([super().between(x), F.relu(self.one(x))], 1).chunk(2, 1)
        return F.relu(self.two(a * b))


class Shuffled(Foreign):
    """A block of ShuffleNetV2: half of the channels passes by, and both are interleaved."""

    cuttable: ClassVar[set[str]] = {"first.0", "last.0"}

    def __init__(self) -> None:
        super().__init__()
        self.one = conv_bn(4, 4)

    def between(self, x: Tensor) -> Tensor:
        a, b = super().between(x).chunk(2, 1)
        n, c, h, w = (x := torch.cat([a, F.relu(self.one(b))], 1)).shape
        return x.view(n, 2, c // 2, h, w).transpose(1, 2).reshape(n, c, h, w)


class SplitAndCat(Foreign):
    """Parts of unequal width, one of them read twice."""

    cuttable: ClassVar[set[str]] = {"first.0", "last.0"}

    def between(self, x: Tensor) -> Tensor:
        few, more = torch.split(super().between(x), [3, 5], 1)
        return torch.cat([F.relu(few), 2 * more], 1)


class PositionAttention(Foreign):
    """Every position reads all others, by a softmax over all pairs of them."""

    def between(self, x: Tensor) -> Tensor:
        x = super().between(F.avg_pool2d(x, 2))
        flat = x.flatten(2)
        pairs = flat.transpose(1, 2) @ flat
        weights = pairs.view(len(x), -1).softmax(-1).view_as(pairs)
        return F.interpolate((flat @ weights).unflatten(2, x.shape[2:]), scale_factor=2)


class ReadByEinsum(Foreign):
    """Every position reads all others, by products that torch-pruning lays out over ever more places."""

    cuttable: ClassVar[set[str]] = {"last.0"}

    def __init__(self) -> None:
        super().__init__()
        self.q, self.k, self.v = nn.Conv2d(8, 4, 1), nn.Conv2d(8, 4, 1), nn.Conv2d(8, 8, 1)

    def between(self, x: Tensor) -> Tensor:
        n, _, h, w = (small := F.avg_pool2d(x, 8)).shape
        q, k, v = (one(small).flatten(2) for one in (self.q, self.k, self.v))
        weights = torch.einsum("ncp, ncq -> npq", q, k).softmax(-1)
        read = torch.einsum("npq, ncq -> ncp", weights, v).view(n, -1, h, w)
        return x + F.interpolate(read, size=x.shape[2:])


class PartlyWritten(Foreign):
    """Channels written into the front of a tensor of zeros, and others added to all of it."""

    cuttable: ClassVar[set[str]] = {"first.0", "narrow", "last.0"}

    def __init__(self) -> None:
        super().__init__()
        self.wide, self.narrow = nn.Conv2d(8, 12, 1), nn.Conv2d(12, 8, 1)

    def between(self, x: Tensor) -> Tensor:
        canvas = torch.zeros(len(x), 12, *x.shape[2:], device=x.device, dtype=x.dtype)
        canvas[:, :8] = super().between(x)
        return self.narrow(canvas + self.wide(x))


class Constant(Foreign):
    """A tensor that is neither parameter nor buffer."""

    cuttable: ClassVar[set[str]] = {"first.0", "last.0"}

    def __init__(self) -> None:
        super().__init__()
        self.scales = [torch.linspace(0.5, 1, 8).view(1, 8, 1, 1)]

    def between(self, x: Tensor) -> Tensor:
        return super().between(x) * self.scales[0].to(x)


class Fixed(Foreign):
    """A view to a width that is written down."""

    cuttable: ClassVar[set[str]] = {"first.0", "last.0"}

    def between(self, x: Tensor) -> Tensor:
        return super().between(x).view(len(x), 8, *x.shape[2:])


class Branching(Foreign):
    """Runs a layer at one width only."""

    cuttable: ClassVar[set[str]] = {"middle.0", "last.0"}

    def between(self, x: Tensor) -> Tensor:
        return super().between(x) if x.shape[1] == 8 else x


class LayerScaled(Foreign):
    """A branch that begins at nothing, by a parameter of its own."""

    cuttable: ClassVar[set[str]] = {"last.0"}

    def __init__(self) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.zeros(8, 1, 1))

    def between(self, x: Tensor) -> Tensor:
        return x + self.gamma * super().between(x)


class Placed(Foreign):
    """A learnt number added to each channel: without its channel it would still be there."""

    cuttable: ClassVar[set[str]] = {"first.0", "last.0"}

    def __init__(self) -> None:
        super().__init__()
        self.place = nn.Parameter(torch.zeros(1, 8, 1, 1))

    def between(self, x: Tensor) -> Tensor:
        return super().between(x) + self.place


class Gated(Foreign):
    """One map for all channels, and a convolution whose weights are standardised."""

    cuttable: ClassVar[set[str]] = {"last.0"}

    def __init__(self) -> None:
        super().__init__()
        self.gate = nn.Conv2d(8, 1, 1)

    def between(self, x: Tensor) -> Tensor:
        conv = self.middle[0]
        weight = conv.weight - conv.weight.mean((1, 2, 3), keepdim=True)
        x = F.relu(self.middle[1](F.conv2d(x, weight, padding=1)))
        return x * self.gate(x).sigmoid()


class BareNorms(Foreign):
    """Norms of each channel, one without any tensor."""

    cuttable: ClassVar[set[str]] = {"first.0", "last.0"}

    def __init__(self) -> None:
        super().__init__()
        self.bare, self.learnt = (
            nn.InstanceNorm2d(8),
            nn.InstanceNorm2d(8, affine=True, track_running_stats=True),
        )

    def between(self, x: Tensor) -> Tensor:
        return self.learnt(self.bare(super().between(x)))


class Encoded(Foreign):
    """A layer of a transformer, of which the inner layer can be cut."""

    cuttable: ClassVar[set[str]] = {"first.0", "block.linear1", "last.0"}

    def __init__(self) -> None:
        super().__init__()
        self.block = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)

    def between(self, x: Tensor) -> Tensor:
        small = F.avg_pool2d(super().between(x), 8)
        read = self.block(small.flatten(2).transpose(1, 2)).transpose(1, 2).reshape(small.shape)
        return F.interpolate(read, size=x.shape[2:])


FOREIGN_NETS: tuple[type[Foreign], ...] = (
    *(
        Tied,
        Recurrent,
        Cell,
        Unrolled,
        GroupedQueries,
        ChunkAndCat,
        TwoReaders,
        FusedQueries,
        HalvesOfTwo,
        Shuffled,
        SplitAndCat,
        PositionAttention,
        PartlyWritten,
        ReadByEinsum,
    ),
    *(Constant, Fixed, Branching, LayerScaled, Placed, Gated, BareNorms, Encoded),
    *(
        _with(lambda net, how=how: _reweighted(net.middle, how), name, "last.0")  # type: ignore[misc]
        for name, how in {
            "WeightNormed": parametrizations.weight_norm,
            "SpectralNormed": parametrizations.spectral_norm,
            "Orthogonal": parametrizations.orthogonal,
            "OldWeightNormed": utils.weight_norm,
            "OldSpectralNormed": utils.spectral_norm,
        }.items()
    ),
)
