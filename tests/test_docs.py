"""Every criterion has a fidelity card, and what a card says about defaults, tests and files is so."""

import ast
import json
import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from hydra import compose
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig, ListConfig, OmegaConf

from segprune.__main__ import COMMANDS, evaluation
from segprune.config.compose import origins, settings_of
from segprune.config.protocol import FOR_SWEEPS
from segprune.run.assemble import stages_of
from tests.test_conf import composed

ROOT = Path(__file__).parent.parent
CONF = ROOT / "conf"
README = ROOT / "README.md"
CARDS = sorted((ROOT / "docs" / "methods").glob("*.md"))
LOSSES = sorted((ROOT / "docs" / "distillation").glob("*.md"))
CRITERIA = sorted(
    path.stem for path in (CONF / "pruner").glob("*.yaml") if "_target_" in OmegaConf.load(path)
)
"""Options that only change the settings of another one are on its card."""
SECTIONS = [
    "Formula",
    "What it needs",
    "Cost",
    "Defaults",
    "Coupled groups",
    "Paper, official code, ours",
    "Tests",
    "Source",
]
LINK = re.compile(r"\]\(([^)\s#]+)\)")
TEST = re.compile(r"`(tests/[\w/]+\.py)((?:::\w+)+)`")
DEFAULT = re.compile(r"^\| `([\w.]+)` \| `([^`]*)` \|", re.MULTILINE)

TASKS = [ROOT / "docs" / f"{name}.md" for name in ("how_to", "evaluate")]
cards = pytest.mark.parametrize("card", CARDS, ids=lambda card: card.stem)
configured_cards = pytest.mark.parametrize(
    "card", [card for card in CARDS if card.stem in CRITERIA], ids=lambda card: card.stem
)


def section(card: Path, title: str) -> str:
    return card.read_text(encoding="utf-8").split(f"\n## {title}\n")[1].split("\n## ")[0]


def defaults_of(card: Path) -> dict[str, str]:
    """Key, as typed on the command line -> value, of the card's table."""
    return dict(DEFAULT.findall(section(card, "Defaults")))


def written(value: object) -> str:
    """A value as YAML writes it."""
    plain = OmegaConf.to_container(value) if isinstance(value, ListConfig) else value
    return plain if isinstance(plain, str) else json.dumps(plain)


def keys_of(node: Mapping[str, Any], prefix: str) -> Iterator[str]:
    """Dotted names of all values that a YAML sets."""
    for key, value in node.items():
        if key in ("_target_", "defaults"):
            continue
        if isinstance(value, Mapping):
            yield from keys_of(value, f"{prefix}{key}.")
        else:
            yield prefix + key


def defines(body: Sequence[ast.stmt], names: Sequence[str]) -> bool:
    """Whether a function or class of the first name is there, with the next one inside it, and so on."""
    found = [
        node for node in body if isinstance(node, ast.FunctionDef | ast.ClassDef) and node.name == names[0]
    ]
    return any(len(names) == 1 or defines(node.body, names[1:]) for node in found)


def test_the_criteria_of_the_readme_and_the_cards_are_the_same() -> None:
    linked = re.findall(r"docs/methods/(\w+)\.md", README.read_text(encoding="utf-8"))
    assert [card.stem for card in CARDS] == sorted(set(linked))
    assert set(linked) <= set(CRITERIA)


@cards
def test_cards_have_the_same_sections(card: Path) -> None:
    text = card.read_text(encoding="utf-8")
    assert text.startswith(f"# {card.stem}\n")
    assert re.findall(r"^## (.+)$", text, re.MULTILINE) == SECTIONS


@configured_cards
def test_every_key_of_the_yaml_is_in_the_table_of_defaults(card: Path) -> None:
    yaml = OmegaConf.to_container(OmegaConf.load(CONF / "pruner" / f"{card.stem}.yaml"))
    assert isinstance(yaml, dict)
    assert set(keys_of(yaml, "pruner.")) <= set(defaults_of(card))


