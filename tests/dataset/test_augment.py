import numpy as np
import pytest
import torch

from segprune.dataset.augment import as_batch_item, resize_image, resize_label, resized_crop, scaled_crop
from segprune.errors import ConfigError
from tests.dataset.trees import OFF, labels, picture

FULL = {"crop_area": (0.3, 1.0), "flip": 0.5, "jitter": 0.3}


def test_result_depends_on_the_seed_of_the_call_only():
    augment = resized_crop(FULL, (12, 16))
    image, label = picture(0, (24, 32)), labels(0, 5, (24, 32))
    first = augment(image, label, 7)
    for other in range(5):
        augment(image, label, other)
    again, fresh = augment(image, label, 7), resized_crop(FULL, (12, 16))(image, label, 7)
    for repeat in (again, fresh):
        assert all(np.array_equal(a, b) for a, b in zip(first, repeat, strict=True))
    assert not np.array_equal(first[0], augment(image, label, 8)[0])


def test_global_generators_are_left_alone():
    augment = resized_crop(FULL, (12, 16))
    np.random.seed(0)  # noqa: NPY002 - the global state is what is looked at
    before, torch_before = np.random.get_state()[1].copy(), torch.get_rng_state()  # noqa: NPY002
    augment(picture(0), labels(0, 5), 3)
    assert np.array_equal(before, np.random.get_state()[1])  # noqa: NPY002
    assert torch.equal(torch_before, torch.get_rng_state())


def test_arguments_are_not_changed():
    image, label = picture(0), labels(0, 5)
    image_before, label_before = image.copy(), label.copy()
    augment = resized_crop(FULL, (12, 16))
    for seed in range(4):
        augment(image, label, seed)
    assert np.array_equal(image, image_before)
    assert np.array_equal(label, label_before)


def test_everything_off_is_the_identity_at_the_same_size():
    image, label = picture(0), labels(0, 5)
    out = resized_crop(OFF, (12, 16))(image, label, 1)
    assert np.array_equal(out[0], image)
    assert np.array_equal(out[1], label)


def test_flip_of_probability_one_mirrors_image_and_label():
    image, label = picture(0), labels(0, 5)
    out = resized_crop({**OFF, "flip": 1.0}, (12, 16))(image, label, 1)
    assert np.array_equal(out[0], image[:, ::-1])
    assert np.array_equal(out[1], label[:, ::-1])


def test_jitter_changes_the_image_and_never_the_label():
    image, label = picture(0), labels(0, 5)
    out = resized_crop({**OFF, "jitter": 0.4}, (12, 16))(image, label, 1)
    assert not np.array_equal(out[0], image)
    assert np.array_equal(out[1], label)


@pytest.mark.parametrize("seed", range(6))
def test_crop_keeps_image_and_label_together(seed):
    label = np.repeat(np.arange(4, dtype=np.uint8), 16)[None].repeat(64, 0)  # four stripes, 16 px wide
    image = (label * 60)[..., None].repeat(3, -1)
    out_image, out_label = resized_crop({**OFF, "crop_area": (0.3, 0.6)}, (48, 48))(image, label, seed)
    agree = np.abs(out_image[..., 0].astype(int) - 60 * out_label.astype(int)) <= 30
    assert out_label.shape == (48, 48)
    assert agree.mean() > 0.95  # only pixels on a stripe's edge are blended


def test_padding_is_labelled_ignored_and_nothing_else_is():
    image, label = picture(0, (8, 8)), labels(0, 5, (8, 8))
    crop = scaled_crop({"scale": None, "flip": 0.0, "jitter": 0.0}, (16, 12), 255)
    out_image, out_label = crop(image, label, 0)
    assert out_image.shape == (16, 12, 3)
    # the 8x8 labels are in there untouched, the other 16*12 - 64 pixels are padding
    assert (out_label != 255).sum() == 64
    assert sorted(out_label[out_label != 255]) == sorted(label.ravel())


def test_scale_of_two_enlarges_every_label_to_four_pixels():
    label = np.arange(64, dtype=np.uint8).reshape(8, 8)
    crop = scaled_crop({"scale": (2.0, 2.0), "flip": 0.0, "jitter": 0.0}, (16, 16), 255)
    _, out = crop(picture(0, (8, 8)), label, 0)
    assert np.array_equal(out, label.repeat(2, 0).repeat(2, 1))


