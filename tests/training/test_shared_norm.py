from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from torch import nn

from segprune.training.rank import ALONE, Rank
from segprune.training.shared_norm import SharedNorm, foreign_norms, share_norms


@pytest.fixture
def group_of_one(tmp_path: Path) -> Iterator[None]:
    dist.init_process_group("gloo", f"file://{tmp_path / 'met'}", rank=0, world_size=1)
    yield
    dist.destroy_process_group()


@pytest.mark.usefixtures("group_of_one")
@pytest.mark.parametrize(
    "options", [{}, {"momentum": None}, {"affine": False}, {"track_running_stats": False}]
)
def test_one_process_that_shares_its_norm_has_that_of_torch(options: dict[str, object]) -> None:
    torch.manual_seed(0)
    ours, theirs = (nn.BatchNorm2d(3, dtype=torch.float64, **options) for _ in range(2))
    ours.__class__, ours.world = SharedNorm, 1
    for _ in range(2):
        maps = torch.randn(4, 3, 5, 6, dtype=torch.float64) + 3
        twins = maps.clone().requires_grad_(), maps.clone().requires_grad_()
        results = [norm(twin) for norm, twin in zip((ours, theirs), twins, strict=True)]
        torch.testing.assert_close(*results, rtol=1e-12, atol=1e-12)
        for result in results:
            (result * torch.arange(6)).sum().backward()
        torch.testing.assert_close(*(twin.grad for twin in twins), rtol=1e-10, atol=1e-10)
    for mine, its in zip(ours.state_dict().values(), theirs.state_dict().values(), strict=True):
        torch.testing.assert_close(mine, its, rtol=1e-12, atol=1e-12)
    for mine, its in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(mine.grad, its.grad, rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(ours.eval()(maps), theirs.eval()(maps), rtol=1e-12, atol=1e-12)


def test_norms_change_their_kind_and_keep_their_tensors() -> None:
    net = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.GroupNorm(2, 4))
    scale, names = net[1].weight, list(net.state_dict())
    share_norms(net, ALONE, torch.device("cpu"))
    assert type(net[1]) is nn.BatchNorm2d
    share_norms(net, Rank(0, 2), torch.device("cuda"))
    assert type(net[1]) is nn.SyncBatchNorm
    assert net[1].weight is scale
    assert list(net.state_dict()) == names
    assert foreign_norms(nn.Sequential(nn.BatchNorm2d(4), nn.GroupNorm(2, 4))) == []
    assert foreign_norms(nn.Sequential(nn.BatchNorm1d(4))) == ["BatchNorm1d"]


@pytest.mark.usefixtures("group_of_one")
def test_a_norm_of_timm_keeps_its_activation() -> None:
    layers = pytest.importorskip("timm.layers")
    torch.manual_seed(0)
    net = nn.Sequential(layers.BatchNormAct2d(3, act_layer=nn.ReLU))
    maps = torch.randn(4, 3, 5, 6)
    expected = net(maps)
    share_norms(net, Rank(0, 2), torch.device("cpu"))
    net[0].world = 1
    torch.testing.assert_close(net(maps), expected)
    share_norms(again := nn.Sequential(layers.BatchNormAct2d(3)), Rank(0, 2), torch.device("cuda"))
    assert isinstance(again[0], nn.SyncBatchNorm)