@pytest.mark.slow
@configured_cards
@pytest.mark.usefixtures("composer")
def test_the_table_of_defaults_holds_the_values_of_a_run(card: Path) -> None:
    table = defaults_of(card)
    cfg: DictConfig = compose("config", [f"pruner={card.stem}"])
    assert table == {key: written(OmegaConf.select(cfg, key, default="no such key")) for key in table}


@cards
def test_the_tests_that_a_card_names_exist(card: Path) -> None:
    named = TEST.findall(card.read_text(encoding="utf-8"))
    assert f"tests/pruner/test_{card.stem}.py" in dict(named)
    missing = [
        path + name
        for path, name in named
        if not (ROOT / path).exists()
        or not defines(ast.parse((ROOT / path).read_text(encoding="utf-8")).body, name.split("::")[1:])
    ]
    assert missing == []


def test_every_distillation_loss_has_a_card_that_its_page_links() -> None:
    options = sorted({path.stem for path in (CONF / "distill").glob("*.yaml")} - {"none"})
    page = (ROOT / "docs" / "distillation.md").read_text(encoding="utf-8")
    assert [card.stem for card in LOSSES] == options
    assert sorted(re.findall(r"^\| \[`\w+`\]\(distillation/(\w+)\.md\)", page, re.MULTILINE)) == options
    for card in LOSSES:
        assert card.read_text(encoding="utf-8").startswith(f"# `distill={card.stem}`: ")


@pytest.mark.parametrize(
    "page", [README, *(ROOT / "docs").glob("*.md"), *CARDS, *LOSSES], ids=lambda page: page.stem
)
def test_links_lead_to_files(page: Path) -> None:
    targets = [link for link in LINK.findall(page.read_text(encoding="utf-8")) if "://" not in link]
    assert [link for link in targets if not (page.parent / link).exists()] == []


def typed(page: Path) -> list[str]:
    """The commands of a page's blocks for the console, without comments."""
    blocks = re.findall(r"^```console\n(.*?)^```", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    return [line.partition("  #")[0].strip() for block in blocks for line in block.splitlines()]


def jobs_of(overrides: Sequence[str]) -> Iterator[list[str]]:
    """Jobs of a command in which every value occurs; a protocol that adds controls is left to the sweeper."""
    parsed = OverridesParser.create().parse_overrides(list(overrides))
    values = {
        one.get_key_element(): list(one.sweep_string_iterator())
        if one.is_sweep_override()
        else [one.get_value_element_as_str()]
        for one in parsed
        if not (one.key_or_group == "protocol" and one.value() in FOR_SWEEPS)
    }
    for job in range(max(map(len, values.values()))):
        yield [f"{key}={among[job % len(among)]}" for key, among in values.items()]


@pytest.mark.slow
@pytest.mark.parametrize("line", [line for page in TASKS for line in typed(page)])
@pytest.mark.usefixtures("composer")
def test_every_command_of_the_pages_on_tasks_can_be_typed(line: str) -> None:
    program, word, *arguments = [one for one in shlex.split(line) if not one.startswith("MLFLOW_")]
    if program == "mlflow":
        assert [word, arguments[0]] in [["runs", "describe"], ["experiments", "csv"]]
        return
    assert program == "segprune"
    assert word in COMMANDS
    if word not in ("run", "sweep", "plan", "eval"):
        return
    flags, choices, overrides = evaluation(arguments) if word == "eval" else ([], [], arguments)
    jobs = list(jobs_of([*overrides, *choices]))
    assert len(jobs) == 1 or flags == ["-m"] or word in ("sweep", "plan")
    for job in jobs:
        cfg = composed(*job)
        settings, _ = settings_of(OmegaConf.masked_copy(cfg, [str(key) for key in cfg if key != "hydra"]))
        assert stages_of(settings, origins(cfg))


def test_a_name_inside_a_class_is_found_there_and_nowhere_else() -> None:
    body = ast.parse("def f(): ...\nclass A:\n    def g(self): ...\n").body
    assert defines(body, ["f"])
    assert defines(body, ["A"])
    assert defines(body, ["A", "g"])
    assert not defines(body, ["g"])
    assert not defines(body, ["A", "f"])
