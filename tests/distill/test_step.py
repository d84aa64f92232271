import copy
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from segprune.dataset.contract import Batch
from segprune.distill.contract import Loss, Seen, Shapes
from segprune.distill.pairs import Made, pairs
from segprune.distill.step import TaughtStep, Teaching
from segprune.model.contract import SegmentationNet
from segprune.training.loop import fit
from segprune.training.step import Step
from segprune.transform.cut import Cut
from tests.distill.test_kd import kd
from tests.distill.test_kd_feature import kd_feature
from tests.tiny import tiny_net
from tests.toys import CLASSES, Plain, Residual, toy
from tests.training.test_step import batches, training

CUT = Cut({"stem.0": (1, 4), "inner.0": (0,)})


def teaching(
    loss: Loss, student: Made, teacher: SegmentationNet, dense: SegmentationNet | None = None
) -> Teaching:
    found = pairs(loss, student, Made(net=teacher), dense or teacher, (16, 16))
    return Teaching(loss=loss, teachers=[teacher], pairs=found, learned={})


def cut_student(seed: int = 0) -> tuple[SegmentationNet, SegmentationNet]:
    """A cut network and the dense one."""
    dense = toy(Residual, seed=seed)
    return CUT.replay(dense), dense


def trained(folder: Path, loss: Loss | None, **schedule: object) -> Mapping[str, Tensor]:
    folder.mkdir()
    small, dense = cut_student()

    def make(net: SegmentationNet, of, steps: int) -> Step:
        return (
            TaughtStep(net, of, steps, teaching(loss, Made(net=small, transforms=[CUT]), dense))
            if loss
            else Step(net, of, steps)
        )

    net, _, _ = fit(small, training(folder, **schedule), make)
    return net.state_dict()


@pytest.mark.parametrize("accumulate", [1, 2])
def test_a_teacher_without_weight_changes_no_bit(tmp_path: Path, accumulate: int) -> None:
    plain = trained(tmp_path / "plain", None, accumulate=accumulate)
    nothing = trained(tmp_path / "nothing", kd_feature(weight=0.0, feature_weight=0.0), accumulate=accumulate)
    assert all(torch.equal(tensor, nothing[name]) for name, tensor in plain.items())
    something = trained(tmp_path / "something", kd_feature(), accumulate=accumulate)
    assert not all(torch.equal(tensor, something[name]) for name, tensor in plain.items())


def test_the_teacher_stays_as_it_is_and_has_no_gradients(tmp_path: Path) -> None:
    small, dense = cut_student()
    before = copy.deepcopy(dense.state_dict())
    step = TaughtStep(
        small, training(tmp_path), 2, teaching(kd_feature(), Made(net=small, transforms=[CUT]), dense)
    )
    step.epoch(batches(2), 0)
    assert all(torch.equal(tensor, before[name]) for name, tensor in dense.state_dict().items())
    assert all(parameter.grad is None for parameter in dense.parameters())
    assert not dense.training
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in dense.modules())


def test_a_student_that_is_its_teacher_gets_the_loss_of_the_labels_alone(tmp_path: Path) -> None:
    net = toy(Residual)
    (batch,) = batches(1)
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = None  # in training it would normalise by the batch, as the teacher does not
            module.track_running_stats = False
            module.running_mean = module.running_var = None
    twin = copy.deepcopy(net)
    step = TaughtStep(net, training(tmp_path), 1, teaching(kd_feature(), Made(net=net), twin))
    plain = Step(copy.deepcopy(net), training(tmp_path), 1)
    assert step.epoch([batch], 0) == pytest.approx(plain.epoch([batch], 0), abs=1e-5)
    assert step.facts()["distill_loss"] == pytest.approx(0, abs=1e-5)


def test_what_it_costs_is_told(tmp_path: Path) -> None:
    small, dense = cut_student()
    step = TaughtStep(
        small, training(tmp_path), 2, teaching(kd(weight=3.0), Made(net=small, transforms=[CUT]), dense)
    )
    (first, second) = batches(2)
    with torch.no_grad():
        logits = [(copy.deepcopy(small).train()(one.image), dense(one.image)) for one in (first, first)]
    step.epoch([first, second], 0)
    facts = step.facts()
    assert {*facts} == {
        "distill_loss",
        "teacher_s_per_step",
        "distill_s_per_step",
        "teacher_share_percent",
        "teacher_mb",
    }
    assert 0 < facts["teacher_share_percent"] < 100
    assert 0 < facts["teacher_s_per_step"] < 1
    assert facts["teacher_mb"] == sum(one.nbytes for one in dense.state_dict().values()) / 1e6
    alone = TaughtStep(
        cut_student()[0],
        training(tmp_path),
        1,
        teaching(kd(weight=3.0), Made(net=small, transforms=[CUT]), dense),
    )
    alone.epoch([first], 0)
    student, teacher = logits[0]
    expected = kd(weight=3.0)(
        Seen(logits=student), Seen(logits=teacher), first.label, ignore_index=255, parts=nn.Module()
    )
    assert alone.facts()["distill_loss"] == pytest.approx(float(expected), rel=1e-4)


