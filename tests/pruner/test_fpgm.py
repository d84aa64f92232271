import pytest
import torch
from torch import Tensor

from segprune.errors import ConfigError, TrainingError
from segprune.pruner.fpgm import Fpgm, distance_sums, fpgm_scores
from tests.pruner.battery import PrunerBattery
from tests.pruner.surgery import conv_of, network_of, scores_of, whole

ROOT2 = 2**0.5


def filters(*rows: tuple[float, ...]) -> Tensor:
    return torch.tensor(rows, dtype=torch.float64)


def raw(values: Tensor) -> Tensor:
    return fpgm_scores(values, norm_mix=0.0, normalize="none")


def noise(count: int, size: int, seed: int = 0) -> Tensor:
    return torch.randn(count, size, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


class TestFpgm(PrunerBattery):
    paper_scope = "local"
    dead_goes_first = False  # a filter of zeros can be far from the median
    duplicates = "equal"

    @staticmethod
    def build() -> Fpgm:
        return Fpgm(norm_mix=0.0, normalize="none")


class TestFpgmMix(PrunerBattery):
    paper_scope = "local"
    # one channel in four is set aside by its norm: a dead one is always among them
    duplicates = "no law"

    @staticmethod
    def build() -> Fpgm:
        return Fpgm(norm_mix=0.25, normalize="mean")


def test_the_centre_of_a_cross_goes_first():
    # the centre: 4 times 1; an arm: 1 to the centre, 2 to its opposite, twice sqrt(2)
    arm = 3 + 2 * ROOT2
    expected = torch.tensor([4.0, arm, arm, arm, arm], dtype=torch.float64)
    torch.testing.assert_close(raw(filters((0, 0), (1, 0), (-1, 0), (0, 1), (0, -1))), expected)


def test_on_a_line_the_median_goes_first():
    # 0: 1+2+3+10; 1: 1+1+2+9; 2: 2+1+1+8; 3: 3+2+1+7; 10: 10+9+8+7
    torch.testing.assert_close(
        raw(filters((0,), (1,), (2,), (3,), (10,))),
        torch.tensor([16.0, 13.0, 12.0, 13.0, 34.0], dtype=torch.float64),
    )


def test_opposite_filters_are_far_apart():
    # a = (3,0), b = (-3,0), c = (0,.5), d = (3.2,0): ab 6, ac = bc = sqrt(9.25), ad .2, bd 6.2,
    # cd = sqrt(10.49).
    # With squared weights a and b would coincide; by norm c would go first.
    ac, cd = 9.25**0.5, 10.49**0.5
    expected = torch.tensor([6.2 + ac, 12.2 + ac, 2 * ac + cd, 6.4 + cd], dtype=torch.float64)
    scores = raw(filters((3, 0), (-3, 0), (0, 0.5), (3.2, 0)))
    torch.testing.assert_close(scores, expected)
    assert scores.argmin() == 0
    assert scores.argmax() == 1


def test_a_constant_added_to_all_filters_changes_nothing():
    values = noise(8, 5)
    torch.testing.assert_close(raw(values + 100.0), raw(values), rtol=1e-9, atol=0)


def test_scores_grow_with_the_scale_of_the_filters():
    values = noise(8, 5)
    torch.testing.assert_close(raw(-3 * values), 3 * raw(values))


def test_sums_are_exact_where_a_matrix_product_is_not():
    # pairs 1e-9 apart: the product's rounding alone would give distances of about 1e-8
    values = noise(6, 40).repeat(2, 1)
    values[6:, 0] += 1e-9
    exact = (values[:, None] - values).square().sum(2).sqrt().sum(1)
    torch.testing.assert_close(distance_sums(values), exact, rtol=1e-12, atol=0)
    pair = values[[0, 6]]
    gap = (pair[0] - pair[1]).abs().sum()
    torch.testing.assert_close(distance_sums(pair), gap.expand(2), rtol=1e-12, atol=0)


def test_rows_in_chunks_give_the_same_sums():
    # 2100 squared is more than one chunk of 2**22 entries
    values = noise(2100, 2)
    exact = torch.cdist(values, values, compute_mode="donot_use_mm_for_euclid_dist").sum(1)
    torch.testing.assert_close(distance_sums(values), exact)


def test_filters_of_zeros_have_no_distance():
    assert raw(torch.zeros(3, 4, dtype=torch.float64)).tolist() == [0.0, 0.0, 0.0]


def test_the_mix_sets_the_smallest_norms_aside_and_measures_among_the_rest():
    # norms 1, 9, .5, 4, 2: int(.4 * 5) = 2 aside, channels 2 and 0 in this order; then 9, 4, 2 on a line:
    # 9: 5 + 7 = 12; 4: 5 + 2 = 7; 2: 7 + 2 = 9
    scores = fpgm_scores(filters((1,), (9,), (-0.5,), (4,), (2,)), norm_mix=0.4, normalize="none")
    assert scores[[1, 3, 4]].tolist() == pytest.approx([12.0, 7.0, 9.0])
    assert scores.argsort().tolist() == [2, 0, 3, 4, 1]


def test_the_number_set_aside_does_not_suffer_from_rounding():
    # 0.29 * 100 is 28.999999999999996 in floating point
    scores = fpgm_scores(noise(100, 3), norm_mix=0.29, normalize="none")
    assert int((scores < 0).sum()) == 29


@pytest.mark.parametrize("channels", [10, 16, 30, 40, 64, 160])
def test_a_tenth_of_the_official_code_is_one_fewer_for_multiples_of_ten(channels: int):
    aside = int((fpgm_scores(noise(channels, 3), norm_mix=0.1, normalize="none") < 0).sum())
    assert aside == channels // 10
    assert int(channels * (1 - 0.9)) == aside - (channels % 10 == 0)


def test_the_global_variant_has_mean_one():
    scores = fpgm_scores(filters((0,), (1,), (2,), (3,), (10,)), norm_mix=0.0, normalize="mean")
    # sums 16, 13, 12, 13, 34 with mean 17.6
    assert scores.tolist() == pytest.approx([16 / 17.6, 13 / 17.6, 12 / 17.6, 13 / 17.6, 34 / 17.6])


def test_coupled_filters_are_one_vector():
    # channels (0, 0), (3, -4), (0, 4) over the two layers: distances 5, 4 and sqrt(9 + 64); 3 without the sign
    net = network_of(conv_of([[0.0], [3.0], [0.0]]), conv_of([[0.0], [-4.0], [4.0]]))
    scores = scores_of(Fpgm(norm_mix=0.0, normalize="none"), net, whole(3, "0", "1"))["0"]
    assert scores.tolist() == pytest.approx([9.0, 5 + 73**0.5, 4 + 73**0.5])


def test_a_single_channel_has_a_score():
    assert raw(filters((5.0, 2.0))).tolist() == [0.0]


def test_a_weight_that_is_not_finite_is_refused():
    net = network_of(conv_of([[1.0], [float("inf")]]))
    with pytest.raises(TrainingError, match=r"channel \d is nan"):
        scores_of(Fpgm(norm_mix=0.0, normalize="none"), net, whole(2, "0"))


def test_a_group_without_a_convolution_is_refused():
    with pytest.raises(ConfigError, match="group 0: channel 0 of 2"):
        scores_of(Fpgm(norm_mix=0.0, normalize="none"), network_of(torch.nn.BatchNorm2d(2)), whole(2, "0"))
