"""Every criterion has a fidelity card, and what a card says about defaults, tests and files is so."""

import ast
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from hydra import compose
from omegaconf import DictConfig, ListConfig, OmegaConf

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


def test_a_name_inside_a_class_is_found_there_and_nowhere_else() -> None:
    body = ast.parse("def f(): ...\nclass A:\n    def g(self): ...\n").body
    assert defines(body, ["f"])
    assert defines(body, ["A"])
    assert defines(body, ["A", "g"])
    assert not defines(body, ["g"])
    assert not defines(body, ["A", "f"])
