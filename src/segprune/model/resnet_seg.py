"""A ResNet encoder with a small convolutional head: the plainest network for a pruning study of ResNets."""

from collections import OrderedDict
from typing import Literal

from pydantic import PositiveInt
from torch import Tensor, nn
from torchvision.models import ResNet, resnet50, resnet101

from segprune.model.backbone_weights import Weights, load_backbone, resnet_imagenet
from segprune.model.block import conv_bn_relu, initialise
from segprune.model.contract import SegmentationNet
from segprune.model.resize import upsampled

OutputStride = Literal[8, 16, 32]
DILATED_STAGES = {8: [False, True, True], 16: [False, False, True], 32: [False, False, False]}


class ResNetSeg(SegmentationNet):
    """ResNet without its classifier, then 3x3 convolution, batch norm, ReLU, 1x1 classifier, upsampling.

    ``encoder.*`` has torchvision's parameter names.
    """

    def __init__(self, *, resnet: ResNet, head_channels: int, num_classes: int) -> None:
        super().__init__()
        features = resnet.fc.in_features
        # the last two children are the pooling and the classifier
        self.encoder = nn.Sequential(OrderedDict(list(resnet.named_children())[:-2]))
        self.head = nn.Sequential(
            conv_bn_relu(features, head_channels, kernel_size=3), nn.Conv2d(head_channels, num_classes, 1)
        )
        initialise(self.head)

    def forward(self, image: Tensor) -> Tensor:
        """(N, 3, H, W) in [0, 1] -> logits (N, K, H, W)."""
        features = self.encoder(self.normalise(image))  # (N, 2048, H/S, W/S), S the output stride
        logits = self.head(features)  # (N, K, H/S, W/S)
        return upsampled(logits, image)


def resnet50_seg(
    *, output_stride: OutputStride, head_channels: PositiveInt, weights: Weights, num_classes: PositiveInt
) -> ResNetSeg:
    """ResNet-50 with a small head.

    Args:
        output_stride: Image px per feature px; the stages beyond it are dilated instead of strided.
        head_channels: Channels of the head's 3x3 convolution.
        weights: Of the encoder: ``none``, ``imagenet`` or the path of a torchvision ResNet-50 state dict.
        num_classes: K.

    Source: encoder: ResNet, arXiv:1512.03385, dilated as in dilated residual networks, arXiv:1705.09914.
    """
    return _resnet_seg(
        resnet50(weights=None, replace_stride_with_dilation=DILATED_STAGES[output_stride]),
        head_channels=head_channels,
        weights=weights,
        depth=50,
        num_classes=num_classes,
    )


def resnet101_seg(
    *, output_stride: OutputStride, head_channels: PositiveInt, weights: Weights, num_classes: PositiveInt
) -> ResNetSeg:
    """ResNet-101 with a small head; arguments and source as ``resnet50_seg``."""
    return _resnet_seg(
        resnet101(weights=None, replace_stride_with_dilation=DILATED_STAGES[output_stride]),
        head_channels=head_channels,
        weights=weights,
        depth=101,
        num_classes=num_classes,
    )


def _resnet_seg(
    resnet: ResNet, *, head_channels: int, weights: Weights, depth: Literal[50, 101], num_classes: int
) -> ResNetSeg:
    net = ResNetSeg(resnet=resnet, head_channels=head_channels, num_classes=num_classes)
    load_backbone(net.encoder, weights, imagenet=lambda: resnet_imagenet(depth), not_used=("fc.",))
    return net
