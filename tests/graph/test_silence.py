import torch

from segprune.graph.cut import cut
from segprune.graph.silence import without
from tests.pruner.surgery import traced
from tests.toys import Upsampling, toy


def test_every_part_of_the_batch_runs_without_its_own_channels() -> None:
    net, groups = toy(Upsampling).double(), traced(Upsampling)
    removals = [{"fine.0": (1,)}, {}, {"coarse.0": (0, 5), "up.0": (2,)}]
    images = torch.rand(3, 3, 16, 16, generator=torch.Generator().manual_seed(0)).double()
    with torch.no_grad():
        with without(net, groups, removals):
            together = net(images)
        alone = torch.cat([cut(net, r)(i[None]) for r, i in zip(removals, images, strict=True)])
    torch.testing.assert_close(together, alone, rtol=0, atol=1e-12)
    assert not any(module._forward_hooks for module in net.modules())
