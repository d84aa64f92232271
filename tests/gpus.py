"""A machine with GPUs as torch sees one: its driver is stubbed, below torch's own checks, which all run."""

from dataclasses import dataclass, field
from types import SimpleNamespace

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode


@dataclass
class Driver:
    """What a driver knows.

    Attributes:
        count: GPUs it counts.
        name: Of every GPU.
        capability: Of every GPU, major and minor.
        current: The GPU that is current.
        made_current: Every number it was told to make current.
    """

    count: int
    name: str = "Stub A100"
    capability: tuple[int, int] = (8, 0)
    current: int = 0
    made_current: list[int] = field(default_factory=list)

    def set_device(self, number: int) -> None:
        """Make a GPU current.

        Raises:
            RuntimeError: There is none of this number.
        """
        if number >= self.count:
            raise RuntimeError("CUDA error: invalid device ordinal")
        self.made_current.append(number)
        self.current = number


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
    monkeypatch.setattr(torch._C, "_cuda_getDevice", lambda: driver.current, raising=False)
    usable = 0 if is_too_old else count
    monkeypatch.setattr(torch._C, "_cuda_getDeviceCount", lambda: usable, raising=False)
    monkeypatch.setattr(torch.cuda, "_lazy_init", start)
    monkeypatch.setattr(torch.cuda, "_device_count_nvml", lambda: count)
    monkeypatch.setattr(torch.cuda, "_get_device_properties", properties, raising=False)
    return driver


def without_memory() -> FakeTensorMode:
    """Tensors on any device that hold nothing; operations on two devices are refused as on a GPU."""
    return FakeTensorMode(allow_non_fake_inputs=True)
