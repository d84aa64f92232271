from pathlib import Path

import pytest
import torch
from omegaconf import OmegaConf

from segprune.checkpoint import checkpoint
from segprune.dataset.contract import Bands
from segprune.errors import CheckpointError, ConfigError
from segprune.model.contract import SegmentationNet
from segprune.model.unet import unet
from segprune.run.teachers import teachers_of
from segprune.transform.cut import Cut
from tests.model.test_module import build
from tests.run.test_assemble import settings
from tests.test_conf import CONF
from tests.tiny import tiny_data, tiny_net

pytestmark = pytest.mark.usefixtures("composer")
CPU = torch.device("cpu")
PLAIN = (
    "extensions=[tests]",
    "model@teacher.model=module",
    "teacher.model.factory=tests.model.test_module:build",
    "teacher.model.classes_as=classes",
)
CLASSES = ["none", "red", "green", "blue"]


def small() -> SegmentationNet:
    with torch.random.fork_rng():
        torch.manual_seed(1)
        return unet(num_classes=4, width=8, max_width=16, depth=2, convs_per_level=1, upsample="bilinear")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return written(tmp_path / "teacher")


def written(folder: Path, net: SegmentationNet | None = None, **about: object) -> Path:
    folder.mkdir()
    node = OmegaConf.to_container(OmegaConf.load(CONF / "model" / "unet.yaml"))
    node |= {"width": 8, "max_width": 16, "depth": 2, "convs_per_level": 1}
    said = {"model": node, "classes": CLASSES, "size_hw": [16, 16], **about}
    checkpoint.write(folder, net or small(), transforms=(), about=said)
    return folder


def teachers(*overrides: str):
    return teachers_of(settings(*overrides), tiny_data(), CPU)


@pytest.mark.slow
def test_no_name_is_no_teacher() -> None:
    assert teachers() == ()


@pytest.mark.slow
def test_a_checkpoint_is_built_by_what_it_says_of_itself_whatever_the_student_is(folder: Path) -> None:
    (state,) = teachers(f"teacher.checkpoint={folder}", "model=simple_segnet")
    image = torch.rand(1, 3, 16, 16)
    assert torch.allclose(state.net(image), small().eval()(image), atol=1e-5)
    assert not state.module.training


@pytest.mark.slow
def test_several_checkpoints_are_several_teachers_in_order(folder: Path, tmp_path: Path) -> None:
    net = small()
    with torch.no_grad():
        net.classifier.bias += 1
    other = written(tmp_path / "other", net)
    states = teachers(f"teacher.checkpoint=[{folder},{other}]")
    image = torch.rand(1, 3, 16, 16)
    first, second = (state.net(image) for state in states)
    assert torch.allclose(second - first, torch.ones(()), atol=1e-5)


@pytest.mark.slow
def test_a_cut_checkpoint_keeps_its_transforms(tmp_path: Path) -> None:
    plan = Cut({"encoder.0.0.0": (0,)})
    place = tmp_path / "cut"
    written(tmp_path / "dense")
    place.mkdir()
    about = checkpoint.describe(tmp_path / "dense")
    said = {name: about[name] for name in ("model", "classes", "size_hw")}
    checkpoint.write(place, plan.replay(small()), transforms=(plan,), about=said)
    (state,) = teachers(f"teacher.checkpoint={place}")
    assert state.transforms == (plan,)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("about", "overrides", "message"),
    [
        (
            {"classes": ["cat", "dog"]},
            [],
            r"was made for the classes \['cat', 'dog'\]; the dataset has \['none'",
        ),
        ({"size_hw": [32, 48]}, [], r"images of \[32, 48\] px.*Give dataset\.size_hw=\[32, 48\]"),
        (
            {"bands": {"count": 4, "bits": 8, "mean": [0.5] * 4, "std": [0.2] * 4}},
            [],
            r"images of 4 bands of 8 bits; the dataset has 3 bands of 8 bits\. Name a teacher of",
        ),
        (
            {"bands": {"count": 3, "bits": 16, "mean": [0.5] * 3, "std": [0.2] * 3}},
            [],
            r"images of 3 bands of 16 bits; the dataset has 3 bands of 8 bits\.",
        ),
        ({}, ["model@teacher.model=unet", "teacher.model.width=4"], r"teacher\.model\.(width|depth|convs)"),
        ({}, ["model@teacher.model=simple_segnet"], r"holds another network.*Leave teacher\.model out"),
        ({"model": None}, [], r"does not say how its network is built"),
        ({"model": {"_target_": "os.system"}}, [], r"none of segprune's models.*'extensions=\['os'\]'"),
    ],
)
def test_a_teacher_that_does_not_fit_is_refused(
    tmp_path: Path, about: dict[str, object], overrides: list[str], message: str
) -> None:
    place = tmp_path / "t"
    node = {"_target_": "segprune.model.unet.unet"}
    place.mkdir()
    said = {"model": node, "classes": CLASSES, "size_hw": [16, 16], **about}
    if said["model"] is None:
        del said["model"]
    checkpoint.write(place, small(), transforms=(), about=said)
    with pytest.raises(CheckpointError, match=message):
        teachers(f"teacher.checkpoint={place}", *overrides)


@pytest.mark.slow
def test_a_model_for_other_bands_cannot_look_at_the_images(tmp_path: Path) -> None:
    file = tmp_path / "best.pth"
    torch.save(build(classes=4).state_dict(), file)
    four = tiny_data(bands=Bands(count=4, bits=8, mean=(0.5,) * 4, std=(0.2,) * 4))
    with pytest.raises(ConfigError, match=r"teacher\.model takes images of 3 bands, the dataset has 4\."):
        teachers_of(settings(*PLAIN, f"teacher.model.checkpoint={file}"), four, CPU)


def test_a_folder_that_is_no_checkpoint_is_named(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="is not a checkpoint"):
        teachers(f"teacher.checkpoint={tmp_path}")


@pytest.mark.slow
def test_a_model_that_nobody_trained_teaches_nothing() -> None:
    with pytest.raises(ConfigError, match=r"teacher\.checkpoint=<folder.*teacher\.model\.checkpoint=<file>"):
        teachers("model@teacher.model=unet")


@pytest.mark.slow
def test_a_network_with_weights_from_elsewhere_can_teach(tmp_path: Path) -> None:
    file = tmp_path / "best.pth"
    torch.save(build(classes=4).state_dict(), file)
    names = (*PLAIN, f"teacher.model.checkpoint={file}")
    (state,) = teachers(*names)
    assert state.net(torch.rand(1, 3, 16, 16)).shape == (1, 4, 16, 16)
    torch.save(tiny_net().state_dict(), file)
    with pytest.raises(CheckpointError, match=r"^teacher\.model\.checkpoint is .*teacher\.model\.allow"):
        teachers(*names)


def test_a_factory_of_a_package_that_is_not_named_is_refused() -> None:
    typed = ("extensions=[tests]", "model@teacher.model=module", "teacher.model.factory=timm.x:y")
    with pytest.raises(
        ConfigError, match=r"teacher\.model\.factory is 'timm\.x:y'.*'extensions=\[tests,timm\]'"
    ):
        teachers(*typed, "teacher.model.checkpoint=a.pth")
