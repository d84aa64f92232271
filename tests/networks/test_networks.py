import pytest

from tests.networks.__main__ import summary
from tests.networks.battery import Tried, tried
from tests.networks.zoo import zoo

FEW = (
    *("FastSCNN", "BiSeNetV2", "ENet", "ESPNet", "torchvision lraspp_mobilenet_v3_large"),
    *("smp Unet mobilenet_v2", "smp FPN resnet18", "smp PAN resnet18", "smp PSPNet mobilenet_v2"),
    *("smp DeepLabV3Plus resnet18", "smp Unet mit_b0", "smp Unet tu-regnety_002"),
)
"""One of each kind of structure; ``make networks`` tries all."""


@pytest.mark.slow
@pytest.mark.parametrize("name", FEW)
@pytest.mark.filterwarnings("ignore")
def test_a_network_that_nobody_here_wrote_is_cut_exactly_and_comes_back(name: str) -> None:
    pytest.importorskip("segmentation_models_pytorch", reason="pip install 'segprune[smp]'")
    result = tried(name, dict(zoo())[name])
    assert result.verdict == "passes"
    assert result.cuttable > 25


def test_at_least_forty_are_tried_each_under_its_own_name() -> None:
    names = [name for name, _ in zoo()]
    assert len(names) == len({*names}) >= 40
    assert {*FEW} < {*names}


def test_the_summary_counts_each_network_once() -> None:
    answers = ("exact", "wrong (4e-01)", "raises TypeError", "exact", "no end in 60 CPU s")
    results = [Tried(name=answer, verdict="passes", alone=answer) for answer in answers]
    results.append(Tried(name="other", verdict="error 1e-02", alone="cuts nothing"))
    assert summary(results) == (
        "5 of 6 networks pass; torch-pruning alone cuts 2 exactly and 1 wrongly, and 3 not at all"
    )
