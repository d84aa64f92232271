"""The places of configurations that a command names besides ``conf/``: by flags, and by ``hydra.searchpath``."""

import os
import re
from argparse import Namespace
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from hydra._internal.utils import get_args_parser
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Quote, QuotedString

from segprune.errors import ConfigError

CONF = Path(__file__).parents[3] / "conf"
VALUED = (
    "--config-dir",
    "-cd",
    "--config-name",
    "-cn",
    "--config-path",
    "-cp",
    "--cfg",
    "-c",
    "--package",
    "-p",
)
"""Flags of Hydra that are followed by a value."""
FLAGS = {"main": "--config-path", "command-line": "--config-dir"}
"""Who named a place of configurations -> the flag that names it."""
NAME, SEARCHED = "--config-name", "hydra.searchpath"
PLACES = (*FLAGS.values(), NAME, SEARCHED)
_HOME = re.compile(r"(?<=[=,\[: \"'])~(?=/)|(?<==)~$")


def parted(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """Flags with their values, and overrides; people type them in any order, argparse wants the flags first."""
    flags, overrides, waiting = list[str](), list[str](), list(arguments)
    while waiting:
        argument = waiting.pop(0)
        (flags if argument.startswith("-") else overrides).append(argument)
        if waiting and (argument in VALUED or (argument in ("--info", "-i") and "=" not in waiting[0])):
            flags.append(waiting.pop(0))
    return flags, overrides


def quoted(argument: str) -> str:
    """An override as Hydra takes it: ``~/`` in its value as a shell reads it, letters such as ``ü`` in quotes."""
    argument = _HOME.sub(lambda _: str(Path.home()), argument)
    key, _, value = argument.partition("=")
    is_as_it_is = argument.startswith("-") or value.isascii() or set(value) & set("\"'\\,()[]{}")
    return argument if is_as_it_is else f'{key}="{value}"'


def flags_of(hydra: Mapping[str, Any]) -> dict[str, str]:
    """The flags of a command and their values, whether they were typed or not.

    Args:
        hydra: Hydra's node of the composed configuration.
    """
    named = {source["provider"]: _place(source) for source in hydra["runtime"]["config_sources"]}
    found = {FLAGS[who]: place.removeprefix("file://") for who, place in named.items() if who in FLAGS}
    return {**found, NAME: str(hydra["job"]["config_name"])}


def places_of(hydra: Mapping[str, Any]) -> list[str]:
    """What to type before the overrides of a command so that it finds its configurations from any folder.

    Args:
        hydra: Hydra's node of the composed configuration.
    """
    flags, sources = flags_of(hydra), hydra["runtime"]["config_sources"]
    usual = {NAME: "config"}
    if Path(flags[FLAGS["main"]]).resolve() == CONF.resolve():
        usual[FLAGS["main"]] = flags[FLAGS["main"]]
    searched = [_place(one) for one in sources if one["provider"] == f"{SEARCHED} in command-line"]
    return [
        *(f"{flag}={value}" for flag, value in flags.items() if usual.get(flag) != value),
        *([searched_in(searched)] if searched else []),
    ]


def searched_in(places: Sequence[str]) -> str:
    """The override that names places."""
    return f"{SEARCHED}=[{','.join(QuotedString(one, Quote.double).with_quotes() for one in places)}]"


def own_places(flags: Sequence[str], overrides: Sequence[str]) -> list[str]:
    """The places besides that of the main configuration which the flags and overrides of a command name.

    Raises:
        OverrideParseException: ``hydra.searchpath`` cannot be read.
    """
    named = _read(flags).config_dir
    texts = [one for one in overrides if one.lstrip("+").startswith(f"{SEARCHED}=")]
    searched = [override.value() for override in OverridesParser.create().parse_overrides(texts)[-1:]]
    many = [str(place) for value in searched if isinstance(value, list) for place in value]
    return [*([f"file://{os.path.abspath(named)}"] if named else []), *many]


def main_of(flags: Sequence[str], beside: Path) -> tuple[Path, str]:
    """Folder and name of the main configuration.

    Args:
        flags: Of the command.
        beside: The folder that ``conf/`` is in, and where ``--config-path`` begins.
    """
    named = _read(flags)
    return beside / (named.config_path or "conf"), named.config_name or "config"


def refuse_hidden(flags: Sequence[str], overrides: Sequence[str], *, beside: Path) -> None:
    """Refuse a file of the user that has the name of one in ``conf/``, which Hydra takes without a word.

    Args:
        flags: Of the command.
        overrides: Of the command.
        beside: The folder that ``conf/`` is in, and where ``--config-path`` begins.

    Raises:
        ConfigError: There is one with another content.
    """
    places, conf = own_places(flags, overrides), main_of(flags, beside)[0]
    for path in sorted(conf.rglob("*.yaml")) if places else ():
        name = path.relative_to(conf)
        for mine in (folder / name for place in places for folder in _folders(place)):
            if mine.is_file() and mine.read_bytes() != path.read_bytes():
                raise ConfigError(
                    f"{mine} has the name of {path}, which would be taken in its place. Rename yours, for example "
                    f"to {name.with_stem(f'my_{name.stem}')}, and give {_choice(name)}."
                )


def refuse_two(hydra: Mapping[str, Any]) -> None:
    """Refuse a chosen file that two places of the user have, of which Hydra takes the first without a word.

    Args:
        hydra: Hydra's node of the composed configuration.

    Raises:
        ConfigError: There is one, and the two differ.
    """
    sources, choices = hydra["runtime"]["config_sources"], hydra["runtime"]["choices"].items()
    mine = [one for one in sources if one["provider"] not in ("main", "hydra", "schema")]
    folders = [folder for one in mine for folder in _folders(_place(one))]
    chosen = [f"{group.partition('@')[0]}/{option}" for group, option in choices]
    for name in (Path(f"{one}.yaml") for one in (hydra["job"]["config_name"], *chosen)):
        first, *others = [folder / name for folder in folders if (folder / name).is_file()] or [name]
        for other in others:
            if other.read_bytes() != first.read_bytes():
                raise ConfigError(
                    f"{other} has the name of {first}, which would be taken in its place. Rename the one that you "
                    f"want, for example to {name.with_stem(f'my_{name.stem}')}, and give {_choice(name)}."
                )


def unknown(flags: Sequence[str]) -> list[str]:
    """Those that are none of Hydra's."""
    return get_args_parser().parse_known_args(flags)[1]


def _read(flags: Sequence[str]) -> Namespace:
    return get_args_parser().parse_known_args(flags)[0]


def _choice(name: Path) -> str:
    """What takes a file once it is renamed."""
    group, option = name.parent.as_posix(), f"my_{name.stem}"
    if group == ".":
        return f"{NAME}={option}"
    return f"stage@stage.{name.stem}={option}" if group == "stage" else f"{group}={option}"


def _folders(place: str) -> list[Path]:
    """Where the files of a place are: ``pkg://`` names a package."""
    if not place.startswith("pkg://"):
        return [Path(place.removeprefix("file://"))]
    spec = find_spec(place.removeprefix("pkg://"))
    return [*map(Path, spec.submodule_search_locations or ())] if spec else []


def _place(source: Mapping[str, Any]) -> str:
    """A place by its scheme, and if that is a folder from its root."""
    path = os.path.abspath(source["path"]) if source["schema"] == "file" else source["path"]
    return f"{source['schema']}://{path}"
