import numpy as np
import pytest
from PIL import Image

from segprune.dataset.decode import read_image, read_label
from segprune.errors import DataError
from tests.dataset.faults import shades
from tests.dataset.trees import labels, picture, save


def test_rgb_png_is_read_as_stored(tmp_path):
    pixels = picture(0)
    assert np.array_equal(read_image(save(tmp_path / "größe 1 图.png", pixels)), pixels)


def test_grayscale_image_becomes_three_equal_planes(tmp_path):
    gray = picture(0)[..., 0]
    assert np.array_equal(read_image(save(tmp_path / "x.png", gray)), gray[..., None].repeat(3, -1))


def test_photo_is_turned_upright(tmp_path):
    exif = Image.Exif()
    exif[274] = 6  # orientation: turn by 90 degrees clockwise to view
    Image.fromarray(picture(0)).save(tmp_path / "x.png", exif=exif)
    assert np.array_equal(read_image(tmp_path / "x.png"), np.rot90(picture(0), -1))


def test_palette_label_gives_indices_not_colours(tmp_path):
    values = labels(0, 5)
    stored = Image.fromarray(values)
    stored.putpalette([9, 9, 9] * 256)  # every colour the same: only the indices tell classes apart
    stored.save(tmp_path / "x.png")
    with Image.open(tmp_path / "x.png") as reopened:
        assert reopened.mode == "P"
    assert np.array_equal(read_label(tmp_path / "x.png"), values)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.bool_])
def test_label_depth_does_not_matter_when_values_fit(tmp_path, dtype):
    values = labels(0, 2)
    path = save(tmp_path / "x.png", values.astype(dtype))
    assert read_label(path).dtype == np.uint8
    assert np.array_equal(read_label(path), values)


def test_label_value_above_a_byte_is_refused(tmp_path):
    path = save(tmp_path / "x.png", np.array([[0, 4660]], np.uint16))
    with pytest.raises(DataError, match=r"x.png has label values 0..4660; labels must fit 0..255"):
        read_label(path)


def test_colour_label_is_refused(tmp_path):
    with pytest.raises(DataError, match=r"x.png is a RGB colour image.*convert its colours to class ids"):
        read_label(save(tmp_path / "x.png", picture(0)))


def test_jpeg_label_is_refused(tmp_path):
    with pytest.raises(DataError, match=r"x.jpg is a JPEG label.*store labels as PNG"):
        read_label(save(tmp_path / "x.jpg", labels(0, 5)))


def test_deep_image_is_refused(tmp_path):
    path = save(tmp_path / "x.png", picture(0)[..., 0].astype(np.uint16))
    with pytest.raises(DataError, match=r"x.png is a I;16 image.*convert it to 8-bit RGB"):
        read_image(path)


@pytest.mark.parametrize("read", [read_image, read_label])
@pytest.mark.parametrize("keep", [0, 20, 300])
def test_cut_off_file_is_refused(tmp_path, read, keep):
    path = save(tmp_path / "x.png", picture(0)[..., 0])
    path.write_bytes(path.read_bytes()[: min(keep, path.stat().st_size - 30)])
    with pytest.raises(DataError, match=r"x.png cannot be decoded.*restore it"):
        read(path)


def test_file_that_is_no_image_is_refused(tmp_path):
    (tmp_path / "x.png").write_text("version https://git-lfs.github.com/spec/v1")
    with pytest.raises(DataError, match=r"x.png cannot be decoded.*no image"):
        read_image(tmp_path / "x.png")


@pytest.mark.parametrize("bits", [2, 4])
def test_numbers_that_may_be_shades_are_refused(tmp_path, bits):
    shades(tmp_path / "x.png", bits)
    with pytest.raises(
        DataError, match=rf"x.png is a gray PNG of {bits} bits.*store labels as PNG of 8 bits"
    ):
        read_label(tmp_path / "x.png")
    assert read_image(tmp_path / "x.png").shape == (12, 16, 3)
