"""A machine with GPUs as torch sees one: its driver is stubbed, below torch's own checks, which all run."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.utils._pytree import tree_leaves


@dataclass
class Driver:
    """What a driver knows.

    Attributes:
        count: GPUs it counts.
        name: Of every GPU.
        capability: Of every GPU, major and minor.
        current: The GPU that is current.
        made_current: Every number it was told to make current.
        waits: How often it was told to finish its work.
        used: Bytes of tensors on a GPU, which a test sets.
        peak: Most of them since the peak was last reset.
        modes: Every mode of telling of waits that it was given: 0 none, 1 by warnings.
    """

    count: int
    name: str = "Stub A100"
    capability: tuple[int, int] = (8, 0)
    current: int = 0
    made_current: list[int] = field(default_factory=list)
    waits: int = 0
    used: int = 0
    peak: int = 0
    modes: list[int] = field(default_factory=list)

    def set_device(self, number: int) -> None:
        """Make a GPU current.

        Raises:
            RuntimeError: There is none of this number.
        """
        if number >= self.count:
            raise RuntimeError("CUDA error: invalid device ordinal")
        self.made_current.append(number)
        self.current = number

    def exchange(self, number: int) -> int:
        """Make a GPU current for a moment; gives the one before."""
        before, self.current = self.current, number
        return before

    def synchronize(self) -> None:
        """Finish all work."""
        self.waits += 1

    def use(self, used: int) -> None:
        """Hold so many bytes of tensors."""
        self.used = used
        self.peak = max(self.peak, used)

    def reset_peak(self) -> None:
        """Forget the peak."""
        self.peak = self.used

    def memory_stats(self) -> dict[str, Any]:
        """As nested as torch's."""
        return {"allocated_bytes": {"all": {"current": self.used, "peak": self.peak}}}


def with_gpus(monkeypatch: pytest.MonkeyPatch, count: int, *, is_too_old: bool = False) -> Driver:
    """This machine has GPUs for the rest of the test.

    Args:
        monkeypatch: Takes it back after the test.
        count: How many.
        is_too_old: Whether the driver is too old for this build of torch: GPUs are listed, none can be used.
    """
    driver = Driver(count)

    def start() -> None:
        if is_too_old:
            raise RuntimeError("The NVIDIA driver on your system is too old (found version 11040).")

    def properties(_: object) -> SimpleNamespace:
        major, minor = driver.capability
        return SimpleNamespace(name=driver.name, major=major, minor=minor)

    monkeypatch.setattr(torch._C, "_cuda_setDevice", driver.set_device, raising=False)
    monkeypatch.setattr(torch.cuda, "_exchange_device", driver.exchange)
    monkeypatch.setattr(torch.cuda, "_maybe_exchange_device", driver.exchange)
    monkeypatch.setattr(torch._C, "_cuda_synchronize", driver.synchronize, raising=False)
    monkeypatch.setattr(torch._C, "_cuda_resetPeakMemoryStats", lambda _: driver.reset_peak(), raising=False)
    monkeypatch.setattr(torch._C, "_cuda_memoryStats", lambda _: driver.memory_stats(), raising=False)
    monkeypatch.setattr(torch._C, "_cuda_set_sync_debug_mode", driver.modes.append, raising=False)
    monkeypatch.setattr(torch.cuda, "_initialized", not is_too_old)
    monkeypatch.setattr(torch.cuda, "_cached_device_count", None)
    monkeypatch.setattr(torch.cuda, "default_generators", tuple(torch.Generator() for _ in range(count)))
    monkeypatch.setattr(torch._C, "_cuda_getDevice", lambda: driver.current, raising=False)
    usable = 0 if is_too_old else count
    monkeypatch.setattr(torch._C, "_cuda_getDeviceCount", lambda: usable, raising=False)
    monkeypatch.setattr(torch.cuda, "_lazy_init", start)
    monkeypatch.setattr(torch.cuda, "_device_count_nvml", lambda: count)
    monkeypatch.setattr(torch.cuda, "_get_device_properties", properties, raising=False)
    return driver


