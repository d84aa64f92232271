"""A network for images of other bands than red, green and blue."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from segprune.errors import ConfigError
from segprune.model.contract import SegmentationNet
from segprune.shortage import shortage

_PROBE_HW = (64, 64)


def for_bands(
    net: SegmentationNet, mean: Sequence[float], std: Sequence[float], size_hw: tuple[int, int]
) -> SegmentationNet:
    """The network itself, for images of other bands.

    One that runs on images of so many bands is left as it is. Else each convolution that reads the image gets as
    many inputs as there are bands. Each of these has the mean of the filter's weights for red, green and blue,
    times 3 by the number of bands, so that what pretrained filters answer to brightness keeps its size. The
    normalisation becomes the one given.

    Args:
        net: Changed in place.
        mean: One of [0, 1] per band.
        std: Likewise, above 0.
        size_hw: (H, W) in px of images that it runs on.

    Raises:
        ConfigError: It does not run on so many bands and reads images by layers other than convolutions, or changes
            them before convolutions read them, so nobody knows how to change it.
    """
    before, count = (net.mean, net.std), len(mean)
    net.mean, net.std = after = [
        torch.tensor(tuple(values), dtype=net.mean.dtype, device=net.mean.device).view(1, count, 1, 1)
        for values in (mean, std)
    ]
    if count == before[0].shape[1] or (failure := _failure(net, size_hw)) is None:
        return net
    net.mean, net.std = before
    readers = _readers(net, size_hw)
    if not readers:
        raise _refused(net, count, failure) from failure
    for layer in readers:
        weight = layer.weight.detach().mean(1, keepdim=True) * (layer.in_channels / count)
        layer.weight = nn.Parameter(weight.repeat(1, count, 1, 1))
        layer.in_channels = count
    net.mean, net.std = after
    if failure := _failure(net, size_hw):
        raise _refused(net, count, failure) from failure
    return net


def _readers(net: SegmentationNet, size_hw: tuple[int, int]) -> list[nn.Conv2d]:
    """The convolutions that read the normalised image; none if another layer reads it too, or nothing runs."""
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
    try:
        failure = _failure(net, size_hw)
    finally:
        del net.normalise
        for hook in hooks:
            hook.remove()
    convolutions = [layer for layer in readers if isinstance(layer, nn.Conv2d) and layer.groups == 1]
    return [] if failure or len(convolutions) < len(readers) else convolutions


def _refused(net: SegmentationNet, count: int, failure: Exception) -> ConfigError:
    said = str(failure).partition("\n")[0]
    return ConfigError(
        f"dataset.bands is {count}: {type(net).__name__} does not run on such images ({said}), and does not read "
        "all of an image by plain convolutions alone, so it cannot be changed for them. Make it for them by an "
        f"argument of its own, as in 'model.args={{in_channels: {count}}}', or take another model."
    )


def _failure(net: SegmentationNet, size_hw: tuple[int, int]) -> Exception | None:
    """What a pass in eval mode ends in: on a small image, then on one of the given size; None if one of them runs.

    Raises:
        ConfigError: The network runs, and what it gives is wrong.
    """
    trained = [module for module in net.modules() if module.training]
    net.eval()
    failure = None
    try:
        for height, width in (_PROBE_HW, size_hw):
            image = torch.zeros(1, net.bands, height, width, dtype=net.mean.dtype, device=net.mean.device)
            try:
                with torch.no_grad():
                    net(image)
            except Exception as error:  # whatever a foreign forward raises
                if shortage(error, lambda _: None):
                    raise
                failure = error
            else:
                return None
    finally:
        for module in trained:
            module.training = True
    if isinstance(failure, ConfigError):
        raise failure
    return failure
