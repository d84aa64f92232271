import torch
from torch import Tensor, nn

from segprune.graph.closing import Closing, Sink, Source
from tests.toys import Plain


class Halved(nn.Module):
    """The halves of the channels change places."""

    def forward(self, x: Tensor) -> Tensor:
        left, right = x.chunk(2, 1)
        return torch.cat([right, left], 1)


def test_what_goes_into_a_closed_part_is_an_output_and_what_comes_out_is_computed_from_nothing() -> None:
    net = Plain()
    closing = Closing({"second": net.second}, {}, splits=False)
    image = torch.rand(1, 3, 8, 8)
    for _ in range(2):
        with closing.around() as read:
            logits = net(image)
    assert [(type(edge), edge.part, edge.channels) for edge in closing.edges] == [
        (Sink, "second", 6),
        (Source, "second", 5),
    ]
    (features,) = read
    first, inner = net.first[0].weight, net.second[0].weight
    assert torch.autograd.grad(features.sum(), first, allow_unused=True)[0] is not None
    assert torch.autograd.grad(logits.sum(), (first, inner), allow_unused=True) == (None, None)
    assert not net.second._forward_hooks
    assert torch.equal(logits, net(image))


def test_operations_that_part_channels_are_closed_where_that_is_asked_for() -> None:
    x = torch.rand(1, 6, 4, 4, requires_grad=True)
    closing = Closing({}, {}, splits=True)
    with closing.around() as read:
        parted = Halved()(x)
        rows = torch.cat(x.chunk(2, 2), 2)  # these are no channels
    assert [(type(edge), edge.part, edge.channels) for edge in closing.edges] == [
        (Sink, "chunk", 6),
        (Source, "chunk", 3),
        (Source, "chunk", 3),
    ]
    assert torch.equal(parted, Halved()(x))
    assert len(read) == 1
    assert torch.autograd.grad(parted.sum(), x, allow_unused=True) == (None,)
    assert torch.autograd.grad(rows.sum(), x)[0].eq(1).all()


def test_what_runs_without_a_path_to_the_logits_is_an_output() -> None:
    layer = nn.Conv2d(3, 4, 1)
    closing = Closing({}, {"aside": layer}, splits=False)
    with closing.around() as read:
        layer(torch.rand(1, 3, 4, 4))
    (found,) = read
    assert torch.autograd.grad(found.sum(), layer.weight)[0].abs().sum() > 0
