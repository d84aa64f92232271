"""What can be wrong with the files of a dataset: one fault at a time, done to a sound folder of files."""

import os
import shutil
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from tests.dataset.trees import labels, picture, save

IMAGE, LABEL = "train/images/1.png", "train/masks/1.png"
Spoil = Callable[[Path], object]


def tree(root: Path) -> Path:
    """Three pairs of 12x16 px for each role, every class in every label."""
    for role, start in (("train", 0), ("val", 10), ("test", 20)):
        for k in range(start, start + 3):
            save(root / role / "images" / f"{k}.png", picture(k))
            save(root / role / "masks" / f"{k}.png", labels(k, 3))
    return root


def cut_off(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-40])


def shades(path: Path, bits: int) -> None:
    """A gray PNG of fewer than 8 bits, all zero, which Pillow does not write."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        body = kind + content
        return struct.pack(">I", len(content)) + body + struct.pack(">I", zlib.crc32(body))

    row = bytes(1 + 16 * bits // 8)
    header = struct.pack(">IIBBBBB", 16, 12, bits, 0, 0, 0, 0)
    rest = chunk(b"IDAT", zlib.compress(row * 12)) + chunk(b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + rest)


def only_void(root: Path, role: str) -> None:
    for path in (root / role / "masks").iterdir():
        save(path, np.full((12, 16), 255, np.uint8))


def swap_for_link(path: Path, target: Path | str) -> None:
    path.unlink()
    path.symlink_to(target)


def to_pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def to_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def link_each_other(one: Path, other: Path) -> None:
    (one / "there").symlink_to(other)
    (other / "back").symlink_to(one)


FAULTS: dict[str, tuple[Spoil, str]] = {
    "cut off image": (lambda d: cut_off(d / IMAGE), "train/images/1.png cannot be decoded"),
    "cut off label": (lambda d: cut_off(d / LABEL), "train/masks/1.png cannot be decoded"),
    "empty image": (lambda d: (d / IMAGE).write_bytes(b""), "train/images/1.png cannot be decoded"),
    "empty label": (lambda d: (d / LABEL).write_bytes(b""), "train/masks/1.png cannot be decoded"),
    "text as image": (
        lambda d: (d / IMAGE).write_text("<html>"),
        "the file is damaged, incomplete or no image",
    ),
    "16 bits of label": (
        lambda d: save(d / LABEL, np.full((12, 16), 300, np.uint16)),
        "train/masks/1.png has label values [300]; allowed are 0..2 and 255 (ignored)",
    ),
    "16 bits of image": (
        lambda d: save(d / IMAGE, np.full((12, 16), 300, np.uint16)),
        "train/images/1.png has 16; all images of a dataset must be alike",
    ),
    "2 bits of gray": (lambda d: shades(d / LABEL, 2), "train/masks/1.png is a gray PNG of 2 bits"),
    "4 bits of gray": (lambda d: shades(d / LABEL, 4), "store labels as PNG of 8 bits"),
    "coloured label": (lambda d: save(d / LABEL, picture(1)), "is a RGB colour image"),
    "label with alpha": (
        lambda d: Image.fromarray(picture(1)).convert("RGBA").save(d / LABEL),
        "train/masks/1.png is a RGBA colour image; a label has one class id per pixel",
    ),
    "label as JPEG": (
        lambda d: Image.fromarray(labels(1, 3)).save(d / LABEL, format="JPEG"),
        "is a JPEG label, whose compression changes class ids; store labels as PNG",
    ),
    "unknown class": (
        lambda d: save(d / LABEL, labels(1, 5)),
        "train/masks/1.png has label values [3, 4]; allowed are 0..2 and 255 (ignored)",
    ),
    "other size": (
        lambda d: save(d / LABEL, labels(1, 3, (12, 15))),
        "train/images/1.png is 16x12 but its label",
    ),
    "missing label": (lambda d: (d / LABEL).unlink(), "train/images/1.png has no label"),
    "missing image": (lambda d: (d / IMAGE).unlink(), "train/masks/1.png has no image"),
    "folder as image": (lambda d: to_folder(d / IMAGE), "train/masks/1.png has no image"),
    "pipe as image": (lambda d: to_pipe(d / IMAGE), "train/images/1.png is no plain file"),
    "image linked to itself": (
        lambda d: swap_for_link(d / IMAGE, "1.png"),
        "train/images/1.png cannot be read ([Errno 40] Too many levels of symbolic links",
    ),
    "image linked to nothing": (
        lambda d: swap_for_link(d / IMAGE, "gone.png"),
        "images/1.png cannot be read",
    ),
    "folder linked into itself": (
        lambda d: (d / "train/images/again").symlink_to(d / "train/images"),
        "train/images/again and",
    ),
    "folders linked into each other": (
        lambda d: link_each_other(d / "train/images", d / "train/masks"),
        "are one folder, through a symbolic link; its files would count twice: remove the link",
    ),
    "role without images": (lambda d: shutil.rmtree(d / "val"), "val/images is missing. Expected: fit:"),
    "role with an empty folder": (
        lambda d: [path.unlink() for path in (d / "test/images").iterdir()],
        "test/images is empty. Expected: fit:",
    ),
    "role with images of another ending": (
        lambda d: [path.rename(path.with_suffix(".PNG")) for path in (d / "test/images").iterdir()],
        "test/images holds no *.png. It holds 3 *.PNG. Expected: fit:",
    ),
    "training labels all void": (
        lambda d: only_void(d, "train"),
        "all other labels of the role fit (3) hold",
    ),
    "select labels all void": (lambda d: only_void(d, "val"), "all other labels of the role select (3) hold"),
    "report labels all void": (
        lambda d: only_void(d, "test"),
        "hold nothing but 255, which is ignored, so there is nothing to learn or to score: correct the labels",
    ),
}
