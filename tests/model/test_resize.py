import pytest
import torch

from segprune.model.resize import resized, upsampled


def test_a_map_gets_the_size_of_another_tensor_between_its_values() -> None:
    column = torch.tensor([0.0, 4.0]).view(1, 1, 2, 1)
    assert resized(column, torch.zeros(1, 9, 4, 1)).flatten().tolist() == [0.0, 1.0, 3.0, 4.0]


@pytest.mark.parametrize(
    ("given", "computed"),
    [
        (torch.bfloat16, torch.float32),
        (torch.float16, torch.float32),
        (torch.float32, torch.float32),
        (torch.float64, torch.float64),  # in which cuts are proven
    ],
)
def test_logits_are_upsampled_in_single_precision_at_least(given: torch.dtype, computed: torch.dtype) -> None:
    assert upsampled(torch.ones(1, 2, 3, 3, dtype=given), torch.zeros(1, 3, 6, 6)).dtype == computed


def test_half_precision_loses_nothing_of_the_gradient_of_many_pixels() -> None:
    """Every logit is read by 32 x 32 pixels; in bfloat16 their sum would stop growing at 256."""
    logits = torch.zeros(1, 1, 2, 2, dtype=torch.bfloat16, requires_grad=True)
    upsampled(logits, torch.zeros(1, 3, 64, 64)).sum().backward()
    assert logits.grad is not None
    assert logits.grad.flatten().tolist() == [1024.0] * 4
