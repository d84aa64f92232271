"""What README and docs tell a reader to type works, and the names they use are there."""

import importlib
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from hydra import compose
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf

from segprune.__main__ import CHECKOUT as ROOT
from segprune.__main__ import COMMANDS
from segprune.cli import with_stages
from segprune.config.compose import settings_of
from segprune.graph.trace import followed
from segprune.run.assemble import network_builder
from tests.test_conf import composed

CONF = ROOT / "conf"
README = (ROOT / "README.md").read_text(encoding="utf-8")
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
WHOLE = "\n".join(page.read_text(encoding="utf-8") for page in PAGES)
RUN = re.compile(r"^(?:\w+=\S+ )*(?:python run\.py(?: -m)?|segprune (?:run|sweep|plan)) (.+)$")
FLAG = ("-", "install=")
OF_ANOTHER_PACKAGE = "--config-dir"
OPTIONS = [
    *(
        "pruner=slimming",
        "pruner=sirfp",
        "budget=threshold",
        "budget=latency",
        "dataset=folder",
        "dataset=camvid",
        "dataset=torchvision",
        "model=resnet50_seg",
        "distill=kd_feature",
        "loss=ce_dice",
        "loss=focal",
        "loss=ohem",
    ),
    *("+stage@stage.export=export", "+stage@stage.quantise=quantise"),
    *("model=module", "model=smp", "model=torchvision", "model=transformers"),
]
"""Between them and the defaults they have every key that the pages name."""
KEYS_OF_AN_EXAMPLE = {"stage.round.bits"}
"""Of a class that a page shows whole."""
FILES = {"model.onnx"}
"""What looks like a key and is none."""


def typed() -> Iterator[str]:
    """Every line that a page shows in a console."""
    for block in re.findall(r"```console\n(.*?)```", WHOLE, re.DOTALL):
        yield from (line.split("  #")[0].strip() for line in block.splitlines())


def overrides_of(line: str) -> list[str]:
    """What a line gives to Hydra, with placeholders such as ``<date>`` filled in."""
    found = RUN.match(line)
    words = shlex.split(re.sub(r"<[\w ]+>", "x", found[1])) if found else []
    if OF_ANOTHER_PACKAGE in words or any(word.startswith("extensions=") for word in words):
        return []  # of packages that a page shows, which tests of their own run
    return [word for word in words if not word.startswith(FLAG)]


def choices(overrides: list[str]) -> Iterator[list[str]]:
    """A sweep's overrides, each with its first values, then each with its second ones, and so on."""
    parsed = OverridesParser.create().parse_overrides(overrides)
    values = [
        [f"{one.get_key_element()}={value}" for value in one.sweep_string_iterator()]
        if one.is_sweep_override()
        else [text]
        for one, text in zip(parsed, overrides, strict=True)
    ]
    for number in range(max(map(len, values))):
        yield [options[min(number, len(options) - 1)] for options in values]


LINES = sorted({line for line in typed() if overrides_of(line)})


def test_the_pages_have_commands() -> None:
    assert len(LINES) >= 10


@pytest.mark.parametrize("line", LINES)
@pytest.mark.usefixtures("composer")
def test_every_run_that_a_page_shows_composes(line: str) -> None:
    for overrides in choices(with_stages(overrides_of(line))):
        cfg = composed("paths.outputs=outputs", *overrides)
        settings_of(OmegaConf.masked_copy(cfg, [key for key in cfg if key != "hydra"]))


def test_the_table_of_commands_is_the_table_of_commands() -> None:
    table = README.split("\n## Commands\n")[1].split("\n## ")[0]
    assert re.findall(r"^\| `segprune (\w+)` \|", table, re.MULTILINE) == list(COMMANDS)


def test_every_command_that_a_page_names_is_there() -> None:
    words = set(re.findall(r"(?:^|`)segprune ([a-z]+)", WHOLE, re.MULTILINE))
    assert len(words) >= 6
    assert words <= COMMANDS.keys()


