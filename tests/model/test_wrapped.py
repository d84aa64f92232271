from collections import OrderedDict
from collections.abc import Callable
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor, nn

from segprune.errors import ConfigError
from segprune.model.wrapped import Wrapped


class Gives(nn.Module):
    """Makes whatever a test says of its logits, which have half the size of the image."""

    def __init__(self, make: Callable[[Tensor], object], classes: int = 3) -> None:
        super().__init__()
        self.conv, self.make = nn.Conv2d(3, classes, 3, stride=2, padding=1), make

    def forward(self, image: Tensor) -> object:
        return self.make(self.conv(image))


@pytest.mark.parametrize(
    ("make", "out"),
    [
        (lambda x: x, None),
        (lambda x: (x, -x), None),
        (lambda x: [-x, x], 1),
        (lambda x: {"out": x, "aux": -x}, None),
        (lambda x: OrderedDict(loss=None, logits=x), None),
        (lambda x: {"a": -x, "b": x}, "b"),
        (lambda x: {"only": x}, None),
        (lambda x: SimpleNamespace(logits=x), None),
        (lambda x: SimpleNamespace(masks=x), "masks"),
    ],
)
def test_the_logits_are_found_in_what_a_module_gives(
    make: Callable[[Tensor], object], out: str | int | None
) -> None:
    net = Wrapped(Gives(make), num_classes=3, out=out, mean="none", std="none").eval()
    image = torch.rand(2, 3, 8, 6)
    expected = nn.functional.interpolate(
        net.net.conv(image), size=(8, 6), mode="bilinear", align_corners=False
    )
    assert torch.equal(net(image), expected)
    assert len(net.all_logits(image)) == 1


def test_logits_that_training_adds_are_named_and_may_be_absent_in_evaluation() -> None:
    net = Wrapped(Gives(lambda x: {"out": x, "aux": -x}), num_classes=3, aux="aux")
    main, aux = net.all_logits(torch.rand(1, 3, 8, 8))
    assert torch.equal(main, -aux)
    without = Wrapped(Gives(lambda x: {"out": x}), num_classes=3, aux="aux")
    assert len(without.all_logits(torch.rand(1, 3, 8, 8))) == 1


class TrainsMore(nn.Module):
    """Gives logits of a second head in training alone, and drops features in its own forward."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU())
        self.head, self.aux = nn.Conv2d(4, 3, 1), nn.Sequential(nn.Conv2d(4, 5, 1), nn.Conv2d(5, 3, 1))

    def forward(self, image: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        x = nn.functional.dropout(self.body(image), 0.5, self.training)
        return (self.head(x), self.aux(x)) if self.training else self.head(x)


def test_heads_that_only_training_runs_are_there_in_evaluation_too_by_their_names() -> None:
    net = Wrapped(TrainsMore(), num_classes=3, aux=1, training_only=("aux",), mean="none", std="none").eval()
    image = torch.rand(2, 3, 8, 8)
    x = net.net.body(image)  # with the statistics of evaluation, and nothing dropped
    main, aux = net.all_logits(image)
    assert torch.equal(main, net.net.head(x))
    assert torch.equal(aux, net.net.aux(x))
    assert torch.equal(net(image), main)
    assert not any(module.training for module in net.modules())
    assert len(net.train().all_logits(image)) == 2


def test_without_their_names_they_are_left_out_in_evaluation_and_due_in_training() -> None:
    net = Wrapped(TrainsMore(), num_classes=3, aux=1).eval()
    assert len(net.all_logits(torch.rand(2, 3, 8, 8))) == 1
    assert len(net.train().all_logits(torch.rand(2, 3, 8, 8))) == 2
    never = Wrapped(Gives(lambda x: x), num_classes=3, aux=1)
    with pytest.raises(
        ConfigError, match=r"model\.aux is 1, but in training the network gives one tensor alone"
    ):
        never.all_logits(torch.rand(1, 3, 8, 8))


def test_one_logit_is_that_of_the_second_of_two_classes() -> None:
    net = Wrapped(Gives(lambda x: x, classes=1), num_classes=2)
    logits = net(torch.rand(1, 3, 8, 8))
    torch.testing.assert_close(logits.softmax(1)[:, 1], logits[:, 1].sigmoid())
    assert not logits[:, 0].any()


@pytest.mark.parametrize(
    ("make", "out", "message"),
    [
        (lambda x: {"a": x, "b": x}, None, r"model\.out is None, but the network gives 'a', 'b'; choose one"),
        (lambda x: {"a": x}, "b", r"model\.out is 'b', but the network gives 'a'"),
        (lambda x: (x,), 1, r"model\.out is 1, but the network gives 1 outputs in a tuple"),
        (lambda x: x.mean((2, 3)), None, r"gives shape \[1, 3\] there, but logits have the shape"),
        (lambda _: "text", None, r"gives a str without such a part"),
        (lambda x: SimpleNamespace(mask=x), None, r"Name one of its parts \(mask\)"),
        (
            lambda x: (x[:, :2], x),
            None,
            r"takes the number; or name another part of the output by model\.out\.",
        ),
        (lambda x: x[:, :2], None, r"logits for 2 classes, but the dataset has 3.*model\.classes_as"),
    ],
)
def test_what_is_no_logits_is_refused_in_one_sentence(
    make: Callable[[Tensor], object], out: str | int | None, message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        Wrapped(Gives(make), num_classes=3, out=out)(torch.rand(1, 3, 8, 8))


def test_images_are_normalised_as_the_weights_want_them() -> None:
    net = Wrapped(Gives(lambda x: x), num_classes=3, mean=(0.5, 0.5, 0.5), std=(0.25, 0.5, 1))
    assert net.normalise(torch.ones(1, 3, 1, 1)).flatten().tolist() == [2, 1, 0.5]
    plain = Wrapped(Gives(lambda x: x), num_classes=3, mean="none", std="none")
    assert plain.normalise(torch.ones(1, 3, 1, 1)).flatten().tolist() == [1, 1, 1]
    with pytest.raises(
        ConfigError, match=r"model\.std is \[1, 0, 1\]; it must be imagenet, none or three numbers"
    ):
        Wrapped(Gives(lambda x: x), num_classes=3, std=(1, 0, 1))


def test_what_is_no_module_is_refused_and_parts_for_training_are_named_as_in_the_module() -> None:
    with pytest.raises(ConfigError, match=r"model is a dict, which is no torch\.nn\.Module"):
        Wrapped({}, num_classes=3)  # type: ignore[arg-type]
    net = Wrapped(Gives(lambda x: x), num_classes=3, training_only=("head.aux",))
    assert net.only_trains("net.head.aux.0.weight")
    assert not net.only_trains("net.head.auxiliary")
