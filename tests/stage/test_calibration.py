import torch
from torch import Tensor, nn

from segprune.stage.calibration import reestimate_batchnorm
from tests.toys import Concat, toy, toy_batches


def test_reestimated_statistics_are_averages_over_the_batches() -> None:
    net, batches = toy(Concat), toy_batches(count=3)
    seen: list[Tensor] = []
    hook = net.stem[0].register_forward_hook(lambda *call: seen.append(call[2].detach()))
    weights = [parameter.clone() for parameter in net.parameters()]
    reestimate_batchnorm(net, batches)
    hook.remove()
    norm = net.stem[1]
    assert isinstance(norm, nn.BatchNorm2d)
    means = torch.stack([maps.mean((0, 2, 3)) for maps in seen]).mean(0)
    variances = torch.stack([maps.var((0, 2, 3)) for maps in seen]).mean(0)
    assert torch.allclose(norm.running_mean, means, atol=1e-6)
    assert torch.allclose(norm.running_var, variances, atol=1e-6)
    assert norm.momentum == 0.1
    assert not any(module.training for module in net.modules())
    assert all(torch.equal(a, b) for a, b in zip(weights, net.parameters(), strict=True))
