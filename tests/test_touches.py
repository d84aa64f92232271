"""Every key of the configuration is known to touch certain stages, and touches those and no others."""

import copy
import json
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hydra import initialize_config_dir
from omegaconf import DictConfig, OmegaConf
from PIL import Image
from safetensors.torch import save_file

from segprune.checkpoint import checkpoint
from segprune.dataset.labels import CAMVID
from segprune.errors import ConfigError
from segprune.graph.cut import cut
from segprune.graph.trace import trace
from segprune.model.contract import SegmentationNet
from segprune.model.copies import duplicate
from segprune.model.unet import unet
from segprune.result.files import PLAN
from segprune.run.assemble import checked
from segprune.run.hardware import hardware_of
from segprune.run.start import context_of, start_of_trail
from segprune.stage.calibration import buffers_of
from segprune.stage.eval import Eval
from segprune.stage.prepare import LEARNED
from segprune.stage.prune import RAW
from segprune.store import fingerprint
from segprune.store.store import Entry, Store
from segprune.tracking.silent import SilentRun
from segprune.transform.cut import Cut
from tests.dataset.trees import camvid_tree, labels, picture, save
from tests.test_conf import CONF, composed
from tests.touches import CASES, DEFAULT, NOTHING, REFUSED, TWINS

pytestmark = pytest.mark.usefixtures("composer")
WORDS = ("train", "prepare", "prune", "finetune", "eval")
GROUPS = {
    "dataset": "train",
    "model": "train",
    "loss": "train",
    "train": "train",
    "pruner": "prune",
    "budget": "prune",
    "finetune": "finetune",
    "distill": "finetune",
    "eval": "eval",
    "tracking": NOTHING,
}
"""Group -> the stage that another option touches first."""
OPTIONS = [f"{group}={path.stem}" for group in GROUPS for path in sorted((CONF / group).glob("*.yaml"))]
ALONE = [
    option
    for option in OPTIONS
    if "???" not in (CONF / option.replace("=", "/")).with_suffix(".yaml").read_text(encoding="utf-8")
]
"""Those that need no other key."""
PRESETS = [
    f"{path.parent.name}={path.stem}"
    for path in sorted(CONF.glob("*/*.yaml"))
    if path.parent.name not in (*GROUPS, "schedule", "stage")
]
USUAL = {
    f"{group}={option}"
    for chosen in OmegaConf.load(CONF / "config.yaml").defaults
    if isinstance(chosen, DictConfig)
    for group, option in chosen.items()
}
FOLDER = next(case for case in CASES if case.startswith("dataset=folder"))
APART = (".checkpointing", "store.reuse")
"""How keys end that are refused together with another one."""
Keys = Mapping[str, Sequence[str]]
"""Stage -> fingerprints that it asks the store for."""


@dataclass(frozen=True, kw_only=True)
class Look(Store):
    """A store that notes what it is asked for and has an entry for everything."""

    entries: Path
    asked: dict[str, list[str]] = field(default_factory=dict)

    def get(self, stage: str, key: str, make: Callable[[Path], None]) -> Entry:
        self.asked.setdefault(stage, []).append(key)
        is_cut = WORDS.index(stage) >= WORDS.index("prune")
        folder = self.entries / "asked" / key
        folder.parent.mkdir(exist_ok=True)
        if not folder.exists():
            folder.symlink_to(self.entries / ("small" if is_cut else "whole"))
        return Entry(folder, was_reused=False)


