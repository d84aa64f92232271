"""A network made ready to be timed: ways to run it in this process."""

import torch
from torch import Tensor, nn

from segprune.model.contract import Predicts
from segprune.model.copies import channels_last, duplicate

_UNTIMED_PASSES = 3
"""Before a capture: libraries choose their kernels and take their memory in the first passes."""


def eager(net: Predicts, device: torch.device) -> Predicts:
    """A copy as PyTorch runs it: evaluation mode, channels-last, float32; what is no module runs as it is."""
    return _copy(net, device) if isinstance(net, nn.Module) else net


def half(net: nn.Module, device: torch.device) -> Predicts:
    """As ``eager``, in float16 from the images to the logits; the images are cast in the pass."""
    ready = _copy(net, device).half()
    return lambda image: ready(image.half())


def graphed(run: Predicts, image: Tensor) -> Predicts:
    """A runner as one CUDA graph: its kernels are launched together, so that the CPU does not hold the GPU up.

    Args:
        run: On the GPU; it must do the same for all images of this size.
        image: (N, 3, H, W) on the GPU, of the size that all images will have.

    Returns:
        A runner that writes over the logits it gave before.
    """
    own = image.to(memory_format=torch.channels_last, copy=True)  # as all images come
    with torch.inference_mode(), torch.cuda.device(image.device):
        side = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):  # as torch's notes on CUDA graphs ask for
            for _ in range(_UNTIMED_PASSES):
                run(own)
        torch.cuda.current_stream().wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            logits = run(own)

    def replay(images: Tensor) -> Tensor:
        own.copy_(images)
        graph.replay()
        return logits

    return replay


def _copy(net: nn.Module, device: torch.device) -> nn.Module:
    return channels_last(duplicate(net).to(device)).eval()
