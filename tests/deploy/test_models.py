"""Every configured network is, once it is cut, in its file what it is in PyTorch; some are tried dense too."""

from pathlib import Path

import pytest
import torch
from omegaconf import OmegaConf

from segprune.config.component import component
from segprune.deploy.onnx_file import write_onnx
from segprune.deploy.parity import parity
from segprune.deploy.runtime import RUNTIMES, open_runner
from segprune.graph.cut import cut
from segprune.graph.trace import trace
from segprune.model.contract import SegmentationNet
from tests.test_conf import CONF

OTHERS = {"module", "smp", "torchvision", "transformers"}
"""These take a network by its name."""
MODELS = sorted(
    path.stem
    for path in (CONF / "model").glob("*.yaml")
    if path.stem not in OTHERS and "101" not in path.stem
)
"""With 101 layers a network has 17 blocks more of what that with 50 has."""
BY_DYNAMO = ["unet", "simple_segnet", "lite0_fpn"]
"""The exporter of the stage takes 4 to 14 s of a core for each; the quick one stands in for the others."""
SIZE_HW = (64, 96)


LIBRARIES = {
    "FPN of resnet18": {"_option": "smp", "arch": "FPN", "encoder": "resnet18"},
    "UnetPlusPlus of mobilenet_v2": {"_option": "smp", "arch": "UnetPlusPlus", "encoder": "mobilenet_v2"},
    "lraspp_mobilenet_v3_large": {"_option": "torchvision", "name": "lraspp_mobilenet_v3_large"},
    "deeplabv3_mobilenet_v3_large": {"_option": "torchvision", "name": "deeplabv3_mobilenet_v3_large"},
}
"""Networks of libraries -> the option of the group ``model`` and what is given besides."""


def network(name: str, given: dict[str, str] | None = None) -> SegmentationNet:
    """Without pretrained weights: logits that differ from image to image are all that is needed."""
    node = OmegaConf.to_container(OmegaConf.load(CONF / "model" / f"{name}.yaml"))
    keys = {**node, **({"weights": "none"} if "weights" in node else {}), **(given or {})}
    keys.pop("defaults", None)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = component(keys, "model", runtime=("num_classes",))(num_classes=11)
        net.train()(torch.rand(2, 3, *SIZE_HW))  # norms have statistics of their own
    return net.eval()


def half(net: SegmentationNet) -> SegmentationNet:
    return cut(net, {group.name: tuple(range(0, group.size // 2)) for group in trace(net)})


def check(net: SegmentationNet, path: Path, *, fast: bool) -> None:
    write_onnx(net, path, size_hw=SIZE_HW, fast=fast)
    draw = torch.Generator().manual_seed(0)  # rounding decides which of two nearly equal pixels a pool takes
    images = [torch.rand(n, 3, *SIZE_HW, generator=draw) for n in (2, 1)]
    for runtime in RUNTIMES:
        found = parity(net, open_runner(path, runtime), images)
        assert found.max_abs_logit > 0.01, runtime
        assert found.relative_error < 2e-5, runtime


@pytest.mark.slow
@pytest.mark.parametrize("name", MODELS)
def test_cut_by_the_quick_exporter(tmp_path: Path, name: str) -> None:
    check(half(network(name)), tmp_path / "cut.onnx", fast=True)


@pytest.mark.slow
@pytest.mark.parametrize("name", BY_DYNAMO)
def test_dense_by_the_quick_exporter(tmp_path: Path, name: str) -> None:
    """The others have the same operations dense and cut; these are quick to write."""
    check(network(name), tmp_path / "dense.onnx", fast=True)


@pytest.mark.slow
@pytest.mark.parametrize("name", BY_DYNAMO)
def test_cut_by_the_exporter_of_the_stage(tmp_path: Path, name: str) -> None:
    check(half(network(name)), tmp_path / "cut.onnx", fast=False)


@pytest.mark.slow
@pytest.mark.parametrize("name", LIBRARIES)
def test_networks_of_libraries_cut(tmp_path: Path, name: str) -> None:
    given = dict(LIBRARIES[name])
    option = given.pop("_option")
    pytest.importorskip({"smp": "segmentation_models_pytorch"}.get(option, option))
    check(half(network(option, given)), tmp_path / "cut.onnx", fast=True)
