"""The runtimes in which networks are timed; named here, without torch, for those who only read rows."""

from collections.abc import Mapping
from typing import Literal

TimedIn = Literal[
    "eager",
    "eager_half",
    "cuda_graph",
    "cuda_graph_half",
    "compile",
    "onnxruntime",
    "openvino",
    "tensorrt",
]
OTHER_RUNTIMES: Mapping[TimedIn, str] = {
    "eager_half": "PyTorch in float16, on a GPU",
    "cuda_graph": "PyTorch as one CUDA graph",
    "cuda_graph_half": "PyTorch in float16 as one CUDA graph",
    "compile": "`torch.compile`",
    "onnxruntime": "ONNX Runtime, on the CPU",
    "openvino": "OpenVINO, on the CPU",
    "tensorrt": "TensorRT, by torch-tensorrt",
}
"""All but PyTorch's eager mode -> what it is, in words."""
