import math

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor

from segprune.distill.dist import DIST, relations
from tests.distill.loss_laws import LossLaws, everywhere, maps
from tests.distill.losses import LossBattery


class TestLaws(LossBattery):
    def loss(self) -> DIST:
        return DIST(inter=1.0, intra=2.0, temperature=1.0, ignored="taught")

    def test_both_relations_have_their_weight(self) -> None:
        student, teacher = self.batch(1), self.batch(2)
        between, within = relations(
            student.logits, teacher.logits, everywhere(student.logits), temperature=1.0
        )
        assert float(self.value(student, teacher)) == pytest.approx(float(between + 2 * within), rel=1e-5)


class TestRelations(LossLaws):
    def of(self, student: Tensor, teacher: Tensor, mask: Tensor) -> Tensor:
        return sum(relations(student, teacher, mask, temperature=1.0), torch.zeros(()))


def _probabilities(logits: Tensor) -> np.ndarray:
    return logits.double().softmax(1).movedim(1, -1).flatten(0, -2).numpy()


def test_it_is_scipys_correlation_of_the_probabilities() -> None:
    student, teacher = maps(0, 2, 5, 3, 4), maps(1, 2, 5, 3, 4)
    ours, theirs = _probabilities(student), _probabilities(teacher)
    inter = np.mean([1 - stats.pearsonr(x, y).statistic for x, y in zip(ours, theirs, strict=True)])
    intra = np.mean([1 - stats.pearsonr(x, y).statistic for x, y in zip(ours.T, theirs.T, strict=True)])
    between, within = relations(student, teacher, everywhere(student), temperature=1.0)
    assert between == pytest.approx(inter, rel=1e-4)
    assert within == pytest.approx(intra, rel=1e-4)


def test_two_classes_by_hand() -> None:
    """Probabilities (1/4, 3/4) against (3/4, 1/4) are opposite: 2; over two pixels that both have, too."""
    low, high = 0.0, math.log(3)
    student = torch.tensor([[low, high], [high, low]]).view(1, 2, 1, 2)
    teacher = torch.tensor([[high, low], [low, high]]).view(1, 2, 1, 2)
    between, within = relations(student, teacher, everywhere(student), temperature=1.0)
    assert between == pytest.approx(2)
    assert within == pytest.approx(2)


def test_the_temperature_counts_squared() -> None:
    student, teacher = maps(0, 2, 5, 3, 4), maps(1, 2, 5, 3, 4)
    mask = everywhere(student)
    hot, cold = (
        relations(student, teacher, mask, temperature=4.0),
        relations(student / 4, teacher / 4, mask, temperature=1.0),
    )
    for warm, plain in zip(hot, cold, strict=True):
        assert warm == pytest.approx(16 * float(plain), rel=1e-5)


def test_probabilities_in_proportion_have_the_same_order() -> None:
    """Correlation lets a student be less sure: p and (p + 1/K) / 2 are the same pattern over classes."""
    sure = maps(1, 2, 5, 3, 4).softmax(1)
    losses = relations(((sure + 0.2) / 2).log(), sure.log(), everywhere(sure), temperature=1.0)
    assert sum(losses) < 1e-5
