import torch
from torch import Tensor

from segprune.measure.answers import Answers
from segprune.model.contract import SegmentationNet
from tests.toys import Residual


class Counted(Residual):
    """Counts its forward passes."""

    passes = 0

    def forward(self, image: Tensor) -> Tensor:
        self.passes += 1
        assert not self.training
        return super().forward(image)


def images(seed: int, count: int = 2) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    made = torch.rand(count, 3, 8, 8, generator=generator)
    return made.to(memory_format=torch.channels_last)


def answered(answers: Answers, net: SegmentationNet, *shown: Tensor, name: str = "dense") -> list[Tensor]:
    ask = answers.of(net, name)
    with torch.inference_mode():
        return [ask(image) for image in shown]


def test_the_same_is_answered_once_and_always_alike() -> None:
    answers, net = Answers(), Counted().train()
    first, other = answered(answers, net, images(0), images(1))
    kept = first.clone()
    with torch.inference_mode():
        first.zero_()  # whoever changes an answer changes none that is kept
    again, once_more = answered(answers, net, images(0), images(1))
    assert net.passes == 2
    assert net.training
    assert torch.equal(again, kept)
    assert again.stride() == kept.stride()
    assert torch.equal(once_more, other)


def test_what_differs_in_a_bit_in_its_shape_or_in_the_order_of_its_numbers_is_asked() -> None:
    net, image = Counted(), images(0, count=4)
    near = image.clone()
    near[0, 0, 0, 0] += torch.finfo(near.dtype).eps
    square = image.reshape(1, 3, 16, 16)
    answered(Answers(), net, image, near, square, image.contiguous(), image[:2])
    assert net.passes == 5


def test_of_another_network_nothing_is_known_and_nothing_stays() -> None:
    answers, dense, cut = Answers(), Counted(), Counted()
    answered(answers, dense, images(0))
    (found,) = answered(answers, cut, images(0), name="cut")
    assert torch.equal(found, cut.eval()(images(0)).detach())
    answered(answers, dense, images(0))
    assert dense.passes == 2


def test_no_more_is_kept_than_there_is_room_for() -> None:
    net = Counted()
    logits = answered(Answers(), net, images(0))[0]
    answers = Answers(most_bytes=2 * logits.nbytes)
    for _ in range(2):
        answered(answers, net, images(0), images(1), images(2))
    assert net.passes == 1 + 3 + 1
