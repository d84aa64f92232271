"""What Hydra refuses, in words for the person who typed it: key, value, what is allowed, what to do."""

import difflib
import errno
import sys
import traceback
from collections.abc import Iterator, Sequence
from typing import Any

import yaml  # type: ignore[import-untyped]
from hydra.errors import HydraException, MissingConfigException, OverrideParseException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import ConfigAttributeError, ConfigKeyError, OmegaConfBaseException

from segprune.config.places import CONF
from segprune.config.renamed import renamed
from segprune.config.synonyms import meant

_BELOW_HYDRA = sys.stdlib_module_names | {"omegaconf", "antlr4", "yaml"}
AMBIGUOUS = "Ambiguous value for argument"
ALL_KEYS = "See all keys with: python run.py --cfg job"


def refusal(error: BaseException) -> str | None:
    """One paragraph about an error that Hydra met by itself; None for one that the program met."""
    if isinstance(error, MissingConfigException):
        return _no_such_option(error)
    if isinstance(error, OverrideParseException):
        return _no_override(error)
    if isinstance(error, HydraException) and str(error).startswith(AMBIGUOUS):
        return _several_values(str(error).split("'")[1])
    cause = error.__cause__
    if isinstance(error, HydraException) and isinstance(cause, ConfigAttributeError | ConfigKeyError):
        return _no_such_key(cause)
    if isinstance(error, HydraException | OmegaConfBaseException):
        reason = f": {_one_line(cause)}" if isinstance(cause, OmegaConfBaseException) else ""
        return _one_line(error) + reason
    is_told = _is_of_hydra(error) and not isinstance(error, BrokenPipeError)  # that one has nobody to be told
    return _surprise(error) if is_told else None


def _several_values(override: str) -> str:
    key, _, values = override.partition("=")
    return (
        f"{override} gives {key} several values, and this is a single run. To sweep over them add -m: "
        f"python run.py -m {override}. A list is '{key}=[{values}]', and text with commas '{key}=\"{values}\"'."
    )


def _no_override(error: OverrideParseException) -> str:
    reason = _one_line(error).partition(" See https")[0]
    if reason.startswith("LexerNoViableAltException"):
        reason = "it has a character that must stand in quotes"
    return (
        f"{error.override!r} is no override: {reason}. Write key=value, lists as 'key=[a,b]' and text with special "
        "characters as 'key=\"text\"', in single quotes for the shell."
    )


def _surprise(error: BaseException) -> str:
    """Of errors that Hydra did not foresee; most are about the folder that it makes for a run."""
    if isinstance(error, OSError) and error.errno == errno.ENAMETOOLONG:
        return (
            f"{error.filename!s:.80}... cannot be created: a name in it is too long for a file system. Leave "
            "out hydra.run.dir and hydra.sweep.subdir, or give shorter ones: 'hydra.sweep.subdir=${hydra:job.num}'."
        )
    if isinstance(error, OSError):
        return (
            f"{error.filename} cannot be created: {error.strerror}. Every run writes a folder of its own below "
            "paths.outputs; give one that can be written: paths.outputs=/some/folder."
        )
    return f"the command {' '.join(sys.argv[1:])!r} cannot be read: {error}. {ALL_KEYS}"


def _no_such_option(error: MissingConfigException) -> str:
    group, _, option = str(error.missing_cfg_file).rpartition("/")
    if not error.options:
        return f"{_one_line(error).partition(' Config search path')[0]} {ALL_KEYS}"
    close = difflib.get_close_matches(option, error.options, n=1)
    if group == "stage":  # chosen by the list `stages`
        hint = f" Did you mean {close[0]}?" if close else ""
        return (
            f"stages names {option!r}; there are {', '.join(error.options)}.{hint} One of your own is a file "
            f"stage/{option}.yaml in the folder that --config-dir names."
        )
    hint = f" Did you mean {group}={close[0]}?" if close else ""
    return f"{group} is {option!r}; it must be one of {', '.join(error.options)}.{hint}"


def _no_such_key(cause: ConfigAttributeError | ConfigKeyError) -> str:
    """What to type instead of an unknown key: its name elsewhere, else the closest beside it, else all there."""
    wrong, place = str(cause.full_key), cause.parent_node
    above, _, name = wrong.rpartition(".")
    if told := renamed(wrong) or _meant(wrong):
        return f"'{wrong}' is not a key of this configuration; {told}"
    if options := _options_with(above, name):
        first, *others = options
        more = f" (or {', '.join(others)})" if others else ""
        return (
            f"'{wrong}' is not a key of this configuration, but one of {above}={first}{more}: give that too."
        )
    beside = _names(place)
    close: list[str] = []
    if isinstance(place, DictConfig):
        everywhere = _dotted(OmegaConf.to_container(place._get_root(), resolve=False))
        close = [key for key in everywhere if key.endswith(f".{name}")][:1]
    if not close:
        close = [f"{above}.{key}".lstrip(".") for key in difflib.get_close_matches(name, beside, n=1)]
    hint = f"Did you mean '{close[0]}'?" if close else f"There are {', '.join(beside)}. {ALL_KEYS}"
    return f"'{wrong}' is not a key of this configuration. {hint}"


def _options_with(group: str, key: str) -> list[str]:
    """The options of a group whose files have a key; ``folder``, which takes any data, first."""
    files = sorted((CONF / group).glob("*.yaml")) if group and "." not in group else []
    found = [file.stem for file in files if key in (yaml.safe_load(file.read_text(encoding="utf-8")) or {})]
    return sorted(found, key=lambda option: option != "folder")


def _meant(key: str) -> str:
    """What a word of other programs is called here, with the value that was typed; empty if it is none."""
    typed = [one for one in sys.argv[1:] if one.lstrip("+").startswith(f"{key}=")]
    return meant(typed[0].lstrip("+") if typed else key)


def _names(place: Any) -> Sequence[str]:
    return [str(key) for key in place if key not in ("hydra", "_target_")] if OmegaConf.is_dict(place) else []


def _dotted(node: object, prefix: str = "") -> Iterator[str]:
    """Every dotted key of nested mappings."""
    if isinstance(node, dict):
        for key, value in node.items():
            if key not in ("hydra", "_target_"):
                yield f"{prefix}{key}"
                yield from _dotted(value, f"{prefix}{key}.")


def _one_line(error: BaseException) -> str:
    """What it says, behind its key, without the lines that are about OmegaConf's own types."""
    lines = [line.strip() for line in str(error).splitlines()]
    text = " ".join(line for line in lines if not line.startswith(("object_type=", "full_key:")))
    text = text.replace("ConfigTypeError raised while resolving interpolation: ", "").strip()
    key = getattr(error, "full_key", None)
    return f"{key}: {text}" if key else text


def _is_of_hydra(error: BaseException) -> bool:
    """Whether Hydra met the error by itself, not in anything of this program, or of its user, that it called."""
    names = [str(frame.f_globals.get("__name__")) for frame, _ in traceback.walk_tb(error.__traceback__)]
    rooms = [name.partition(".")[0] for name in names]
    inner = rooms[::-1].index("hydra") if "hydra" in rooms else None
    return inner is not None and _BELOW_HYDRA.issuperset(rooms[len(rooms) - inner :])
