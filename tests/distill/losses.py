"""Laws that every distillation loss keeps: a test class inherits them and says how its loss is made."""

from collections.abc import Mapping

import pytest
import torch
from torch import Tensor, nn

from segprune.distill.contract import Loss, Place, Seen, Shapes

IGNORED = 255


def seen(*logits: list[list[float]], features: Mapping[str, Tensor] | None = None) -> Seen:
    """Logits of images that are one pixel high: image -> class -> pixel."""
    return Seen(logits=torch.tensor(logits)[:, :, None], features=features or {})


def labels(of: Seen) -> Tensor:
    """A label of class 0 everywhere."""
    return torch.zeros(of.logits.shape[0], *of.logits.shape[2:], dtype=torch.int64)


def value(loss: Loss, student: Seen, teacher: Seen, label: Tensor | None = None) -> Tensor:
    """The loss of a batch, without parts of its own."""
    label = labels(student) if label is None else label
    return loss(student, teacher, label, ignore_index=IGNORED, parts=nn.Module())


class LossBattery:
    """What must be true of every loss.

    Attributes:
        least: Its value where student and teacher are the same.
    """

    least = 0.0

    def loss(self) -> Loss:
        raise NotImplementedError

    def batch(self, seed: int, images: int = 3) -> Seen:
        """What a network makes of ``images`` images; each image has values of its own, whatever their number."""

        def draw(image: int, *shape: int) -> Tensor:
            return torch.randn(*shape, generator=torch.Generator().manual_seed(100 * seed + image))

        logits = torch.stack([draw(image, 4, 5, 6) for image in range(images)])
        maps = torch.stack([draw(image + 50, 8, 5, 6) for image in range(images)])
        return Seen(
            logits=logits, features={} if self.loss().maps == "none" else {"a": maps, "b": maps[:, :3] * 2}
        )

    def shapes(self) -> Shapes:
        places = {
            name: Place(
                student=maps.shape[1],
                teacher=maps.shape[1],
                scale=maps.new_ones(maps.shape[1]),
                shift=maps.new_zeros(maps.shape[1]),
            )
            for name, maps in self.batch(0).features.items()
        }
        return Shapes(classes=4, places=places)

    def value(self, student: Seen, teacher: Seen, label: Tensor | None = None) -> Tensor:
        label = labels(student) if label is None else label
        with torch.random.fork_rng():
            torch.manual_seed(0)
            parts = self.loss().parts(self.shapes())
        return self.loss()(student, teacher, label, ignore_index=IGNORED, parts=parts)

    def test_a_student_that_is_its_teacher_has_nothing_to_learn(self) -> None:
        assert float(self.value(self.batch(1), self.batch(1)).detach()) == pytest.approx(self.least, abs=1e-5)

    def test_a_student_that_differs_has(self) -> None:
        assert float(self.value(self.batch(1), self.batch(2)).detach()) > self.least + 1e-3

    def test_the_value_is_a_mean_over_images(self) -> None:
        student, teacher = self.batch(1), self.batch(2)
        both = Seen(
            logits=student.logits.repeat(2, 1, 1, 1),
            features={n: m.repeat(2, 1, 1, 1) for n, m in student.features.items()},
        )
        twice = Seen(
            logits=teacher.logits.repeat(2, 1, 1, 1),
            features={n: m.repeat(2, 1, 1, 1) for n, m in teacher.features.items()},
        )
        assert float(self.value(both, twice).detach()) == pytest.approx(
            float(self.value(student, teacher).detach()), rel=1e-4
        )

    def test_only_the_student_gets_gradients_and_they_are_finite(self) -> None:
        student, teacher = self.batch(1), self.batch(2)
        tensors = [student.logits, *student.features.values()]
        others = [teacher.logits, *teacher.features.values()]
        for tensor in tensors:
            tensor.requires_grad_()
        self.value(student, teacher).backward()
        found = [tensor.grad for tensor in tensors if tensor.grad is not None]
        assert found
        assert all(grad.isfinite().all() for grad in found)
        assert all(tensor.grad is None for tensor in others)

    def test_a_batch_without_labels_is_finite(self) -> None:
        student = self.batch(1)
        student.logits.requires_grad_()
        nothing = torch.full_like(labels(student), IGNORED)
        loss = self.value(student, self.batch(2), nothing)
        assert loss.isfinite()