def test_convolutions_between_other_widths_are_trained_in_a_group_of_their_own_and_kept_over_a_kill(
    tmp_path: Path,
) -> None:
    student, teacher = toy(Plain), toy(Residual)
    given = teaching(kd_feature(places=["head"]), Made(net=student), teacher, student)
    (pair,) = given.pairs.values()
    assert pair.adapter == (4, 6)
    step = TaughtStep(student, training(tmp_path, weight_decay=0.1), 2, given)
    own = step.optimizer.param_groups[-1]
    assert [tuple(one.shape) for one in own["params"]] == [(6, 4, 1, 1)]
    assert own["weight_decay"] == 0.1
    before = own["params"][0].detach().clone()
    step.epoch(batches(2), 0)
    assert not torch.equal(before, own["params"][0])
    assert own["lr"] == step.lr
    other = TaughtStep(copy.deepcopy(student), training(tmp_path, weight_decay=0.1), 2, given)
    other.load_state_dict(step.state_dict())
    assert torch.equal(other.optimizer.param_groups[-1]["params"][0], own["params"][0])
    assert set(student.state_dict()) == set(toy(Plain).state_dict())


def test_half_precision_reaches_no_loss(tmp_path: Path) -> None:
    class Look(Loss):
        def __call__(
            self, student: Seen, teacher: Seen, label: Tensor, *, ignore_index: int, parts: nn.Module
        ) -> Tensor:
            assert not torch.is_autocast_enabled("cpu")
            assert {student.logits.dtype, teacher.logits.dtype} == {torch.float32}
            found.append((student.logits.detach(), teacher.logits))
            return (student.logits - teacher.logits).square().mean()

    found: list[tuple[Tensor, Tensor]] = []
    small, dense = cut_student()
    step = TaughtStep(
        small, training(tmp_path), 1, teaching(Look(), Made(net=small, transforms=[CUT]), dense)
    )
    step.amp = torch.bfloat16
    (batch,) = batches(1)
    with torch.no_grad():
        exact = dense(batch.image)
    step.epoch([batch], 0)
    ((_, halved),) = found
    assert torch.equal(halved, halved.bfloat16().float())  # the teacher ran in half precision too
    assert torch.allclose(halved, exact, atol=0.1)


def test_parts_of_a_loss_are_made_under_a_seed_and_get_the_shapes(tmp_path: Path) -> None:
    class WithParts(type(kd_feature())):  # type: ignore[misc]
        def parts(self, shapes: Shapes) -> nn.Module:
            seen.append(shapes)
            return nn.Linear(3, 3)

    seen: list[Shapes] = []
    small, dense = cut_student()
    loss = WithParts(weight=1.0, temperature=4.0, feature_weight=0.7, places=None, ignored="taught")
    given = replace(teaching(loss, Made(net=small, transforms=[CUT]), dense), learned={"a": torch.ones(2)})
    weights = []
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        _, _, step = fit(
            small,
            training(tmp_path / folder, epochs=1),
            lambda net, of, steps: TaughtStep(net, of, steps, given),
        )
        weights.append(step.parts.get_submodule("loss").weight.detach())
    assert torch.equal(*weights)
    assert seen[0].classes == CLASSES
    assert torch.equal(seen[0].learned["a"], torch.ones(2))
    assert [(place.student, place.teacher) for place in seen[0].places.values()] == [(4, 4)]


def test_a_teacher_of_another_size_is_brought_to_the_size_of_the_student(tmp_path: Path) -> None:
    class Half(Residual):
        def forward(self, image: Tensor) -> Tensor:
            return super().forward(image)[..., ::2, ::2]

    sizes: list[torch.Size] = []

    class Sizes(Loss):
        def __call__(self, student: Seen, teacher: Seen, label: Tensor, **_: object) -> Tensor:
            sizes.append(teacher.logits.shape)
            return (student.logits - teacher.logits).square().mean()

    net = tiny_net()
    step = TaughtStep(
        net, training(tmp_path), 1, Teaching(loss=Sizes(), teachers=[Half().eval()], pairs={}, learned={})
    )
    (batch,) = batches(1)
    assert isinstance(batch, Batch)
    step.epoch([batch], 0)
    assert sizes == [torch.Size([4, CLASSES, 16, 16])]
