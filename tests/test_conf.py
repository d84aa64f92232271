"""Every YAML on disk composes, and names a callable that takes exactly its keys."""

import importlib
import inspect
from collections.abc import Iterator
from pathlib import Path

import pytest
from hydra import compose
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from segprune.config.component import component
from segprune.config.protocol import CHAIN

CONF = Path(__file__).parent.parent / "conf"
GROUPS = {
    "dataset": (),
    "model": ("num_classes",),
    "loss": (),
    "train": (),
    "finetune": (),
    "pruner": (),
    "budget": (),
    "distill": (),
    "eval": (),
    "stage": ("word",),
    "tracking": (),
}
OPTIONS = [(group, path.stem) for group in GROUPS for path in sorted((CONF / group).glob("*.yaml"))]
PRESETS = [
    (group, path.stem)
    for group in ("experiment", "sweep", "protocol")
    for path in sorted((CONF / group).glob("*.yaml"))
]
pytestmark = pytest.mark.usefixtures("composer")


def composed(*overrides: str) -> DictConfig:
    cfg = compose("config", list(overrides), return_hydra_config=True)
    HydraConfig.instance().set_config(cfg)
    return cfg


def test_the_experiment_is_that_of_the_variable_of_mlflow(monkeypatch: pytest.MonkeyPatch) -> None:
    assert composed().tracking.experiment == "segprune-streets"
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "mine")
    assert composed().tracking.experiment == "mine"


def test_every_yaml_is_tried() -> None:
    tried = {CONF / group / f"{name}.yaml" for group, name in [*OPTIONS, *PRESETS]}
    parts = (CONF / "schedule").glob("*.yaml")  # of other options, which are tried
    others = {CONF / "config.yaml", *parts, *(CONF / "hydra").rglob("*.yaml")}
    assert set(CONF.rglob("*.yaml")) == tried | others


@pytest.mark.parametrize(("group", "name"), OPTIONS)
def test_every_option_fits_its_callable(group: str, name: str) -> None:
    needed = {"dataset": ["dataset.root=somewhere"] if name != "streets" else []}.get(group, [])
    if (group, name) == ("model", "module"):
        needed = ["model.factory=my_package.nets:build"]
    if name == "folder":
        roles = [f"dataset.{role}={{images: a, masks: b}}" for role in ("fit", "report")]
        needed = [*needed, "dataset.classes=[a,b]", *roles]
    chosen = [f"{group}={name}"]
    if group == "stage":
        chosen = [] if name in CHAIN else [f"+stage@stage.{name}={name}"]
    cfg = composed(*chosen, *needed)
    node = OmegaConf.to_container(cfg.stage[name] if group == "stage" else cfg[group], resolve=True)
    assert isinstance(node, dict)
    component(node, group, extensions=["my_package"], runtime=GROUPS[group])


def test_the_stages_of_every_configuration_are_those_that_code_knows() -> None:
    cfg = composed()
    assert tuple(cfg.stages) == tuple(cfg.stage) == CHAIN


@pytest.mark.parametrize(("group", "name"), PRESETS)
def test_every_preset_composes(group: str, name: str) -> None:
    cfg = composed(f"{group}={name}")
    assert cfg.ratio == (0.5 if name == "half" else 0.3)


@pytest.mark.parametrize(("group", "name"), OPTIONS)
def test_every_yaml_says_in_its_first_line_what_it_is(group: str, name: str) -> None:
    assert (CONF / group / f"{name}.yaml").read_text().startswith("# ")


def test_no_key_has_a_second_default_in_python() -> None:
    def nodes(value: object) -> Iterator[dict[str, object]]:
        if isinstance(value, dict):
            yield from [value] if "_target_" in value else []
            for one in value.values():
                yield from nodes(one)

    found = {}
    for path in CONF.rglob("*.yaml"):
        for node in nodes(OmegaConf.to_container(OmegaConf.load(path), resolve=False)):
            made_by = str(node["_target_"])
            if (
                made_by.startswith("segprune.") and made_by != "segprune.stage.fit.Fit"
            ):  # rounds of a cut make one too
                module, _, name = made_by.rpartition(".")
                given = inspect.signature(getattr(importlib.import_module(module), name)).parameters
                twice = [
                    key for key in node if key in given and given[key].default is not inspect.Parameter.empty
                ]
                found |= {made_by: twice} if twice else {}
    assert found == {}
