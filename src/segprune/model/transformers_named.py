"""The segmentation networks of transformers, by name."""

from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from pydantic import PositiveInt
from torch import float32, nn

from segprune.errors import ConfigError
from segprune.model.backbone_weights import UNREADABLE
from segprune.model.existing_weights import Match, load_existing, refuse_misfit, tell
from segprune.model.initial import are_to_come
from segprune.model.module import made
from segprune.model.wrapped import Statistics, Wrapped

OURS: Mapping[str, Mapping[str, Any]] = {"upernet": {"use_auxiliary_head": False}}
"""Name -> arguments that differ from the library's: an auxiliary head is for the library's own loss alone."""
SAVED_AS = ("model.safetensors", "pytorch_model.bin")
"""Files of a folder that the library saved a network to, beside ``config.json``."""
NOT_THE_NETWORK = frozenset(
    {
        *("architectures", "dtype", "torch_dtype", "id2label", "label2id", "num_labels", "problem_type"),
        *("transformers_version", "_name_or_path", "_attn_implementation_autoset"),
        *("return_dict", "output_hidden_states", "output_attentions"),
    }
)
"""Entries of a configuration that the weights do not depend on."""


def transformers(  # noqa: PLR0913 - each one is a key
    *,
    name: str,
    weights: str,
    args: dict[str, Any] | None,
    mean: Statistics,
    std: Statistics,
    checkpoint: Path | None,
    allow: Sequence[str],
    num_classes: PositiveInt,
) -> Wrapped:
    """A segmentation network of transformers; what it is depends on name and arguments alone.

    Args:
        name: Kind of network, such as ``segformer``.
        weights: ``none``, or a name on the library's hub, which downloads them.
        args: Entries of its configuration, such as ``depths``; the others are the library's.
        mean: Of the images that the weights were made for: three numbers, ``imagenet`` or ``none``.
        std: Likewise.
        checkpoint: File with the weights of the whole network; beside a ``config.json`` it is read by the library.
        allow: Patterns of names in which file and network may differ.
        num_classes: K.

    Raises:
        ConfigError: The package is not installed, there is no such network or argument, the weights are of another
            one, or the download failed.
        CheckpointError: The file cannot be read, or does not fit.
    """
    try:
        import transformers as library
        from transformers.models.auto.modeling_auto import (
            MODEL_FOR_SEMANTIC_SEGMENTATION_MAPPING_NAMES as NAMES,
        )
    except ImportError as error:
        raise ConfigError(
            "model is transformers, which needs another package: pip install 'segprune[transformers]'."
        ) from error
    if name not in NAMES:
        raise ConfigError(f"model.name is {name!r}; it must be one of {', '.join(NAMES)}.")
    given = {**OURS.get(name, {}), **(args or {})}
    _refuse_unknown(
        given, {*library.AutoConfig.for_model(name).to_dict(), *library.PreTrainedConfig().to_dict()}
    )

    def make(**arguments: Any) -> Any:
        config = library.AutoConfig.for_model(name, **arguments)
        return library.AutoModelForSemanticSegmentation.from_config(config)

    net = made(name, make, {**given, "num_labels": num_classes}, keys="model.args")
    if weights != "none" and checkpoint is not None:
        raise ConfigError(
            f"model.weights is {weights} and model.checkpoint is {checkpoint}; only one can be loaded. Give "
            "model.weights=none or model.checkpoint=null."
        )
    if weights != "none":
        _refuse_path(weights)
        _load_saved(net, weights, f"model.weights is {weights}", given, allow=allow)
    elif (
        checkpoint is not None
        and checkpoint.name in SAVED_AS
        and (checkpoint.parent / "config.json").is_file()
    ):
        _load_saved(net, str(checkpoint.parent), f"model.checkpoint is {checkpoint}", given, allow=allow)
    else:
        load_existing(net, checkpoint, allow=allow)
    return Wrapped(net, num_classes=num_classes, mean=mean, std=std)


