import os
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from segprune.config.places import (
    CONF,
    own_places,
    parted,
    places_of,
    quoted,
    refuse_hidden,
    refuse_two,
)
from segprune.errors import ConfigError

MAIN = {"provider": "main", "schema": "file", "path": str(CONF)}


def node(*sources: dict[str, str], name: str = "config") -> dict[str, object]:
    hydra = {"provider": "hydra", "schema": "pkg", "path": "hydra.conf"}
    return {"runtime": {"config_sources": [hydra, *sources]}, "job": {"config_name": name}}


@pytest.mark.parametrize(
    ("typed", "flags"),
    [
        ("a=1 -m b=2", "-m"),
        ("a=1 --config-dir x=y b=2 --multirun", "--config-dir x=y --multirun"),
        ("a=1 --cfg job b=2", "--cfg job"),
        ("--info a=1 b=2", "--info"),
        ("a=1 --info plugins b=2", "--info plugins"),
        ("a=1 b=2", ""),
    ],
)
def test_flags_and_overrides_may_be_typed_in_any_order(typed: str, flags: str) -> None:
    assert parted(typed.split()) == (flags.split(), ["a=1", "b=2"])


def test_a_command_without_places_of_its_own_needs_none() -> None:
    assert places_of(node(MAIN)) == []


def test_places_are_said_so_that_they_are_found_from_any_folder() -> None:
    sources = [
        {"provider": "main", "schema": "file", "path": "/else/conf"},
        {"provider": "command-line", "schema": "file", "path": "/my conf"},
        {"provider": "hydra.searchpath in command-line", "schema": "file", "path": "sub/../found"},
        {"provider": "hydra.searchpath in command-line", "schema": "pkg", "path": "mine.conf"},
        {"provider": "hydra.searchpath in main", "schema": "file", "path": "/said/by/a/file"},
    ]
    said = places_of(OmegaConf.create(node(*sources, name="other")))
    assert said == [
        *("--config-path=/else/conf", "--config-dir=/my conf", "--config-name=other"),
        f'hydra.searchpath=["file://{os.getcwd()}/found","pkg://mine.conf"]',
    ]
    assert own_places(*parted(said)) == [
        *("file:///my conf", f"file://{os.getcwd()}/found", "pkg://mine.conf"),
    ]


@pytest.mark.parametrize(
    "typed", ["--config-dir={}", "hydra.searchpath=[file://{}]", "+hydra.searchpath=[{}]"]
)
@pytest.mark.parametrize(
    ("name", "remedy"),
    [
        ("train/short.yaml", r"to train/my_short\.yaml, and give train=my_short\.$"),
        ("stage/eval.yaml", r"to stage/my_eval\.yaml, and give stage@stage\.eval=my_eval\.$"),
        ("config.yaml", r"to my_config\.yaml, and give --config-name=my_config\.$"),
    ],
)
def test_a_file_with_the_name_of_one_of_conf_is_refused(
    typed: str, name: str, remedy: str, tmp_path: Path
) -> None:
    mine = tmp_path / name
    mine.parent.mkdir(exist_ok=True)
    mine.write_bytes((CONF / name).read_bytes())
    (tmp_path / "train").mkdir(exist_ok=True)
    (tmp_path / "train" / "mine.yaml").write_text("epochs: 3\n")
    command = parted([typed.format(tmp_path)])
    refuse_hidden(*command, beside=CONF.parent)  # whichever is taken, it is the same
    mine.write_text("epochs: 3\n")
    with pytest.raises(
        ConfigError, match=rf"{mine} has the name of {CONF / name}, which would be .*{remedy}"
    ):
        refuse_hidden(*command, beside=CONF.parent)
    refuse_hidden([*command[0], f"--config-path={tmp_path}"], command[1], beside=CONF.parent)


def test_a_chosen_file_that_two_places_have_is_refused(tmp_path: Path) -> None:
    for folder, width in (("one", 4), ("two", 8)):
        (tmp_path / folder / "model").mkdir(parents=True)
        (tmp_path / folder / "model" / "mine.yaml").write_text(f"width: {width}\n")
    sources = [
        {"provider": "command-line", "schema": "file", "path": str(tmp_path / "one")},
        {"provider": "hydra.searchpath in command-line", "schema": "file", "path": str(tmp_path / "two")},
    ]
    unchosen, chosen = (
        {**(made := node(MAIN, *sources)), "runtime": {**made["runtime"], "choices": choices}}
        for choices in ({"model": "unet", "distill": None}, {"model@teacher.model": "mine"})
    )
    refuse_two(unchosen)
    with pytest.raises(
        ConfigError, match=r"two/model/mine\.yaml has the name of .*one/model/mine\.yaml.*model=my_mine\."
    ):
        refuse_two(chosen)
    (tmp_path / "two" / "model" / "mine.yaml").write_text("width: 4\n")
    refuse_two(chosen)  # the same, so nothing is hidden


def test_the_home_folder_is_meant_as_in_a_shell() -> None:
    home = str(Path.home())
    for typed, read in {
        "dataset.root=~/data": f"dataset.root={home}/data",
        "dataset.root=~": f"dataset.root={home}",
        "extensions=[~/a,b~/c]": f"extensions=[{home}/a,b~/c]",
        "~dataset.limit": "~dataset.limit",  # Hydra takes a key away
        "note=a~b": "note=a~b",
    }.items():
        assert quoted(typed) == read


@pytest.mark.parametrize(
    ("typed", "taken"),
    [
        ("dataset.root=/data/größe 1", 'dataset.root="/data/größe 1"'),
        ("dataset.root=/data/large", "dataset.root=/data/large"),
        ("dataset.classes=[ä,b]", "dataset.classes=[ä,b]"),
        ("dataset.root='/ä'", "dataset.root='/ä'"),
    ],
)
def test_letters_that_hydra_takes_in_quotes_only_get_them(typed: str, taken: str) -> None:
    assert quoted(typed) == taken
