"""ONNX files in 8-bit integers, by calibration; the only importer of onnxruntime.quantization."""

import logging
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from segprune import durable
from segprune.deploy.runtime import refuse_missing

Target = Literal["avx2", "vnni", "tensorrt"]
LIBRARIES = ("onnx", "onnxruntime")


@dataclass(frozen=True, kw_only=True)
class _Integers:
    """Of which integers a file is.

    Attributes:
        signed: Whether activations are -128..127 around 0 instead of 0..255.
        narrow: Whether weights have 7 bits.
    """

    signed: bool
    narrow: bool


_INTEGERS: Mapping[Target, _Integers] = {
    "avx2": _Integers(
        signed=False, narrow=True
    ),  # 8 bits overflow in the 16-bit sums of this instruction set
    "vnni": _Integers(signed=False, narrow=False),
    "tensorrt": _Integers(signed=True, narrow=False),  # all that it takes
}


def quantise(source: Path, path: Path, images: Iterable[Tensor], *, target: Target) -> int:
    """Write an ONNX file of float32 as one of 8-bit integers, all or nothing.

    Static quantisation after training: the ranges of activations are the smallest and largest values on the images,
    weights have a scale per channel, and nodes that quantise and dequantise (QDQ) say so to any runtime.

    Args:
        source: The file.
        path: The new one.
        images: Batches (N, 3, H, W) in [0, 1] that the file takes; unaugmented.
        target: Of which integers: those that are exact on a CPU with AVX2, on one with VNNI, or for TensorRT.

    Returns:
        Size of the new file in bytes.

    Raises:
        ConfigError: A library is missing.
        OSError: The disk refuses.
    """
    refuse_missing(LIBRARIES)
    from onnxruntime.quantization import CalibrationMethod, QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    integers = _INTEGERS[target]
    with _quiet(), tempfile.TemporaryDirectory() as folder:
        ready, made = Path(folder) / "ready.onnx", Path(folder) / "made.onnx"
        quant_pre_process(source, ready, skip_symbolic_shape=True)
        quantize_static(
            ready,
            made,
            _reader(images),
            quant_format=QuantFormat.QDQ,
            per_channel=True,
            reduce_range=integers.narrow,
            activation_type=QuantType.QInt8 if integers.signed else QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            calibrate_method=CalibrationMethod.MinMax,
            extra_options={"ActivationSymmetric": integers.signed, "WeightSymmetric": True},
        )
        content = made.read_bytes()
    with durable.replacing(path) as file:
        file.write(content)
    return len(content)


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep the library's remarks on how it changes the graph from the log."""
    before = logging.root.manager.disable
    logging.disable(max(before, logging.WARNING))
    try:
        yield
    finally:
        logging.disable(before)


def _reader(images: Iterable[Tensor]) -> Any:
    """The images as the library reads them, one batch after the other."""
    from onnxruntime.quantization import CalibrationDataReader

    from segprune.deploy.onnx_file import IMAGE

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self._rest = _arrays(images)

        def get_next(self) -> dict[str, NDArray[np.float32]] | None:
            batch = next(self._rest, None)
            return None if batch is None else {IMAGE: batch}

    return Reader()


def _arrays(images: Iterable[Tensor]) -> Iterator[NDArray[np.float32]]:
    for batch in images:
        yield batch.detach().float().cpu().contiguous().numpy()
