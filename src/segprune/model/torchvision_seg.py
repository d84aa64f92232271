"""DeepLabV3 and FCN with dilated ResNets, from torchvision's own modules."""

from typing import Literal

from pydantic import PositiveInt
from torch import Tensor, nn
from torchvision.models import segmentation

from segprune.model.backbone_weights import Weights, load_backbone, resnet_imagenet
from segprune.model.contract import SegmentationNet
from segprune.model.resize import upsampled


class TorchvisionSeg(SegmentationNet):
    """Dilated ResNet of output stride 8 with a head on its last stage and, if wanted, an auxiliary one on stage 3.

    Parameter names are torchvision's: ``backbone.*``, ``classifier.*``, ``aux_classifier.*``.
    """

    def __init__(
        self, *, backbone: nn.Module, classifier: nn.Module, aux_classifier: nn.Module | None
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.classifier = classifier
        self.aux_classifier = aux_classifier
        self.training_only = () if aux_classifier is None else ("aux_classifier",)

    def forward(self, image: Tensor) -> Tensor:
        """(N, 3, H, W) in [0, 1] -> logits (N, K, H, W) of the main head."""
        features = self.backbone(self.normalise(image))
        return upsampled(self.classifier(features["out"]), image)

    def all_logits(self, image: Tensor) -> tuple[Tensor, ...]:
        """(N, 3, H, W) -> logits (N, K, H, W) of the main head and, where there is one, the auxiliary head.

        In training mode DeepLabV3 needs N >= 2, since it normalises a map of 1x1 pixels.
        """
        features = self.backbone(self.normalise(image))
        main = upsampled(self.classifier(features["out"]), image)
        if self.aux_classifier is None:
            return (main,)
        return (main, upsampled(self.aux_classifier(features["aux"]), image))


def deeplabv3_resnet50(*, aux: bool, weights: Weights, num_classes: PositiveInt) -> TorchvisionSeg:
    """DeepLabV3 on ResNet-50, output stride 8.

    Args:
        aux: Whether training also runs an FCN head on stage 3.
        weights: Of the backbone: ``none``, ``imagenet`` or the path of a torchvision ResNet-50 state dict.
        num_classes: K.

    Source: DeepLabv3, arXiv:1706.05587.
    """
    net = segmentation.deeplabv3_resnet50(
        weights=None, weights_backbone=None, num_classes=num_classes, aux_loss=aux
    )
    return _with_weights(net, weights, depth=50)


def deeplabv3_resnet101(*, aux: bool, weights: Weights, num_classes: PositiveInt) -> TorchvisionSeg:
    """DeepLabV3 on ResNet-101, output stride 8; arguments and source as ``deeplabv3_resnet50``."""
    net = segmentation.deeplabv3_resnet101(
        weights=None, weights_backbone=None, num_classes=num_classes, aux_loss=aux
    )
    return _with_weights(net, weights, depth=101)


def fcn_resnet50(*, aux: bool, weights: Weights, num_classes: PositiveInt) -> TorchvisionSeg:
    """FCN head on a dilated ResNet-50, output stride 8; arguments as ``deeplabv3_resnet50``.

    Source: FCN, arXiv:1411.4038. Differs, as torchvision does: a dilated ResNet, no skips.
    """
    net = segmentation.fcn_resnet50(
        weights=None, weights_backbone=None, num_classes=num_classes, aux_loss=aux
    )
    return _with_weights(net, weights, depth=50)


def fcn_resnet101(*, aux: bool, weights: Weights, num_classes: PositiveInt) -> TorchvisionSeg:
    """FCN head on a dilated ResNet-101, output stride 8; arguments and source as ``fcn_resnet50``."""
    net = segmentation.fcn_resnet101(
        weights=None, weights_backbone=None, num_classes=num_classes, aux_loss=aux
    )
    return _with_weights(net, weights, depth=101)


def _with_weights(
    net: segmentation.FCN | segmentation.DeepLabV3, weights: Weights, *, depth: Literal[50, 101]
) -> TorchvisionSeg:
    load_backbone(net.backbone, weights, imagenet=lambda: resnet_imagenet(depth), not_used=("fc.",))
    return TorchvisionSeg(backbone=net.backbone, classifier=net.classifier, aux_classifier=net.aux_classifier)
