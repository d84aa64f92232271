import pytest
import torch
from torchvision.models import resnet50, segmentation

from segprune.model.torchvision_seg import (
    deeplabv3_resnet50,
    deeplabv3_resnet101,
    fcn_resnet50,
    fcn_resnet101,
)
from tests.model.battery import NUM_CLASSES, CutBattery, ModelBattery


def with_aux(builder):
    return builder(aux=True, weights="none", num_classes=NUM_CLASSES)


class TestDeepLabV3ResNet50(ModelBattery):
    @staticmethod
    def build():
        return with_aux(deeplabv3_resnet50)


@pytest.mark.slow
class TestDeepLabV3ResNet50Cut(CutBattery):
    @staticmethod
    def build():
        return with_aux(deeplabv3_resnet50)


@pytest.mark.parametrize(
    ("builder", "original"),
    [
        (deeplabv3_resnet50, segmentation.deeplabv3_resnet50),
        pytest.param(fcn_resnet50, segmentation.fcn_resnet50, marks=pytest.mark.slow),
        pytest.param(deeplabv3_resnet101, segmentation.deeplabv3_resnet101, marks=pytest.mark.slow),
        pytest.param(fcn_resnet101, segmentation.fcn_resnet101, marks=pytest.mark.slow),
    ],
)
def test_both_heads_are_those_of_torchvision(builder, original):
    """So one battery does for the four: they differ in nothing but what torchvision builds."""
    net = with_aux(builder).eval()
    theirs = original(weights=None, weights_backbone=None, num_classes=NUM_CLASSES, aux_loss=True).eval()
    theirs.load_state_dict(net.state_dict())
    image = torch.rand(1, 3, 64, 75)
    with torch.no_grad():
        main, aux = net.all_logits(image)
        expected = theirs((image - net.mean) / net.std)
    torch.testing.assert_close(main, expected["out"])
    torch.testing.assert_close(aux, expected["aux"])


def test_without_aux_there_is_one_head():
    net = fcn_resnet50(aux=False, weights="none", num_classes=NUM_CLASSES).eval()
    with torch.no_grad():
        (main,) = net.all_logits(torch.rand(1, 3, 32, 32))
    assert main.shape == (1, NUM_CLASSES, 32, 32)
    assert net.training_only == ()
    assert not any(name.startswith("aux_classifier") for name, _ in net.named_parameters())


def test_classifier_weights_of_a_resnet_fill_the_backbone(tmp_path):
    trained = resnet50(weights=None)
    torch.save(trained.state_dict(), tmp_path / "resnet50.pth")
    net = fcn_resnet50(aux=False, weights=tmp_path / "resnet50.pth", num_classes=NUM_CLASSES)
    ours = net.backbone.state_dict()
    assert set(trained.state_dict()) - set(ours) == {"fc.weight", "fc.bias"}
    assert all(torch.equal(value, trained.state_dict()[name]) for name, value in ours.items())
