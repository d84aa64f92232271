"""The networks that are tried, by name."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from torch import nn

from segprune.model.contract import SegmentationNet
from segprune.model.smp import smp
from segprune.model.torchvision_named import torchvision as by_name
from segprune.model.transformers_named import transformers
from segprune.model.wrapped import Wrapped
from tests.networks.realtime import BiSeNetV2, ENet, ESPNet, FastSCNN

CLASSES = 5
PLAIN: dict[str, Any] = {
    "mean": "imagenet",
    "std": "imagenet",
    "checkpoint": None,
    "allow": (),
    "num_classes": CLASSES,
}
DECODERS = (
    *(
        "Unet",
        "UnetPlusPlus",
        "MAnet",
        "Linknet",
        "FPN",
        "PSPNet",
        "DeepLabV3",
        "DeepLabV3Plus",
        "PAN",
        "UPerNet",
    ),
    *("Segformer", "DPT"),
)
ENCODERS = (
    *(
        "mobilenet_v2",
        "efficientnet-b0",
        "densenet121",
        "vgg11_bn",
        "mit_b0",
        "resnext50_32x4d",
        "se_resnet50",
        "dpn68",
    ),
    *("timm-regnetx_002", "mobileone_s0", "xception", "inceptionv4"),
    *(
        "tu-mobilenetv3_small_100",
        "tu-regnety_002",
        "tu-convnext_atto",
        "tu-hrnet_w18_small",
        "tu-ghostnetv2_100",
    ),
    *("tu-repvgg_a0", "tu-edgenext_xx_small", "tu-efficientvit_b0"),
)
TORCHVISION = (
    *("lraspp_mobilenet_v3_large", "deeplabv3_mobilenet_v3_large", "deeplabv3_resnet50", "fcn_resnet50"),
    *("deeplabv3_resnet101", "fcn_resnet101"),
)
TRANSFORMERS = ("segformer", "mobilevit", "mobilenet_v2", "upernet")
REALTIME: tuple[type[nn.Module], ...] = (FastSCNN, BiSeNetV2, ENet, ESPNet)


def zoo() -> Iterator[tuple[str, Callable[[], SegmentationNet]]]:
    """Name -> how it is made, with random weights; the small ones first."""
    for kind in REALTIME:
        yield kind.__name__, partial(_wrapped, kind)
    for name in TORCHVISION[:2]:
        yield f"torchvision {name}", partial(by_name, name=name, weights="none", aux=False, **PLAIN)
    for arch in DECODERS:
        encoder = "tu-vit_tiny_patch16_224" if arch == "DPT" else "resnet18"
        yield f"smp {arch} {encoder}", partial(_smp, arch, encoder)
    for encoder in ENCODERS:
        yield f"smp Unet {encoder}", partial(_smp, "Unet", encoder)
    for arch, encoder in (
        ("FPN", "mobilenet_v2"),
        ("PSPNet", "mobilenet_v2"),
        ("Segformer", "mit_b0"),
        ("DeepLabV3Plus", "efficientnet-b0"),
    ):
        yield f"smp {arch} {encoder}", partial(_smp, arch, encoder)
    for name in TRANSFORMERS:
        yield f"transformers {name}", partial(transformers, name=name, weights="none", args=None, **PLAIN)
    for name in TORCHVISION[2:]:
        yield f"torchvision {name}", partial(by_name, name=name, weights="none", aux=True, **PLAIN)


def _wrapped(kind: type[nn.Module]) -> SegmentationNet:
    return Wrapped(kind(CLASSES), num_classes=CLASSES)  # type: ignore[call-arg]


def _smp(arch: str, encoder: str) -> SegmentationNet:
    return smp(arch=arch, encoder=encoder, weights="none", args=None, **PLAIN)
