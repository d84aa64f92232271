"""Images of 16 bits and of other bands than three, written by other libraries and read back."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from segprune.dataset import band_files
from segprune.dataset.band_files import holds_raw_bands, read_bands
from segprune.dataset.decode import BandsError, read_image
from segprune.errors import ConfigError, DataError

tifffile = pytest.importorskip("tifffile", reason="needs the extra tiff")


def drawn(bands: int, dtype: type = np.uint16) -> np.ndarray:
    return np.random.default_rng(0).integers(0, np.iinfo(dtype).max, (6, 5, bands), dtype=dtype)


@pytest.mark.parametrize("bands", [1, 2, 4, 5, 20])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("layout", ["pixel by pixel", "band by band", "deflate"])
def test_a_tiff_is_read_as_it_was_written(bands: int, dtype: type, layout: str, tmp_path: Path) -> None:
    path, pixels = tmp_path / "a.tif", drawn(bands, dtype)
    if bands == 1:
        tifffile.imwrite(path, pixels[..., 0], photometric="minisblack")
    elif layout == "band by band":
        written = np.ascontiguousarray(np.moveaxis(pixels, -1, 0))
        tifffile.imwrite(path, written, photometric="minisblack", planarconfig="separate")
    else:
        compression = "deflate" if layout == "deflate" else None
        tifffile.imwrite(
            path, pixels, photometric="minisblack", planarconfig="contig", compression=compression
        )
    assert np.array_equal(read_image(path, upright=False, bands=bands), pixels)


@pytest.mark.parametrize("compression", ["lzw", "packbits", "zstd", "jpeg2000"])
def test_a_compressed_tiff_is_read_as_it_was_written(compression: str, tmp_path: Path) -> None:
    pytest.importorskip("imagecodecs", reason="needs the extra tiff")
    path, pixels = tmp_path / "a.tif", drawn(5)
    tifffile.imwrite(path, pixels, photometric="minisblack", planarconfig="contig", compression=compression)
    assert np.array_equal(read_image(path, upright=False, bands=5), pixels)


def test_overviews_of_a_tiff_are_left_alone(tmp_path: Path) -> None:
    path, pixels = tmp_path / "a.tif", np.random.default_rng(0).integers(0, 999, (32, 48, 4), dtype=np.uint16)
    how = {"photometric": "minisblack", "planarconfig": "contig", "tile": (16, 16)}
    with tifffile.TiffWriter(path) as file:
        for step in (1, 2):
            file.write(np.ascontiguousarray(pixels[::step, ::step]), subfiletype=step - 1, **how)
    assert np.array_equal(read_image(path, upright=False, bands=4), pixels)


@pytest.mark.parametrize("bands", [3, 13])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize(
    "how", ["one by one", "one by one, as OpenCV does", "each with an overview and a mask"]
)
def test_pages_of_one_band_are_bands(bands: int, dtype: type, how: str, tmp_path: Path) -> None:
    path, pixels = tmp_path / "a.tif", drawn(bands, dtype)
    pages = [np.ascontiguousarray(pixels[..., k]) for k in range(bands)]
    if "OpenCV" in how:
        cv2.imwritemulti(str(path), pages)
    else:
        with tifffile.TiffWriter(path) as file:
            for page in pages:
                file.write(page, photometric="minisblack")
                if "overview" in how:
                    file.write(page[::2, ::2], photometric="minisblack", subfiletype=1)
                    file.write(np.ones(page.shape, bool), photometric="mask", subfiletype=4)
    assert np.array_equal(read_image(path, upright=False, bands=bands), pixels)
    with pytest.raises(
        BandsError, match=rf"has {bands} bands and dataset.bands is 1; give dataset.bands={bands}"
    ):
        read_image(path, upright=False, bands=1)


@pytest.mark.parametrize("second", ["RGB", "more bits"])
def test_several_pictures_of_one_size_are_refused(second: str, tmp_path: Path) -> None:
    pixels = drawn(3, np.uint8)
    with tifffile.TiffWriter(tmp_path / "a.tif") as file:
        if second == "RGB":
            file.write(pixels, photometric="rgb")
            file.write(pixels, photometric="rgb")
        else:
            file.write(pixels[..., 0], photometric="minisblack")
            file.write(pixels[..., 0].astype(np.uint16), photometric="minisblack")
    for bands in (1, 3):
        with pytest.raises(DataError, match=r"a.tif holds 2 pictures of one size, of which only one"):
            read_image(tmp_path / "a.tif", upright=False, bands=bands)


def test_a_compression_without_its_library_names_the_extra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tifffile.imwrite(tmp_path / "a.tif", drawn(5), photometric="minisblack", planarconfig="contig")

    def asarray(_: object) -> np.ndarray:
        raise ValueError("<COMPRESSION.LZW: 5> requires the 'imagecodecs' package")

    monkeypatch.setattr(tifffile.TiffPageSeries, "asarray", asarray)
    with pytest.raises(
        ConfigError, match=r"a.tif has a compression .*pip install 'segprune\[tiff\]'; or store"
    ):
        read_image(tmp_path / "a.tif", upright=False, bands=5)


@pytest.mark.parametrize("bands", [1, 3, 4])
def test_a_png_of_16_bits_is_read_in_the_order_red_green_blue(bands: int, tmp_path: Path) -> None:
    path, pixels = tmp_path / "a.png", drawn(bands)
    swapped = pixels if bands == 1 else pixels[..., [2, 1, 0, 3][:bands]]
    cv2.imwrite(str(path), swapped)
    assert np.array_equal(read_image(path, upright=False, bands=bands), pixels)
    three = read_image(path, upright=False)
    assert np.array_equal(three, np.repeat(pixels, 3, 2) if bands == 1 else pixels[..., :3])


def test_a_tiff_of_16_bits_and_three_bands_keeps_its_bits(tmp_path: Path) -> None:
    path, pixels = tmp_path / "a.tif", drawn(3)
    tifffile.imwrite(path, pixels, photometric="rgb")
    assert np.array_equal(read_image(path, upright=False), pixels)


@pytest.mark.parametrize("with_tifffile", [True, False])
def test_a_fourth_band_that_is_no_alpha_is_not_dropped(
    with_tifffile: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, pixels = tmp_path / "a.tif", drawn(4, np.uint8)
    tifffile.imwrite(path, pixels, photometric="rgb", extrasamples=["unspecified"])
    assert np.array_equal(read_image(path, upright=False, bands=4), pixels)
    if not with_tifffile:
        monkeypatch.setattr(band_files, "holds_raw_bands", lambda *_: False)
    with pytest.raises(
        BandsError, match=r"a.tif has 4 bands and dataset.bands is 3; give dataset.bands=4"
    ) as told:
        read_image(path, upright=False)
    assert told.value.held == 4


@pytest.mark.parametrize(("mode", "bands"), [("L", 1), ("LA", 2), ("RGB", 3), ("RGBA", 4)])
@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_images_of_8_bits_have_the_bands_that_they_store(
    mode: str, bands: int, suffix: str, tmp_path: Path
) -> None:
    path, pixels = tmp_path / f"a.{suffix}", drawn(bands, np.uint8)
    Image.fromarray(pixels[..., 0] if bands == 1 else pixels, mode).save(path)
    assert np.array_equal(read_image(path, upright=False, bands=bands), pixels)


def test_another_number_of_bands_is_refused_with_the_number_that_there_is(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", drawn(5), photometric="minisblack", planarconfig="contig")
    with pytest.raises(DataError, match=r"a\.tif has 5 bands and dataset\.bands is 3; give dataset\.bands=5"):
        read_image(tmp_path / "a.tif", upright=False)
    Image.fromarray(drawn(3, np.uint8)).save(tmp_path / "b.png")
    with pytest.raises(DataError, match=r"b\.png has 3 bands and dataset\.bands is 4"):
        read_image(tmp_path / "b.png", upright=False, bands=4)


def test_numbers_that_are_not_whole_are_refused(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((4, 4), np.float32))
    with pytest.raises(DataError, match=r"a\.tif holds numbers of type float32.*uint16"):
        read_image(tmp_path / "a.tif", upright=False, bands=1)


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, drawn(5), photometric="minisblack", planarconfig="contig", compression="deflate")
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(DataError, match=r"a\.tif cannot be decoded"):
        read_image(path, upright=False, bands=5)


def test_without_the_library_one_sentence_says_how_to_get_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tifffile.imwrite(tmp_path / "a.tif", drawn(5), photometric="minisblack", planarconfig="contig")
    monkeypatch.setattr(band_files.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"pip install 'segprune\[tiff\]'"):
        holds_raw_bands(tmp_path / "a.tif", 5)
    assert not holds_raw_bands(tmp_path / "a.tif", 3)  # Pillow may know it


def test_the_kind_of_pixel_is_said(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", drawn(5), photometric="minisblack", planarconfig="contig")
    assert read_bands(tmp_path / "a.tif")[1] == "5 x uint16"
