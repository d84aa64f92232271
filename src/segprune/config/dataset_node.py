"""The group ``dataset`` of a command that may be incomplete."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.core.hydra_config import HydraConfig
from omegaconf import OmegaConf

CONF = Path(__file__).parents[3] / "conf"


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


def composed_dataset(overrides: Sequence[str]) -> DatasetNode:
    """Compose the configuration as ``run.py`` does.

    Raises:
        HydraException: An override is wrong.
    """
    os.environ.setdefault("SEGPRUNE_OUTPUTS", str(Path.cwd() / "outputs"))
    with initialize_config_dir(str(CONF), version_base="1.3"):
        cfg = compose("config", list(overrides), return_hydra_config=True)
    HydraConfig.instance().set_config(cfg)
    given = [str(key) for key in cfg.dataset if not OmegaConf.is_missing(cfg.dataset, key)]
    kept = OmegaConf.masked_copy(cfg.dataset, given)
    kept._set_parent(cfg)  # for ${seed} and ${paths.cache}
    node = OmegaConf.to_container(kept, resolve=True)
    sizes = {f"{name}.batch_size": int(cfg[name].batch_size) for name in ("train", "finetune")}
    return DatasetNode(node=dict(node), outputs=Path(str(cfg.paths.outputs)), batch_sizes=sizes)  # type: ignore[arg-type]
