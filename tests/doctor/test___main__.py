"""The doctor's last line is typed: the data of every sick set is then loaded as a run loads it."""

import logging
import shlex
from pathlib import Path
from typing import Any

import pytest
from hydra import initialize_config_dir
from omegaconf import OmegaConf

from segprune.config.component import component
from segprune.config.places import quoted
from segprune.dataset.contract import SegData
from segprune.doctor.__main__ import main
from tests.doctor.sick import SETS, folders
from tests.run_here import run_here
from tests.test_conf import CONF, composed

TINY = [
    *(
        "dataset.size_hw=[12,16]",
        "model.width=4",
        "model.max_width=8",
        "model.depth=2",
        "budget.tolerance=0.3",
    ),
    *(
        "train.epochs=1",
        "train.warmup_epochs=0",
        "finetune.epochs=0",
        "eval.latency_rounds=1",
        "eval.latency_warmup=0",
        "device=cpu",
    ),
    *("eval.runtimes=[eager]", "calibration={images: 2, batch_size: 2}", "tracking=silent"),
]


class Doctor:
    """Asks the doctor; what it says is in ``said``."""

    def __init__(self, root: Path, caplog: pytest.LogCaptureFixture) -> None:
        self.root, self._caplog = root, caplog
        caplog.set_level(logging.INFO, logger="segprune.doctor")

    def ask(self, *typed: str) -> int:
        self._caplog.clear()
        return main(["dataset=folder", f"dataset.root={self.root}", *typed])

    @property
    def said(self) -> str:
        return "\n".join(record.getMessage() for record in self._caplog.records if "doctor" in record.name)

    @property
    def command(self) -> list[str]:
        python, script, *overrides = shlex.split(self.said.splitlines()[-1])
        assert (python, script) == ("python", "run.py")
        return overrides


