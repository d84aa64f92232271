import logging
import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from segprune.measure.itemise import Item, itemise
from segprune.model.contract import SegmentationNet
from tests.odd_nets import DeadStages, DroppedHead
from tests.toys import Concat, Plain, toy


class Running(SegmentationNet):
    """Runs one function of the image."""

    def __init__(self, function: object) -> None:
        super().__init__()
        self.function = function

    def forward(self, image: Tensor) -> Tensor:
        return self.function(image)


def test_an_item_costs_the_product_of_its_sizes() -> None:
    assert Item(module="a.b", name="matmul", sizes=(2, 3, 4)).cost == 24
    assert str(Item(module="a.b", name="weight", sizes=())) == "a.b.weight"
    assert str(Item(module="", name="matmul", sizes=())) == "matmul"


def test_items_are_named_after_the_module_that_runs_them_and_end_with_its_weight() -> None:
    class Two(SegmentationNet):
        def __init__(self) -> None:
            super().__init__()
            self.body = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.ConvTranspose2d(4, 2, 2, stride=2))
            self.row = nn.Linear(10, 6)

        def forward(self, image: Tensor) -> Tensor:
            return self.row(self.body(image)) @ image.new_ones(6, 7)

    items = itemise(Two(), (4, 5))
    assert [(str(item), item.sizes) for item in items.macs] == [
        ("body.0.convolution", (1, 4, 5, 4, 3, 3, 3)),
        ("body.1.convolution", (1, 4, 5, 4, 2, 2, 2)),  # transposed: each pixel of the input meets the kernel
        ("row.linear", (1, 2, 8, 6, 10)),
        ("matmul", (1, 2, 8, 7, 6)),
    ]
    assert [(str(item), item.sizes) for item in items.params] == [
        ("body.0.weight", (4, 3, 3, 3)),
        ("body.0.bias", (4,)),
        ("body.1.weight", (4, 2, 2, 2)),
        ("body.1.bias", (2,)),
        ("row.weight", (6, 10)),
        ("row.bias", (6,)),
    ]


# of an image (1, 3, 4, 5)
@pytest.mark.parametrize(
    ("equation", "count", "sizes"),
    [
        pytest.param("nchw, nkhw -> nck", 2, [(1, 3, 4, 5, 3)], id="contracted over positions"),
        pytest.param("nchw, nchw -> nchw", 2, [(1, 3, 4, 5)], id="elementwise"),
        pytest.param("nc..., nk... -> nck", 2, [(1, 3, 4, 5, 3)], id="ellipsis"),
        pytest.param("nchw, nkhw", 2, [(1, 3, 4, 5, 3)], id="without a result"),
        pytest.param("nchw -> nc", 1, [], id="a sum multiplies nothing"),
        # first over positions to (c, k), then with the third to (c, l, h, w) over k
        pytest.param(
            "nchw, nkhw, nkxy -> ncxy", 3, [(1, 3, 4, 5, 3), (1, 3, 3, 4, 5)], id="from left to right"
        ),
        pytest.param(
            "nchw, nkhw, nkxy", 3, [(1, 3, 4, 5, 3), (1, 3, 3, 4, 5)], id="without a result, in turn"
        ),
        # elementwise first, then the third with what is under the ellipsis, (h, w)
        pytest.param(
            "nc..., nc..., nkxy -> k...", 3, [(1, 3, 4, 5), (1, 4, 5, 3, 4, 5)], id="ellipsis stays"
        ),
        # (c, h, w) and (h, w) under the ellipses agree from the last one
        pytest.param("n..., nk... -> k...", 2, [(1, 3, 4, 5, 3)], id="ellipses of two lengths"),
        pytest.param("nchw, hnkl -> c", 2, [(3, 3, 4, 5, 4, 5)], id="a size of 1 fits any"),
    ],
)
def test_einsum_worked_by_hand(equation: str, count: int, sizes: list[tuple[int, ...]]) -> None:
    items = itemise(Running(lambda image: torch.einsum(equation, *[image] * count)), (4, 5))
    assert [item.sizes for item in items.macs] == sizes


# (4, 5) of the image's first channel; a vector of 5
@pytest.mark.parametrize(
    ("function", "cost"),
    [
        pytest.param(lambda x, v: x @ v, 4 * 5, id="matrix and vector"),
        pytest.param(torch.mv, 4 * 5, id="mv"),
        pytest.param(lambda x, v: torch.addmv(x[:, 0], x, v), 4 * 5, id="addmv"),
        pytest.param(lambda x, v: torch.dot(v, v), 5, id="dot"),
        pytest.param(lambda x, v: torch.addmm(x[:, :4], x, x.T), 4 * 4 * 5, id="addmm"),
        pytest.param(lambda x, v: (x[:, :4] + 0).addmm_(x, x.T), 4 * 4 * 5, id="addmm in place"),
        pytest.param(lambda x, v: torch.baddbmm(x[None, :, :4], x[None], x.T[None]), 4 * 4 * 5, id="baddbmm"),
    ],
)
def test_products_worked_by_hand(function: object, cost: int) -> None:
    net = Running(lambda image: function(image[0, 0], image[0, 0, 0]))
    assert sum(item.cost for item in itemise(net, (4, 5)).macs) == cost


