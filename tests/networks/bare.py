"""The same cut by torch-pruning alone: what it gets wrong without what this project adds."""

import copy
import warnings
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial

import torch
import torch_pruning as tp
from torch import Tensor, nn

from segprune.graph.cut import LARGEST_MASK_ERROR
from segprune.graph.proof import _shaken
from segprune.model.contract import SegmentationNet
from tests.networks.battery import smallest
from tests.networks.zoo import CLASSES, zoo

RATIO = 0.5


def bare_by_name(name: str) -> str:
    """``bare`` of a network of the zoo, on images of the smallest size that it takes."""
    warnings.simplefilter("ignore")
    make = dict(zoo())[name]
    torch.manual_seed(0)
    return bare(make, smallest(make().eval()), CLASSES)


def bare(make: Callable[[], SegmentationNet], size_hw: tuple[int, int], classes: int) -> str:
    """What becomes of half of every group by torch-pruning's own L1 pruner.

    It is given all logits, also of auxiliary heads. The layers that make them are left out by their width, as its
    documentation does it.

    Returns:
        ``exact``; ``wrong`` with the largest error as a fraction of the largest logit; ``raises`` with the error of
        the cut or of the cut network; or ``cuts nothing``.
    """
    torch.manual_seed(0)
    net = _shaken(make().eval()).double().eval()
    whole, image = copy.deepcopy(net), torch.rand(1, net.bands, *size_hw, dtype=torch.float64)
    try:
        gone = _cut(net, image, classes)
        with torch.no_grad():
            got = torch.stack(net.eval().all_logits(image))
    except Exception as failure:  # noqa: BLE001 - whatever it ends in is the result
        return _raises(failure)
    if not gone:
        return "cuts nothing"
    with torch.no_grad(), ExitStack() as hooks:
        for name, channels in gone.items():
            silence = partial(_silence, sorted(channels))
            hooks.enter_context(whole.get_submodule(name).register_forward_hook(silence))
        expected = torch.stack(whole.all_logits(image))
    error = float((got - expected).abs().max() / expected.abs().max())
    return "exact" if error <= LARGEST_MASK_ERROR else f"wrong ({error:.0e})"


def _raises(failure: Exception) -> str:
    line = (str(failure).splitlines() or [""])[0].replace("|", "/")
    short = line if len(line) <= 60 else f"{line[:57]}..."
    return f"raises {type(failure).__name__}: {short}" if short else f"raises {type(failure).__name__}"


def _cut(net: SegmentationNet, image: Tensor, classes: int) -> dict[str, set[int]]:
    """Cut in place; layer that made channels -> those that are gone."""
    names = {module: name for name, module in net.named_modules()}
    logits = [
        layer
        for layer in net.modules()
        if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d) and layer.out_channels == classes
    ]
    pruner = tp.pruner.BasePruner(
        net,
        (image,),
        importance=tp.importance.MagnitudeImportance(p=1),
        pruning_ratio=RATIO,
        ignored_layers=logits,
        pruning_ratio_dict={},
        channel_groups={},
        forward_fn=lambda traced, inputs: traced.all_logits(*inputs),
    )
    gone: dict[str, set[int]] = {}
    left: dict[str, list[int]] = {}
    for group in pruner.step(interactive=True):
        for dependency, channels in group:
            layer, graph = dependency.target.module, group._DG
            if layer in names and graph.is_out_channel_pruning_fn(dependency.handler):
                # a layer behind a concatenation is cut several times, and each time counts what is left of it
                now = left.setdefault(names[layer], list(range(graph.get_out_channels(layer))))
                gone.setdefault(names[layer], set()).update(now[channel] for channel in channels)
                left[names[layer]] = [now[place] for place in range(len(now)) if place not in {*channels}]
        group.prune()
    return gone


def _silence(channels: list[int], layer: nn.Module, _inputs: object, output: Tensor) -> None:
    has_channels_last = isinstance(layer, nn.Linear | nn.LayerNorm) and not type(layer).__name__.endswith(
        "2d"
    )
    output.index_fill_(-1 if has_channels_last else 1, torch.tensor(channels), 0.0)
