"""Tiles, mirror images and scales: on networks for which they must change nothing, and by hand."""

import json
from itertools import pairwise

import pytest
import torch
import torch.nn.functional as F
from pydantic import TypeAdapter
from torch import Tensor, nn

from segprune.dataset.contract import Batch
from segprune.measure.evaluate import evaluate
from segprune.measure.passes import ONE_PASS, Passes, starts
from tests.tiny import Items, tiny_net


def convolutions(count: int, *, seed: int = 0) -> nn.Sequential:
    """Float64; a pixel depends on ``count`` px around it, and values keep their size from layer to layer."""
    generator = torch.Generator().manual_seed(seed)
    layers = []
    for index in range(count):
        layer = nn.Conv2d(3 if index == 0 else 4, 4, 3, padding=1, bias=False).double()
        nn.init.normal_(layer.weight, std=layer.weight[0].numel() ** -0.5, generator=generator)
        layers.append(layer)
    return nn.Sequential(*layers).eval()


class Halving(nn.Module):
    """A pixel depends on its block of 4 x 4 px and some px around."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = convolutions(1)

    def forward(self, image: Tensor) -> Tensor:
        return F.interpolate(self.inner(F.max_pool2d(image, 4)), scale_factor=4, mode="nearest")


class Looks:
    """Notes the size of every pass; logits are the image."""

    def __init__(self) -> None:
        self.seen: list[tuple[int, ...]] = []

    def __call__(self, image: Tensor, /) -> Tensor:
        self.seen.append(tuple(image.shape))
        return image


def drawn(height: int, width: int, count: int = 2) -> Tensor:
    return torch.rand(
        count, 3, height, width, dtype=torch.float64, generator=torch.Generator().manual_seed(1)
    )


@pytest.mark.parametrize("size_hw", [(96, 80), (32, 100), (33, 32), (32, 32)])
def test_tiles_are_one_pass_where_a_pixel_depends_on_less_than_a_quarter_of_the_overlap(
    size_hw: tuple[int, int],
) -> None:
    net, images = convolutions(4), drawn(*size_hw)  # 0.5 of 32 px: the quarter is 4 px
    with torch.no_grad():
        found = Passes(tile=(32, 32), overlap=0.5)(net, images)
        assert torch.allclose(found, net(images), rtol=0, atol=1e-12)


def test_tiles_differ_where_it_depends_on_more() -> None:
    net, images = convolutions(12), drawn(96, 80)
    with torch.no_grad():
        assert (Passes(tile=(32, 32), overlap=0.25)(net, images) - net(images)).abs().max() > 1e-4


def test_tiles_begin_on_the_grid_of_networks_that_halve_their_maps() -> None:
    net, images = Halving().double(), drawn(128, 192)
    with torch.no_grad():
        found = Passes(tile=(64, 64), overlap=0.5)(net, images)
        assert torch.allclose(found, net(images), rtol=0, atol=1e-12)


@pytest.mark.parametrize("size_hw", [(16, 17), (50, 33), (5, 40), (3, 7), (64, 16)])
@pytest.mark.parametrize("overlap", [0.0, 0.25, 0.9])
def test_what_depends_on_no_neighbour_is_the_same_in_tiles(size_hw: tuple[int, int], overlap: float) -> None:
    net, images = Looks(), drawn(*size_hw)
    found = Passes(tile=(16, 16), overlap=overlap)(net, images)
    assert torch.allclose(found, images, rtol=0, atol=1e-12)
    assert {size[-2:] for size in net.seen} == {(16, 16)}


@pytest.mark.parametrize(
    ("side", "tile", "overlap"),
    [(100, 100, 0.25), (175, 100, 0.25), (1000, 96, 0.5), (7, 2, 0.25), (9, 3, 0.9)],
)
def test_tiles_cover_the_side_and_overlap(side: int, tile: int, overlap: float) -> None:
    found = starts(side, tile, overlap)
    assert (found[0], found[-1] + tile) == (0, side)
    steps = [after - before for before, after in pairwise(found)]
    assert all(0 < step <= max(tile * (1 - overlap), 1) for step in steps)


def test_logits_of_a_part_of_the_size_are_resized_to_it() -> None:
    images = drawn(48, 48)
    found = Passes(tile=(32, 32), overlap=0.5)(lambda image: F.avg_pool2d(image, 2), images)
    assert found.shape == images.shape


def test_the_mirror_image_of_a_symmetric_network_says_the_same() -> None:
    net, images = convolutions(2), drawn(12, 10)
    with torch.no_grad():
        for layer in net:
            layer.weight.copy_(layer.weight + layer.weight.flip(-1))
        assert torch.allclose(Passes(flips=True)(net, images), net(images), rtol=0, atol=1e-12)


def test_another_network_gives_the_mean_of_both() -> None:
    net, images = convolutions(2), drawn(12, 10)
    with torch.no_grad():
        both = Passes(flips=True)(net, images)
        assert torch.allclose(both, (net(images) + net(images.flip(-1)).flip(-1)) / 2, rtol=0, atol=1e-12)
        assert not torch.allclose(both, net(images), rtol=0, atol=1e-6)
        assert torch.allclose(Passes(flips=True)(net, images.flip(-1)), both.flip(-1), rtol=0, atol=1e-12)


def test_scales_are_the_mean_of_passes_at_each_size() -> None:
    net, images = Looks(), drawn(20, 30)
    found = Passes(scales=(0.5, 1.0), flips=True)(net, images)
    assert [size[-2:] for size in net.seen] == [(10, 15), (10, 15), (20, 30), (20, 30)]
    half = F.interpolate(images, size=(10, 15), mode="bilinear", antialias=True)
    expected = (F.interpolate(half, size=(20, 30), mode="bilinear") + images) / 2
    assert torch.allclose(found, expected, rtol=0, atol=1e-12)


def test_tiles_keep_their_size_at_every_scale() -> None:
    net = Looks()
    Passes(tile=(16, 16), scales=(0.5, 1.0, 2.0))(net, drawn(20, 30))
    assert {size[-2:] for size in net.seen} == {(16, 16)}


def test_one_pass_gives_what_the_network_gives() -> None:
    net, images = Looks(), drawn(5, 7)
    assert Passes()(net, images) is images
    assert ONE_PASS.is_single
    assert ONE_PASS.describe() is None


def test_they_say_what_they_are_and_are_made_again_from_a_file() -> None:
    passes = Passes(tile=(64, 96), overlap=0.5, flips=True, scales=(0.75, 1.0))
    assert passes.describe() == "tiles 64x96 px, overlap 0.5; mirrored too; scales 0.75 1"
    assert TypeAdapter(Passes).validate_python(json.loads(json.dumps(passes.record()))) == passes


def test_every_pixel_is_counted_once() -> None:
    def counts(passes: Passes) -> Tensor:
        return evaluate(
            tiny_net(),
            Items(3, seed=2, label_size=32),
            num_classes=4,
            ignore_index=255,
            batch_size=2,
            workers=0,
            device=torch.device("cpu"),
            passes=passes,
        )

    label = Batch(*Items(3, seed=2, label_size=32)[0]).label
    whole, parts = counts(ONE_PASS), counts(Passes(tile=(8, 8), overlap=0.5, flips=True))
    assert int(parts.sum()) == 3 * label.numel()
    assert torch.equal(parts.sum(1), whole.sum(1))  # of each true class
