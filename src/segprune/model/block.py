"""The convolution block and the initial weights of the networks that are built here."""

from torch import nn


def conv_bn_relu(in_channels: int, out_channels: int, *, kernel_size: int) -> nn.Sequential:
    """Convolution, batch norm, ReLU: (N, in_channels, H, W) -> (N, out_channels, H, W), for an odd kernel."""
    return nn.Sequential(
        # no bias: the norm behind has one
        nn.Conv2d(in_channels, out_channels, kernel_size, padding=kernel_size // 2, bias=False),
        nn.BatchNorm2d(out_channels),
        nn.ReLU(inplace=True),
    )


def initialise(module: nn.Module) -> None:
    """Draw every convolution of ``module`` anew from the global generator; its biases become 0.

    Norms keep PyTorch's own start, scale 1 and shift 0.

    Source: arXiv:1502.01852, section 2.2, forward case. Differs: a transposed convolution
    whose kernel equals its stride adds up its input channels once per pixel, so that is its fan.
    """
    for layer in module.modules():
        if isinstance(layer, nn.ConvTranspose2d):
            nn.init.normal_(layer.weight, std=(2 / layer.in_channels) ** 0.5)
        elif isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, mode="fan_in", nonlinearity="relu")
        if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d) and layer.bias is not None:
            nn.init.zeros_(layer.bias)


def level_widths(*, width: int, max_width: int, depth: int) -> tuple[int, ...]:
    """Channels of ``depth`` resolution levels: doubled at every halving of the size, up to ``max_width``."""
    return tuple(min(width * 2**level, max_width) for level in range(depth))
