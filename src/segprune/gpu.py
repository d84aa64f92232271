"""The GPU that computes: what of it can change a result, whether torch has code for it, which errors are its own.

Nothing is said of a CPU: its results are shared between machines.
"""

import re
from collections.abc import Sequence

import torch

from segprune.errors import ConfigError

_ERRORS = r"(CUDA|HIP|cuDNN|NVRTC) error|(CUBLAS|CUDNN|CUSOLVER|CUFFT)_STATUS|[Uu]nable to find an engine"
_LEGACY = "the one for CUDA 12.6 of torch 2.9 to 2.14, which has code from 5.0 on"


def name_of(device: torch.device) -> str | None:
    """Name of the GPU, ``None`` on a CPU."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else None


def device_of(asked: str) -> torch.device:
    """The device that is meant by ``auto``, ``cpu``, ``cuda`` or ``cuda:<n>``; a GPU becomes the current one.

    Raises:
        ConfigError: It does not exist here, or torch has no code for it.
    """
    wanted = asked
    if asked == "auto":
        wanted = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(wanted)
        if device.type not in ("cpu", "cuda"):
            raise RuntimeError(device.type)
        if device.type == "cuda":
            # a number of its own: set_device takes no other, and rows and fingerprints name the card
            device = torch.device(
                "cuda", torch.cuda.current_device() if device.index is None else device.index
            )
            torch.cuda.set_device(device)  # else what torch asks of the current GPU is asked of the first one
            if missing := lacks_code(device):
                raise ConfigError(f"device is {asked!r}, but {missing}")
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError) as error:
        is_known = wanted.partition(":")[0] in ("cpu", "cuda")  # else torch lists what it knows
        reason = f": {str(error).splitlines()[0]}" if is_known else ""
        raise ConfigError(
            f"device is {asked!r}, which cannot be used here{reason}. Allowed are auto, cpu, and cuda "
            "or cuda:<n> on a machine with such a GPU and a CUDA build of torch."
        ) from error
    # there is one CPU, whatever number it is given
    return torch.device("cpu") if device.type == "cpu" else device


def about(device: torch.device, asked: str) -> str:
    """Which device a run takes and why, in a line.

    Args:
        device: The device.
        asked: What the configuration said.
    """
    if device.type == "cuda":
        return f"device {device}: {torch.cuda.get_device_name(device)} ({precision_of(device)})"
    return "device cpu" if asked != "auto" else f"device cpu: {_why_no_gpu()}"


def _why_no_gpu() -> str:
    if torch.version.cuda is None:
        return "this torch is a build for CPUs"
    if torch.cuda.device_count():  # the driver's library counts them, though torch cannot use them
        return (
            f"there is a GPU, but its driver is too old for CUDA {torch.version.cuda}, which this torch is built "
            "for; docs/gpu.md says what to install"
        )
    return "there is no NVIDIA GPU that torch can see"


def precision_of(device: torch.device) -> str:
    """How convolutions of float32 multiply: ``float32``, or ``tf32`` with 10 bits of mantissa."""
    return "tf32" if _has_tf32(device) and _convolutions() == "tf32" else "float32"


def inputs_of(device: torch.device) -> dict[str, dict[str, str]]:
    """Which GPU and how it multiplies, as an input of every fingerprint; nothing for a CPU."""
    if device.type != "cuda":
        return {}
    products = torch.backends.cuda.matmul.fp32_precision
    return {
        "gpu": {
            "name": torch.cuda.get_device_name(device),
            "convolutions": precision_of(device),
            "products": "tf32" if _has_tf32(device) and products == "tf32" else "float32",
            "cudnn": str(torch.backends.cudnn.version()),  # type: ignore[no-untyped-call]
            "algorithms": _algorithms(),
        }
    }


def lacks_code(device: torch.device) -> str:
    """What to install where this build of torch has no code for the GPU; empty if it has."""
    built = [arch for arch in map(_parsed, torch.cuda.get_arch_list()) if arch]
    if device.type != "cuda" or not built:  # builds for AMD name theirs in another way
        return ""
    major, minor = capability = torch.cuda.get_device_capability(device)
    if _runs(built, capability):
        return ""
    has = sorted({(int(arch[2]), int(arch[3])) for arch in built})
    remedy = _LEGACY if capability < has[0] else "a newer one, for a CUDA version that knows this GPU"
    return (
        f"{torch.cuda.get_device_name(device)} has the compute capability {major}.{minor}, and torch "
        f"{torch.__version__} has code for {', '.join(f'{a}.{b}' for a, b in has)} alone. Install another build "
        f'of torch ({remedy}; see docs/gpu.md, "Which torch for which GPU and driver"), or give device=cpu.'
    )


def is_of_gpu(error: BaseException) -> bool:
    """Whether an error is one of the GPU or of its libraries, and says nothing of the network."""
    return isinstance(error, torch.AcceleratorError) or re.search(_ERRORS, str(error)) is not None


def _algorithms() -> str:
    """How cuDNN chooses among its own, outside of trainings; see ``training.cudnn``."""
    if torch.are_deterministic_algorithms_enabled() or torch.backends.cudnn.deterministic:
        return "deterministic"
    return "timed" if torch.backends.cudnn.benchmark else "guessed"


def _convolutions() -> str:
    setting: str = torch.backends.cudnn.conv.fp32_precision  # type: ignore[attr-defined]
    return setting


def _has_tf32(device: torch.device) -> bool:
    return device.type == "cuda" and torch.cuda.get_device_capability(device) >= (8, 0)


def _runs(built: Sequence[re.Match[str]], capability: tuple[int, int]) -> bool:
    """Whether one of the architectures of a build runs on a GPU.

    ``sm_86`` is machine code for 8.6 and later 8.x; with ``a`` behind it for that one alone, with ``f`` as without.
    ``compute_90`` can be translated for 9.0 and all later ones.
    """
    for arch in built:
        kind, have, variant = arch[1], (int(arch[2]), int(arch[3])), arch[4]
        same_line = have[0] == capability[0] and have <= capability
        if have == capability or (
            variant != "a" and (same_line or (kind == "compute" and have <= capability))
        ):
            return True
    return False


def _parsed(arch: str) -> re.Match[str] | None:
    return re.fullmatch(r"(sm|compute)_(\d+)(\d)([af]?)", arch)
