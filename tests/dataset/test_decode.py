from functools import partial
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

from segprune.dataset.decode import read_image, read_mask
from segprune.errors import DataError
from tests.dataset.faults import shades
from tests.dataset.trees import labels, picture, save


def test_rgb_png_is_read_as_stored(tmp_path):
    pixels = picture(0)
    assert np.array_equal(read_image(save(tmp_path / "größe 1 图.png", pixels), upright=True), pixels)


def test_grayscale_image_becomes_three_equal_planes(tmp_path):
    gray = picture(0)[..., 0]
    assert np.array_equal(
        read_image(save(tmp_path / "x.png", gray), upright=True), gray[..., None].repeat(3, -1)
    )


def test_palette_label_gives_indices_not_colours(tmp_path):
    values = labels(0, 5)
    stored = Image.fromarray(values)
    stored.putpalette([9, 9, 9] * 256)  # every colour the same: only the indices tell classes apart
    stored.save(tmp_path / "x.png")
    with Image.open(tmp_path / "x.png") as reopened:
        assert reopened.mode == "P"
    assert np.array_equal(read_mask(tmp_path / "x.png", "numbers", upright=True), values)


@pytest.mark.parametrize("name", ["x.png", "x.npy"])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.bool_])
def test_depth_of_a_mask_does_not_matter(tmp_path, dtype, name):
    values = labels(0, 2).astype(dtype)
    path = save(tmp_path / "x.png", values) if name == "x.png" else tmp_path / name
    np.save(tmp_path / "x.npy", values)
    assert np.array_equal(read_mask(path, "numbers", upright=True), values)


def test_numbers_above_a_byte_are_read_as_stored(tmp_path):
    path = save(tmp_path / "x.png", np.array([[0, 4660]], np.uint16))
    assert read_mask(path, "numbers", upright=True).tolist() == [[0, 4660]]


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "LA"])
def test_colour_mask_that_is_gray_is_read_as_gray(tmp_path, mode):
    Image.fromarray(labels(0, 5)).convert(mode).save(tmp_path / "x.png")
    assert np.array_equal(read_mask(tmp_path / "x.png", "numbers", upright=True), labels(0, 5))


def test_colour_mask_is_refused_where_numbers_are_read(tmp_path):
    with pytest.raises(DataError, match=r"x.png is a RGB colour image.*'dataset.colours=.* panoptic PNG"):
        read_mask(save(tmp_path / "x.png", picture(0)), "numbers", upright=True)


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "P"])
def test_colours_are_read_from_colour_and_palette_masks(tmp_path, mode):
    bands = np.array([[[1, 2, 3], [255, 0, 16]]], np.uint8)
    made = Image.fromarray(bands)
    (made.quantize(2) if mode == "P" else made.convert(mode)).save(tmp_path / "x.png")
    assert read_mask(tmp_path / "x.png", "colours", upright=True).tolist() == [[0x010203, 0xFF0010]]


def test_mask_of_too_many_colours_is_refused(tmp_path):
    path = save(tmp_path / "x.png", picture(0, (40, 40)))
    with pytest.raises(DataError, match=r"x.png has 1600 colours, so it was compressed or smoothed"):
        read_mask(path, "colours", upright=True)


@pytest.mark.parametrize("value", [2**32 + 1, -(2**31) - 1])
def test_a_number_that_does_not_fit_is_not_folded_into_another(tmp_path, value):
    np.save(tmp_path / "x.npy", np.array([[0, value]]))
    with pytest.raises(DataError, match=r"x.npy holds .*, which no class id can be"):
        read_mask(tmp_path / "x.npy", "numbers", upright=True)


@pytest.mark.parametrize("name", ["x.tif", "x.gif", "x.png", "x.webp"])
def test_a_file_of_several_pictures_is_refused(tmp_path, name):
    first, *others = (Image.fromarray(labels(k, 2)) for k in range(3))
    first.save(tmp_path / name, save_all=True, append_images=others, lossless=True)
    pages_are_bands = name.endswith("tif")
    for read in (partial(read_mask, kind="numbers"), *(() if pages_are_bands else (read_image,))):
        with pytest.raises(DataError, match=rf"{name} holds 3 pictures, of which only one"):
            read(tmp_path / name, upright=True)


