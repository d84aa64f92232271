"""The same cut by torch-pruning alone: what it gets wrong without what this project adds."""

import copy
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial

import torch
import torch_pruning as tp
from torch import Tensor, nn

from segprune.graph.cut import LARGEST_MASK_ERROR
from segprune.graph.proof import _shaken
from segprune.model.contract import SegmentationNet

RATIO = 0.5


def bare(make: Callable[[], SegmentationNet], size_hw: tuple[int, int], classes: int) -> str:
    """What becomes of half of every group by torch-pruning's own L1 pruner: ``ok``, ``wrong`` or ``crash``.

    The layers that make the logits are left out by their width, as its documentation does it.
    """
    torch.manual_seed(0)
    net = _shaken(make().eval()).double().eval()
    whole, image = copy.deepcopy(net), torch.rand(1, 3, *size_hw, dtype=torch.float64)
    try:
        gone = _cut(net, image, classes)
        with torch.no_grad(), ExitStack() as hooks:
            got = net.eval()(image)
            for name, channels in gone.items():
                hook = partial(_silence, sorted(channels))
                hooks.enter_context(whole.get_submodule(name).register_forward_hook(hook))
            expected = whole(image)
    except Exception as error:  # noqa: BLE001 - whatever it ends in is the result
        return f"crash ({type(error).__name__})"
    if not gone:
        return "nothing cut"
    error = float((got - expected).abs().max() / expected.abs().max())
    return "ok" if error <= LARGEST_MASK_ERROR else f"wrong ({error:.0e})"


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
    )
    gone: dict[str, set[int]] = {}
    for group in pruner.step(interactive=True):
        for dependency, channels in group:
            layer = dependency.target.module
            if layer in names and group._DG.is_out_channel_pruning_fn(dependency.handler):
                gone.setdefault(names[layer], set()).update(channels)
        group.prune()
    return gone


def _silence(channels: list[int], layer: nn.Module, _inputs: object, output: Tensor) -> None:
    axis = -1 if isinstance(layer, nn.Linear | nn.LayerNorm) else 1
    output.index_fill_(axis, torch.tensor(channels), 0.0)
