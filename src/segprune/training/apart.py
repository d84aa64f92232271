"""A network and its tensors apart, so that it can be sent to another process by value.

torch sends tensors to other processes in memory that both share, of which containers have little.
"""

import io
from dataclasses import dataclass
from typing import Generic, TypeVar, cast

import torch
from torch import Tensor, nn

from segprune.model.copies import duplicate

Net = TypeVar("Net", bound=nn.Module)


@dataclass(frozen=True)
class Apart(Generic[Net]):
    """What can be sent.

    Attributes:
        bare: The network without parameters and buffers.
        places: Where each was: module, whether it is a parameter, its name there, the number of its tensor.
        tensors: As torch writes them, on the CPU.
    """

    bare: Net
    places: tuple[tuple[str, bool, str, int], ...]
    tensors: bytes

    def whole(self) -> Net:
        """The network; on the CPU."""
        found = torch.load(io.BytesIO(self.tensors), weights_only=True)
        values = [nn.Parameter(one, needs_grad) if is_one else one for one, is_one, needs_grad in found]
        for path, is_parameter, name, number in self.places:
            module = self.bare.get_submodule(path)
            kept = module._parameters if is_parameter else module._buffers
            kept[name] = values[number]
        return self.bare


def apart(net: Net) -> Apart[Net]:
    """A copy of a network without its tensors, and these; one that stands at two places is sent once."""
    bare = duplicate(net)
    numbers: dict[int, int] = {}
    values: list[tuple[Tensor, bool, bool]] = []
    places = []
    for path, module in bare.named_modules(remove_duplicate=False):
        for is_parameter, kept in ((True, module._parameters), (False, module._buffers)):
            for name, value in kept.items():
                if value is None:
                    continue
                if id(value) not in numbers:
                    numbers[id(value)] = len(values)
                    values.append((value.detach().cpu(), is_parameter, value.requires_grad))
                places.append((path, is_parameter, name, numbers[id(value)]))
    for path, is_parameter, name, _ in places:
        module = bare.get_submodule(path)
        cast("dict[str, Tensor | None]", module._parameters if is_parameter else module._buffers)[name] = None
    file = io.BytesIO()
    torch.save(values, file)
    return Apart(bare, tuple(places), file.getvalue())
