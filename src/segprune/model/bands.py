"""A network for images of other bands than red, green and blue."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from segprune.errors import ConfigError
from segprune.model.contract import SegmentationNet

_PROBE_HW = (64, 64)


def for_bands(
    net: SegmentationNet, mean: Sequence[float], std: Sequence[float], size_hw: tuple[int, int]
) -> SegmentationNet:
    """The network itself, changed to read images of other bands.

    Each convolution that reads the image gets as many inputs as there are bands. Each of these has the mean of the
    filter's weights for red, green and blue, times 3 by the number of bands, so that what pretrained filters answer
    to brightness keeps its size. For three bands the weights stay as they are. The normalisation becomes the one
    given.

    Args:
        net: For three bands; changed in place.
        mean: One of [0, 1] per band.
        std: Likewise, above 0.
        size_hw: (H, W) in px of images that it runs on.

    Raises:
        ConfigError: It reads images by layers other than convolutions, so nobody knows how to change them.
    """
    count = len(mean)
    if count != net.bands:
        for layer in _readers(net, size_hw):
            weight = layer.weight.detach().mean(1, keepdim=True) * (layer.in_channels / count)
            layer.weight = nn.Parameter(weight.repeat(1, count, 1, 1))
            layer.in_channels = count
    like = net.mean
    net.mean, net.std = (
        torch.tensor(tuple(values), dtype=like.dtype, device=like.device).view(1, count, 1, 1)
        for values in (mean, std)
    )
    return net


def _readers(net: SegmentationNet, size_hw: tuple[int, int]) -> list[nn.Conv2d]:
    """The convolutions whose input is the normalised image.

    Raises:
        ConfigError: There are none, or another layer reads it too.
    """
    images: list[Tensor] = []
    readers: dict[nn.Module, None] = {}

    def note(layer: nn.Module, inputs: tuple[object, ...]) -> None:
        first = inputs[0] if inputs else None
        if isinstance(first, Tensor) and any(first is image for image in images):
            readers[layer] = None

    leaves = [module for module in net.modules() if not list(module.children())]
    hooks = [leaf.register_forward_pre_hook(note) for leaf in leaves]
    normalise = net.normalise

    def noted(image: Tensor) -> Tensor:
        images.append(normalise(image))
        return images[-1]

    net.normalise = noted  # type: ignore[method-assign]
    trained = [module for module in net.modules() if module.training]
    net.eval()
    try:
        with torch.no_grad():
            _run(net, size_hw)
    finally:
        for module in trained:
            module.training = True
        del net.normalise
        for hook in hooks:
            hook.remove()
    convolutions = [layer for layer in readers if isinstance(layer, nn.Conv2d) and layer.groups == 1]
    if not convolutions or len(convolutions) < len(readers):
        raise ConfigError(
            f"the images have other than three bands, but {type(net).__name__} does not read images by plain "
            "convolutions alone, so it cannot be changed for them. Take another model."
        )
    return convolutions


def _run(net: SegmentationNet, size_hw: tuple[int, int]) -> None:
    """One pass, on a small image if the network runs on it."""
    like = net.mean
    try:
        net(torch.zeros(1, net.bands, *_PROBE_HW, dtype=like.dtype, device=like.device))
    except Exception:  # noqa: BLE001 - whatever a foreign forward raises
        net(torch.zeros(1, net.bands, *size_hw, dtype=like.dtype, device=like.device))
