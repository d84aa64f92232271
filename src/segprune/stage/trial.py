"""Short runs of the dense network before anything is trained, so that a misfit is refused at once."""

import re
from collections.abc import Sequence

import torch

from segprune.dataset.workers import free_shared, refuse_crowd
from segprune.errors import ConfigError, DataError
from segprune.gpu import is_of_gpu
from segprune.model.contract import SegmentationNet
from segprune.model.unlike import refuse_unlike
from segprune.schedule.schedule import Schedule
from segprune.seed import seeded
from segprune.shortage import shortage
from segprune.stage.contract import Context
from segprune.stage.dense import shell
from segprune.training.recompute import blocks, recomputed

MOST_PX = 2048
"""No larger side is tried in search of one that works."""
SMALL_PX = 64
"""Side of the images on which copies are compared, where the network runs on such."""
_KEY = re.compile(r"[\w.]+_hw|eval\.tile")


def refuse_misfit(ctx: Context) -> None:
    """Run the network once on an image of the evaluation, and on one of the training if it has another size.

    Raises:
        ConfigError: It cannot run on images of that size, or its copies would be other networks.
    """
    crop_hw, size_hw, tile = _crop_hw(ctx), list(ctx.data.size_hw), ctx.passes.tile
    if tile and any(side > whole for side, whole in zip(tile, size_hw, strict=True)):
        raise ConfigError(
            f"eval.tile is {list(tile)}, but images are evaluated at dataset.size_hw={size_hw}, which is smaller. "
            "Give a smaller eval.tile or a larger dataset.size_hw; eval.tile=null shows images whole."
        )
    what = f"dataset.size_hw is {size_hw}" if tile is None else f"eval.tile is {list(tile)}"
    key = "dataset.size_hw" if tile is None else "eval.tile"
    _try(ctx, ctx.pass_hw, what, key)
    if tile is None:
        for scale, scaled in ctx.passes.scaled(ctx.data.size_hw).items():
            _try(ctx, scaled, f"eval.scales has {scale:g}, so images have {list(scaled)} px", "leave it out")
    if crop_hw != list(ctx.pass_hw):
        _try(ctx, crop_hw, f"training images have {crop_hw} px", "dataset.crop_hw")
    with seeded(ctx.seed, "try", device=ctx.hardware.device):
        net = shell(ctx).eval()
        refuse_unlike(net, shell(ctx), _small_images(net, ctx, 1))


def refuse_no_gradients(ctx: Context) -> None:
    """Check that the dense network can learn at all.

    Raises:
        ConfigError: Its logits do not have gradients in training.
    """
    net = shell(ctx).train()
    with torch.enable_grad(), seeded(ctx.seed, "try", device=ctx.hardware.device):
        logits = net.all_logits(_small_images(net, ctx, 2))[0]
    if not logits.requires_grad:
        raise ConfigError(
            "model: the network's logits have no gradients in training, so it cannot learn. Take torch.no_grad, "
            "torch.inference_mode and detach() out of its forward, and leave requires_grad of its weights true."
        )


def _small_images(net: SegmentationNet, ctx: Context, count: int) -> torch.Tensor:
    """Images of noise, as small as the network is likely to take."""
    image = torch.rand(count, net.bands, *ctx.pass_hw, device=ctx.hardware.device)
    small = image[..., :SMALL_PX, :SMALL_PX]
    try:
        with torch.no_grad():
            net(small.clone())
    except Exception as error:  # whatever a foreign forward raises
        if shortage(error, lambda _: None):
            raise
        return image
    return small


def refuse_other_sizes(ctx: Context, what: str, remedy: str) -> None:
    """Check that images come to a file in the one size that it takes.

    Args:
        ctx: The run.
        what: Which file, for the message.
        remedy: What lets it take others, if anything does.

    Raises:
        ConfigError: They do not.
    """
    if ctx.passes.tile is None and ctx.passes.scaled(ctx.data.size_hw):
        raise ConfigError(
            f"eval.scales is {list(ctx.passes.scales)}, but {what} takes images of one size. Give "
            f"eval.scales=[1.0]; or eval.tile={list(ctx.data.size_hw)}, of which all passes then are{remedy}."
        )


def refuse_schedule(ctx: Context, key: str, schedule: Schedule) -> None:
    """Check that the dense network can be trained as a schedule says.

    Args:
        ctx: The run.
        key: Of the schedule.
        schedule: With an epoch or more.

    Raises:
        DataError: There are fewer training images than a batch has.
        ConfigError: The network cannot be trained on one image at a time, it cannot be compiled here, or its
            activations cannot be computed twice.
    """
    refuse_batch(ctx, f"{key}.batch_size", schedule.batch_size)
    refuse_crowd(
        f"{key}.batch_size", ctx.hardware.workers, _bytes_of(ctx) * schedule.batch_size, free_shared()
    )
    if schedule.compile:
        refuse_uncompiled(ctx.hardware.device, f"{key}.compile")
    if schedule.checkpointing:
        refuse_kept(ctx, f"{key}.checkpointing")


