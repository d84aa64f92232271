import re
import shlex

import pytest
from omegaconf import OmegaConf

from segprune.config.compose import settings_of
from segprune.config.synonyms import ALWAYS, SYNONYMS, meant
from tests.test_conf import composed

VALUES = {
    **dict.fromkeys(
        (
            "gpu",
            "num_gpus",
            "nproc_per_node",
            "world_size",
            "seeds",
            "epochs",
            "finetune_epochs",
            "num_workers",
        ),
        "1",
    ),
    **dict.fromkeys(("method", "criterion", "importance"), "taylor"),
    **dict.fromkeys(("arch", "backbone"), "unet"),
    "optimizer": "sgd",
    "batch_size": "8",
    "oracle_samples": "20",
}
"""Of words whose value is no fraction."""
NEEDS = {
    **dict.fromkeys(("data_root", "data_dir", "data_path"), ("dataset=camvid",)),
    "pretrained": ("model=resnet50_seg",),
}
"""Options that have the key."""


@pytest.mark.slow
@pytest.mark.parametrize("word", [word for word, overrides in SYNONYMS.items() if overrides])
@pytest.mark.usefixtures("composer")
def test_what_is_proposed_can_be_typed(word: str) -> None:
    told = meant(f"{word}={VALUES.get(word, '0.5')}")
    typed = re.sub(r" \(.*|;.*", "", told.removeprefix("give ").removesuffix("."))
    cfg = composed("paths.outputs=here", *NEEDS.get(word, ()), *shlex.split(typed))
    settings_of(OmegaConf.masked_copy(cfg, [key for key in cfg if key != "hydra"]))


@pytest.mark.parametrize(
    ("typed", "following", "told"),
    [
        ("epochs=2", "", "give train.epochs=2 finetune.epochs=2"),
        ("--epochs", "2", "give train.epochs=2 finetune.epochs=2"),
        ("--epochs=2", "pruner=l1", "give train.epochs=2 finetune.epochs=2"),
        ("--epochs", "pruner=l1", "give train.epochs=... finetune.epochs=..."),
        ("--batch-size", "8", "give train.batch_size=8 finetune.batch_size=8"),
        ("global_ratio=0.5", "", "give ratio=0.5 budget.scope=global"),
        ("--skip-existing", "", ALWAYS),
        ("ratio=0.5", "", ""),
        ("--multirun", "", ""),
        ("train.lr=1", "", ""),
    ],
)
def test_a_word_of_other_programs_is_translated(typed: str, following: str, told: str) -> None:
    assert meant(typed, following) == (f"{told}." if told else "")
