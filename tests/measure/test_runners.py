import pytest
import torch
from torch import Tensor

from segprune.measure.runners import eager, graphed, half
from tests.gpus import with_gpus, without_memory
from tests.toys import Residual

CPU = torch.device("cpu")


def test_a_network_runs_as_a_copy_in_evaluation_mode_and_channels_last() -> None:
    net = Residual().train()
    net.stem[0].eval()
    ready = eager(net, CPU)
    assert ready is not net
    assert isinstance(ready, Residual)
    assert not any(module.training for module in ready.modules())
    assert ready.stem[0].weight.is_contiguous(memory_format=torch.channels_last)
    image = torch.rand(2, 3, 8, 8)
    assert (net.training, net.stem[0].training) == (True, False)
    assert net.stem[0].weight.is_contiguous()
    assert torch.allclose(ready(image), net.eval()(image), atol=1e-6)


def test_what_is_no_module_runs_as_it_is() -> None:
    def run(image: Tensor) -> Tensor:
        return image

    assert eager(run, CPU) is run


def test_half_precision_is_float16_from_the_images_on() -> None:
    net = Residual().eval()
    image = torch.rand(1, 3, 8, 8)
    with torch.no_grad():
        logits = half(net, CPU)(image)
        assert logits.dtype == torch.float16
        assert torch.allclose(logits.float(), net(image), atol=0.02)
    assert next(net.parameters()).dtype == torch.float32


def test_on_a_gpu_all_of_a_network_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    with_gpus(monkeypatch, 1)
    device = torch.device("cuda", 0)
    monkeypatch.setattr("segprune.measure.runners.duplicate", lambda net: net)  # there are no fake copies
    with without_memory(), torch.no_grad():
        image = torch.rand(1, 3, 8, 8, device=device)
        assert eager(Residual(), device)(image).device == device
        logits = half(Residual(), device)(image)
    assert (logits.device, logits.dtype) == (device, torch.float16)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_graph_gives_what_the_network_gives() -> None:
    device = torch.device("cuda", 0)
    run = eager(Residual(), device)
    first, second = (torch.rand(1, 3, 8, 8, device=device) for _ in range(2))
    replay = graphed(run, first)
    with torch.inference_mode():
        assert torch.allclose(replay(first), run(first), atol=1e-5)
        assert torch.allclose(replay(second), run(second), atol=1e-5)
