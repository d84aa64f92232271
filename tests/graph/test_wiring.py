import copy

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from segprune.errors import ConfigError
from segprune.graph import follow
from segprune.graph.grouping import made_by
from segprune.graph.wiring import LOGITS, twin_of, wiring
from segprune.model.contract import SegmentationNet
from tests.toys import Plain, Residual, toy


def test_a_convolution_its_norm_and_its_reader_share_units() -> None:
    found = wiring(Plain())
    units = found.of("first.0.weight", 0)
    assert units is not None
    assert len(set(units.tolist())) == 6
    for name, axis in (("first.1.weight", 0), ("first.1.running_var", 0), ("second.0.weight", 1)):
        assert (found.of(name, axis) == units).all()
    assert found.of("first.0.weight", 2) is None


def test_the_logits_and_the_image_have_to_stay() -> None:
    found, net = wiring(Plain()), Plain()
    logits = made_by("head", net.head, found)
    assert logits is not None
    assert {found.reasons[unit] for unit in logits.tolist()} == {LOGITS}
    read = found.of("first.0.weight", 1)
    assert read is not None
    assert all(unit in found.reasons for unit in read.tolist())


def test_the_twin_has_no_numbers_and_shares_what_is_shared() -> None:
    net = Plain()
    net.bare.weight = net.second[0].weight
    twin = twin_of(net, torch.device("meta"))
    assert twin.bare.weight is twin.second[0].weight
    assert twin.bare.weight.is_meta
    assert twin.mean.is_meta
    assert not net.bare.weight.is_meta


class Looking(Plain):
    """Looks at the numbers of its image, which a tensor without any cannot show."""

    def forward(self, image: Tensor) -> Tensor:
        return super().forward(image if image.mean() > 0 else image.flip(0))


def test_a_network_that_looks_at_numbers_is_followed_all_the_same() -> None:
    assert wiring(Looking()).operations != wiring(Plain()).operations
    first = wiring(Looking()).of("first.0.weight", 0)
    assert first is not None
    assert len(set(first.tolist())) == 6


class Larger(Plain):
    """Runs one more layer on large images."""

    def __init__(self) -> None:
        super().__init__()
        self.extra = nn.Conv2d(4, 4, 3, padding=1)

    def forward(self, image: Tensor) -> Tensor:
        x = self.bare(F.relu(self.second(F.relu(self.first(self.normalise(image))))))
        return self.head(self.extra(x) if image.shape[-1] > 100 else x)


def test_what_runs_on_images_of_the_size_is_followed() -> None:
    assert "extra" not in wiring(Larger(), (64, 64)).reaching
    assert "extra" in wiring(Larger(), (64, 128)).reaching
    assert wiring(Larger(), (64, 64)).operations != wiring(Larger(), (64, 128)).operations


def test_a_size_that_the_network_cannot_take_is_refused() -> None:
    with pytest.raises(
        ConfigError, match=r"Broken cannot run on images of \[8, 8\] px \(dataset\.size_hw\): KeyError"
    ):
        wiring(Broken(), (8, 8))


class Broken(Plain):
    def forward(self, image: Tensor) -> Tensor:
        raise KeyError("nothing")


class Steps(Plain):
    """Adds up column after column."""

    def forward(self, image: Tensor) -> Tensor:
        x = F.relu(self.first(self.normalise(image)))
        state = torch.zeros_like(x[..., 0])
        for column in x.unbind(-1):
            state = 0.5 * state + column
        return self.head(F.relu(self.bare(F.relu(self.second(x + state[..., None])))))


def test_a_loop_over_positions_is_followed_on_fewer_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = wiring(Steps())
    monkeypatch.setattr(follow, "MOST_OPERATIONS", 1000)
    assert wiring(Steps(), (64, 640)).units.keys() == whole.units.keys()
    monkeypatch.setattr(follow, "MOST_OPERATIONS", 100)
    with pytest.raises(ConfigError, match=r"Steps runs more than .* operations on one image"):
        wiring(Steps(), (64, 640))


@pytest.mark.parametrize("size_hw", [(64, 64), (48, 80)])
def test_following_leaves_the_network_and_the_random_numbers_as_they_were(size_hw: tuple[int, int]) -> None:
    net = toy(Residual).train()
    before, state = copy.deepcopy(net.state_dict()), torch.get_rng_state()
    wiring(net, size_hw)
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(tensor, before[name]) for name, tensor in net.state_dict().items())
    assert net.training
    assert all(parameter.requires_grad and parameter.grad is None for parameter in net.parameters())


class HiddenHead(Plain):
    """Trains a head that its own trace does not run."""

    training_only = ("extra.aux",)

    def __init__(self) -> None:
        super().__init__()
        self.extra = nn.ModuleDict({"aux": nn.Conv2d(5, 4, 1)})

    def all_logits(self, image: Tensor) -> tuple[Tensor, ...]:
        x = F.relu(self.second(F.relu(self.first(self.normalise(image)))))
        return self.head(F.relu(self.bare(x))), self.extra["aux"](x)

    def traced_logits(self, image: Tensor) -> tuple[Tensor, ...]:
        return (self(image),)


def test_what_only_training_runs_is_followed_too() -> None:
    found: SegmentationNet = HiddenHead()
    wired = wiring(found)
    made, read = wired.of("second.0.weight", 0), wired.of("extra.aux.weight", 1)
    assert made is not None
    assert (made == read).all()