class Hollow(FakeTensorMode):
    """Tensors on a GPU hold nothing, those on the CPU are as ever; operations on both are refused as with a GPU.

    Attributes:
        answers: What every yes or no says that is read from a GPU; None: nothing may be read.
        number: What every number says.
        reads: How often something was read; with a GPU each waits until all work before is done.
    """

    def __init__(self, answers: bool | None) -> None:
        super().__init__(allow_non_fake_inputs=True)
        self.answers, self.number, self.reads = answers, 1, 0

    @property
    def avoid_device_init(self) -> bool:
        """There is no device behind the stub of the driver."""
        return True

    def __torch_dispatch__(  # noqa: PLR0911 - one for each kind of operation
        self, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        aten, kwargs = torch.ops.aten, kwargs or {}
        parts = tree_leaves((args, kwargs))
        is_here = any(isinstance(one, FakeTensor) for one in parts)
        if not is_here and not any(isinstance(one, torch.device) and one.type == "cuda" for one in parts):
            return func(*args, **kwargs)
        name, device = func.overloadpacket, kwargs.get("device")
        if name in (aten.to, aten._to_copy) and not is_here:
            with self:
                how = {key: kwargs[key] for key in ("dtype", "memory_format") if kwargs.get(key) is not None}
                return torch.empty_like(args[0].detach(), device=device, **how)
        if name in (aten.to, aten._to_copy) and device == torch.device("cpu"):
            return self._read(args[0].shape, kwargs.get("dtype") or args[0].dtype)
        if name is aten._local_scalar_dense:
            return self._read((), args[0].dtype).item()
        if name is aten.copy_ and not isinstance(args[0], FakeTensor):
            return args[0].copy_(self._read(args[1].shape, args[1].dtype))
        if name is aten.bincount:  # as long as asked for; of which a GPU reads the largest value
            self.reads += 1
            length = kwargs.get("minlength", args[2] if len(args) > 2 else 0)
            with self:
                return torch.zeros(length, dtype=torch.int64, device=args[0].device)
        if name is aten.nonzero:  # one place
            self.reads += 1
            with self:
                return torch.zeros((1, args[0].ndim), dtype=torch.int64, device=args[0].device)
        return super().__torch_dispatch__(func, types, args, kwargs)

    def _read(self, shape: Sequence[int], kind: torch.dtype) -> Tensor:
        if self.answers is None:
            raise RuntimeError("a value was read from the GPU")
        self.reads += 1
        return torch.full(tuple(shape), self.answers if kind == torch.bool else self.number, dtype=kind)


def _apply(module: nn.Module, move: Callable[[Tensor], Tensor], recurse: bool = True) -> nn.Module:
    """Move a module; torch would change each parameter in place, which hollow ones do not allow."""
    for child in module.children() if recurse else ():
        child._apply(move)
    for name, held in module._parameters.items():
        if held is not None:
            module._parameters[name] = nn.Parameter(move(held.detach()), held.requires_grad)
    for name, buffer in module._buffers.items():
        if buffer is not None:
            module._buffers[name] = move(buffer)
    return module


def _gradients(_: object, inputs: Sequence[Tensor], **_options: bool) -> tuple[Tensor, ...]:
    """Autograd itself needs a GPU to work on; gradients are as their tensors."""
    return tuple(torch.zeros_like(tensor) for tensor in inputs)


def _backward(loss: Tensor) -> None:
    """Likewise: adds a gradient of ones to every leaf that the loss is computed from."""
    waiting, seen = [loss.grad_fn], set[Any]()
    while waiting:
        node = waiting.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        if hasattr(node, "variable"):
            ones = torch.ones_like(node.variable)
            node.variable.grad = ones if node.variable.grad is None else node.variable.grad + ones
        waiting += [before for before, _ in node.next_functions]


@contextmanager
def without_memory(*, answers: bool | None = None) -> Iterator[Hollow]:
    """Within the block, tensors on a GPU hold nothing; see ``Hollow``."""
    with pytest.MonkeyPatch.context() as patch, Hollow(answers) as mode:
        patch.setattr(nn.Module, "_apply", _apply)
        patch.setattr(torch.autograd, "grad", _gradients)
        patch.setattr(torch.autograd, "backward", _backward)
        patch.setattr(FakeTensor, "tolist", lambda tensor: tensor.cpu().tolist())  # one look, as on a GPU
        patch.setattr(Tensor, "pin_memory", lambda tensor: tensor, raising=False)
        yield mode