def test_smaller_pictures_behind_the_first_are_overviews(tmp_path):
    values = labels(0, 5)
    first = Image.fromarray(values)
    first.save(tmp_path / "x.tif", save_all=True, append_images=[first.resize((8, 6))])
    assert np.array_equal(read_mask(tmp_path / "x.tif", "numbers", upright=True), values)


def test_black_and_white_images_are_0_and_255_with_any_bands(tmp_path):
    Image.fromarray(labels(0, 2) > 0).save(tmp_path / "x.png")
    one, three = (read_image(tmp_path / "x.png", upright=True, bands=bands) for bands in (1, 3))
    assert np.array_equal(one[..., 0], 255 * labels(0, 2))
    assert np.array_equal(np.repeat(one, 3, 2), three)


@pytest.mark.parametrize("array", [np.zeros((2, 3)), np.zeros((2, 3, 1), np.uint8)])
def test_array_that_is_no_mask_is_refused(tmp_path, array):
    np.save(tmp_path / "x.npy", array)
    with pytest.raises(DataError, match=r"x.npy holds .* has whole numbers of shape \(H, W\)"):
        read_mask(tmp_path / "x.npy", "numbers", upright=True)


def test_pickled_array_is_refused(tmp_path):
    np.save(tmp_path / "x.npy", np.array([[{}]], object), allow_pickle=True)
    with pytest.raises(DataError, match=r"x.npy cannot be read as an array"):
        read_mask(tmp_path / "x.npy", "numbers", upright=True)


@pytest.mark.parametrize("number", range(1, 9))
def test_files_are_turned_as_viewers_turn_them(tmp_path, number):
    exif = Image.Exif()
    exif[274] = number
    stored = Image.fromarray(picture(0)[..., 0])
    stored.save(tmp_path / "x.png", exif=exif)
    with Image.open(tmp_path / "x.png") as opened:
        shown = np.array(ImageOps.exif_transpose(opened))
    assert np.array_equal(read_mask(tmp_path / "x.png", "numbers", upright=True), shown)
    assert np.array_equal(read_image(tmp_path / "x.png", upright=True)[..., 0], shown)
    assert np.array_equal(read_mask(tmp_path / "x.png", "numbers", upright=False), picture(0)[..., 0])


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_a_tiff_that_lies_otherwise_than_stored_is_refused(tmp_path, dtype):
    exif, pixels = Image.Exif(), labels(0, 2).astype(dtype)
    for number in range(1, 9):
        exif[0x0112] = number
        Image.fromarray(pixels).save(tmp_path / "x.tif", exif=exif)
        for read in (partial(read_image, bands=1), partial(read_mask, kind="numbers")):
            if number == 1:
                assert np.array_equal(np.squeeze(read(tmp_path / "x.tif", upright=True)), pixels)
                continue
            with pytest.raises(
                DataError, match=rf"x.tif is a TIFF with the orientation {number}, .*without that tag"
            ):
                read(tmp_path / "x.tif", upright=True)


def test_an_image_of_16_bits_is_turned_as_viewers_turn_it(tmp_path):
    exif, gray = Image.Exif(), picture(0)[..., 0].astype(np.uint16) * 200
    exif[0x0112] = 6
    Image.fromarray(gray).save(tmp_path / "x.png", exif=exif)
    stored, shown = (
        read_image(tmp_path / "x.png", upright=upright, bands=1)[..., 0] for upright in (False, True)
    )
    assert np.array_equal(stored, gray)
    assert np.array_equal(shown, np.rot90(gray, -1))


def test_jpeg_label_is_refused(tmp_path):
    with pytest.raises(DataError, match=r"x.jpg is a JPEG label.*store labels as PNG"):
        read_mask(save(tmp_path / "x.jpg", labels(0, 5)), "numbers", upright=True)


