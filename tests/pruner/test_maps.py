import pytest
import torch
from torch import Tensor, nn

from segprune.dataset.contract import Batch
from segprune.pruner.maps import (
    MapStatistics,
    before_activation,
    map_statistics,
    summed_edges,
    summed_similarity,
)
from tests.pruner.surgery import network_of


def maps_of(*rows: tuple[float, ...]) -> Tensor:
    """(1, C, P): the maps of one image."""
    return torch.tensor([rows], dtype=torch.float32)


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def statistics(*images: Tensor, layers: tuple[nn.Module, ...] = (), **options: object) -> MapStatistics:
    """Of the first layer of a chain; without layers, of the images themselves."""
    net = network_of(*(layers or (nn.Identity(),)))
    asked = {"similarity": "cosine", "pool": 33, "with_edge": False} | options
    batches = [Batch(image, torch.zeros(0)) for image in images]
    return map_statistics(net, {"0": net.get_submodule("0")}, batches, **asked)["0"]


def test_l1_divides_maps_by_their_absolute_sum():
    # a flat map of 4 px has similarity 1/4 with itself, a peak 1; the two share one pixel: 1/4
    found = summed_similarity(maps_of((1, 1, 1, 1), (0, 0, 5, 0)), "l1")
    torch.testing.assert_close(found, torch.tensor([[0.25, 0.25], [0.25, 1.0]]), rtol=1e-4, atol=0)


def test_cosine_divides_maps_by_their_length():
    # (3, 4) and (4, 3): 24 / 25
    found = summed_similarity(maps_of((3, 4), (4, 3), (0, 0)), "cosine")
    torch.testing.assert_close(found, torch.tensor([[1.0, 0.96, 0.0], [0.96, 1.0, 0.0], [0.0, 0.0, 0.0]]))


def test_maps_of_equal_length_have_the_same_order_in_both_forms():
    # |f| = 1 everywhere: L1 form = cosine / P
    signs = noise(1, 5, 16).sign()
    cosine, l1 = summed_similarity(signs, "cosine"), summed_similarity(signs, "l1")
    torch.testing.assert_close(l1, cosine / 16, rtol=1e-4, atol=1e-8)


