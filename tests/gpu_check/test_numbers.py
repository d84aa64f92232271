from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from segprune.gpu_check import numbers
from segprune.gpu_check.contract import Bench
from segprune.gpu_check.numbers import criteria, full_precision, gradient_bias, same_classes, same_ranking
from segprune.gpu_check.parts import network
from segprune.pruner.l1 import L1
from tests.gpu_check.benches import small
from tests.test_cli import ROOT


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    """Its trained network is not trained: agreement is the same."""
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(numbers, "trained", lambda bench, data: network(bench, len(data.classes)).eval())
    return small(tmp_path)


def test_a_device_agrees_with_itself(bench: Bench) -> None:
    assert same_classes(bench).holds


def test_a_device_that_computes_something_else_is_noticed(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, share = numbers._share, []

    def broken(logits: Tensor, expected: Tensor) -> float:
        logits = logits.clone()
        logits[:, 0, :1] += 100.0  # a line of each image
        share.append(whole(logits, expected))
        return share[-1]

    monkeypatch.setattr(numbers, "_share", broken)
    assert not same_classes(bench).holds
    assert share[0] < 0.999


def test_every_criterion_without_a_training_is_compared(bench: Bench) -> None:
    found = criteria()
    assert {"taylor", "fisher", "fgp", "fpgm", "sirfp", "apoz", "l1", "l2", "lamp"} <= found.keys()
    assert not {"cap", "dmcp", "slimming"} & found.keys()


def test_a_criterion_ranks_alike_and_one_that_leaves_a_trace_is_noticed(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Forgetful(L1):
        def __call__(self, net: nn.Module, groups: object, calibration: object) -> dict[str, Tensor]:
            net.train()
            return super().__call__(net, groups, calibration)

    monkeypatch.setattr(numbers, "criteria", lambda: {"l1": L1(normalize="none")})
    assert same_ranking(bench).holds
    monkeypatch.setattr(numbers, "criteria", lambda: {"l1": Forgetful(normalize="none")})
    found = same_ranking(bench)
    assert not found.holds
    assert found.measured.endswith("left changed by l1")


def test_the_gradient_of_half_precision_logits_is_not_biased(bench: Bench) -> None:
    found = gradient_bias(bench)
    assert found.holds, found.measured


def test_full_precision_ends_with_its_block() -> None:
    before = torch.backends.cudnn.conv.fp32_precision
    with full_precision():
        assert torch.backends.cudnn.conv.fp32_precision == "ieee"
    assert torch.backends.cudnn.conv.fp32_precision == before
