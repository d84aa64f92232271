import gzip
import io
import pickle
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save
from torch import nn

from segprune.errors import CheckpointError
from segprune.model.backbone_weights import read_state_dict
from segprune.model.existing_weights import read

STATE = {f"layer{number}.weight": torch.full((3, 2), float(number)) for number in range(4)}


def saved(what: object = STATE, *, is_zip: bool = True) -> bytes:
    buffer = io.BytesIO()
    torch.save(what, buffer, _use_new_zipfile_serialization=is_zip)
    return buffer.getvalue()


def told(folder: Path, name: str, content: bytes) -> str:
    """What is said of a file with this content, the same for both keys that take weights."""
    path = folder / name
    path.write_bytes(content)
    texts = []
    for reader, key in ((read, "model.checkpoint"), (read_state_dict, "model.weights")):
        with pytest.raises(CheckpointError, match=rf"^{key}: {path} ") as caught:
            reader(path)
        texts.append(str(caught.value).removeprefix(f"{key}: {path} "))
    assert texts[0] == texts[1]
    return texts[0]


@pytest.mark.parametrize(
    ("name", "content"),
    [("a.pth", saved()), ("a.pth", saved(is_zip=False)), ("a.safetensors", save(STATE))],
    ids=["zip", "legacy", "safetensors"],
)
def test_a_file_cut_off_anywhere_is_damaged(tmp_path: Path, name: str, content: bytes) -> None:
    lengths = {
        *range(1, min(400, len(content)), 3),
        *range(1, len(content), len(content) // 20),
        len(content) - 1,
    }
    found = {told(tmp_path, name, content[:length]).partition(" (")[0] for length in lengths}
    assert found == {"is damaged or not whole"}


def archive() -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        tar.addfile(tarfile.TarInfo("weights.pth"))
    return buffer.getvalue()


def arrays() -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, a=np.ones(2))
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("content", "begins", "ends"),
    [
        (b"", "is empty.", "download it again."),
        (bytes(600), "begins with zeros.", "download it again."),
        (
            b"\n<!DOCTYPE html>\n<p>Sign in",
            "is text that begins with '<!DOCTYPE html>',",
            "not a page about it.",
        ),
        ("{'Fehler': 'größer'}".encode() * 99, "is text that begins with ", "not a page about it."),
        (b"version https://git-lfs.github.com/spec/v1\noid", "is the pointer of Git LFS", "git lfs pull."),
        (gzip.compress(saved()), "is compressed by gzip. Unpack it", "with the weights."),
        (archive(), "is a tar archive. Unpack it", "with the weights."),
        (arrays(), "is a zip archive of a.npy, no file that PyTorch saved.", "a .safetensors file."),
        (b"\x89HDF\r\n\x1a\n" + bytes(99), "is no file that PyTorch saved.", "a .safetensors file."),
        (
            b"\x08\x08\x12\x07pytorch\x1a\x052.0.0:\xb0\x01",
            "is no file that PyTorch saved.",
            "a .safetensors file.",
        ),
        (
            pickle.dumps({"a": np.ones(2)}, protocol=2),
            "cannot be read as tensors alone (",
            "torch.save(net.state_dict(), path).",
        ),
        (saved(nn.ReLU()), "cannot be read as tensors alone (", "torch.save(net.state_dict(), path)."),
        (saved(nn.ReLU(), is_zip=False), "cannot be read as tensors alone (", "(net.state_dict(), path)."),
    ],
)
def test_what_a_file_is_instead_of_weights_is_told(
    tmp_path: Path, content: bytes, begins: str, ends: str
) -> None:
    text = told(tmp_path, "a.pth", content)
    assert text.startswith(begins)
    assert text.endswith(ends)


def test_pages_and_pointers_are_told_of_whatever_their_names_say(tmp_path: Path) -> None:
    assert told(tmp_path, "a.safetensors", b"<html>404: not found</html>").startswith(
        "is text that begins with"
    )
    assert "git lfs pull" in told(tmp_path, "a.safetensors", b"version https://git-lfs.github.com/spec/v1\n")
