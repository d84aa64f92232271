import pytest
import torch

from segprune.model.unet import UNet, unet
from tests.model.battery import NUM_CLASSES, CutBattery, ModelBattery


def small(**changed) -> UNet:
    keys = {"width": 8, "max_width": 24, "depth": 4, "convs_per_level": 1, "upsample": "bilinear"}
    return unet(**(keys | changed), num_classes=NUM_CLASSES)


class TestBilinear(ModelBattery):
    build = staticmethod(small)


class TestTransposed(ModelBattery):
    @staticmethod
    def build():
        return small(upsample="transposed", convs_per_level=2)


class TestBilinearCut(CutBattery):
    build = staticmethod(small)


class TestTransposedCut(CutBattery):
    @staticmethod
    def build():
        return small(upsample="transposed", convs_per_level=2)


def test_bilinear_parameters_match_the_count_by_hand():
    # widths 8, 16: encoder 3*8*9 + 8*16*9 = 1368, decoder (16 + 8)*8*9 = 1728, classifier 8*5 + 5 = 45,
    # norms 2*(8 + 16 + 8) = 64
    net = small(depth=2)
    assert sum(parameter.numel() for parameter in net.parameters()) == 1368 + 1728 + 45 + 64


def test_transposed_parameters_match_the_count_by_hand():
    # as above, but 16*8*4 = 512 to upsample with a norm of 2*8, after which the decoder reads 8 + 8 channels
    net = small(depth=2, upsample="transposed")
    assert sum(parameter.numel() for parameter in net.parameters()) == 1368 + 16 * 8 * 9 + 45 + 64 + 512 + 16


@pytest.mark.parametrize("upsample", ["bilinear", "transposed"])
@pytest.mark.parametrize("depth", [2, 3, 6])
def test_any_depth_accepts_an_image_of_32_px(depth, upsample):
    net = small(depth=depth, upsample=upsample).eval()
    with torch.no_grad():
        assert net(torch.rand(1, 3, 32, 35)).shape == (1, NUM_CLASSES, 32, 35)


def test_skip_carries_detail_that_pooling_loses():
    # with the deepest level silenced the logits still change where the image does
    net = small(depth=2).eval()
    for parameter in net.encoder[1].parameters():
        torch.nn.init.zeros_(parameter)
    image = torch.zeros(1, 3, 32, 32)
    changed = image.clone()
    changed[..., 16, 16] = 1
    with torch.no_grad():
        difference = (net(changed) - net(image)).abs().sum(dim=1)[0]
    # two 3x3 convolutions see 2 px in each direction
    assert difference[14:19, 14:19].max() > 0
    difference[14:19, 14:19] = 0
    assert difference.max() == 0
