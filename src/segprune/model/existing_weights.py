"""Weights that somebody trained elsewhere: found in the layouts of common programs, and matched by name."""

import logging
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from segprune.errors import CheckpointError, ConfigError
from segprune.model.backbone_weights import UNREADABLE, unusable
from segprune.model.initial import are_to_come
from segprune.model.unreadable import why_unreadable

log = logging.getLogger(__name__)
FIRST = ("state_dict", "model_state_dict", "model", "ema", "net", "network", "weights", "params")
"""Keys under which programs keep a state dict; of several that fit alike the first is taken."""
SUFFIXES = (".pth", ".pt", ".ckpt", ".bin", ".pth.tar", ".safetensors")
AVERAGES = "n_averaged"
"""Of ``torch.optim.swa_utils.AveragedModel``: how many networks its weights are the mean of."""
PREFIXES = ("module.", "model.", "net.", "network.", "_orig_mod.", "ema_model.", "student.")
SHOWN = 4
_TOLD: set[str] = set()
"""What was said already: a run makes its network several times."""


@dataclass(frozen=True, kw_only=True)
class Match:
    """How the tensors of a file fit a module.

    Attributes:
        place: Key that the file has them under; empty where it is a plain state dict.
        prefix: What stands before every name in the file.
        fits: Name in the module -> tensor.
        missing: Names that the file lacks.
        other_shape: Names under which it has another shape.
        left: Names in the file that the module lacks.
        others: Other keys that have tensors for the module, such as a moving average of its weights.
        classes: Channels in the file and in the module, where nothing but the number of outputs is another.
    """

    place: str
    prefix: str
    fits: Mapping[str, Tensor]
    missing: Sequence[str]
    other_shape: Sequence[str]
    left: Sequence[str]
    others: Sequence[str] = ()
    classes: tuple[int, int] | None = None


def load_existing(net: nn.Module, path: Path | None, *, allow: Sequence[str] = ()) -> None:
    """Load the file of ``model.checkpoint`` into a module, in place, and say what went where.

    Nothing is done without a file, or where the weights are replaced later (``weights_to_come``).

    Args:
        net: The module whose weights they are.
        path: A file with one of ``SUFFIXES``; nothing in it is executed.
        allow: Patterns of names, as ``head.*``, that may be missing, left over or of another shape.

    Raises:
        ConfigError: There is no such file, or it has another suffix.
        CheckpointError: It cannot be read, does not fit, or has tensors of other than finite numbers.
    """
    if path is None or are_to_come():
        return
    match = matched(net.state_dict(), read(path), source=path)
    refuse_misfit(match, f"model.checkpoint is {path}", allow=allow)
    for problem in unusable(net, match.fits):
        raise CheckpointError(
            f"model.checkpoint is {path}, of whose tensors for the network are {problem}. Give a file of a "
            "training that did not diverge, neither quantised nor sparse."
        )
    net.load_state_dict(dict(match.fits), strict=False)
    tell(f"model.checkpoint: {len(match.fits)} tensors of {path.name}", match)


def refuse_misfit(match: Match, source: str, *, allow: Sequence[str]) -> None:
    """Check that tensors fit, but for names that may differ.

    Args:
        match: How they fit.
        source: Key and value that they are from, for the message.
        allow: Patterns of names that may be missing, left over or of another shape.

    Raises:
        CheckpointError: They do not.
    """
    wrong = {
        "the file lacks": match.missing,
        "has in another shape": match.other_shape,
        "has besides": match.left,
    }
    refused = {
        what: [name for name in names if not any(fnmatchcase(name, pattern) for pattern in allow)]
        for what, names in wrong.items()
    }
    parts = [f"{what} {len(names)}: {_first(names)}" for what, names in refused.items() if names]
    if match.classes and refused["has in another shape"]:
        parts.insert(0, "it gives {} classes, and the network {}".format(*match.classes))
    if parts or not match.fits:
        raise CheckpointError(
            f"{source}, which does not fit the network: {'; '.join(parts) or 'no name is the same'}. "
            "Give the network that it was trained as, or let names differ by model.allow=['<pattern>', ...]."
        )


