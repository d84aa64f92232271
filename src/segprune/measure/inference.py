"""One pass of networks over a split, image by image."""

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor
from tqdm import tqdm

from segprune import stop
from segprune.dataset.contract import Items
from segprune.dataset.loading import batches
from segprune.measure.eval_mode import eval_mode
from segprune.measure.passes import ONE_PASS, Passes
from segprune.model.contract import Predicts


@dataclass(frozen=True, kw_only=True)
class View:
    """One image as one network sees it, at the label's own size.

    Attributes:
        net: Position of the network.
        image: Position of the image in the split.
        label: (..., h, w), as the items give it.
        logits: (K, h, w) float32.
        reference: (K, h, w) float32, those of the reference network.
        prediction: (h, w) int64, the class with the largest logit, the first one of equals.
        expected: (h, w) integer, that of the reference network.
    """

    net: int
    image: int
    label: Tensor
    logits: Tensor
    reference: Tensor
    prediction: Tensor
    expected: Tensor


def infer(  # noqa: PLR0913 - all but four by name
    nets: Sequence[Predicts],
    reference: Predicts,
    items: Items,
    visit: Callable[[View], None],
    *,
    batch_size: int,
    workers: int,
    device: torch.device,
    passes: Passes = ONE_PASS,
) -> None:
    """Show every image to every network, side by side with a reference network that runs once per image.

    Float32, computed as TF32 by convolutions on NVIDIA GPUs, torch's default. Logits
    are upsampled bilinearly (``align_corners=False``) before the argmax. The networks run in evaluation mode;
    their training flags are restored.

    Args:
        nets: On ``device``; the reference may be one of them.
        reference: On ``device``.
        items: Images (3, H, W) and labels (..., h, w), not necessarily of one size.
        visit: Called in inference mode for every view: batch by batch, in it network by network and image by image.
        batch_size: Most images in one forward pass.
        workers: Loading processes; 0 loads in this process.
        device: Where the networks are.
        passes: How every image is shown to a network.
    """
    first = 0
    loader = batches(items, batch_size=batch_size, workers=workers, pin_memory=device.type == "cuda")
    with ExitStack() as modes, torch.inference_mode(), torch.autocast(device.type, enabled=False):
        for net in (reference, *nets):
            modes.enter_context(eval_mode(net))
        # disable=None: a bar on a terminal, nothing in a log file
        for image, label in tqdm(loader, desc="evaluate", unit="batch", leave=False, disable=None):
            stop.if_asked()
            pixels, target = _on_device(image, device), label.to(device, non_blocking=True)
            outputs = passes(reference, pixels).float()  # (N, K, H', W')
            expected: list[Tensor] = []
            for position, net in enumerate(nets):
                logits = outputs if net is reference else passes(net, pixels).float()
                for index, truth in enumerate(target):  # one at a time: 19 classes at 1024x2048 are 160 MB
                    own = _resized(logits[index], truth)
                    prediction = _largest(own)
                    other = own if net is reference else _resized(outputs[index], truth)
                    if position == 0:
                        expected.append((prediction if net is reference else _largest(other)).short())
                    visit(
                        View(
                            net=position,
                            image=first + index,
                            label=truth,
                            logits=own,
                            reference=other,
                            prediction=prediction,
                            expected=expected[index],
                        )
                    )
            first += len(target)


def _on_device(image: Tensor, device: torch.device) -> Tensor:
    """The images where the networks are; channels last like the networks."""
    return image.to(device, memory_format=torch.channels_last, non_blocking=True)


def _largest(logits: Tensor) -> Tensor:
    """(K, h, w) -> (h, w) int64, as ``argmax``, which takes five times as long on a CPU."""
    return logits.max(dim=0).indices


def _resized(logits: Tensor, label: Tensor) -> Tensor:
    """(K, H', W') logits -> (K, h, w), the label's size; of that size already, they are what resizing gives."""
    size = (label.shape[-2], label.shape[-1])
    if logits.shape[1:] == size:
        return logits.contiguous()
    return F.interpolate(logits[None], size=size, mode="bilinear", align_corners=False)[0]
