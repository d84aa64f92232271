"""The group ``dataset`` of a command that may be incomplete."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.core.hydra_config import HydraConfig
from omegaconf import OmegaConf

from segprune.config.places import (
    CONF,
    SEARCHED,
    main_of,
    own_places,
    parted,
    quoted,
    refuse_hidden,
    searched_in,
    unknown,
)


@dataclass(frozen=True, kw_only=True)
class DatasetNode:
    """What a command says about its data.

    Attributes:
        node: The keys of ``dataset``; those that are missing are left out.
        outputs: ``paths.outputs``.
        batch_sizes: Key -> images in a batch of each training of the default chain.
    """

    node: dict[str, Any]
    outputs: Path
    batch_sizes: Mapping[str, int]


def composed_dataset(arguments: Sequence[str]) -> DatasetNode:
    """Compose the configuration as ``run.py`` does.

    Args:
        arguments: Overrides, and flags that name places of configurations.

    Raises:
        ConfigError: A file of the user has the name of one in ``conf/``.
        HydraException: An override is wrong.
    """
    os.environ.setdefault("SEGPRUNE_OUTPUTS", str(Path.cwd() / "outputs"))
    flags, overrides = parted(list(map(quoted, arguments)))
    refuse_hidden(flags, overrides, beside=CONF.parent)
    (folder, name), places = main_of(flags, CONF.parent), own_places(flags, overrides)
    if places:
        overrides = [one for one in overrides if not one.lstrip("+").startswith(f"{SEARCHED}=")]
        overrides.append(searched_in(places))
    with initialize_config_dir(str(folder), version_base="1.3"):
        cfg = compose(name, [*overrides, *unknown(flags)], return_hydra_config=True)
    HydraConfig.instance().set_config(cfg)
    given = [str(key) for key in cfg.dataset if not OmegaConf.is_missing(cfg.dataset, key)]
    kept = OmegaConf.masked_copy(cfg.dataset, given)
    kept._set_parent(cfg)  # for ${seed} and ${paths.cache}
    node = OmegaConf.to_container(kept, resolve=True)
    sizes = {f"{name}.batch_size": int(cfg[name].batch_size) for name in ("train", "finetune")}
    return DatasetNode(node=dict(node), outputs=Path(str(cfg.paths.outputs)), batch_sizes=sizes)  # type: ignore[arg-type]
