"""How torch-pruning has to look at a network, so that it can follow its channels: at which size, and past what."""

from collections.abc import Hashable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from segprune.errors import ConfigError, SegpruneError
from segprune.graph.build import View, build, noise
from segprune.graph.kept import Kept
from segprune.graph.layers import Norm, is_layer, parts_of
from segprune.graph.program import ATTRIBUTE, hashable, program
from segprune.model.contract import SegmentationNet
from segprune.shortage import shortage

TRACE_SIZE_HW = (64, 64)
"""Small on purpose: the graph keeps every activation of the traced forward alive."""
SMALL_HW = (TRACE_SIZE_HW, (128, 128), (256, 256))
"""Sizes to trace at, where a network runs the same operations there as on the images it is used on."""
MOST_BUILDS = 40
"""Graphs that are built to find the parts that cannot be followed; what is not found by then stays closed."""
_OF_EVERY_MODULE = frozenset(vars(nn.Module()))
"""Attributes of any module: its tensors, submodules and hooks, and whether it is in training."""
_PROGRAMS: "WeakKeyDictionary[SegmentationNet, tuple[Hashable, Hashable]]" = WeakKeyDictionary()
"""Network -> its parts, and what its forward ran when it had these."""


@dataclass(frozen=True, kw_only=True)
class Sight:
    """A view by which torch-pruning can follow the channels of a network.

    Attributes:
        view: The view.
        reasons: Name of each closed part -> why it is closed.
    """

    view: View
    reasons: Mapping[str, str] = field(default_factory=dict)


_SIGHTS: Kept[Sight] = Kept(64)


@contextmanager
def dependency_graph(net: SegmentationNet) -> Iterator[tuple[SegmentationNet, Any]]:
    """A traced copy of the network and torch-pruning's graph of it, as ``build`` gives them.

    Raises:
        ConfigError: A layer runs in training alone, or the channels cannot be followed at all.
    """
    with build(net, sight(net).view) as found:
        yield found


def sight(net: SegmentationNet) -> Sight:
    """How to look at a network; depends on its structure alone, never on its weights.

    Raises:
        ConfigError: A layer runs in training that the trace does not see, or the channels cannot be followed.
    """
    return _SIGHTS(structure(net), lambda: _search(net))


def structure(net: SegmentationNet) -> Hashable:
    """What a network is but for its weights and the statistics of its norms.

    That is kinds, names and attributes of its parts, shapes, which names share a tensor, constants in buffers, and
    what its forward runs, which may depend on what no part of it holds. What can only be told by its identity makes
    a copy another structure, which costs time alone.
    """
    modules = tuple(
        (
            name,
            type(module),
            *(
                (key, hashable(value))
                for key, value in sorted(vars(module).items(), key=lambda item: item[0])
                if key not in _OF_EVERY_MODULE
            ),
            *(
                (key, hashable(buffer))
                for key, buffer in module.named_buffers(recurse=False)
                if not isinstance(module, Norm)
            ),
        )
        for name, module in net.named_modules()
    )
    first: dict[int, str] = {}
    weights = tuple(
        (name, tuple(tensor.shape), first.setdefault(id(tensor), name))
        for name, tensor in net.named_parameters(remove_duplicate=False)
    )
    parts = modules, weights, net.image_hw
    kept = _PROGRAMS.get(net)
    if kept is None or kept[0] != parts:
        kept = _PROGRAMS[net] = parts, _ran(net)
    return kept


def _ran(net: SegmentationNet) -> Hashable:
    """What its forward runs on the smallest image that it takes; None if it takes none."""
    for size_hw in (*SMALL_HW, *([net.image_hw] if net.image_hw else [])):
        try:
            return tuple(program(net, noise(net, 1, size_hw)))
        except Exception as failure:  # whatever a foreign forward ends in; the search says so
            if shortage(failure, lambda _: None):
                raise
    return None


def _search(net: SegmentationNet) -> Sight:
    reasons = dict(_known_opaque(net))
    view = View(size_hw=_traced_size(net), closed=tuple(reasons))
    tries = _Tries(net)
    fault = tries(view)
    if fault:
        view = replace(view, splits=True)
        if tries(view):
            view = _opened(net, view, tries)
        reasons |= {name: tries.faults.get(name, fault) for name in view.closed if name not in reasons}
    if tries.missed[view]:
        view = replace(view, watched=tries.missed[view])
        tries(view)
    if still := tries.missed.get(view):
        raise ConfigError(
            f"model: {type(net).__name__} runs layers that its traced_logits does not reach: "
            f"{', '.join(still[:5])}. They would keep their width while their inputs are cut. If only training "
            f"runs them, give 'model.training_only=[{','.join(parts_of(net, still))}]' with model=module; "
            "else let traced_logits run every layer that training and evaluation run, and none of them within "
            "torch.no_grad, torch.inference_mode or torch.func; requires_grad_(False) keeps weights as they are."
        )
    return Sight(view=view, reasons=reasons)


class _Tries:
    """Builds graphs, and keeps why they could not be built.

    Attributes:
        faults: Name of a part -> what happened when it was open and its neighbours closed.
        missed: View by which a graph was built -> layers that run and are neither in the graph nor closed.
    """

    def __init__(self, net: SegmentationNet) -> None:
        self._net, self._left = net, MOST_BUILDS
        self.faults: dict[str, str] = {}
        self.missed: dict[View, tuple[str, ...]] = {}

    def __call__(self, view: View, opened: str | None = None) -> str:
        """What happens with this view; empty if a graph is built."""
        if view in self.missed:
            return ""
        if self._left == 0:
            return f"it was not reached in {MOST_BUILDS} trials"
        self._left -= 1
        try:
            with build(self._net, view) as (twin, graph):
                self.missed[view] = _untraced(twin, graph, view)
            return ""
        except SegpruneError:
            raise
        except Exception as failure:  # whatever the graph of a foreign network ends in
            if shortage(failure, lambda _: None):
                raise
            fault = said(failure)
        if opened:
            self.faults[opened] = fault
        return fault


