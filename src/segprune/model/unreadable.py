"""Why a file of weights cannot be read, and what to do; nothing in it is executed to find out."""

import pickletools
import zipfile
from pathlib import Path
from pickle import UnpicklingError

from torch.serialization import MAGIC_NUMBER

_AGAIN = "Copy or download it again."
_LOOKED_AT = 512
"""Bytes at the beginning of a file that say what it is."""
_SHOWN, _FEWEST = 60, 8
"""Signs of a text that are told, and how many there are at least: a file cut off at once may look like one."""
_FOREIGN = (
    "no file that PyTorch saved. Give one of torch.save(net.state_dict(), path), or a .safetensors file."
)
_KNOWN = (
    (
        0,
        b"version https://git-lfs",
        "is the pointer of Git LFS to a file, not that file. Fetch it: git lfs pull.",
    ),
    (0, b"\x1f\x8b", "is compressed by gzip. Unpack it, and give the file with the weights."),
    (257, b"ustar", "is a tar archive. Unpack it, and give the file with the weights."),
)
"""Place and bytes that tell a kind of file -> what is said of it."""


def why_unreadable(path: Path, error: Exception) -> str:
    """What is wrong with a file, and what to do: goes on after its name.

    Args:
        path: A file of which ``torch.load`` or ``load_file`` did not make tensors.
        error: What it raised.
    """
    if isinstance(error, PermissionError):
        return "may not be read by you. Change its permissions (chmod), or give a copy."
    with path.open("rb") as file:
        head = file.read(_LOOKED_AT)
    if not any(head):
        return f"{'begins with zeros' if head else 'is empty'}. {_AGAIN}"
    is_zip = zipfile.is_zipfile(path)
    if "TorchScript" in str(error) or _is_executable(path, error, is_zip=is_zip):
        return (
            f"cannot be read as tensors alone ({type(error).__name__}); what else it holds would have to be "
            "executed, which is never done. Save it again: torch.save(net.state_dict(), path)."
        )
    said = str(error).partition("\n")[0].partition(". ")[0]
    damaged = f"is damaged or not whole ({': '.join(filter(None, (type(error).__name__, said)))}). {_AGAIN}"
    return _foreign(path, head, is_zip=is_zip) or damaged


def _is_executable(path: Path, error: Exception, *, is_zip: bool) -> bool:
    """Whether a file holds whole pickles, of more than tensors."""
    if not isinstance(error, UnpicklingError) or is_zip:
        return isinstance(error, UnpicklingError)
    with path.open("rb") as file:
        try:
            first = [value for _, value, _ in pickletools.genops(file)]
            # without zip, PyTorch writes four more: protocol, system, objects, names of the storages
            for _ in range(4 * (MAGIC_NUMBER in first)):
                for _ in pickletools.genops(file):
                    pass
        except Exception:  # noqa: BLE001 - what damaged operands raise has many classes
            return False
    return True


def _foreign(path: Path, head: bytes, *, is_zip: bool) -> str:
    """What a file is that PyTorch did not save; empty if it may have."""
    for place, begins, said in _KNOWN:
        if head[place:].startswith(begins):
            return said
    if is_zip:
        names = zipfile.ZipFile(path).namelist()
        is_own = any(name.endswith("data.pkl") for name in names)
        return "" if is_own else f"is a zip archive of {', '.join(names[:2])}, {_FOREIGN}"
    if text := _text(head):
        return f"is text that begins with {text!r}, and not weights. Download the file itself, not a page about it."
    is_own = path.suffix == ".safetensors" or head.startswith((b"\x80", b"P"))
    return "" if is_own else f"is {_FOREIGN}"


def _text(head: bytes) -> str:
    """The first line of a text; empty for other bytes."""
    text = head.decode(errors="ignore").strip()  # the last sign may be cut in two
    is_text = len(text) >= _FEWEST and len(text.encode()) > len(head.strip()) - 4
    is_text = is_text and all(sign.isprintable() or sign.isspace() for sign in text)
    return text.partition("\n")[0].strip()[:_SHOWN] if is_text else ""