def test_attention_costs_its_weights_and_its_result() -> None:
    def run(image: Tensor) -> Tensor:
        rows = image.flatten(2)  # (1, 3, 20): 3 positions of width 20
        return F.scaled_dot_product_attention(rows, rows, rows[..., :7])

    assert [item.sizes for item in itemise(Running(run), (4, 5)).macs] == [(1, 3, 3, 20), (1, 3, 3, 7)]


def test_a_module_for_attention_is_counted_whole() -> None:
    class Attending(SegmentationNet):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.MultiheadAttention(4, 2, batch_first=True)

        def forward(self, image: Tensor) -> Tensor:
            tokens = image[:, 0]  # (1, 6, 4)
            out, _ = self.layer(tokens, tokens, tokens)
            return out

    items = itemise(Attending(), (6, 4))
    # 6 tokens of width 4: three projections and one behind; in each of 2 heads of width 2, weights and result
    assert sum(item.cost for item in items.macs) == 6 * 4 * 12 + 6 * 4 * 4 + 2 * 2 * 6 * 6 * 2
    assert sum(item.cost for item in items.params) == 12 * 4 + 12 + 4 * 4 + 4
    assert items.idle == ()


def test_a_network_in_training_mode_is_traced_in_evaluation() -> None:
    net = toy(Concat).eval()  # its norm behind a pooled image cannot be trained on one image
    expected = itemise(net, (16, 16))
    assert itemise(net.train(), (16, 16)) == expected
    assert net.training


def test_a_shared_parameter_is_one_item() -> None:
    class Tied(SegmentationNet):
        def __init__(self) -> None:
            super().__init__()
            self.one, self.two = nn.Conv2d(3, 3, 1, bias=False), nn.Conv2d(3, 3, 1, bias=False)
            self.two.weight = self.one.weight

        def forward(self, image: Tensor) -> Tensor:
            return self.two(self.one(image))

    items = itemise(Tied(), (2, 2))
    assert [str(item) for item in items.params] == ["one.weight"]
    assert [str(item) for item in items.macs] == ["one.convolution", "two.convolution"]


@pytest.mark.parametrize(
    ("kind", "idle"), [(DeadStages, ("encoder.2", "encoder.3")), (DroppedHead, ("aux",))]
)
def test_what_the_logits_are_not_computed_from_is_no_item(
    kind: type[SegmentationNet], idle: tuple[str, ...]
) -> None:
    net = kind()
    items = itemise(net, (16, 16))
    names = {name for name, _ in net.named_parameters() if name.startswith(idle)}
    assert set(items.idle) == names
    assert len(items.params) + len(names) == len(list(net.parameters()))
    assert not any(item.module.startswith(idle) for item in items.macs)


class Tied(SegmentationNet):
    """Two layers with one weight, and one that never runs behind them."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = (nn.Conv2d(3, 3, 1, bias=False) for _ in range(2))
        self.two.weight = self.one.weight
        self.never, self.head = nn.Conv2d(3, 5, 1, bias=False), nn.Conv2d(3, 4, 1, bias=False)

    def forward(self, image: Tensor) -> Tensor:
        return self.head(self.two(self.one(image)))


def test_a_weight_that_layers_share_is_one_item_and_moves_no_other() -> None:
    items = itemise(Tied(), (2, 2))
    assert items.idle == ("never.weight",)
    assert [str(item) for item in items.params] == ["one.weight", "head.weight"]
    assert sum(item.cost for item in items.macs) == 4 * (9 + 9 + 12)


@pytest.mark.parametrize(
    "layer", [nn.FeatureAlphaDropout(0.1, inplace=True), nn.Dropout2d(0.1, inplace=True)]
)
def test_an_operation_in_place_is_as_free_as_the_other(
    layer: nn.Module, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        itemise(Running(lambda image: layer(image * 2)), (4, 4))
    assert caplog.text == ""


class AsksWhetherItIsTraced(Plain):
    """Rounds a size up, as a tensor where it is traced."""

    def forward(self, image: Tensor) -> Tensor:
        size = image.shape[2] / 2
        half = torch.ceil(size) if torch.jit.is_tracing() else math.ceil(size)  # type: ignore[call-overload]
        return super().forward(image[:, :, : 2 * half])


def test_a_forward_that_asks_whether_it_is_traced_is_counted_as_it_runs() -> None:
    tracing = torch.jit.is_tracing
    assert itemise(AsksWhetherItIsTraced(), (16, 16)) == itemise(Plain(), (16, 16))
    assert torch.jit.is_tracing is tracing
