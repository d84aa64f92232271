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
from segprune.model.contract import Predicts


@dataclass(frozen=True, kw_only=True)
class View:
    """One image as one network sees it, at the label's own size.

    Attributes:
        net: Position of the network.
        image: Position of the image in the split.
        label: (h, w) int64.
        logits: (K, h, w) float32.
        reference: (K, h, w) float32, those of the reference network.
        prediction: (h, w) int64, the class with the largest logit.
    """

    net: int
    image: int
    label: Tensor
    logits: Tensor
    reference: Tensor
    prediction: Tensor


def infer(
    nets: Sequence[Predicts],
    reference: Predicts,
    items: Items,
    visit: Callable[[View], None],
    *,
    batch_size: int,
    workers: int,
    device: torch.device,
) -> None:
    """Show every image to every network, side by side with a reference network that runs once per image.

    Single scale, no flip, float32, computed as TF32 by convolutions on NVIDIA GPUs, torch's default. Logits
    are upsampled bilinearly (``align_corners=False``) before the argmax. The networks run in evaluation mode;
    their training flags are restored.

    Args:
        nets: On ``device``; the reference may be one of them.
        reference: On ``device``.
        items: Images (3, H, W) and labels (h, w), not necessarily of one size.
        visit: Called in inference mode for every view: batch by batch, in it network by network and image by image.
        batch_size: Most images in one forward pass.
        workers: Loading processes; 0 loads in this process.
        device: Where the networks are.
    """
    first = 0
    loader = batches(items, batch_size=batch_size, workers=workers, pin_memory=device.type == "cuda")
    with ExitStack() as modes, torch.inference_mode(), torch.autocast(device.type, enabled=False):
        for net in (reference, *nets):
            modes.enter_context(eval_mode(net))
        # disable=None: a bar on a terminal, nothing in a log file
        for image, label in tqdm(loader, desc="evaluate", unit="batch", leave=False, disable=None):
            stop.if_asked()
            pixels, target = image.to(device, non_blocking=True), label.to(device, non_blocking=True)
            expected = reference(pixels).float()  # (N, K, H', W')
            for position, net in enumerate(nets):
                logits = expected if net is reference else net(pixels).float()
                for index, truth in enumerate(target):  # one at a time: 19 classes at 1024x2048 are 160 MB
                    own = _resized(logits[index], truth)
                    visit(
                        View(
                            net=position,
                            image=first + index,
                            label=truth,
                            logits=own,
                            reference=own if net is reference else _resized(expected[index], truth),
                            prediction=own.argmax(dim=0),
                        )
                    )
            first += len(target)


def _resized(logits: Tensor, label: Tensor) -> Tensor:
    """(K, H', W') logits -> (K, h, w), the label's size."""
    size = (label.shape[0], label.shape[1])
    return F.interpolate(logits[None], size=size, mode="bilinear", align_corners=False)[0]
