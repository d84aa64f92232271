import pytest
import torch

from segprune.training.cudnn import is_timed, one_size

CPU, GPU = torch.device("cpu"), torch.device("cuda", 0)


def test_algorithms_are_timed_on_a_gpu_that_need_not_be_deterministic(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert is_timed(GPU)
    assert not is_timed(CPU)
    torch.use_deterministic_algorithms(True)
    try:
        assert not is_timed(GPU)
    finally:
        torch.use_deterministic_algorithms(False)
    monkeypatch.setattr(torch.backends.cudnn, "deterministic", True)
    assert not is_timed(GPU)


@pytest.mark.parametrize(
    ("device", "before", "inside"), [(GPU, False, True), (CPU, False, False), (GPU, True, True)]
)
def test_the_choice_ends_with_the_block(
    device: torch.device, before: bool, inside: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.backends.cudnn, "benchmark", before)
    with one_size(device):
        assert torch.backends.cudnn.benchmark is inside
    assert torch.backends.cudnn.benchmark is before