def refuse_uncompiled(device: torch.device, key: str) -> None:
    """Let torch compile a line of code, which takes seconds.

    Args:
        device: Where it shall run.
        key: Which key asks for it.

    Raises:
        ConfigError: It cannot.
    """
    try:
        torch.compile(lambda x: (x * 2).relu())(torch.zeros(8, device=device))
    except Exception as error:  # a missing compiler has many classes
        reason = str(error).partition("\n")[0][:200]
        raise ConfigError(
            f"{key} is true, but torch cannot compile for {device} here ({reason}). Install a C++ compiler (g++) "
            f"and, for a GPU, triton; or give {key}=false."
        ) from error


def refuse_kept(ctx: Context, key: str) -> None:
    """Train the dense network for one step with activations that are computed twice.

    Args:
        ctx: The run.
        key: Which key asks for it.

    Raises:
        ConfigError: It has no blocks to compute again, or changes what goes into them in place.
    """
    net = shell(ctx).train()
    if not blocks(net):
        raise ConfigError(
            f"{key} is true, but {type(net).__name__} has no submodule of several layers, so nothing would be "
            f"computed twice and no memory spared. Give {key}=false."
        )
    image = torch.zeros(2, net.bands, *_crop_hw(ctx), device=ctx.hardware.device)
    with seeded(ctx.seed, "try", device=ctx.hardware.device), recomputed(net):
        logits = net.all_logits(image)
        try:
            torch.autograd.backward([one.sum() for one in logits])
        except RuntimeError as error:
            if shortage(error, lambda _: None):
                raise
            reason = str(error).partition("\n")[0][:200]
            raise ConfigError(
                f"{key} is true, but {type(net).__name__} cannot be computed twice ({reason}). Give {key}=false."
            ) from error


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


def _bytes_of(ctx: Context) -> int:
    """Of one training item."""
    item = ctx.data.fit[0]
    return item.image.nbytes + item.label.nbytes


def _crop_hw(ctx: Context) -> list[int]:
    return list(ctx.data.fit[0].image.shape[-2:])


def _try(ctx: Context, size_hw: Sequence[int], what: str, remedy: str, *, is_training: bool = False) -> None:
    """Run the dense network once, on one image; for a ``remedy`` that is the key of the size one is looked for."""
    net = shell(ctx).train(is_training)
    image = torch.zeros(1, net.bands, *size_hw, device=ctx.hardware.device)
    try:
        with torch.no_grad(), seeded(ctx.seed, "try", device=ctx.hardware.device):
            outputs = [net.all_logits(image), *([] if is_training else [(net(image),)])]
    except ConfigError:
        raise
    except Exception as error:  # whatever a foreign forward raises
        if shortage(error, lambda _: None):
            raise
        if is_of_gpu(error):
            raise ConfigError(
                f"the network cannot run on {ctx.hardware.device}: {_first_line(error)}. That is an error of the "
                "GPU or its libraries, not of the images: mend what is installed (docs/gpu.md) or give device=cpu."
            ) from error
        how = "be trained" if is_training else "run"
        if _KEY.fullmatch(remedy):
            remedy = _other_size(ctx, size_hw, remedy, str(error))
        raise ConfigError(
            f"{what}, on which the network cannot {how} ({_first_line(error)}); {remedy}."
        ) from error
    for heads in outputs:
        _refuse_other_logits(net, heads, (1, len(ctx.data.classes), *size_hw))


def _other_size(ctx: Context, size_hw: Sequence[int], key: str, error: str) -> str:
    """A size on which the network runs, found by trying; if there is none, the size is not what is wrong.

    Multiples of the numbers in the error message come first, such as those of "must be divisible by 48".
    """
    told = [int(number) for number in re.findall(r"\b\d{1,3}\b", error)]
    net = shell(ctx).eval()
    for unit in [number for number in [*told, 32, 64, 256] if number > 1]:
        sides = [-(-side // unit) * unit for side in size_hw]
        if sides == list(size_hw) or max(sides) > MOST_PX:
            continue
        try:
            with torch.no_grad():
                net(torch.zeros(1, ctx.data.bands_count, *sides, device=ctx.hardware.device))
        except Exception as failed:  # whatever a foreign forward raises
            if shortage(failed, lambda _: None):
                raise
            continue
        return f"it runs on {sides}, so give '{key}={sides}'".replace(", ", ",").replace(",so", ", so")
    return (
        "nor does it run on larger ones, so the size is not what is wrong: correct the network, which is given "
        f"images of shape (N, {ctx.data.bands_count}, H, W)"
    )


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0].removesuffix(".") or type(error).__name__


def _refuse_other_logits(net: SegmentationNet, heads: object, shape: tuple[int, ...]) -> None:
    """Check what a network gives: a tuple of logits, each for all classes and pixels."""
    name = type(net).__name__
    if not isinstance(heads, tuple) or not heads:
        raise ConfigError(
            f"model: all_logits of {name} gives a {type(heads).__name__}; it must give a tuple of tensors."
        )
    for logits in heads:
        found = list(logits.shape) if isinstance(logits, torch.Tensor) else type(logits).__name__
        if found != list(shape):
            raise ConfigError(
                f"model: {name} gives {found} for one image of {list(shape[2:])} px and {shape[1]} classes; it "
                f"must give logits of shape {list(shape)}. Plain modules that give other shapes or several "
                "outputs are wrapped by model=module."
            )
