"""Refuses networks whose copies would be other networks."""

import copy
from collections.abc import Iterator
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves

from segprune.errors import ConfigError
from segprune.model.copies import duplicate
from segprune.shortage import shortage

Net = TypeVar("Net", bound=nn.Module)
LARGEST_CHANGE = 1e-3
"""Of logits, relative to the largest one: the order of sums on a GPU changes them by less."""


def refuse_unlike(net: nn.Module, again: nn.Module, image: Tensor) -> None:
    """Check that logits come from the weights and the image alone, so that copies of a network give the same.

    Args:
        net: In evaluation mode; left as it was.
        again: What was made as ``net`` was; it gets the weights of ``net``.
        image: On which both can run.

    Raises:
        ConfigError: They do not, or the network cannot be copied.
    """
    with torch.no_grad():
        first = net(image.clone())
        if not _alike(net(image.clone()), first):
            raise ConfigError(
                "model: the network gives other logits when it is shown the same image again, so what is measured "
                "of it would hold for one pass only. In evaluation mode let it draw no random numbers, as in "
                "F.dropout(x, training=self.training), and keep nothing from one pass to the next."
            )
    twin = _copied(net)
    with torch.enable_grad(), _Weights(twin) as used:
        logits = twin(1 * image.clone().requires_grad_())
    _refuse_foreign(net, used.foreign)
    if set(twin.parameters()) & set(net.parameters()) or not _alike(logits, first):
        raise ConfigError(
            "model: a copy of the network shares weights with it or gives other logits, but training, cutting and "
            "measuring work on copies. Let copy.deepcopy copy all of it: look for a __deepcopy__, a __getstate__ "
            "or a __setstate__ that does not."
        )
    if any("CheckpointFunction" in step for step in _steps(logits)):
        raise ConfigError(
            "model: the network calls torch.utils.checkpoint with use_reentrant=True in evaluation mode, which can "
            "be neither traced nor scored. Let it give use_reentrant=False, or call checkpoint only if "
            "self.training."
        )
    _refuse_another(net, again, image, first)


def _alike(one: Tensor, other: Tensor) -> bool:
    limit = LARGEST_CHANGE * float(other.detach().nan_to_num().abs().max())
    return torch.allclose(one.detach(), other.detach(), rtol=0, atol=limit, equal_nan=True)


def _copied(net: Net) -> Net:
    try:
        return duplicate(net)
    except Exception as error:  # whatever an attribute raises
        if shortage(error, lambda _: None):
            raise
        said = f"{type(error).__name__}: {str(error).partition(chr(10))[0]}"
        raise ConfigError(
            f"model: the network cannot be copied ({_not_copied(net)}{said}), but training, cutting and measuring "
            "work on copies. Keep such an object out of its attributes, for example in a variable of its file."
        ) from error


def _not_copied(net: nn.Module) -> str:
    """The attribute that cannot be copied, if it is a single one."""
    for name, module in net.named_modules():
        for key, value in vars(module).items():
            if key in ("_parameters", "_buffers", "_modules"):
                continue
            try:
                copy.deepcopy(value, {id(one): one for one in net.modules()})
            except Exception:  # noqa: BLE001 - whatever it raises
                return f"{name}.{key}: ".lstrip(".")
    return ""


class _Weights(TorchFunctionMode):
    """Notes the trained weights that are used and are none of a network's.

    Attributes:
        foreign: These.
    """

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self._own = set(net.parameters())
        self.foreign: list[nn.Parameter] = []

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        for value in tree_leaves((args, kwargs)):
            if isinstance(value, nn.Parameter) and value.requires_grad and value not in self._own:
                self.foreign.append(value)
        return func(*args, **(kwargs or {}))


def _refuse_foreign(net: nn.Module, foreign: list[nn.Parameter]) -> None:
    """Check that a copy computed with no weights but its own."""
    if found := [name for name, parameter in net.named_parameters() if parameter in {*foreign}]:
        raise ConfigError(
            f"model: a copy of the network computes with weights of the original ({', '.join(found[:3])}), so a "
            "cut copy would be wrong. A hook, lambda or function in it keeps the module that it was made in. Let "
            "it be a method, as in register_forward_hook(self.method), or use the module that a hook is given."
        )
    if foreign:
        raise ConfigError(
            f"model: the network computes with weights of shape {list(foreign[0].shape)} that are none of its "
            "parameters, so they would be neither trained nor saved. Make their layer an attribute of the network; "
            "several of them go into an nn.ModuleList, not a list."
        )


def _steps(logits: Tensor) -> Iterator[str]:
    """The names of what autograd goes through."""
    waiting, seen = [logits.grad_fn], set[Any]()
    while waiting:
        step = waiting.pop()
        if step is not None and step not in seen:
            seen.add(step)
            yield step.name()
            waiting += [before for before, _ in step.next_functions]


def _refuse_another(net: nn.Module, again: nn.Module, image: Tensor, expected: Tensor) -> None:
    """Check that a network that is made again shares nothing with the first, and becomes it by its weights."""
    if set(net.parameters()) & set(again.parameters()):
        raise ConfigError(
            "model: networks that are made one after the other share weights, so training one would change the "
            "other. Let what model.factory names make new layers whenever it is called."
        )
    try:
        again.load_state_dict(net.state_dict())
        with torch.no_grad():
            logits = again.eval()(image.clone())
    except RuntimeError as error:
        if shortage(error, lambda _: None):
            raise
        raise ConfigError(
            "model: a network that is made again does not take the weights of the first, so no result could be "
            f"read back ({' '.join(str(error).split())[:300]}). Let it be made the same each time."
        ) from error
    if not _alike(logits, expected):
        raise ConfigError(
            "model: a network that is made again and given the weights of the first gives other logits, so no "
            "result could be read back. What it draws at random when it is made must be a parameter or a "
            "persistent buffer (register_buffer), or come from a generator with a fixed seed."
        )