def read(path: Path) -> Any:
    """What a file holds.

    Raises:
        ConfigError: There is no such file, or it has another suffix.
        CheckpointError: It cannot be read without executing what is in it.
    """
    if not path.is_file():
        raise ConfigError(f"model.checkpoint is {path}, which is no file; give the path of one with weights.")
    if not path.name.endswith(SUFFIXES):
        raise ConfigError(
            f"model.checkpoint is {path}, which is no {', '.join(SUFFIXES[:-1])} or {SUFFIXES[-1]} file; give the "
            "path of one."
        )
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        return torch.load(path, map_location="cpu", weights_only=True)
    except UNREADABLE as error:
        raise CheckpointError(f"model.checkpoint: {path} {why_unreadable(path, error)}") from error


def matched(own: Mapping[str, Tensor], content: Any, *, source: Path) -> Match:
    """The best fit of a file's tensors to those of a module, over all places and prefixes.

    Raises:
        CheckpointError: The file holds no named tensors.
    """
    candidates = list(_state_dicts(content))
    if not candidates:
        raise CheckpointError(
            f"model.checkpoint: {source} holds no named tensors, neither by itself nor under one of its keys. Save "
            "it again: torch.save(net.state_dict(), path)."
        )
    found = [_match(own, place, state, prefix) for place, state in candidates for prefix in _prefixes(state)]
    best = max(found, key=lambda match: (len(match.fits), -len(match.left)))
    others = dict.fromkeys(match.place for match in found if match.fits and match.place != best.place)
    return replace(best, others=tuple(others))


def _state_dicts(content: Any, place: str = "", depth: int = 0) -> Iterator[tuple[str, Mapping[str, Tensor]]]:
    if not isinstance(content, Mapping) or depth > 2:
        return
    tensors = {str(name): value for name, value in content.items() if isinstance(value, Tensor)}
    tensors.pop(AVERAGES, None)
    if tensors:
        yield place, tensors
    for name in sorted(content, key=lambda name: FIRST.index(name) if name in FIRST else len(FIRST)):
        yield from _state_dicts(content[name], f"{place}.{name}".lstrip("."), depth + 1)


def _prefixes(state: Mapping[str, Tensor]) -> list[str]:
    """All prefixes, of several parts too, that some names of the state dict begin with."""
    pattern = re.compile(f"(?:{'|'.join(map(re.escape, PREFIXES))})*")
    whole = {found[0] for name in state if (found := pattern.match(name))}
    ends = {prefix[: end.end()] for prefix in whole for end in re.finditer(r"\.", prefix)}
    return ["", *sorted(ends, key=len)]


def _match(own: Mapping[str, Tensor], place: str, state: Mapping[str, Tensor], prefix: str) -> Match:
    named = {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}
    fits = {
        name: named[name]
        for name, tensor in own.items()
        if name in named and named[name].shape == tensor.shape
    }
    other_shape = [name for name in own if name in named and name not in fits]
    return Match(
        place=place,
        prefix=prefix,
        fits=fits,
        # weights older than PyTorch 0.4.1 have no counters, and nothing reads them
        missing=[name for name in own if name not in named and not name.endswith("num_batches_tracked")],
        other_shape=other_shape,
        left=[name for name in state if name.removeprefix(prefix) not in own or not name.startswith(prefix)],
        classes=_classes([(named[name], own[name]) for name in other_shape]),
    )


def _classes(differing: Sequence[tuple[Tensor, Tensor]]) -> tuple[int, int] | None:
    """Channels in the file and in the module where all that differs is one number of outputs, read by no layer."""
    shapes = [(tuple(theirs.shape), tuple(ours.shape)) for theirs, ours in differing]
    is_first = all(theirs[1:] == ours[1:] and theirs and ours for theirs, ours in shapes)
    numbers = {(theirs[0], ours[0]) for theirs, ours in shapes} if is_first else set()
    is_layer = any(len(theirs) in (2, 4) for theirs, _ in shapes)
    return numbers.pop() if len(numbers) == 1 and is_layer else None


def tell(line: str, match: Match) -> None:
    """Log once what went where.

    Args:
        line: How the line begins.
        match: How the tensors fit.
    """
    line += f", under {match.place!r}" if match.place else ""
    line += f", without {match.prefix!r} before their names" if match.prefix else ""
    told = {
        "as initialised": [*match.missing, *match.other_shape],
        "not used": match.left,
        "not used, though they fit, are those under": [repr(place) for place in match.others],
    }
    for what, names in told.items():
        line += f"; {what}: {_first(names)}" if names else ""
    if line not in _TOLD:
        _TOLD.add(line)
        log.info("%s", line)


def _first(names: Sequence[str]) -> str:
    return ", ".join(names[:SHOWN]) + (f" and {len(names) - SHOWN} more" if len(names) > SHOWN else "")