@pytest.mark.parametrize(
    ("name", "how", "kind"),
    [
        ("x.webp", {"quality": 80}, "WEBP"),
        (
            "y.webp",
            {"quality": 80, "exif": b"Exif\0\0MM\0*\0\0\0\x08\0\0\0\0\0\0"},
            "WEBP",
        ),  # in a longer form
        ("x.tif", {"compression": "jpeg"}, "TIFF"),
        ("x.jp2", {}, "JPEG2000"),
    ],
)
def test_labels_compressed_like_photos_are_refused(tmp_path, name, how, kind):
    Image.fromarray(labels(0, 5)).convert("RGB").save(tmp_path / name, **how)
    with pytest.raises(DataError, match=rf"is a {kind} label.*store labels as PNG"):
        read_mask(tmp_path / name, "numbers", upright=True)


@pytest.mark.parametrize(
    ("name", "how"),
    [
        ("x.webp", {"lossless": True}),
        ("y.webp", {"lossless": True, "exif": b"Exif\0\0MM\0*\0\0\0\x08\0\0\0\0\0\0"}),
        ("x.tif", {"compression": "tiff_lzw"}),
    ],
)
def test_labels_that_keep_their_pixels_are_read(tmp_path, name, how):
    values = labels(0, 5)
    Image.fromarray(values).convert("RGB").save(tmp_path / name, **how)
    assert np.array_equal(read_mask(tmp_path / name, "numbers", upright=True), values)


def test_a_label_of_fractions_is_refused(tmp_path):
    Image.fromarray(labels(0, 5).astype(np.float32)).save(tmp_path / "x.tif")
    with pytest.raises(DataError, match=r"x\.tif holds fractions"):
        read_mask(tmp_path / "x.tif", "numbers", upright=True)


def test_deep_image_is_refused(tmp_path):
    path = save(tmp_path / "x.pgm", picture(0)[..., 0].astype(np.uint16))
    with pytest.raises(DataError, match=r"x\.pgm is a I.* image, .*PNG or TIFF of 16 bits.*8-bit RGB"):
        read_image(path, upright=True)


@pytest.mark.parametrize(
    "read", [partial(read_image, upright=True), partial(read_mask, kind="numbers", upright=True)]
)
@pytest.mark.parametrize("keep", [0, 20, 300])
def test_cut_off_file_is_refused(tmp_path, read, keep):
    path = save(tmp_path / "x.png", picture(0)[..., 0])
    path.write_bytes(path.read_bytes()[: min(keep, path.stat().st_size - 30)])
    with pytest.raises(DataError, match=r"x.png cannot be decoded.*restore it"):
        read(path)


def test_file_that_is_no_image_is_refused(tmp_path):
    (tmp_path / "x.png").write_text("version https://git-lfs.github.com/spec/v1")
    with pytest.raises(DataError, match=r"x.png cannot be decoded.*no image"):
        read_image(tmp_path / "x.png", upright=True)


@pytest.mark.parametrize("bits", [2, 4])
def test_numbers_that_may_be_shades_are_refused(tmp_path, bits):
    shades(tmp_path / "x.png", bits)
    with pytest.raises(
        DataError, match=rf"x.png is a gray PNG of {bits} bits.*store labels as PNG of 8 bits"
    ):
        read_mask(tmp_path / "x.png", "numbers", upright=True)
    assert read_image(tmp_path / "x.png", upright=True).shape == (12, 16, 3)


@pytest.mark.parametrize("kind", ["int64", "uint64"])
def test_a_tiff_of_numbers_that_pillow_does_not_know_is_not_called_damaged(tmp_path: Path, kind: str) -> None:
    tifffile = pytest.importorskip("tifffile")
    tifffile.imwrite(tmp_path / "a.tif", np.array([[0, 1], [2, 255]], dtype=kind))
    with pytest.raises(
        DataError, match=r"a\.tif is a TIFF of a kind that is not read, such as of 64-bit numbers"
    ):
        read_mask(tmp_path / "a.tif", "numbers", upright=False)
    (tmp_path / "a.tif").write_bytes(b"no image at all")
    with pytest.raises(DataError, match="damaged, incomplete or no image"):
        read_mask(tmp_path / "a.tif", "numbers", upright=False)
