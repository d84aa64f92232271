import pytest
import torch
from torchvision.models import resnet50

from segprune.errors import CheckpointError
from segprune.model.resnet_seg import resnet50_seg, resnet101_seg
from tests.model.battery import NUM_CLASSES, CutBattery, ModelBattery


def build50(**changed):
    keys = {"output_stride": 16, "head_channels": 32, "weights": "none", "num_classes": NUM_CLASSES}
    return resnet50_seg(**(keys | changed))


def build101():
    return resnet101_seg(output_stride=16, head_channels=32, weights="none", num_classes=NUM_CLASSES)


class TestResNet50Seg(ModelBattery):
    build = staticmethod(build50)


@pytest.mark.slow
class TestResNet101SegCut(CutBattery):
    build = staticmethod(build101)


@pytest.mark.parametrize("output_stride", [8, 16, 32])
def test_encoder_has_the_asked_output_stride(output_stride):
    net = build50(output_stride=output_stride).eval()
    with torch.no_grad():
        features = net.encoder(torch.rand(1, 3, 64, 96))
    assert features.shape == (1, 2048, 64 // output_stride, 96 // output_stride)


def test_classifier_weights_of_a_resnet_fill_the_encoder_and_give_its_features(tmp_path):
    trained = resnet50(weights=None).eval()
    torch.save(trained.state_dict(), tmp_path / "resnet50.pth")
    net = build50(output_stride=32, weights=tmp_path / "resnet50.pth").eval()
    image = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        classes = trained.fc(net.encoder(image).mean(dim=(2, 3)))
        torch.testing.assert_close(classes, trained(image))


def test_weights_of_another_depth_are_refused(tmp_path):
    # stage 3 has 6 blocks in ResNet-50 and 23 in ResNet-101
    state = resnet50(weights=None).state_dict() | {"layer3.6.conv1.weight": torch.zeros(256, 1024, 1, 1)}
    torch.save(state, tmp_path / "resnet101.pth")
    with pytest.raises(CheckpointError, match=r"resnet101\.pth, which does not fit .* unexpected: layer3\.6"):
        build50(weights=tmp_path / "resnet101.pth")