def test_every_target_of_make_that_a_page_names_is_there() -> None:
    named = set(re.findall(r"(?:^|`)make ([a-z-]+)", WHOLE, re.MULTILINE))
    there = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    assert {"run", "test", "check"} <= named <= there


@pytest.mark.parametrize(
    "group", ["dataset", "model", "pruner", "budget", "train", "finetune", "distill", "protocol"]
)
def test_the_readme_names_every_option(group: str) -> None:
    there = {path.stem for path in (CONF / group).glob("*.yaml")}
    named = set(re.findall(r"`(\w+)`", README))
    assert there <= named, there - named


@pytest.mark.usefixtures("composer")
def test_the_network_of_your_own_is_made_with_its_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    section = README.split("## A network of your own")[1].split("\n## ")[0]
    (code,) = re.findall(r"```python\n(.*?)```", section, re.DOTALL)
    command = re.findall(r"```console\n(.*?)\n", section)[0]
    (tmp_path / "mynets").mkdir()
    (tmp_path / "mynets" / "nets.py").write_text(code, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    made = importlib.import_module("mynets.nets").build(11, width=30)
    torch.save({"state_dict": made.state_dict()}, "best.pth")
    cfg = composed("paths.outputs=outputs", *shlex.split(command.removeprefix("python run.py ")))
    settings, _ = settings_of(OmegaConf.masked_copy(cfg, [key for key in cfg if key != "hydra"]))
    net = network_builder(settings)(11, (64, 96))
    assert [group.size for group in followed(net).groups] == [30]
    assert all(torch.equal(a, b) for a, b in zip(net.parameters(), made.parameters(), strict=True))


def test_the_table_of_protocols_is_complete() -> None:
    table = README.split("| `protocol=` |")[1].split("\n\n")[0]
    assert sorted(re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE)) == sorted(
        path.stem for path in (CONF / "protocol").glob("*.yaml")
    )


@pytest.mark.usefixtures("composer")
def test_every_key_that_a_page_names_is_one() -> None:
    configurations = [
        compose("config", option, return_hydra_config=True)
        for option in (
            ["hydra/launcher=processes"],
            ["hydra/launcher=slurm"],
            ["hydra/launcher=kubernetes"],
            *([option] for option in OPTIONS),
        )
    ]
    whole = configurations[0]
    groups = "|".join(str(key) for key in whole if key != "baseline")  # which has no key below it
    named = set(re.findall(rf"`((?:{groups})\.[a-z_.]+)\b", WHOLE)) - KEYS_OF_AN_EXAMPLE - FILES
    assert len(named) >= 10
    unknown = [key for key in named if not any(_has(cfg, key) for cfg in configurations)]
    assert unknown == []


def _has(cfg: object, key: str) -> bool:
    *above, name = key.split(".")
    for part in above:
        if not OmegaConf.is_dict(cfg) or part not in cfg:
            return False
        cfg = cfg._get_node(part)
    return OmegaConf.is_dict(cfg) and name in [*cfg]  # also one without a value yet


def test_every_path_that_a_page_names_is_there() -> None:
    """A file ``x`` or a folder ``<group>`` is one to be made; then the folder around it is there."""
    named = set(re.findall(r"`((?:src|conf|docs|tests)/[\w/.<>]+)`", WHOLE))
    assert len(named) >= 10
    places = [re.sub(r"<\w+>.*|(?:test_)?x\.\w+$", "", path) for path in named]
    assert [place for place in places if not (ROOT / place).exists()] == []


def test_the_licence_is_the_one_that_the_package_names() -> None:
    licence = (ROOT / "LICENSE").read_text(encoding="utf-8")
    assert "Apache License\n                           Version 2.0, January 2004" in licence
    assert "Copyright the segprune authors" in licence
    assert 'license = "Apache-2.0"' in (ROOT / "pyproject.toml").read_text(encoding="utf-8")