@pytest.mark.parametrize("kind", ["cosine", "l1"])
def test_the_scale_and_sign_of_a_map_do_not_matter(kind):
    maps = noise(1, 4, 3, 5)
    before = statistics(maps, similarity=kind).similarity
    after = statistics(
        maps * torch.tensor([5.0, -1.0, 0.5, -20.0])[:, None, None], similarity=kind
    ).similarity
    torch.testing.assert_close(after, before, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("kind", ["cosine", "l1"])
def test_of_one_image_the_similarities_are_symmetric_and_positive_semidefinite(kind):
    signed = summed_similarity(noise(1, 6, 30), kind).double()
    torch.testing.assert_close(signed, signed.T)
    assert torch.linalg.eigvalsh(signed).min() > -1e-7


def test_images_are_averaged_with_their_signs_before_the_absolute_value():
    # cosines +1 and -1 between the two channels cancel out; one image alone would give 1
    first = torch.tensor([1.0, 2.0]).repeat(2, 1)[None, :, None]
    second = first * torch.tensor([1.0, -1.0])[:, None, None]
    assert statistics(first, second).similarity[0, 1] == 0
    assert statistics(second).similarity[0, 1] == pytest.approx(1)


def test_batches_of_any_size_give_the_mean_over_the_images():
    images = noise(5, 3, 4, 4)
    found = statistics(images[:1], images[1:])
    torch.testing.assert_close(found.similarity, statistics(images).similarity)
    assert found.images == 5


def test_larger_maps_are_averaged_down():
    # peaks at (0, 0), (1, 1) and (0, 2) of 4x4 px: the first two lie in the same block of 2x2 px
    maps = torch.zeros(1, 3, 4, 4)
    maps[0, 0, 0, 0] = maps[0, 1, 1, 1] = maps[0, 2, 0, 2] = 8.0
    assert statistics(maps, pool=4).similarity.tolist() == [[1, 0, 0], [0, 1, 0], [0, 0, 1]]
    assert statistics(maps, pool=2).similarity.tolist() == [[1, 1, 0], [1, 1, 0], [0, 0, 1]]


def test_the_hook_sees_the_map_before_an_activation_in_place_changes_it():
    image = torch.tensor([[[[1.0, -1.0]], [[1.0, 1.0]]]])
    # before the ReLU the maps are orthogonal; behind it (1, 0) and (1, 1) would have cosine .71
    found = statistics(image, layers=(nn.Conv2d(2, 2, 1, groups=2, bias=False), nn.ReLU(inplace=True)))
    assert found.similarity[0, 1] == pytest.approx(0, abs=1e-6)


def test_a_flat_map_has_a_frame_of_edges():
    # 5x5 ones, zero padding. A slope is 2 on the inner pixels of its two borders and 1.5 in the corners:
    # the magnitude is sqrt(4.5) in 4 corners, 2 on 12 border pixels, 0 inside
    deviation = (66 / 25 - ((4 * 4.5**0.5 + 24) / 25) ** 2) ** 0.5
    assert deviation == pytest.approx(0.975, abs=1e-3)
    assert summed_edges(torch.ones(2, 1, 5, 5)).tolist() == pytest.approx([2 * deviation])
    assert statistics(torch.ones(2, 1, 5, 5), with_edge=True).edge.tolist() == pytest.approx([deviation])


def test_edges_are_measured_before_maps_are_averaged_down():
    maps = noise(1, 2, 8, 8)
    found = statistics(maps, with_edge=True, pool=2).edge
    torch.testing.assert_close(found, summed_edges(maps).double())


def test_edges_that_nobody_asked_for_are_zero():
    assert statistics(noise(1, 3, 4, 4)).edge.tolist() == [0, 0, 0]


def test_one_pixel_maps_are_compared_over_the_images():
    # values (1, 2), (2, 4), (2, -1) over two images: one direction twice, and one orthogonal to it
    images = torch.tensor([[1.0, 2.0, 2.0], [2.0, 4.0, -1.0]])[:, :, None, None]
    found = statistics(images[:1], images[1:])
    assert not found.is_spatial
    assert found.images == 2
    expected = torch.tensor([[1.0, 1.0, 0.0], [1.0, 1.0, 0.0], [0.0, 0.0, 1.0]], dtype=torch.float64)
    torch.testing.assert_close(found.similarity, expected, rtol=1e-5, atol=1e-6)


def test_a_channel_is_alive_if_any_pixel_of_any_image_is_not_zero():
    first, second = torch.zeros(2, 3, 2, 2), torch.zeros(1, 3, 2, 2)
    second[0, 1, 1, 0] = -1e-20
    assert statistics(first, second).alive.tolist() == [False, True, False]


def test_a_layer_that_does_not_run_has_no_statistics():
    net = network_of(nn.Identity())
    idle = nn.Conv2d(1, 1, 1)
    batches = [Batch(torch.ones(1, 3, 2, 2), torch.zeros(0))]
    found = map_statistics(net, {"idle": idle}, batches, similarity="cosine", pool=33, with_edge=False)
    assert found == {}


class NormAndReLU(nn.BatchNorm2d):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x).relu()


def test_a_norm_that_is_an_activation_too_is_looked_at_before_it():
    fused, plain = NormAndReLU(4).eval(), nn.BatchNorm2d(4).eval()
    with torch.no_grad():
        fused.weight.copy_(noise(4))
        fused.running_mean.copy_(noise(4, seed=1))
    plain.load_state_dict(fused.state_dict())
    image = noise(2, 4, 5, 5, seed=2)
    assert torch.equal(before_activation(fused, image, fused(image)), plain(image))
    assert not torch.equal(fused(image), plain(image))
    found, expected = (statistics(image, layers=(layer,)) for layer in (fused, plain))
    assert torch.equal(found.similarity, expected.similarity)


def test_other_layers_are_taken_at_their_word():
    layer = nn.ReLU()
    output = layer(noise(1, 2, 3, 3))
    assert before_activation(layer, noise(1, 2, 3, 3), output) is output
