"""Short runs of the dense network before anything is trained, so that a misfit is refused at once."""

from collections.abc import Sequence

import torch

from segprune.errors import ConfigError, DataError
from segprune.gpu import is_of_gpu
from segprune.model.backbone_weights import weights_to_come
from segprune.model.contract import SegmentationNet
from segprune.seed import seeded
from segprune.shortage import shortage
from segprune.stage.contract import Context


def shell(ctx: Context) -> SegmentationNet:
    """The dense network with its shapes; its weights do not matter."""
    with weights_to_come():
        return ctx.build().to(ctx.hardware.device)


def refuse_misfit(ctx: Context) -> None:
    """Run the network once on an image of the evaluation, and on one of the training if it has another size.

    Raises:
        ConfigError: It cannot run on images of that size.
    """
    crop_hw = _crop_hw(ctx)
    larger = "give larger images, or a network of fewer levels"
    _try(ctx, ctx.data.size_hw, f"dataset.size_hw is {list(ctx.data.size_hw)}", larger)
    if crop_hw != list(ctx.data.size_hw):
        _try(ctx, crop_hw, f"training images have {crop_hw} px", larger)


def refuse_batch(ctx: Context, key: str, size: int) -> None:
    """Check that batches of a training can be filled, and that the network can be trained on them.

    Args:
        ctx: The run.
        key: Which key gives the size.
        size: Images in a batch.

    Raises:
        DataError: There are fewer training images.
        ConfigError: The network cannot be trained on one image at a time.
    """
    images = len(ctx.data.fit)
    if size > images:
        raise DataError(
            f"{key} is {size}, but the training images are only {images}; give {key}={images} or less, or more "
            "images."
        )
    if size == 1:
        refuse_single(ctx, f"{key} is 1")


def refuse_single(ctx: Context, what: str) -> None:
    """Check that the network can be trained on one image at a time.

    Args:
        ctx: The run.
        what: Why it would be trained so, for the message.

    Raises:
        ConfigError: It cannot.
    """
    remedy = "give 2 or more" if len(ctx.data.fit) > 1 else "give the dataset more training images"
    _try(ctx, _crop_hw(ctx), what, remedy, is_training=True)


def _crop_hw(ctx: Context) -> list[int]:
    return list(ctx.data.fit[0].image.shape[-2:])


def _try(ctx: Context, size_hw: Sequence[int], what: str, remedy: str, *, is_training: bool = False) -> None:
    """Run the dense network once, on one image."""
    net = shell(ctx).train(is_training)
    image = torch.zeros(1, 3, *size_hw, device=ctx.hardware.device)
    try:
        with torch.no_grad(), seeded(ctx.seed, "try", device=ctx.hardware.device):
            net.all_logits(image)
    except (RuntimeError, ValueError) as error:
        if shortage(error, lambda _: None):
            raise
        if is_of_gpu(error):
            raise ConfigError(
                f"the network cannot run on {ctx.hardware.device}: {_first_line(error)}. That is an error of the "
                "GPU or its libraries, not of the images: mend what is installed (docs/gpu.md) or give device=cpu."
            ) from error
        how = "be trained" if is_training else "run"
        raise ConfigError(
            f"{what}, on which the network cannot {how} ({_first_line(error)}); {remedy}."
        ) from error


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0].removesuffix(".")
