"""What tells results apart: the fields of the objects that make them, and the fingerprints of these."""

from collections.abc import Collection, Mapping
from dataclasses import fields, is_dataclass
from typing import Any

from segprune import gpu
from segprune.errors import ConfigError
from segprune.stage.contract import Context
from segprune.store.code import code_of, modules_of
from segprune.store.fingerprint import Fingerprint, digests, fingerprint

EVERY_STAGE = ("segprune.model.copies", "segprune.stage.shown")
"""The modules that make the networks and sizes that every stage is given; no stage need import them."""


def identity(part: object) -> dict[str, Any]:
    """A configured object as plain values: its class and its fields, and so of the objects that it holds.

    A file that a field names counts with its content, see ``digests``.

    Raises:
        ConfigError: It is no dataclass object, so its fields are not known.
    """
    kind = type(part)
    if not is_dataclass(part) or isinstance(part, type):
        raise ConfigError(
            f"{kind.__module__}.{kind.__qualname__} must be a dataclass: its fields tell its results apart"
        )
    values = {field.name: getattr(part, field.name) for field in fields(part)}
    files = digests(values)
    held = {name: _plain(value) for name, value in values.items()}
    return {
        "class": f"{kind.__module__}.{kind.__qualname__}",
        **held,
        **({"files": files} if files else {}),
    }


def _plain(value: object) -> object:
    if isinstance(value, Mapping):
        return {name: _plain(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    return identity(value) if is_dataclass(value) and not isinstance(value, type) else value


def fingerprint_of(
    ctx: Context, word: str, inputs: Mapping[str, Any], *parts: object, without: Collection[str] = ()
) -> Fingerprint:
    """The fingerprint of a result: of its inputs and of the code, the libraries and the GPU that compute it.

    The code is that of the network, of the dataset, of ``EVERY_STAGE`` and of all parts, with all that it imports;
    of a package outside of segprune it is all. See ``code_of``.

    Args:
        ctx: The run.
        word: The kind of result, by which the store keeps it.
        inputs: What else can change it, as plain JSON values; of a network its fingerprint.
        parts: What computes it: the stage itself, and any other objects or names of modules.
        without: Rooms and modules of segprune that the parts import and that do not change this result.
    """
    modules = ctx.sources.union(EVERY_STAGE, *map(modules_of, parts))
    made_by = {**code_of(modules, without=without), **gpu.inputs_of(ctx.hardware.device)}
    return fingerprint(word, {**inputs, **made_by})