def net_of_all() -> SegmentationNet:
    """Stands for every network: a fingerprint tells what the configuration says, not what was built."""
    return unet(
        num_classes=len(CAMVID.classes), width=4, max_width=8, depth=2, convs_per_level=1, upsample="bilinear"
    )


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the configurations name: data of every layout, checkpoints; and the entries of ``Look``."""
    place = tmp_path_factory.mktemp("place")
    camvid_tree(place / "CAMVID", {"train": 3, "val": 3, "test": 3})
    for frame in range(12):
        stem = f"{'train' if frame < 10 else 'val'}/ulm/ulm_{frame:06d}"
        save(place / "CITYSCAPES" / "leftImg8bit" / f"{stem}_leftImg8bit.png", picture(frame))
        for kind, count in (("labelTrainIds", 19), ("labelIds", 34)):
            save(place / "CITYSCAPES" / "gtFine" / f"{stem}_gtFine_{kind}.png", labels(frame, count))
    for place_of_role, role in enumerate(("fit", "select", "report", "other")):
        for number in range(3):
            for copies, suffix in enumerate(("png", "bmp")):
                seed = 100 * place_of_role + 10 * copies + number
                save(place / "FOLDER" / role / "images" / f"{number}.{suffix}", picture(seed))
                save(place / "FOLDER" / role / "masks" / f"{number}.{suffix}", labels(seed, 2))
    whole = net_of_all()
    group = trace(whole)[0]
    _entry(place / "whole")
    _entry(place / "small", {group.name: tuple(range(group.size // 2))})
    _entry(place / "FIRST")
    _entry(place / "SECOND", offset=1.0)
    shutil.copytree(place / "FIRST", place / "COPY")
    return place


def _entry(folder: Path, plan: Mapping[str, tuple[int, ...]] | None = None, offset: float = 0.0) -> None:
    """A network with all that a stage reads beside it."""
    net = cut(net_of_all(), plan or {})
    with torch.no_grad():
        next(net.parameters()).add_(offset)
    folder.mkdir()
    model = OmegaConf.to_container(OmegaConf.load(CONF / "model" / "unet.yaml"))
    about = {"model": model, "classes": list(CAMVID.classes)}
    checkpoint.write(folder, net, transforms=(Cut(plan),) if plan else (), about=about)
    numbers = ("channels", "macs", "params", "removed", "scoring_s", "scoring_peak_mb", "mask_error")
    (folder / PLAN).write_text(json.dumps({**dict.fromkeys(numbers, 0.0), "budget": "channels"}))
    save_file(dict(buffers_of(net)), folder / RAW)
    save_file({}, folder / LEARNED)


def configured(place: Path, case: str) -> DictConfig:
    """The default configuration on a little data, with the options of a case."""
    roles = " ".join(
        f"dataset.{role}={{images:{role}/images,masks:{role}/masks}}" for role in ("fit", "select", "report")
    )
    for name in ("CAMVID", "CITYSCAPES", "FOLDER", "FIRST"):
        case = case.replace(name, str(place / name))
    case = case.replace("ROLES", f"{roles} dataset.image_suffix=.png")
    little = ["dataset.counts={fit: 4, select: 2, report: 2}", "dataset.size_hw=[32,32]"]
    where = [f"paths.outputs={place}", f"hydra.runtime.output_dir={place}", "device=cpu"]
    cfg = composed(*where, *([] if "dataset=" in case and "streets" not in case else little), *case.split())
    return OmegaConf.masked_copy(cfg, [str(key) for key in cfg if key != "hydra"])


def keys_of(cfg: DictConfig, place: Path) -> Keys:
    """What the stages of a configuration ask the store for, told without computing anything."""
    run, threads = checked(cfg), torch.get_num_threads()
    look = Look(root=run.settings.store.root, reuse=True, entries=place)
    try:
        ctx = context_of(run, run.load_data(), hardware_of(run.settings), look, SilentRun())
        ctx = replace(ctx, build=net_of_all)
        trail = start_of_trail(run.settings, ctx)
        for stage in run.stages:
            if isinstance(stage, Eval):
                look.asked["eval"] = [stage.key(ctx, trail)]
            else:
                trail = stage(ctx, trail)
    finally:
        torch.set_num_threads(threads)
    return look.asked


def touched(before: Keys, after: Keys) -> list[str]:
    return [word for word in WORDS if before.get(word) != after.get(word)]


def from_first(first: str, *keys: Keys) -> list[str]:
    """The stage and those after it, as far as there are any."""
    following = WORDS[WORDS.index(first) :] if first else ()
    return [word for word in following if any(word in asked for asked in keys)]


def leaves(node: DictConfig) -> Iterator[str]:
    """The dotted keys of all values but of ``_target_``, which is what the options of a group are."""
    plain = OmegaConf.to_container(node)
    pairs: list[tuple[str, object]] = [("", plain)]
    while pairs:
        prefix, value = pairs.pop()
        if isinstance(value, dict):
            pairs += [(f"{prefix}.{key}", below) for key, below in value.items() if key != "_target_"]
        else:
            yield prefix.removeprefix(".")


def cases_of(option: str) -> list[str]:
    """The cases that are about an option; of the default those about no option."""
    firsts = {case: case.partition(" ")[0] for case in CASES}
    return [case for case, first in firsts.items() if (first if first in OPTIONS else DEFAULT) == option]


def undecided(cfg: DictConfig, case: str) -> str:
    """What to tell whoever added a key; empty when each key that the case is about is in the table.

    An option without a case is free: all its keys are in the fingerprint of what it makes. So are the keys below
    ``stage``: they tell what a stage is, and from which other key it gets an argument, which is told at that key.
    """
    option = next(option for option in [*OPTIONS, DEFAULT] if case in cases_of(option))
    group = option.partition("=")[0]
    mine = {
        key
        for key in leaves(cfg)
        if key.split(".")[0] == group or (not group and key.split(".")[0] not in (*GROUPS, "stage"))
    }
    missing = sorted(mine - {key for one in cases_of(option) for key in CASES[one]})
    where = f"CASES[{option!r}] of tests/touches.py"
    return f"say in {where} which stages these keys touch first: {', '.join(missing)}" if missing else ""


@pytest.fixture(scope="module", autouse=True)
def checkpoints_are_read_once() -> Iterator[None]:
    """The same few, some thousand times."""
    read, known = checkpoint.read, dict[Path, Any]()

    def copied(folder: Path, build: Callable[[], SegmentationNet]) -> Any:
        key = folder.resolve()  # entries are links
        if key not in known:
            known[key] = read(folder, build)
        net, *about = known[key]
        return (duplicate(net), *about)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(checkpoint, "read", copied)
        yield


@pytest.fixture(scope="module")
def usual(place: Path) -> Keys:
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return keys_of(configured(place, DEFAULT), place)


def value_of(value: object, key: str, place: Path, cfg: DictConfig) -> object:
    """The value of the table, with places made real."""
    if value == "moved":
        moved = place / f"moved-{Path(OmegaConf.select(cfg, key)).name}"
        shutil.copytree(OmegaConf.select(cfg, key), moved, dirs_exist_ok=True)
        return str(moved)
    return str(place / value) if value in ("SECOND", "COPY", "elsewhere") else value


def changes_of(case: str) -> list[tuple[str, list[str]]]:
    """The stage that keys touch first, and keys that are changed at once.

    Keys that touch nothing are changed all at once, since no two changes undo each other. So are those of an option
    whose ``TWIN`` has the same keys for the same class: there each is changed alone.
    """
    firsts: dict[str, list[str]] = {}
    for key, (_, first) in CASES[case].items():
        firsts.setdefault(first, []).append(key)
    at_once = {NOTHING, *(set(firsts) - {REFUSED} if case in TWINS else ())}
    found = []
    for first, keys in firsts.items():
        joint = [key for key in keys if first in at_once and not key.endswith(APART)]
        found += [(first, [key]) for key in keys if key not in joint] + ([(first, joint)] if joint else [])
    return found


@pytest.mark.parametrize("case", CASES, ids=lambda case: case or "default")
def test_a_key_touches_the_stages_that_the_table_says(case: str, place: Path) -> None:
    cfg = configured(place, case)
    before = keys_of(cfg, place)
    wrong = {}
    for first, keys in changes_of(case):
        changed = copy.deepcopy(cfg)
        for key in keys:
            assert OmegaConf.select(cfg, key, default=...) is not ..., f"{key} of {case!r} is no key any more"
            value = value_of(CASES[case][key][0], key, place, cfg)
            OmegaConf.update(changed, key, value, merge=False)
        if first == REFUSED:
            with pytest.raises(ConfigError, match=keys[0].replace(".", r"\.")):
                checked(changed)
            continue
        after = keys_of(changed, place)
        if touched(before, after) != from_first(first, before, after):
            wrong[", ".join(keys)] = touched(before, after)
    assert wrong == {}
    assert undecided(cfg, case) == ""


@pytest.mark.parametrize("option", TWINS)
def test_a_twin_has_the_same_keys_for_the_same_class(option: str) -> None:
    group = option.partition("=")[0]
    mine, its = (composed(one)[group] for one in (option, TWINS[option]))
    assert mine["_target_"] == its["_target_"]
    assert set(leaves(mine)) == set(leaves(its))
    assert set(CASES[option]) <= set(CASES[TWINS[option]])


@pytest.mark.parametrize("option", ALONE)
def test_another_option_touches_its_group_and_what_follows(option: str, place: Path, usual: Keys) -> None:
    after = keys_of(configured(place, option), place)
    group = option.partition("=")[0]
    first = "prepare" if group == "pruner" and "prepare" in after else GROUPS[group]
    assert touched(usual, after) == ([] if option in USUAL else from_first(first, usual, after))


@pytest.mark.parametrize("preset", PRESETS)
def test_a_preset_brings_no_key_of_its_own(preset: str) -> None:
    decided = {key for case in CASES.values() for key in case}
    cfg = composed(preset)
    own = OmegaConf.masked_copy(cfg, [key for key in cfg if key not in ("hydra", "stage")])
    assert set(leaves(own)) <= decided


def test_a_key_that_nobody_decided_on_is_named() -> None:
    new = OmegaConf.create({"seed": 0, "model": {"width": 4, "dropout": 0.1}, "mood": {"is_good": True}})
    assert undecided(new, "model=unet") == (
        "say in CASES['model=unet'] of tests/touches.py which stages these keys touch first: model.dropout"
    )
    assert undecided(new, DEFAULT).endswith("touch first: mood.is_good")


def test_another_schema_touches_everything(place: Path, usual: Keys, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fingerprint, "SCHEMA", fingerprint.SCHEMA + 1)
    after = keys_of(configured(place, DEFAULT), place)
    assert touched(usual, after) == from_first("train", usual)


@pytest.mark.parametrize(("role", "first"), [("fit", "train"), ("select", "train"), ("report", "eval")])
@pytest.mark.parametrize("kind", ["images", "masks"])
def test_one_pixel_of_one_file_touches_what_reads_it(role: str, first: str, kind: str, place: Path) -> None:
    cfg = configured(place, FOLDER)
    before = keys_of(cfg, place)
    path = place / "FOLDER" / role / kind / "1.png"
    kept = path.read_bytes()
    pixels = np.array(Image.open(path))
    pixels[0, 0] ^= 1
    save(path, pixels)
    after = keys_of(cfg, place)
    path.write_bytes(kept)
    assert touched(before, after) == from_first(first, before)
