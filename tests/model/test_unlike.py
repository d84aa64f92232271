from collections.abc import Callable
from threading import Lock

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from segprune.errors import ConfigError
from segprune.model.unlike import refuse_unlike
from tests.toys import Plain, conv_bn


class Changed(Plain):
    """With a layer more, and what a test makes of its forward."""

    def __init__(self, change: Callable[["Changed"], None]) -> None:
        super().__init__()
        self.more = conv_bn(6, 6)
        self.between: Callable[[Changed, Tensor], Tensor] = lambda net, x: net.more(x)
        change(self)

    def forward(self, image: Tensor) -> Tensor:
        x = self.between(self, self.first(self.normalise(image)))
        return self.head(F.relu(self.bare(F.relu(self.second(x)))))


def between(of: Callable[[Changed, Tensor], Tensor]) -> Callable[[Changed], None]:
    return lambda net: setattr(net, "between", of)


HIDDEN, ONE = nn.Conv2d(6, 6, 1), Plain()
COUNT = [1.0]


def _counted(net: Changed, x: Tensor) -> Tensor:
    COUNT[0] += 0.1
    return net.more(x) * COUNT[0]


def _hooked(net: Changed) -> None:
    net.second.register_forward_hook(lambda module, inputs, output: output + net.more(inputs[0])[:, :5])


def _locked(net: Changed) -> None:
    net.more.lock = Lock()  # type: ignore[assignment]


def _copies_are_it(net: Changed) -> None:
    net.more.__deepcopy__ = lambda memo: net.more  # type: ignore[assignment, method-assign]


def _scaled(net: Changed) -> None:
    net.more.register_buffer("scale", torch.rand(1, 6, 1, 1), persistent=False)
    net.between = lambda own, x: own.more(x) * own.more.scale


UNLIKE: dict[str, tuple[Callable[[Changed], None], str]] = {
    "hook of the original": (_hooked, r"weights of the original \(more\.0\.weight, more\.1\.weight, more"),
    "lambda": (
        lambda net: setattr(net, "between", lambda _, x: net.more(x)),
        r"weights of the original \(more",
    ),
    "global layer": (
        between(lambda net, x: net.more(HIDDEN(x))),
        r"shape \[6, 6, 1, 1\] that are none of its",
    ),
    "dropout": (
        between(lambda net, x: net.more(F.dropout(x))),
        r"other logits when it is shown the same image",
    ),
    "noise": (
        between(lambda net, x: net.more(x) + torch.randn_like(x)),
        "other logits when it is shown the same",
    ),
    "counts its passes": (between(_counted), "other logits when it is shown the same image again"),
    "lock": (_locked, r"cannot be copied \(more\.lock: TypeError: cannot pickle '_thread\.lock' object\)"),
    "copies share": (_copies_are_it, "a copy of the network shares weights with it or gives other logits"),
    "drawn constant": (_scaled, "made again and given the weights of the first gives other logits"),
    "re-entrant": (between(lambda net, x: checkpoint(net.more, x, use_reentrant=True)), "use_reentrant=True"),
}


@pytest.mark.filterwarnings("ignore:None of the inputs have requires_grad")
@pytest.mark.parametrize("case", UNLIKE)
def test_a_network_whose_copies_are_other_networks_is_refused(case: str) -> None:
    change, message = UNLIKE[case]
    with pytest.raises(ConfigError, match=message):
        refuse_unlike(Changed(change).eval(), Changed(change), torch.rand(1, 3, 8, 8))


class Full:
    """Finds no memory for a copy."""

    def __deepcopy__(self, memo: object) -> None:
        raise MemoryError


def test_memory_that_runs_out_is_no_fault_of_the_network() -> None:
    net = Plain().eval()
    net.full = Full()  # type: ignore[assignment]
    with pytest.raises(MemoryError):
        refuse_unlike(net, Plain(), torch.rand(1, 3, 8, 8))


def test_a_factory_that_gives_one_network_again_and_again_is_refused() -> None:
    with pytest.raises(ConfigError, match="made one after the other share weights"):
        refuse_unlike(ONE.eval(), ONE, torch.rand(1, 3, 8, 8))


def test_a_factory_that_gives_other_shapes_the_next_time_is_refused() -> None:
    other = Plain()
    other.head = nn.Conv2d(4, 7, 1)
    with pytest.raises(
        ConfigError, match=r"does not take the weights of the first.*size mismatch for head\.weight"
    ):
        refuse_unlike(Plain().eval(), other, torch.rand(1, 3, 8, 8))


def _methods(net: Changed) -> None:
    net.second.register_forward_pre_hook(lambda module, inputs: (2 * inputs[0],))
    net.more.forward = net.more.forward


@pytest.mark.parametrize(
    "change",
    [
        _methods,
        between(lambda net, x: net.more(x) * torch.linspace(0.5, 1, 6).view(1, 6, 1, 1)),
        between(lambda net, x: checkpoint(net.more, x, use_reentrant=False)),
        between(lambda net, x: torch.func.functional_call(net.more, dict(net.more.named_parameters()), (x,))),
        between(lambda net, x: net.more(x.mul_(2))),
    ],
)
def test_a_network_whose_copies_are_the_same_is_let_through_and_left_as_it_was(
    change: Callable[[Changed], None],
) -> None:
    net, image = Changed(change).eval(), torch.rand(1, 3, 8, 8)
    state = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    refuse_unlike(net, Changed(change), image)
    assert all(torch.equal(tensor, state[name]) for name, tensor in net.state_dict().items())
    assert all(parameter.grad is None for parameter in net.parameters())
