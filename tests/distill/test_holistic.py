import io

import pytest
import torch
from torch import Tensor

from segprune.distill.holistic import Critic, critic_loss
from tests.distill.loss_laws import maps


def critic(seed: int = 0) -> Critic:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return Critic(3, lr=1e-3, penalty=10.0)


def test_a_critic_that_likes_all_alike_pays_the_penalty_alone() -> None:
    """Its slope is 0 everywhere, so (0 - 1)^2."""

    def same(logits: Tensor) -> Tensor:
        return 0 * logits.sum((1, 2, 3))

    share = torch.full((2, 1, 1, 1), 0.3)
    loss = critic_loss(same, maps(0, 2, 3, 4, 4), maps(1, 2, 3, 4, 4), share, penalty=10.0)
    assert loss.item() == pytest.approx(10)


def test_a_critic_of_slope_one_pays_the_difference_of_the_scores_alone() -> None:
    """The mean of 48 values times root 48 has the slope 1."""

    def mean(logits: Tensor) -> Tensor:
        return logits.mean((1, 2, 3)) * 48**0.5

    student, teacher, share = maps(0, 2, 3, 4, 4), maps(1, 2, 3, 4, 4), torch.full((2, 1, 1, 1), 0.3)
    loss = critic_loss(mean, student, teacher, share, penalty=10.0)
    assert loss.item() == pytest.approx(float((student.mean() - teacher.mean()) * 48**0.5), abs=1e-5)


@pytest.mark.slow
def test_it_learns_to_tell_the_teacher_from_the_student() -> None:
    judge = critic()
    student, teacher = torch.linspace(-1, 1, 8).expand(4, 3, 8, 8), maps(1, 4, 3, 8, 8)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        for _ in range(40):
            judge.learn(student, teacher)
    assert judge(teacher).mean() > judge(student).mean() + 0.1


def test_training_the_student_leaves_the_critic_alone_and_the_other_way_round() -> None:
    judge, student = critic(), maps(0, 2, 3, 8, 8).requires_grad_()
    judge(student).mean().backward()
    assert student.grad is not None
    assert student.grad.any()
    assert all(weight.grad is None for weight in judge.parameters())
    student.grad = None
    judge.learn(student, maps(1, 2, 3, 8, 8))
    assert student.grad is None
    assert all(weight.grad is None and not weight.requires_grad for weight in judge.parameters())


@pytest.mark.slow
def test_it_continues_from_its_state_bit_for_bit() -> None:
    """The state goes through a file, read without unpickling anything but tensors."""
    student, teacher = maps(0, 2, 3, 8, 8), maps(1, 2, 3, 8, 8)
    one = critic()
    torch.manual_seed(0)
    one.learn(student, teacher)
    file = io.BytesIO()
    torch.save(one.state_dict(), file)
    file.seek(0)
    other = critic(seed=1)
    other.load_state_dict(torch.load(file, weights_only=True))
    for judge in (one, other):
        torch.manual_seed(1)
        judge.learn(student, teacher)
    assert torch.equal(one(student), other(student))
    assert not torch.equal(one(student), critic()(student))


@pytest.mark.parametrize("size", [(1, 1), (3, 5), (33, 65)])
def test_it_takes_maps_of_any_size(size: tuple[int, int]) -> None:
    assert critic()(maps(0, 2, 3, *size)).shape == (2,)