def _opened(net: SegmentationNet, view: View, tries: _Tries) -> View:
    """The view with as few and as small parts closed as it takes.

    Raises:
        ConfigError: No graph can be built even if all parts are closed.
    """
    parts = [name for name in _units(net, "") if not view.hides(name)]
    everything = replace(view, closed=(*view.closed, *parts))
    if fault := tries(everything):
        raise ConfigError(
            f"model: the channels of {type(net).__name__} cannot be followed: {fault}. That is in its own forward, "
            "outside of all its layers: move it into a module, which can then stay whole, or leave prune out of "
            "stages."
        )
    closed = set(everything.closed)

    def view_of(names: set[str]) -> View:
        return replace(view, closed=tuple(name for name, _ in net.named_modules() if name in names))

    def settle(units: Sequence[str]) -> None:
        """Open of these what can be open, while the other closed parts are closed."""
        nonlocal closed
        alone = units[0] if len(units) == 1 else None
        if not tries(view_of(closed - {*units}), alone):
            closed -= {*units}
        elif alone is None:
            settle(units[: len(units) // 2])
            settle(units[len(units) // 2 :])
        elif inner := _units(net, alone):
            finer = closed - {alone} | {*inner}
            if not tries(view_of(finer)):
                closed = finer
                settle(inner)

    settle(parts)
    return view_of(closed)


def _units(net: nn.Module, name: str) -> list[str]:
    """The modules with parameters that a module of this name holds and that are called; containers are not."""
    found = []
    for child, module in net.get_submodule(name).named_children():
        path = f"{name}.{child}" if name else child
        if isinstance(module, nn.ModuleList | nn.ModuleDict | nn.Sequential):
            found += _units(net, path)
        elif next(module.parameters(), None) is not None:
            found.append(path)
    return found


def _known_opaque(net: SegmentationNet) -> Iterator[tuple[str, str]]:
    """Modules that torch-pruning is known to get wrong, and why."""
    owners: dict[nn.Parameter, list[str]] = {}
    # a parametrisation has tensors that the weight of its layer is computed from
    layers = {name: one for name, one in net.named_modules() if "parametrizations" not in name.split(".")}
    for name, layer in layers.items():
        for parameter in layer.parameters(recurse=False):
            owners.setdefault(parameter, []).append(name)
        if parametrize.is_parametrized(layer) or {"weight_g", "weight_orig"} & layer._parameters.keys():
            yield (
                name,
                "its weight is computed from other tensors (weight_norm, spectral_norm, a parametrisation)",
            )
        elif isinstance(layer, nn.RNNBase | nn.RNNCellBase):
            yield name, "a recurrent layer"
    for names in owners.values():
        if len(names) > 1:
            yield from ((name, f"it has a weight in common with {names[names[0] == name]}") for name in names)


def _traced_size(net: SegmentationNet) -> tuple[int, int]:
    """A small size at which the network runs the same operations as on its images; else the size of these."""
    if net.image_hw is None or net.image_hw in SMALL_HW[:1]:
        return TRACE_SIZE_HW
    expected = operations(net, noise(net, 1, net.image_hw))
    for size_hw in SMALL_HW:
        try:
            found = operations(net, noise(net, 1, size_hw))
        except Exception as failure:
            if shortage(failure, lambda _: None):
                raise
            continue
        if found == expected:
            return size_hw
    return net.image_hw


def operations(net: SegmentationNet, image: Tensor) -> list[str]:
    """The names of the functions that a forward runs on an image, in order.

    Args:
        net: Left as it was.
        image: (N, 3, H, W).
    """
    return [name for name, *_ in program(net, image) if name != ATTRIBUTE]


def _untraced(twin: SegmentationNet, graph: Any, view: View) -> tuple[str, ...]:
    """The layers that run in evaluation or training and are not in the graph, closed parts left out.

    Raises:
        ConfigError: The network cannot run in training.
    """
    ran: set[nn.Module] = set()
    layers = list(filter(is_layer, twin.modules()))
    hooks = [layer.register_forward_hook(lambda module, *_: ran.add(module)) for layer in layers]
    buffers = {name: buffer.clone() for name, buffer in twin.named_buffers()}
    image, rng = noise(twin, 2, view.size_hw), torch.get_rng_state()
    try:
        with torch.no_grad():
            twin(image)
            twin.train().all_logits(image)
    except (RuntimeError, ValueError, TypeError) as failure:
        raise ConfigError(
            f"model: {type(twin).__name__} cannot run in training on two images of {list(view.size_hw)} px "
            f"({said(failure)})."
        ) from failure
    finally:
        torch.set_rng_state(rng)
        twin.eval()
        for hook in hooks:
            hook.remove()
        for name, buffer in twin.named_buffers():
            buffer.copy_(buffers[name])
    names = {module: name for name, module in twin.named_modules()}
    missed = (names[module] for module in ran if module not in graph.module2node)
    return tuple(sorted(name for name in missed if not view.hides(name)))


def said(failure: Exception) -> str:
    """The first line of an error of another program, with its kind where the line alone says little."""
    if isinstance(failure, SegpruneError):
        return str(failure)
    line = (str(failure).splitlines() or [""])[0]
    if isinstance(failure, OverflowError):
        return line
    return f"{type(failure).__name__} {line}".strip()[:200]
