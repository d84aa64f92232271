import onnx
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from segprune.deploy.onnx_file import write_onnx
from segprune.deploy.parity import parity
from segprune.deploy.runtime import open_runner
from segprune.model.simple_segnet import (
    SimpleSegNet,
    pool_by_comparison,
    pool_by_index,
    simple_segnet,
    unpool,
)
from tests.model.battery import NUM_CLASSES, CutBattery, ModelBattery


def small(**changed) -> SimpleSegNet:
    keys = {"width": 8, "max_width": 16, "depth": 3, "convs_per_level": 2}
    return simple_segnet(**(keys | changed), num_classes=NUM_CLASSES)


class TestSimpleSegNet(ModelBattery):
    build = staticmethod(small)


class TestSimpleSegNetCut(CutBattery):
    build = staticmethod(small)


@pytest.mark.parametrize("size_hw", [(8, 8), (9, 12), (7, 11)])
@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_unpool_is_that_of_pytorch(size_hw, memory_format):
    features = torch.randn(2, 3, *size_hw).to(memory_format=memory_format)
    pooled, indices = F.max_pool2d(features, 2, return_indices=True)
    expected = nn.MaxUnpool2d(2)(pooled, indices, output_size=size_hw)
    assert torch.equal(unpool(pooled, indices, size_hw=size_hw), expected)


def test_unpool_puts_the_maximum_back_and_zeros_elsewhere():
    features = torch.tensor([[1.0, 2.0, 0.5], [4.0, 3.0, 9.0]]).view(1, 1, 2, 3)
    pooled, indices = F.max_pool2d(features, 2, return_indices=True)  # the third column has no partner
    result = unpool(pooled, indices, size_hw=(2, 3))
    assert torch.equal(result[0, 0], torch.tensor([[0.0, 0.0, 0.0], [4.0, 0.0, 0.0]]))


@pytest.mark.parametrize("size_hw", [(8, 8), (9, 12), (7, 11)])
def test_pooling_by_comparison_is_that_by_index_to_the_last_bit(size_hw):
    # rounded ReLU features: many windows hold their maximum more than once, and then the first one counts
    features = (
        torch.randn(2, 3, *size_hw, generator=torch.Generator().manual_seed(0)).relu().round(decimals=1)
    )
    values = torch.randn(2, 3, size_hw[0] // 2, size_hw[1] // 2)
    (pooled, put_back), (expected, put_back_by_index) = pool_by_comparison(features), pool_by_index(features)
    assert torch.equal(pooled, expected)
    assert torch.equal(put_back(values), put_back_by_index(values))


@pytest.mark.parametrize("size_hw", [(32, 48), (37, 41)])
def test_its_onnx_file_has_no_scatter_and_no_indices(tmp_path, size_hw):
    net = small().eval()
    path = tmp_path / "net.onnx"
    write_onnx(net, path, size_hw=size_hw, fast=True)
    nodes = onnx.load(path).graph.node
    assert not any("Scatter" in node.op_type for node in nodes)
    assert {len(node.output) for node in nodes if node.op_type == "MaxPool"} == {1}
    assert parity(net, open_runner(path), [torch.rand(2, 3, *size_hw)]).relative_error < 1e-5


def test_gradient_of_unpool_reads_only_the_placed_positions():
    pooled = torch.tensor([[5.0, 7.0]]).view(1, 1, 1, 2).requires_grad_()
    indices = torch.tensor([[3, 6]]).view(1, 1, 1, 2)
    upstream = torch.arange(8.0).view(1, 1, 2, 4)
    unpool(pooled, indices, size_hw=(2, 4)).backward(upstream)
    assert torch.equal(pooled.grad.flatten(), torch.tensor([3.0, 6.0]))


def test_every_unpooled_feature_is_tied_to_its_pooling_only_while_tracing():
    # one level: the pooled features reach the logits by the decoder; traced, also by an addition of 0
    net = small(depth=1).eval()
    image = torch.rand(1, 3, 32, 32)

    def additions(logits):
        stack, seen = [logits.grad_fn], set()
        while stack:
            node = stack.pop()
            if node is not None and node not in seen:
                seen.add(node)
                stack += [parent for parent, _ in node.next_functions]
        return sum(node.name() == "AddBackward0" for node in seen)

    assert additions(net(image)) == 0
    assert additions(net.traced_logits(image)[0]) == 1


def test_parameters_match_the_count_by_hand():
    # widths 8, 16, one convolution each: encoder 3*8*9 + 8*16*9 = 1368, decoder 16*8*9 + 8*8*9 = 1728,
    # norms 2*(8 + 16 + 8 + 8) = 80, classifier 8*5 + 5 = 45
    net = small(depth=2, convs_per_level=1)
    assert sum(parameter.numel() for parameter in net.parameters()) == 1368 + 1728 + 80 + 45


def test_deepest_network_accepts_an_image_of_32_px():
    net = small(depth=5).eval()
    with torch.no_grad():
        assert net(torch.rand(1, 3, 32, 35)).shape == (1, NUM_CLASSES, 32, 35)
