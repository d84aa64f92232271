"""What a deployed file takes and gives, and the part of a network that goes into it."""

import contextlib
import io
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from segprune.model.contract import Predicts, SegmentationNet
from segprune.model.copies import duplicate

Output = Literal["logits", "argmax"]
Axis = Literal["batch", "height", "width"]
AXES: Mapping[Axis, int] = {"batch": 0, "height": 2, "width": 3}
OPSET = 20


@dataclass(frozen=True, kw_only=True)
class Form:
    """What a file takes and gives.

    Attributes:
        dynamic: Axes of the images whose size is free when the file is used; others are fixed, the batch to 1.
        output: (N, K, H, W) float32 logits, or (N, H, W) class ids, uint8 where these suffice.
        opset: Version of ONNX's operators.
    """

    dynamic: tuple[Axis, ...] = ("batch",)
    output: Output = "logits"
    opset: int = OPSET

    def example(self, size_hw: tuple[int, int], bands: int = 3) -> Tensor:
        """Images to export with; two where a file shall take any number, since one alone may be taken for fixed."""
        return torch.rand(2 if "batch" in self.dynamic else 1, bands, *size_hw)


DEFAULT_FORM = Form()


class Deployed(nn.Module):
    """A copy of a network on the CPU, in evaluation mode and float32, that gives what the file shall give."""

    def __init__(self, net: SegmentationNet, output: Output) -> None:
        super().__init__()
        self.net, self.output = duplicate(net).cpu().float(), output
        self.eval().requires_grad_(requires_grad=False)

    def forward(self, image: Tensor) -> Tensor:
        """(N, 3, H, W) in [0, 1] -> logits or class ids."""
        logits: Tensor = self.net(image)
        if self.output == "logits":
            return logits
        ids = logits.argmax(1)
        return ids.to(torch.uint8) if logits.shape[1] <= 256 else ids


@dataclass(frozen=True)
class Planes:
    """A predictor of class ids (N, H, W) as one of logits (N, K, H, W): 1 for the class, 0 for all others.

    Attributes:
        ids: The predictor.
        classes: K.
    """

    ids: Predicts
    classes: int

    def __call__(self, image: Tensor, /) -> Tensor:
        """(N, 3, H, W) in [0, 1] -> (N, K, H, W) float32."""
        return F.one_hot(self.ids(image).long(), self.classes).movedim(-1, 1).float()


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep the exporters' progress and their remarks on themselves from the console."""
    with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