@pytest.mark.parametrize(
    ("make", "key"),
    [
        (lambda: resized_crop({**OFF, "crop_area": (0.9, 0.4)}, (8, 8)), r"crop_area is \[0.9, 0.4\]"),
        (
            lambda: scaled_crop({"scale": (2.0, 0.5), "flip": 0, "jitter": 0}, (8, 8), 255),
            r"scale is \[2.0, 0.5\]",
        ),
    ],
)
def test_limits_that_run_downwards_are_refused(make, key):
    with pytest.raises(ConfigError, match=rf"dataset.augment.{key}; write the smaller number first"):
        make()


def test_options_tell_pipelines_apart():
    options = [resized_crop(FULL, (12, 16)), resized_crop(OFF, (12, 16)), resized_crop(FULL, (16, 12))]
    assert len({str(one.options) for one in options}) == 3


def test_shrinking_averages_the_area_and_labels_take_the_pixel_at_the_centre():
    image = np.zeros((6, 6, 3), np.uint8)
    image[1, 1] = 90  # alone in its 3x3 block: mean 10; and the block's centre
    assert resize_image(image, (2, 2))[0, 0].tolist() == [10, 10, 10]
    label = np.full((6, 6), 3, np.uint8)
    label[1, 1] = 4
    assert resize_label(label, (2, 2)).tolist() == [[4, 3], [3, 3]]


def test_enlarging_is_bilinear():
    image = np.array([[0, 100]], np.uint8)[..., None].repeat(3, -1)
    # centres of the new pixels at -0.25, 0.25, 0.75, 1.25 of the old ones
    assert resize_image(image, (1, 4))[0, :, 0].tolist() == [0, 25, 75, 100]


def test_same_size_is_passed_through():
    image, label = picture(0), labels(0, 5)
    assert resize_image(image, (12, 16)) is image
    assert resize_label(label, (12, 16)) is label


def test_batch_item_is_planes_in_0_to_1_and_a_copy_of_the_label():
    image = np.zeros((2, 3, 3), np.uint8)
    image[0, 2, 1] = 255
    label = np.full((2, 3), 255, np.uint8)
    item = as_batch_item(image, label)
    label[:] = 0
    assert item.image.dtype == torch.float32
    assert item.image.is_contiguous()
    assert item.image.nonzero().tolist() == [[1, 0, 2]]
    assert item.image.max() == 1
    assert item.label.dtype == torch.uint8
    assert item.label.unique().tolist() == [255]


def test_a_small_crop_shows_things_as_large_as_in_the_whole_image():
    image = np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8)
    label = (np.arange(40 * 60) % 251).reshape(40, 60).astype(np.uint8)
    crop, its_label = resized_crop(OFF, (40, 60), (20, 30))(image, label, 3)
    places = [
        (top, left)
        for top in range(21)
        for left in range(31)
        if np.array_equal(image[top : top + 20, left : left + 30], crop)
    ]
    assert len(places) == 1  # cut out, not resized
    (top, left) = places[0]
    assert np.array_equal(label[top : top + 20, left : left + 30], its_label)


@pytest.mark.parametrize("bands", [1, 2, 4, 20])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_other_bands_go_the_same_way_but_for_their_colours(bands, dtype):
    image = np.random.default_rng(0).integers(0, np.iinfo(dtype).max, (24, 32, bands), dtype=dtype)
    label = np.zeros((24, 32), np.uint8)
    out = resized_crop({**FULL, "flip": 1.0}, (12, 16))(image, label, 5)[0]
    assert (out.shape, out.dtype) == ((12, 16, bands), dtype)
    plain = resized_crop({**FULL, "flip": 1.0, "jitter": 0.0}, (12, 16))(image, label, 5)[0]
    assert np.array_equal(out, plain)
    for size_hw in ((6, 8), (30, 40)):
        whole = resize_image(image, size_hw)
        one = np.ascontiguousarray(image[..., -1:])
        alone = resize_image(one, size_hw).astype(int)
        assert np.abs(whole[..., -1:].astype(int) - alone).max() <= 1  # rounding of other CPU code
    item = as_batch_item(image, label).image
    assert torch.allclose(item, torch.from_numpy(image.transpose(2, 0, 1) / np.iinfo(dtype).max).float())
