"""Masks of more than 8 bits a number, written by other libraries: no bit of a class id is lost."""

import struct
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from segprune.dataset.decode import read_mask
from segprune.errors import DataError

IDS = np.array([[0, 1, 2], [256, 257, 65535]], np.uint16)


def bands(*values: int) -> np.ndarray:
    """(1, N, 3) uint16: pixels of one value in each band."""
    return np.repeat(np.array([values], np.uint16)[..., None], 3, axis=2)


def gray_with_alpha(path: Path, gray: np.ndarray) -> None:
    """A PNG of two bands of 16 bits, which neither Pillow nor OpenCV writes; alpha is 7 everywhere."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        body = kind + content
        return struct.pack(">I", len(content)) + body + struct.pack(">I", zlib.crc32(body))

    height, width = gray.shape
    pixels = np.stack([gray, np.full_like(gray, 7)], axis=-1).astype(">u2")
    rows = b"".join(b"\0" + row.tobytes() for row in pixels)
    header = struct.pack(">IIBBBBB", width, height, 16, 4, 0, 0, 0)
    parts = (b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*part) for part in parts))


@pytest.mark.parametrize("count", [3, 4])
def test_equal_bands_of_16_bits_are_read_whole(tmp_path: Path, count: int) -> None:
    cv2.imwrite(str(tmp_path / "x.png"), np.repeat(IDS[..., None], count, axis=2))
    assert read_mask(tmp_path / "x.png", "numbers", upright=True).tolist() == IDS.tolist()


def test_gray_of_16_bits_with_alpha_is_read_whole(tmp_path: Path) -> None:
    gray_with_alpha(tmp_path / "x.png", IDS)
    assert read_mask(tmp_path / "x.png", "numbers", upright=True).tolist() == IDS.tolist()


def test_bands_that_differ_in_their_low_byte_alone_are_a_colour_image(tmp_path: Path) -> None:
    pixels = bands(256, 512)
    pixels[0, 1, 2] += 1
    cv2.imwrite(str(tmp_path / "x.png"), pixels)
    with pytest.raises(DataError, match=r"x.png is a RGB colour image"):
        read_mask(tmp_path / "x.png", "numbers", upright=True)


@pytest.mark.parametrize("kind", ["numbers", "colours"])
@pytest.mark.parametrize("name", ["x.tif", "x.ppm"])
def test_other_files_of_several_bands_of_16_bits_are_refused(tmp_path: Path, name: str, kind) -> None:
    cv2.imwrite(str(tmp_path / name), bands(0, 1, 2))
    with pytest.raises(DataError, match=rf"{name} has several bands of more than 8 bits.*gray PNG"):
        read_mask(tmp_path / name, kind, upright=True)
    cv2.imwrite(str(tmp_path / name), bands(0, 1, 2).astype(np.uint8))
    stored = {"numbers": [[0, 1, 2]], "colours": [[0, 0x010101, 0x020202]]}
    assert read_mask(tmp_path / name, kind, upright=True).tolist() == stored[kind]


def test_colours_of_16_bits_are_those_of_8_bits_that_are_as_bright(tmp_path: Path) -> None:
    pixels = bands(0, 257, 65535)
    pixels[0, 2] = (0, 257 * 2, 257 * 3)  # OpenCV's order is blue, green, red
    cv2.imwrite(str(tmp_path / "x.png"), pixels)
    assert read_mask(tmp_path / "x.png", "colours", upright=True).tolist() == [[0, 0x010101, 0x030200]]
    cv2.imwrite(str(tmp_path / "y.png"), np.array([[0, 257, 65535]], np.uint16))
    assert read_mask(tmp_path / "y.png", "colours", upright=True).tolist() == [[0, 0x010101, 0xFFFFFF]]


@pytest.mark.parametrize("pixels", [bands(0, 300), np.array([[300, 600]], np.uint16)])
def test_colours_between_those_of_8_bits_are_refused(tmp_path: Path, pixels: np.ndarray) -> None:
    cv2.imwrite(str(tmp_path / "x.png"), pixels)
    with pytest.raises(DataError, match=r"x.png has colours of 16 bits that no colour of 8 bits is"):
        read_mask(tmp_path / "x.png", "colours", upright=True)


def test_numbers_of_32_bits_are_no_colours(tmp_path: Path) -> None:
    for number in (-257, 256 * 257):
        Image.fromarray(np.array([[0, number]], np.int32)).save(tmp_path / "x.tif")
        with pytest.raises(DataError, match=r"x.tif has colours of 16 bits"):
            read_mask(tmp_path / "x.tif", "colours", upright=True)
