import copy
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from segprune.measure.memory import _TensorBytes
from segprune.model.contract import SegmentationNet
from segprune.training.loop import fit
from segprune.training.recompute import blocks, recomputed
from segprune.training.step import Step, Training
from tests.tiny import CPU, tiny_data, tiny_schedule
from tests.toys import CLASSES, Plain, conv_bn


class Block(nn.Module):
    """Two layers with norms, dropout, a buffer that counts calls, and ReLUs in place."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first, self.second = conv_bn(channels, 2 * channels), conv_bn(2 * channels, channels)
        self.dropout, self.relu = nn.Dropout2d(0.3), nn.ReLU(inplace=True)
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, x: Tensor, scale: float = 1.0) -> Tensor:
        self.calls += 1
        inner = self.dropout(self.relu(self.first(x)))
        return self.relu(x + scale * self.second(inner))


class Deep(SegmentationNet):
    """A stem, blocks in a list, one of which runs twice, and branches that only a list holds."""

    def __init__(self, depth: int = 3) -> None:
        super().__init__()
        self.stem = conv_bn(3, 4)
        self.stages = nn.ModuleList([Block(4) for _ in range(depth)])
        self.branches = nn.ModuleList([nn.Conv2d(4, 4, 1), nn.Conv2d(4, 4, 3, padding=1)])
        self.head = nn.Conv2d(8, CLASSES, 1)

    def forward(self, image: Tensor) -> Tensor:
        x = self.stem(self.normalise(image)).relu()
        for stage in [*self.stages, self.stages[0]]:
            x = stage(x, scale=0.5)
        return self.head(torch.cat([branch(x) for branch in self.branches], dim=1))


def deep(depth: int = 3) -> Deep:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Deep(depth)


def test_blocks_are_the_smallest_parts_with_several_layers() -> None:
    net = deep()
    assert blocks(net) == list(net.stages)
    assert (
        blocks(nn.Sequential(nn.Sequential(nn.Conv2d(1, 1, 1), nn.BatchNorm2d(1)), nn.Conv2d(1, 1, 1))) == []
    )
    shared = Block(1)
    assert blocks(nn.Sequential(nn.Sequential(shared, nn.Conv2d(1, 1, 1)), shared)) == [shared]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_loss_gradients_and_buffers_are_the_same_bits(dtype: torch.dtype) -> None:
    plain, twice = deep().to(dtype), deep().to(dtype)
    image = torch.rand(2, 3, 16, 16, dtype=dtype)
    label = torch.randint(CLASSES, (2, 16, 16))
    losses = []
    for net, is_recomputed in ((plain, False), (twice, True)):
        torch.manual_seed(3)
        for _ in range(2):
            if is_recomputed:
                with recomputed(net):
                    loss = F.cross_entropy(net.all_logits(image)[0], label)
                    loss.backward()
            else:
                loss = F.cross_entropy(net.all_logits(image)[0], label)
                loss.backward()
        losses.append(loss.detach())
    assert torch.equal(*losses)
    for (name, a), b in zip(plain.named_parameters(), twice.parameters(), strict=True):
        assert a.grad is not None
        assert torch.equal(a.grad, b.grad), name
    for (name, a), b in zip(plain.named_buffers(), twice.buffers(), strict=True):
        assert torch.equal(a, b), name
    assert [block.calls.item() for block in twice.stages] == [4, 2, 2]


def test_forward_is_as_it_was_afterwards_and_evaluation_runs_once() -> None:
    net, image = deep().eval(), torch.rand(1, 3, 16, 16)
    expected = copy.deepcopy(net)(image)
    with recomputed(net), torch.no_grad():
        assert torch.equal(net(image), expected)
    assert all("forward" not in module.__dict__ for module in net.modules())
    assert net.stages[1].calls == 1


def peak_bytes(net: SegmentationNet, *, is_recomputed: bool) -> int:
    image = torch.rand(2, 3, 64, 64)
    tensors = _TensorBytes(without=(image, *net.parameters(), *net.buffers()))
    with tensors:
        if is_recomputed:
            with recomputed(net):
                net.all_logits(image)[0].sum().backward()
        else:
            net.all_logits(image)[0].sum().backward()
    return tensors.peak


def test_a_deeper_network_needs_little_more_memory() -> None:
    plain, twice = (
        [peak_bytes(deep(depth), is_recomputed=flag) for depth in (2, 8)] for flag in (False, True)
    )
    # a block keeps its input of 4 channels, or about ten times that of what it computes inside
    assert plain[1] - plain[0] > 5 * (twice[1] - twice[0])
    assert twice[1] < plain[1] / 2


class Halves(Block):
    """Halves its input in place, which a second run would do again."""

    def forward(self, x: Tensor, scale: float = 1.0) -> Tensor:
        return super().forward(x.mul_(0.5), scale)


class InPlace(SegmentationNet):
    def __init__(self) -> None:
        super().__init__()
        self.stem, self.block, self.head = conv_bn(3, 4), Halves(4), nn.Conv2d(4, CLASSES, 1)

    def forward(self, image: Tensor) -> Tensor:
        return self.head(self.block(self.stem(self.normalise(image))))


def test_an_input_that_is_changed_in_place_is_refused_not_computed_wrong() -> None:
    net, image = InPlace().train(), torch.rand(2, 3, 8, 8)
    net(image).sum().backward()
    with recomputed(net):
        found = net(image)
        with pytest.raises(RuntimeError, match=r"modified by an inplace operation"):
            found.sum().backward()


def training(folder: Path, **schedule: object) -> Training:
    folder.mkdir()
    values = {"epochs": 2, "optimizer": "sgd", **schedule}
    return Training(
        data=tiny_data(),
        schedule=tiny_schedule(**values),
        seed=0,
        hardware=CPU,
        folder=folder,
        on_epoch=lambda _: None,
    )


def test_a_training_ends_in_the_same_bits_with_less_kept(tmp_path: Path) -> None:
    plain, curve, _ = fit(deep(), training(tmp_path / "plain"), Step)
    twice, same, _ = fit(deep(), training(tmp_path / "twice", checkpointing=True), Step)
    assert curve == same
    for (name, a), b in zip(plain.state_dict().items(), twice.state_dict().values(), strict=True):
        assert torch.equal(a, b), name


def test_a_network_without_blocks_runs_as_always() -> None:
    assert blocks(Plain()) == []