@pytest.fixture
def doctor(tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> Doctor:
    monkeypatch.setenv("SEGPRUNE_OUTPUTS", str(tmp_path / "out"))
    return Doctor(tmp_path / "data 1", caplog)


def loaded(overrides: list[str]) -> SegData:
    with initialize_config_dir(str(CONF), version_base="1.3"):
        cfg = composed(*map(quoted, overrides))
    node: Any = OmegaConf.to_container(cfg.dataset, resolve=True, throw_on_missing=True)
    data: SegData = component(node, "dataset")()
    return data


@pytest.mark.parametrize("name", SETS)
def test_the_command_in_the_last_line_works(doctor: Doctor, name: str) -> None:
    make, typed, part = SETS[name]
    make(doctor.root)
    before = [override.strip("'") for override in typed]
    with pytest.raises(Exception, match=r"(dataset|data 1|Missing)"):
        loaded(["dataset=folder", f"dataset.root={doctor.root}", *before])
    assert doctor.ask(*before) == 1
    assert part in doctor.said
    data = loaded(doctor.command)
    held = data.summary["fit"]
    assert held.ignored in (
        0,
        sum(held.pixels) // 3,
        sum(held.pixels) // 2,
    )  # only what was made to be ignored
    # nothing is wrong with what the command reads, and the doctor says the same command again
    command = doctor.command
    assert main(command) == 0, doctor.said
    assert sorted(doctor.command) == sorted(command)


@pytest.mark.parametrize("root", ["data ü", "./data ü/", "~/data ü", "link", "x/../data ü"])
def test_what_it_names_below_the_root_is_found_however_the_root_is_written(
    doctor: Doctor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, root: str
) -> None:
    make, _, _ = SETS["colours of a table"]
    make(tmp_path / "data ü")
    (tmp_path / "link").symlink_to("data ü")
    (tmp_path / "x").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert main(["dataset=folder", f"dataset.root={root}", "dataset.image_suffix=.png"]) == 1
    assert "dataset.colours=label_colors.txt" in doctor.command
    assert len(loaded(doctor.command).fit) == 4
    assert main(doctor.command) == 0, doctor.said


def test_data_that_are_well_are_said_to_be(doctor: Doctor) -> None:
    folders(doctor.root, (0, 1, 255), count=3)
    assert doctor.ask("dataset.image_suffix=.png", "dataset.classes=[ground,crack]") == 0
    assert "nothing is wrong" in doctor.said
    assert "fit: 3 images (RGB), 16x12 px; 33.3 % of the pixels ignored; masks hold 0, 1, 255" in doctor.said
    assert "train.batch_size=3" in doctor.command  # those of the default are larger


@pytest.mark.parametrize(
    ("typed", "told"),
    [
        (["dataset.root=nowhere"], "dataset.root is nowhere, which is no folder"),
        (["dataset.rot=1"], "'dataset.rot' is not a key of this configuration"),
        (["dataset=folders"], "dataset is 'folders'; it must be one of"),
        (["dataset.ignore_index=300"], "dataset.ignore_index is 300"),
    ],
)
def test_a_mistake_in_the_command_is_told_as_by_a_run(doctor: Doctor, typed: list[str], told: str) -> None:
    folders(doctor.root)
    assert doctor.ask("dataset.image_suffix=.png", "dataset.classes=[a,b]", *typed) == 1
    assert told in doctor.said


def test_damage_is_told_file_by_file(doctor: Doctor) -> None:
    make, typed, _ = SETS["damaged files"]
    make(doctor.root)
    doctor.ask(*(override.strip("'") for override in typed))
    for part in ("a00.png cannot be decoded", "b01.png has no label", "c04.png is 16x12 but its label"):
        assert part in doctor.said


@pytest.mark.parametrize(
    ("chosen", "images", "masks", "other"),
    [
        ("camvid_raw", "{}/{}.png", "{}annot/{}.png", "camvid"),
        (
            "camvid",
            "leftImg8bit/{}/ulm/{}_leftImg8bit.png",
            "gtFine/{}/ulm/{}_gtFine_labelIds.png",
            "cityscapes",
        ),
        ("camvid", "{}/images/{}.jpg", "{}/masks/{}.png", "folder"),
        ("cityscapes", "photos/{}/{}.png", "labels/{}/{}.png", "folder"),
    ],
)
def test_the_shipped_data_set_that_has_these_folders_is_named(
    doctor: Doctor, chosen: str, images: str, masks: str, other: str
) -> None:
    folders(doctor.root, images=images, masks=masks)
    assert doctor.ask(f"dataset={chosen}") == 1
    assert doctor.said.splitlines()[-1] == f"segprune doctor dataset={other} 'dataset.root=\"{doctor.root}\"'"


def test_a_data_set_that_lacks_a_folder_is_no_other_one(doctor: Doctor) -> None:
    folders(doctor.root, roles=["train", "val"], images="{}/{}.png", masks="{}annot/{}.png")
    assert doctor.ask("dataset=camvid") == 1
    assert "segprune doctor dataset=" not in doctor.said


def test_folders_of_a_shipped_data_set_are_noted_where_dataset_folder_works_too(doctor: Doctor) -> None:
    folders(doctor.root, images="{}/{}.png", masks="{}annot/{}.png")
    assert doctor.ask("dataset.classes=[ground,crack]") == 1
    assert "whose classes are known: segprune doctor dataset=camvid " in doctor.said


def test_help_says_how_to_ask(doctor: Doctor) -> None:
    assert main(["--help"]) == 0
    assert "dataset=folder dataset.root=/data/mine" in doctor.said


@pytest.mark.slow
@pytest.mark.parametrize("name", ["all at once", "colours of a table", "only train"])
def test_a_whole_run_works_with_it(doctor: Doctor, tmp_path: Path, name: str) -> None:
    make, typed, _ = SETS[name]
    make(doctor.root)
    assert doctor.ask(*(override.strip("'") for override in typed)) == 1
    ended = run_here(tmp_path / "runs", *doctor.command, *TINY)
    assert ended.code == 0, ended.error
