"""Any module that makes class logits, as a network of this program."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from segprune.errors import ConfigError
from segprune.model.contract import IMAGENET_MEAN, IMAGENET_STD, SegmentationNet
from segprune.model.resize import upsampled

Statistics = Literal["imagenet", "none"] | Sequence[float]
"""Of the images that weights were made for: three numbers for values in [0, 1]; ``none``: as they are."""
LIKELY = ("out", "logits")
"""Keys under which libraries give the main logits."""


class Wrapped(SegmentationNet):
    """A module whose output holds logits: a tensor, or one among others in a tuple, list or mapping.

    Logits of lower resolution are enlarged to the image's. One logit stands for the second of two classes, against
    0 for the first.

    Args:
        net: Takes images (N, 3, H, W).
        num_classes: K.
        out: Key or place of the logits in the output; None: the only tensor, the one under ``out`` or ``logits``,
            or the first.
        aux: Key or place of logits that training adds to the loss; None for none.
        training_only: Dotted names in ``net`` of what only training uses.
        mean: Of the images the weights were made for.
        std: Likewise.

    Raises:
        ConfigError: It is no module, or ``mean`` or ``std`` are not three numbers.
    """

    def __init__(
        self,
        net: nn.Module,
        *,
        num_classes: int,
        out: str | int | None = None,
        aux: str | int | None = None,
        training_only: Sequence[str] = (),
        mean: Statistics = "imagenet",
        std: Statistics = "imagenet",
    ) -> None:
        if not isinstance(net, nn.Module):
            raise ConfigError(f"model is a {type(net).__name__}, which is no torch.nn.Module; give one.")
        super().__init__(
            mean=_three("mean", mean, IMAGENET_MEAN, 0.0), std=_three("std", std, IMAGENET_STD, 1.0)
        )
        self.net = net
        self.training_only = tuple(f"net.{name}" for name in training_only)
        self._num_classes, self._out, self._aux = num_classes, out, aux

    def forward(self, image: Tensor) -> Tensor:
        """(N, 3, H, W) in [0, 1] -> logits (N, K, H, W)."""
        return self._logits(self.net(self.normalise(image)), self._out, "out", image)

    def all_logits(self, image: Tensor) -> tuple[Tensor, ...]:
        """(N, 3, H, W) -> logits (N, K, H, W) of the main head and of the one that ``aux`` names.

        In evaluation the modules that hold what only training uses run as in training, and no layer in them does:
        many give the logits of such heads only then. Where these are missing even so, the main ones are all.
        """
        image_in = self.normalise(image)
        output = self.net(image_in) if self.training else self._with_heads(image_in)
        main = self._logits(output, self._out, "out", image)
        is_absent = self._aux is not None and not _has(output, self._aux)
        if self._aux is None or (is_absent and (not self.training or isinstance(output, Mapping))):
            return (main,)
        if isinstance(output, Tensor):
            raise ConfigError(
                f"model.aux is {self._aux!r}, but in training the network gives one tensor alone. Give "
                "model.aux=null, or let it give both logits."
            )
        return main, self._logits(output, self._aux, "aux", image)

    def _with_heads(self, image: Tensor) -> Any:
        """The module's output in evaluation, with that of heads that only training uses."""
        paths = {name.rpartition(".")[0] for name in self.training_only}
        holders = [
            module
            for name, module in self.named_modules()
            if name and not module.training and any(f"{path}.".startswith(f"{name}.") for path in paths)
        ]
        for module in holders:
            module.training = True
        try:
            with _NoDropout():
                return self.net(image)
        finally:
            for module in holders:
                module.training = False

    def _logits(self, output: Any, place: str | int | None, key: str, image: Tensor) -> Tensor:
        logits = _picked(output, place, key)
        if not isinstance(logits, Tensor) or logits.dim() != 4:
            found = f"shape {list(logits.shape)}" if isinstance(logits, Tensor) else type(logits).__name__
            raise ConfigError(
                f"model.{key} is {place!r}: the network gives {found} there, but logits have the shape [images, "
                "classes, height, width]. Name another part of the output, or change the network."
            )
        if self._num_classes == 2 and logits.shape[1] == 1:
            logits = torch.cat([torch.zeros_like(logits), logits], 1)
        if logits.shape[1] != self._num_classes:
            raise ConfigError(
                f"model: the network gives logits for {logits.shape[1]} classes, but the dataset has "
                f"{self._num_classes}. Let the network be made with that many: model.classes_as names the argument "
                "that takes the number"
                f"{'' if isinstance(output, Tensor) else f'; or name another part of the output by model.{key}'}."
            )
        return logits if logits.shape[-2:] == image.shape[-2:] else upsampled(logits, image)


class _NoDropout(TorchFunctionMode):
    """Within it, functions drop nothing."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if "dropout" in getattr(func, "__name__", "") and args:
            return args[0]
        return func(*args, **(kwargs or {}))


def _has(output: Any, place: str | int) -> bool:
    """Whether an output has a part at a key or place; a tensor has none."""
    if isinstance(output, Tensor):
        return False
    if isinstance(output, Mapping):
        return place in output
    if isinstance(output, list | tuple):
        return isinstance(place, int) and -len(output) <= place < len(output)
    return isinstance(place, str) and getattr(output, place, None) is not None


def _picked(output: Any, place: str | int | None, key: str) -> Any:
    """The part of an output at a key or place.

    Raises:
        ConfigError: There is none, or which one is meant cannot be known.
    """
    if isinstance(output, Tensor):
        return output
    if isinstance(output, Mapping):
        keys = list(output)
        likely = [name for name in LIKELY if name in output] or keys[:1] * (len(keys) == 1)
        chosen = place if place is not None else next(iter(likely), None)
        if chosen in output:
            return output[chosen]
        raise ConfigError(
            f"model.{key} is {place!r}, but the network gives {', '.join(map(repr, keys))}; choose one of them."
        )
    if isinstance(output, list | tuple):
        number = place if isinstance(place, int) else 0
        if (place is None or isinstance(place, int)) and -len(output) <= number < len(output):
            return output[number]
        raise ConfigError(
            f"model.{key} is {place!r}, but the network gives {len(output)} outputs in a {type(output).__name__}; "
            "choose one by its number, from 0."
        )
    found = getattr(output, place, None) if isinstance(place, str) else getattr(output, "logits", None)
    if found is None:
        raise ConfigError(
            f"model.{key} is {place!r}, but the network gives a {type(output).__name__} without such a part. Name "
            f"one of its parts ({', '.join(getattr(output, '__dict__', ())) or 'it has none'}), or let it give a "
            "tensor, or a tuple, list or mapping that holds one."
        )
    return found


def _three(key: str, given: Statistics, imagenet: Sequence[float], neutral: float) -> Sequence[float]:
    if isinstance(given, str):
        return imagenet if given == "imagenet" else [neutral] * 3
    if len(given) != 3 or (key == "std" and min(given) <= 0):
        rule = "three numbers above 0" if key == "std" else "three numbers"
        raise ConfigError(
            f"model.{key} is {list(given)}; it must be imagenet, none or {rule}, for red, green, blue."
        )
    return given
