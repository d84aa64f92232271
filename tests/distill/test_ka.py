import math

import pytest
import torch
from torch import Tensor

from segprune.distill.coder import AutoEncoder, Coding
from segprune.distill.contract import Place, Seen, Shapes
from segprune.distill.ka import KA, Adapters, adapt_loss, affinity_loss
from tests.distill.loss_laws import LossLaws, everywhere, maps
from tests.distill.losses import LossBattery

CODING = Coding(width=0.5, stride=1, epochs=1, lr=0.1, weight_decay=1e-4, sparsity=1e-7)


def ka(**changes: object) -> KA:
    found: dict[str, object] = {
        "adapt_weight": 50.0,
        "affinity_weight": 1.0,
        "coding": CODING,
        "places": None,
        "ignored": "taught",
    }
    return KA(**{**found, **changes})  # type: ignore[arg-type]


class TestLaws(LossBattery):
    def loss(self) -> KA:
        return ka()

    def shapes(self) -> Shapes:
        """Of a code with 4 of 8 channels of the first place."""
        torch.manual_seed(0)
        weights = AutoEncoder(8, 4, 1).encoder.state_dict()
        learned = {"place": torch.tensor(0), **{f"encoder.{name}": value for name, value in weights.items()}}
        return Shapes(classes=4, places=super().shapes().places, learned=learned)

    def test_a_student_that_is_its_teacher_has_nothing_to_learn(self) -> None:
        """It has: its adapters are learnt. With adapters that do as the encoder does, it has not."""
        batch, shapes = self.batch(1), self.shapes()
        parts = ka().parts(shapes)
        assert isinstance(parts, Adapters)
        parts.feature = parts.relation = parts.encoder
        label = torch.zeros(3, 5, 6, dtype=torch.int64)
        assert float(ka()(batch, batch, label, ignore_index=255, parts=parts)) == pytest.approx(0, abs=1e-4)

    def test_the_encoder_is_frozen_and_the_adapters_are_not(self) -> None:
        parts = ka().parts(self.shapes())
        assert isinstance(parts, Adapters)
        before = {name: value.clone() for name, value in parts.encoder.state_dict().items()}
        student, teacher = self.batch(1), self.batch(2)
        loss = ka()(student, teacher, torch.zeros(3, 5, 6).long(), ignore_index=255, parts=parts.train())
        loss.backward()
        assert all(torch.equal(value, before[name]) for name, value in parts.encoder.state_dict().items())
        trained = [*parts.feature.parameters(), *parts.relation.parameters()]
        assert all(weight.grad is not None for weight in trained)
        assert all(weight.grad is None for weight in parts.encoder.parameters())

    def test_a_student_with_fewer_channels_has_adapters_of_its_own_width(self) -> None:
        shapes = self.shapes()
        places = {**shapes.places, "a": Place(student=3, teacher=8)}
        parts = ka().parts(Shapes(classes=4, places=places, learned=shapes.learned))
        student, teacher = self.batch(1), self.batch(2)
        small = Seen(logits=student.logits, features={"a": student.features["a"][:, :3]})
        label = torch.zeros(3, 5, 6, dtype=torch.int64)
        assert ka()(small, teacher, label, ignore_index=255, parts=parts).isfinite()


class TestAdapt(LossLaws):
    def of(self, student: Tensor, teacher: Tensor, mask: Tensor) -> Tensor:
        return adapt_loss(student, teacher, mask)


class TestAffinity(LossLaws):
    def of(self, student: Tensor, teacher: Tensor, mask: Tensor) -> Tensor:
        return affinity_loss(student, teacher, mask)


def test_the_length_of_both_features_does_not_matter() -> None:
    student, code = maps(0, 2, 4, 3, 5), maps(1, 2, 4, 3, 5)
    longer = [x * maps(seed, 2, 1, 3, 5).abs().add(0.1) for x, seed in ((student, 2), (code, 3))]
    for loss in (adapt_loss, affinity_loss):
        mask = everywhere(code)
        assert loss(*longer, mask) == pytest.approx(float(loss(student, code, mask)), rel=1e-4)
        assert loss(3 * code, code, mask) == pytest.approx(0, abs=1e-5)


def test_distances_by_hand() -> None:
    """(1, 0) against (1, 1) / sqrt 2: |1 - r| + |r| with r = 1 / sqrt 2, which is 1."""
    student, code = torch.tensor([3.0, 0.0]).view(1, 2, 1, 1), torch.tensor([5.0, 5.0]).view(1, 2, 1, 1)
    assert adapt_loss(student, code, everywhere(code)) == pytest.approx(1)
    opposite = torch.tensor([-1.0, 0.0]).view(1, 2, 1, 1)
    assert adapt_loss(student, opposite, everywhere(code)) == pytest.approx(2)


def test_affinities_by_hand() -> None:
    """Orthogonal against equal features at two positions: each row changes by one entry of size 1, by root 2."""
    student = torch.tensor([[1.0, 0.0], [0.0, 1.0]]).view(1, 2, 1, 2)
    code = torch.tensor([[1.0, 1.0], [0.0, 0.0]]).view(1, 2, 1, 2)
    assert affinity_loss(student, code, everywhere(code)) == pytest.approx(1 / math.sqrt(2))
