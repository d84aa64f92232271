"""Any value at any key of the configuration is taken, or refused in one paragraph that names the key.

Each key meets a third of the odd values, the next key the next third: every kind of value meets keys of every kind.
"""

import math
from collections.abc import Iterator
from typing import Any

import pytest
from omegaconf import DictConfig, OmegaConf

from segprune.config.compose import Settings
from segprune.errors import SegpruneError
from segprune.run.assemble import checked
from tests.run_here import assert_is_one_paragraph
from tests.test_conf import composed

pytestmark = pytest.mark.usefixtures("composer")


@pytest.mark.parametrize(
    "arguments",
    [
        ["pruner=slimming", "pruner.phase.schedule.optimizer=adamw"],
        ["init=scratch", "rounds=3"],
        ["init=scratch", "finetune=none"],
        ["pruner=dmcp", "init=scratch"],
        ["pruner=slimming", "rounds=2"],
        ["train.epochs='8'"],
        ["seed=123456789012345678901234567890"],
        ["ratio=0"],
        ["finetune.lr=${train.lr}"],
    ],
)
def test_unusual_is_not_wrong(arguments: list[str]) -> None:
    checked(OmegaConf.create(plain(arguments)))


def plain(arguments: list[str]) -> dict[str, Any]:
    cfg = composed("hydra.runtime.output_dir=here", *arguments)
    kept = OmegaConf.masked_copy(cfg, [key for key in cfg if key != "hydra"])
    found: Any = OmegaConf.to_container(kept, resolve=True)
    # stages refer to what the other groups hold
    return {**found, "stage": OmegaConf.to_container(kept.stage, resolve=False)}


ODD = [
    *("text", "", "two\nlines", "${nowhere}", "???", "ä", None, True, -1, 0, 3, 0.5, -1e-9, 1e30, 10**30),
    *(math.nan, math.inf, [], [1, "a"], [[]], {}, {"a": 1}, {"_target_": "os.system"}),
]


THIRDS = 3


def leaves(node: Any, place: tuple[Any, ...] = ()) -> Iterator[tuple[tuple[Any, ...], Any]]:
    """Place and value of all that is not a mapping; lists, and what is in them."""
    if not isinstance(node, dict):
        yield place, node
    inner = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for key, value in inner:
        yield from leaves(value, (*place, key))


def may_take(old: Any, new: Any) -> bool:
    """Whether a value of one kind might be replaced by one of another, whatever the key."""
    if isinstance(old, bool):
        return isinstance(new, bool) or new in (0, 1)
    if isinstance(old, int | float):
        return new is None or (
            isinstance(new, int | float) and not isinstance(new, bool) and math.isfinite(new)
        )
    return True


CASES = [
    *(([], root) for root in sorted(Settings.model_fields)),
    *(([f"pruner={name}"], "pruner") for name in ("dmcp", "cap", "sirfp")),
    (["budget=threshold"], "budget"),
    (["model=fcn_resnet50"], "model"),
    (["dataset=cityscapes", "dataset.root=here"], "dataset"),
    (["dataset=folder", "dataset.root=here", "dataset.classes=[a,b]"], "dataset"),
]


@pytest.mark.parametrize(("arguments", "root"), CASES, ids=str)
def test_any_value_at_any_key_is_taken_or_refused_in_one_paragraph(arguments: list[str], root: str) -> None:
    config = plain(arguments)
    cfg = OmegaConf.create(config)
    outcomes = []
    for number, (place, old) in enumerate(leaves(config[root], (root,))):
        *above, key = place
        node: Any = cfg
        for name in above:
            node = node[name]
        # alone below its root, a key meets them all
        for value in ODD if len(place) == 1 else ODD[number % THIRDS :: THIRDS]:
            node[key] = value
            outcomes.append(_outcome(cfg, place, old, value))
        node[key] = old
    assert "refused" in outcomes or root == "paths"


def _outcome(cfg: DictConfig, place: tuple[Any, ...], old: Any, value: Any) -> str:
    case = f"{'.'.join(map(str, place))}={value!r}"
    try:
        checked(cfg)
    except SegpruneError as error:
        said = str(error)
        assert_is_one_paragraph(said)
        assert place[0] in said, (case, said)
        return "refused"
    assert place[0] == "paths" or may_take(old, value), case
    return "taken"