def _refuse_unknown(given: Mapping[str, Any], known: set[str]) -> None:
    for key in given:
        if key not in known:
            near = get_close_matches(key, known, n=3) or sorted(known - NOT_THE_NETWORK)
            raise ConfigError(
                f"model.args.{key} is no entry of its configuration; these are: {', '.join(near)}."
            )


def _refuse_path(weights: str) -> None:
    if Path(weights).exists():
        folder = Path(weights) if Path(weights).is_dir() else Path(weights).parent
        raise ConfigError(
            f"model.weights is {weights}, a path, but it must be none or a name on the hub. Give "
            f"model.checkpoint={folder / SAVED_AS[0]}."
        )


def _load_saved(
    net: nn.Module, source: str, given_as: str, args: Mapping[str, Any], *, allow: Sequence[str]
) -> None:
    """Load what the library saved, under the names of whichever version saved it; nothing in it is executed."""
    if are_to_come():
        return
    import transformers as library

    library.logging.set_verbosity_error()
    library.logging.disable_progress_bar()
    try:
        config = library.AutoConfig.from_pretrained(source)
        _refuse_other(config.to_dict(), net.config.to_dict(), given_as, args)  # type: ignore[union-attr, operator]
        saved, found = library.AutoModelForSemanticSegmentation.from_pretrained(
            source,
            config=net.config,
            dtype=float32,
            ignore_mismatched_sizes=True,
            output_loading_info=True,
        )
    except UNREADABLE as error:
        raise ConfigError(
            f"{given_as}, which cannot be loaded ({type(error).__name__}: "
            f"{' '.join(str(error).split())[:300]}). Without a network, give model.weights=none, or "
            "model.checkpoint with a file."
        ) from error
    other_shape = sorted(key for key, *_ in found["mismatched_keys"])
    missing = sorted(found["missing_keys"])
    match = Match(
        place="",
        prefix="",
        fits={
            key: tensor for key, tensor in saved.state_dict().items() if key not in {*missing, *other_shape}
        },
        missing=missing,
        other_shape=other_shape,
        left=sorted(found["unexpected_keys"]),
    )
    refuse_misfit(match, given_as, allow=allow)
    net.load_state_dict(dict(match.fits), strict=False)
    tell(f"{given_as.replace(' is ', ': ', 1)}: {len(match.fits)} tensors", match)


def _refuse_other(
    saved: Mapping[str, Any], own: Mapping[str, Any], given_as: str, args: Mapping[str, Any]
) -> None:
    """Check that weights are of this very network."""
    if saved["model_type"] != own["model_type"]:
        raise ConfigError(
            f"{given_as}, which is a {saved['model_type']}, but model.name is {own['model_type']}. Give "
            f"model.name={saved['model_type']}, or other weights."
        )
    kept = {key: _plain(value) for key, value in saved.items() if key in own and key not in NOT_THE_NETWORK}
    other = {key: value for key, value in kept.items() if value != _plain(own[key])}
    if other:
        raise ConfigError(
            f"{given_as}, which is configured otherwise in {', '.join(other)}. Give "
            f"'model.args={_typed({**args, **other})}', or other weights."
        )


def _plain(value: Any) -> Any:
    """A value of a configuration without what does not matter inside of it."""
    if isinstance(value, Mapping):
        return {key: _plain(one) for key, one in value.items() if key not in NOT_THE_NETWORK}
    return [_plain(one) for one in value] if isinstance(value, list | tuple) else value


def _typed(value: Any) -> str:
    """A value as it is typed on the command line."""
    if isinstance(value, Mapping):
        return f"{{{','.join(f'{key}:{_typed(one)}' for key, one in value.items())}}}"
    if isinstance(value, list):
        return f"[{','.join(map(_typed, value))}]"
    words = {"None": "null", "True": "true", "False": "false"}
    return words.get(str(value), str(value))
