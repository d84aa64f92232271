from collections.abc import Callable
from itertools import pairwise

import pytest
import torch
from torch import Tensor

from segprune.distill.contract import Seen, Shapes
from segprune.distill.holistic import Critic
from segprune.distill.kd import divergence
from segprune.distill.skd import SKD, Pool, pair_loss
from tests.distill.loss_laws import LossLaws, everywhere, maps
from tests.distill.losses import IGNORED, LossBattery, labels


def pairs(
    student: Tensor, teacher: Tensor, node_px: tuple[int, int] = (1, 1), pool: Pool = "average"
) -> Tensor:
    return pair_loss(student, teacher, everywhere(student), node_px=node_px, pool=pool)


def skd(**changes: object) -> SKD:
    found: dict[str, object] = {
        "pixel_weight": 10.0,
        "pair_weight": 1.0,
        "node_px": (2, 2),
        "pool": "average",
        "holistic_weight": 0.0,
        "critic_lr": 1e-3,
        "critic_penalty": 10.0,
        "places": None,
        "ignored": "taught",
    }
    return SKD(**{**found, **changes})  # type: ignore[arg-type]


class TestLaws(LossBattery):
    def loss(self) -> SKD:
        return skd()

    def test_it_is_the_weighted_pixels_and_pairs_of_the_deepest_place(self) -> None:
        one, other = self.batch(1), self.batch(2)
        student, teacher = (
            Seen(logits=of.logits, features={"deep": of.features["a"][..., :4], "last": of.features["b"]})
            for of in (one, other)
        )
        mask = everywhere(student.logits)
        pixels = divergence(student.logits, teacher.logits, mask, temperature=1.0)
        expected = 10 * pixels + pairs(student.features["deep"], teacher.features["deep"], (2, 2))
        assert float(self.value(student, teacher)) == pytest.approx(float(expected), rel=1e-5)

    def test_the_critic_pulls_the_student_towards_higher_scores_and_learns(self) -> None:
        student, teacher = self.batch(1), self.batch(2)
        student.logits.requires_grad_()
        loss = skd(pixel_weight=0.0, pair_weight=0.0, holistic_weight=0.1)
        parts = loss.parts(Shapes(classes=4, places={}))
        assert isinstance(parts, Critic)
        before = [weight.clone() for weight in parts.parameters()]
        found = loss(student, teacher, labels(student), ignore_index=IGNORED, parts=parts)
        scores = -0.1 * parts(student.logits).mean()
        assert float(found.detach()) == pytest.approx(float(scores.detach()), rel=0.9, abs=1e-4)
        found.backward()
        assert student.logits.grad is not None
        assert student.logits.grad.any()
        assert any(not torch.equal(old, new) for old, new in zip(before, parts.parameters(), strict=True))


class TestPairs(LossLaws):
    def of(self, student: Tensor, teacher: Tensor, mask: Tensor) -> Tensor:
        return pair_loss(student, teacher, mask, node_px=(2, 2), pool="average")


class TestPairsOfSinglePositions(LossLaws):
    def of(self, student: Tensor, teacher: Tensor, mask: Tensor) -> Tensor:
        return pair_loss(student, teacher, mask, node_px=(1, 1), pool="average")


class TestPairsOfMaxima(LossLaws):
    def of(self, student: Tensor, teacher: Tensor, mask: Tensor) -> Tensor:
        return pair_loss(student, teacher, mask, node_px=(2, 2), pool="max")


def test_its_gradient_is_that_of_the_official_cross_entropy_by_image() -> None:
    """The official loss is the cross-entropy with the teacher's probabilities, summed over the batch, by W H."""
    student, teacher = maps(0, 2, 4, 3, 5).requires_grad_(), maps(1, 2, 4, 3, 5)
    official = -(teacher.softmax(1) * student.log_softmax(1)).sum() / (3 * 5)
    (expected,) = torch.autograd.grad(official, student)
    (found,) = torch.autograd.grad(
        divergence(student, teacher, everywhere(student), temperature=1.0), student
    )
    assert torch.allclose(2 * found, expected, atol=1e-7)


def test_pairs_by_hand() -> None:
    """Orthogonal features against equal ones: the cosines off the diagonal are 0 and 1, so 2 of 4 differ."""
    student = torch.tensor([[1.0, 0.0], [0.0, 1.0]]).view(1, 2, 1, 2)
    teacher = torch.tensor([[1.0, 1.0], [0.0, 0.0]]).view(1, 2, 1, 2)
    assert pairs(student, teacher) == pytest.approx(0.5)


def test_the_length_of_features_and_rotations_of_channels_do_not_matter() -> None:
    student, teacher = maps(0, 2, 4, 3, 5), maps(1, 2, 6, 3, 5)
    rotation, _ = torch.linalg.qr(maps(2, 4, 4))
    turned = torch.einsum("ck,nkhw->nchw", rotation, student) * maps(3, 2, 1, 3, 5).abs().add(0.1)
    expected = float(pairs(student, teacher))
    assert pairs(turned, teacher) == pytest.approx(expected, rel=1e-4)


def test_a_node_is_the_mean_or_the_maximum_of_its_positions() -> None:
    student, teacher = maps(0, 1, 3, 4, 6), maps(1, 1, 3, 4, 6)
    shrinks: dict[Pool, Callable[[Tensor, int], Tensor]] = {"average": torch.mean, "max": torch.amax}
    for pool, shrink in shrinks.items():
        small = [shrink(x.unfold(2, 2, 2).unfold(3, 3, 3).flatten(4), 4) for x in (student, teacher)]
        assert pairs(student, teacher, node_px=(2, 3), pool=pool) == pytest.approx(
            float(pairs(*small)), rel=1e-5
        )


def test_larger_nodes_are_fewer() -> None:
    """A patch of the size of the whole map leaves one node, which is as alike to itself everywhere."""
    student, teacher = maps(0, 1, 3, 4, 6), maps(1, 1, 3, 4, 6)
    assert pairs(student, teacher, node_px=(4, 6)) == pytest.approx(0, abs=1e-6)
    losses = [float(pairs(student, teacher, node_px=size)) for size in ((1, 1), (2, 2), (4, 6))]
    assert all(a != b for a, b in pairwise(losses))
