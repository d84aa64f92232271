import torch

from segprune.graph.channels import Channels
from segprune.graph.follow import ANY, Follow, Known
from segprune.graph.rules import rule_of


def followed(*tensors: torch.Tensor) -> tuple[Channels, Follow]:
    """Tensors whose second axis has channels."""
    channels = Channels()
    follow = Follow(channels, rule_of, makers=0)
    for tensor in tensors:
        axes = [None, channels.new(tensor.shape[1]), *[None] * (tensor.ndim - 2)]
        follow.tell(tensor, Known(shape=tuple(tensor.shape), axes=tuple(axes)))
    return channels, follow


def test_a_view_of_the_same_numbers_is_known_and_a_stranger_is_not() -> None:
    x = torch.empty(2, 5, 3, device="meta")
    _, follow = followed(x)
    with follow:
        turned, stranger = x.transpose(1, 2), torch.ones(2, 5)
    assert (follow.known(turned.transpose(1, 2)).axes[1] == follow.known(x).axes[1]).all()
    assert follow.known(turned).axes[1] is None
    assert follow.known(stranger).axes == (ANY, ANY)
    assert follow.known(torch.empty(2, 5)).axes == (None, None)


def test_channels_written_into_a_part_of_a_tensor_stay_and_the_tensor_is_no_longer_alike_all_over() -> None:
    x = torch.empty(2, 4, 3, device="meta")
    channels, follow = followed(x)
    with follow:
        canvas = torch.zeros(2, 6, 3, device="meta")
        canvas[:, :4] = x
    assert follow.known(canvas).axes == (None, None, None)
    found = channels.resolved()
    assert all(
        found.reasons[unit] == "it is written into a part of a tensor" for unit in found.units[1:5].tolist()
    )


def test_a_factor_that_is_computed_from_the_other_rescales_it() -> None:
    x, gate = torch.empty(2, 4, device="meta"), torch.empty(2, 4, device="meta")
    follow = Follow(Channels(), rule_of, makers=0b0110)
    follow.tell(x, Known(shape=(2, 4), axes=(None, None), near=0b0010, every=0b0010))
    follow.tell(gate, Known(shape=(2, 4), axes=(None, None), near=0b0100, every=0b0110))
    with follow:
        gate * x
    assert follow.rescaling == 0b0100
