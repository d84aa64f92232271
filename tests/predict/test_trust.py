"""Which code a file may name: nothing else is run, and what the message says makes it work."""

import functools
import json
import re
import shlex
import subprocess
from pathlib import Path
from subprocess import call
from typing import Any

import pytest
from omegaconf import OmegaConf

import segprune
from segprune.errors import CheckpointError, ConfigError, SegpruneError
from segprune.predict.__main__ import main
from segprune.predict.trust import HYDRA, PYTHON, refuse_unnamed
from segprune.run.start import start_of_trail
from segprune.run.teachers import teachers_of
from tests.run.test_assemble import settings
from tests.test_conf import CONF
from tests.tiny import CPU, tiny_context, tiny_data

HERE = "tests.predict.test_trust"
MODULE = {
    **{"_target_": "segprune.model.module.module", "factory": "subprocess:call", "classes_as": None},
    **{"out": None, "aux": None, "training_only": [], "mean": "imagenet", "std": "imagenet"},
    **{"checkpoint": None, "allow": [], "args": None},
}
SMP = OmegaConf.to_container(OmegaConf.load(CONF / "model" / "smp.yaml"))
HUB = OmegaConf.to_container(OmegaConf.load(CONF / "model" / "transformers.yaml"))
NESTED = {"model_type": "timm_backbone"}
imported_partial = functools.partial(call, shell=True)


class Own:
    """A class whose attributes lead elsewhere."""

    tool = subprocess


@pytest.fixture
def marker(tmp_path: Path) -> Path:
    """A file that is there once code of the description was run."""
    return tmp_path / "ran"


@pytest.fixture
def folder(tmp_path: Path, marker: Path) -> Path:
    """A checkpoint whose description runs a command."""
    place = tmp_path / "foreign"
    place.mkdir()
    node = {**MODULE, "args": {"args": f"touch {marker}", "shell": True}}
    said = {"format": 2, "weights_sha256": "0" * 64, "transforms": [], "model": node}
    said |= {"classes": ["none", "red", "green", "blue"], "size_hw": [16, 16]}
    (place / "net.json").write_text(json.dumps(said))
    (place / "weights.safetensors").write_bytes(b"")
    return place


