"""Which feature maps of a student are compared with which of its teacher."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from segprune.distill.contract import Loss, Place
from segprune.distill.kept import kept, width_of
from segprune.distill.look import Tap
from segprune.distill.places import Spot, spots
from segprune.errors import ConfigError
from segprune.graph.layers import Norm
from segprune.model.contract import SegmentationNet
from segprune.transform.contract import Transform


@dataclass(frozen=True, kw_only=True)
class Made:
    """A network and what made it of the dense one.

    Attributes:
        net: The network.
        transforms: In order.
    """

    net: SegmentationNet
    transforms: Sequence[Transform] = ()


@dataclass(frozen=True, kw_only=True)
class Pair:
    """One place.

    Attributes:
        student: Where the student's map is taken.
        teacher: Likewise.
        place: What the loss is told of it.
        adapter: Channels of student and teacher, where a learnt convolution maps the former to the latter, or None.
    """

    student: Tap
    teacher: Tap
    place: Place
    adapter: tuple[int, int] | None


def pairs(
    loss: Loss,
    student: Made,
    teacher: Made,
    dense: SegmentationNet,
    size_hw: tuple[int, int],
    *,
    is_kin: bool = True,
) -> Mapping[str, Pair]:
    """Place, named by the student's layer -> the maps that are compared there; none for a loss of logits.

    Args:
        loss: Says which maps it compares.
        student: A network that was made of the dense one.
        teacher: Another network; one of another architecture is compared where its maps have the same size.
        dense: The student's dense network; its weights do not matter.
        size_hw: (H, W) in px of the image.
        is_kin: Whether the teacher was made of the student's dense network, so that a number means one channel.

    Raises:
        ConfigError: There are no places, or the student or the teacher lacks one.
    """
    if loss.maps == "none":
        return {}
    here = spots(dense, loss.maps, getattr(loss, "places", None), size_hw)
    _refuse_missing(here, student.net)
    is_alike = _is_made_of(dense, teacher) and (is_kin or not teacher.transforms)
    there = here if is_alike else _like(here, spots(teacher.net, loss.maps, None, size_hw))
    mine = kept(dense, student.transforms, here)
    theirs = kept(dense if is_alike else teacher.net, teacher.transforms if is_alike else (), there)
    can_match = loss.matched and is_alike and is_kin
    return {
        spot.layer: _pair(
            _left(spot, student.net, mine),
            _left(other, teacher.net, theirs),
            teacher.net,
            loss,
            can_match=can_match,
        )
        for spot, other in zip(here, there, strict=True)
    }


@dataclass(frozen=True, kw_only=True)
class _Left:
    """The channels of a spot that a network has.

    Attributes:
        spot: In the dense network.
        at: (C,) int64, their positions in the network.
        numbers: (C,) int64, their numbers in the dense network; None where these are not known.
    """

    spot: Spot
    at: Tensor
    numbers: Tensor | None


def _left(spot: Spot, net: nn.Module, numbers: Mapping[str, Tensor] | None) -> _Left:
    if numbers is None:
        width = width_of(net.get_submodule(spot.layer), spot.side)
        return _Left(spot=spot, at=torch.arange(width), numbers=None)
    at = torch.isin(numbers[spot.layer], torch.tensor(spot.channels)).nonzero().flatten()
    return _Left(spot=spot, at=at, numbers=numbers[spot.layer][at])


def _pair(student: _Left, teacher: _Left, net: nn.Module, loss: Loss, *, can_match: bool) -> Pair:
    same = _same(student.numbers, teacher.numbers) if can_match else None
    at = teacher.at if same is None else teacher.at[same]
    scale, shift = _norm(net.get_submodule(teacher.spot.layer), at)
    adapts = loss.matched and same is None
    width = len(at) if adapts else len(student.at)
    return Pair(
        student=Tap(layer=student.spot.layer, side=student.spot.side, channels=student.at),
        teacher=Tap(layer=teacher.spot.layer, side=teacher.spot.side, channels=at),
        place=Place(student=width, teacher=len(at), scale=scale, shift=shift),
        adapter=(len(student.at), len(at)) if adapts else None,
    )


def _same(student: Tensor | None, teacher: Tensor | None) -> Tensor | None:
    """Where the student's channels are among the teacher's; None where one is not, or they are not known."""
    if student is None or teacher is None or not torch.isin(student, teacher).all():
        return None
    return (student[:, None] == teacher[None]).long().argmax(dim=1)


def _norm(layer: nn.Module, at: Tensor) -> tuple[Tensor | None, Tensor | None]:
    if not isinstance(layer, Norm) or layer.weight is None:
        return None, None
    scale, shift = layer.get_parameter("weight").detach(), layer.get_parameter("bias").detach()
    return scale[at.to(scale.device)].float(), shift[at.to(shift.device)].float()


def _is_made_of(dense: SegmentationNet, other: Made) -> bool:
    """Whether a network can be the dense one, or one that was cut out of it."""
    whole, part = dense.state_dict(), other.net.state_dict()
    if type(dense) is not type(other.net) or whole.keys() != part.keys():
        return False
    pairs = [(part[name].shape, whole[name].shape) for name in whole]
    if not other.transforms:
        return all(small == large for small, large in pairs)
    return all(a <= b for small, large in pairs for a, b in zip(small, large, strict=True))


def _like(here: Sequence[Spot], there: Sequence[Spot]) -> list[Spot]:
    """For each place of the student the teacher's last one with maps of that size, or the one of the same name.

    Raises:
        ConfigError: There is none.
    """
    found = []
    for spot in here:
        fitting = [other for other in there if other.size_hw == spot.size_hw]
        named = [other for other in fitting if other.layer == spot.layer]
        if not fitting:
            sizes = ", ".join("{}x{}".format(*size) for size in dict.fromkeys(one.size_hw for one in there))
            h, w = spot.size_hw
            raise ConfigError(
                f"distill compares maps at {spot.layer} of the student, which have {h}x{w} px, but the teacher has "
                f"maps of {sizes} px only. Name layers with maps of these sizes, as in 'distill.places=[<layer>]', "
                "or take a loss of logits, such as distill=kd."
            )
        found.append((named or fitting)[-1])
    return found


def _refuse_missing(here: Sequence[Spot], student: nn.Module) -> None:
    layers = dict(student.named_modules())
    if gone := [spot.layer for spot in here if spot.layer not in layers]:
        raise ConfigError(
            f"distill compares maps at {', '.join(gone)}, but a stage has replaced these layers. Name others, as "
            "in 'distill.places=[<layer>]', or take a loss of logits, such as distill=kd."
        )