def test_loading_and_predicting_run_nothing(
    folder: Path, marker: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    remedy = (
        r"segprune\.load\(folder, extensions=\['subprocess'\]\), or segprune predict --extension subprocess"
    )
    with pytest.raises(CheckpointError, match=f"subprocess.call .*{remedy}"):
        segprune.load(folder)
    (tmp_path / "a.png").write_bytes(b"")
    given = [str(folder), str(tmp_path / "a.png"), "--out", str(tmp_path / "out")]
    assert main(given) == 1
    assert "segprune predict --extension subprocess" in capsys.readouterr().err
    assert not marker.exists()
    assert main([*given, "--extension", "subprocess"]) == 1  # what the message says is enough
    assert marker.exists()


@pytest.mark.usefixtures("composer")
def test_a_comparison_and_a_teacher_run_nothing(folder: Path, marker: Path, tmp_path: Path) -> None:
    ctx, remedy = tiny_context(tmp_path), re.escape("'extensions=['tests', 'subprocess']'")
    for name, given in {
        "baseline": ("stages=[eval]", f"baseline={folder}", f"checkpoint={folder}"),
        "teacher": (f"teacher.checkpoint={folder}",),
    }.items():
        wanted = settings("extensions=[tests]", *given)
        with pytest.raises(CheckpointError, match=remedy):
            start_of_trail(wanted, ctx) if name == "baseline" else teachers_of(
                wanted, tiny_data(), CPU.device
            )
    assert not marker.exists()


@pytest.mark.usefixtures("composer")
def test_what_the_message_of_a_teacher_says_is_enough(folder: Path, marker: Path) -> None:
    with pytest.raises(CheckpointError, match="extensions=") as told:
        teachers_of(settings(f"teacher.checkpoint={folder}"), tiny_data(), CPU.device)
    typed = shlex.split(
        str(told.value).partition("name its package: ")[2].removesuffix(".")
    )  # as a shell does
    with pytest.raises(SegpruneError):  # it makes no network
        teachers_of(settings(f"teacher.checkpoint={folder}", *typed), tiny_data(), CPU.device)
    assert marker.exists()


@pytest.mark.parametrize(
    ("node", "foreign"),
    [
        ({"_target_": "builtins.eval"}, "builtins"),
        ({"_target_": "os.system", "command": "true"}, "os"),
        ({"_target_": "tests_evil.nets.build"}, "tests_evil"),
        ({**MODULE, "factory": "tests_evil.nets:build"}, "tests_evil"),
        ({**MODULE, "factory": "tests.toys:Plain", "args": {"a": {"b": [MODULE]}}}, "subprocess"),
        ({**SMP, "args": {"deep": [{"_target_": "os.system"}]}}, "os"),
        # imported by a module that may be named
        ({"_target_": f"{HERE}.call"}, "subprocess"),
        ({"_target_": f"{HERE}.imported_partial"}, "subprocess"),
        ({**MODULE, "factory": f"{HERE}:subprocess.call"}, "subprocess"),
        ({**MODULE, "factory": f"{HERE}:Own.tool.call"}, "subprocess"),
        ({**MODULE, "factory": f"{HERE}:main.__class__"}, "builtins"),
        ({**MODULE, "factory": f"{HERE}:main.__globals__.get"}, "builtins"),
        ({**MODULE, "factory": "segprune.model.module:importlib.import_module"}, "importlib"),
        ({"_target_": "segprune.model.module.Any"}, "typing"),
    ],
)
def test_code_of_packages_that_nobody_named_is_refused(node: dict[str, Any], foreign: str) -> None:
    with pytest.raises(CheckpointError, match=f"which is of {foreign} and none of segprune's models") as told:
        refuse_unnamed(node, Path("net"), ["tests"], PYTHON)
    assert f"extensions=['tests', '{foreign}']" in str(told.value)


@pytest.mark.parametrize(
    "path",
    [
        *("segprune.cli.main", "segprune.__main__.main", "segprune.store.inventory.remove"),
        *(
            "segprune.model.module.found",
            "segprune.model.module.made",
            "segprune.model.existing_weights.read",
        ),
        *("segprune.model.wrapped.Wrapped", f"{HERE}.main", "segprune.predict.trust.re.compile"),
    ],
)
def test_code_of_segprune_that_is_no_model_is_refused(path: str) -> None:
    module, _, name = path.rpartition(".")
    for node in ({"_target_": path}, {**MODULE, "factory": f"{module}:{name}"}):
        with pytest.raises(
            CheckpointError, match=r"none of segprune's models\. If you trust it, use the version"
        ):
            refuse_unnamed(node, Path("net"), ["tests", "segprune"], HYDRA)


@pytest.mark.parametrize(
    "path", ["segprune.model.module.subprocess.call", "segprune.model.nowhere.build", "tests.toys.Nothing"]
)
def test_what_is_not_there_is_told(path: str) -> None:
    with pytest.raises(ConfigError, match="cannot be imported"):
        refuse_unnamed({"_target_": path}, Path("net"), ["tests"], HYDRA)


@pytest.mark.parametrize(
    ("node", "said"),
    [
        (
            {**SMP, "encoder": "tu-hf-hub:somebody/net"},
            "segmentation_models_pytorch encoder='tu-hf-hub:somebody/net'",
        ),
        ({**SMP, "encoder": "tu-local-dir:net"}, "segmentation_models_pytorch encoder="),
        ({**SMP, "args": {"checkpoint_path": "net.pth"}}, "checkpoint_path='net.pth'"),
        (
            {**HUB, "args": {"backbone_config": {**NESTED, "backbone": "somebody/net"}}},
            "transformers backbone=",
        ),
        ({**HUB, "args": {"backbone_config": {"auto_map": {"AutoBackbone": "net.Net"}}}}, "auto_map="),
        ({**HUB, "args": {"trust_remote_code": True}}, "trust_remote_code=True"),
        ({**HUB, "args": {"_attn_implementation": "somebody/kernel"}}, "_attn_implementation="),
    ],
)
def test_arguments_with_which_a_library_would_read_or_ask_are_refused(
    node: dict[str, Any], said: str
) -> None:
    with pytest.raises(CheckpointError, match=re.escape(said)) as told:
        refuse_unnamed(node, Path("net"), [], PYTHON)
    (library,) = re.findall(r"extensions=\['(\w+)'\]", str(told.value))
    refuse_unnamed(node, Path("net"), [library], PYTHON)


@pytest.mark.parametrize("path", sorted((CONF / "model").glob("*.yaml")), ids=lambda path: path.stem)
def test_every_model_may_be_named(path: Path) -> None:
    node = OmegaConf.to_container(OmegaConf.load(path))
    assert isinstance(node, dict)
    refuse_unnamed({**node, "weights": "somebody/net", "checkpoint": "a/b.pth"}, Path("net"), [], HYDRA)


def test_code_of_a_package_that_is_named_may_be_named() -> None:
    for node in ({"_target_": "tests.toys.Plain"}, {**MODULE, "factory": "tests.toys:Plain"}):
        refuse_unnamed(node, Path("net"), ["tests"], HYDRA)
