import os

import numpy as np
import pytest
import torch

from segprune.dataset import streets as module
from segprune.dataset.streets import streets
from segprune.dataset.streets_scene import scene
from segprune.errors import ConfigError
from segprune.store.code import _Search, files_of
from tests.dataset.trees import ALL, OFF, touched


@pytest.fixture
def make(tmp_path):
    def build(**changes):
        arguments = {
            "size_hw": (32, 48), "counts": {"fit": 4, "select": 2, "report": 3}, "data_seed": 0, "augment": OFF,
            "seed": 0, "cache_dir": tmp_path / "cache",
        }  # fmt: skip
        return streets(**(arguments | changes))

    return build


def images(items):
    return torch.stack([items[i].image for i in range(len(items))])


def test_roles_are_scenes_of_three_splits(make):
    data = make()
    assert [len(role) for role in (data.fit, data.calibration, data.select, data.report)] == [4, 4, 2, 3]
    image, label = scene(0, "test", 2, (32, 48))
    assert torch.equal(data.report[2].image, torch.from_numpy(image).permute(2, 0, 1).float() / 255)
    assert np.array_equal(data.report[2].label.numpy(), label)
    assert (data.ignore_index, len(data.classes), data.size_hw) == (11, 11, (32, 48))


def test_no_select_images_means_no_select_role(make):
    assert make(counts={"fit": 2, "select": 0, "report": 1}).select is None


def test_second_start_reads_the_same_bits_and_draws_nothing(make, monkeypatch):
    first = make()
    monkeypatch.setattr(module, "scene", None)  # calling it would fail
    second = make()
    assert first.identity == second.identity
    assert torch.equal(images(first.calibration), images(second.calibration))


def test_damaged_cache_is_drawn_again(make, tmp_path, caplog):
    first = make()
    for path in (tmp_path / "cache" / "streets").glob("*.npz"):
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 255
        path.write_bytes(content if "train" in path.name else content[:100])
    assert make().identity == first.identity
    assert caplog.text.count("is damaged") == 3


def test_fewer_images_are_the_first_of_more(make):
    few, more = make(counts={"fit": 2, "select": 0, "report": 1}), make()
    assert torch.equal(images(few.calibration), images(more.calibration)[:2])


def counts(**changes):
    return {"counts": {"fit": 4, "select": 2, "report": 3} | changes}


@pytest.mark.parametrize(
    ("changes", "roles"),
    [
        ({"seed": 1}, {"fit"}),
        ({"augment": {**OFF, "flip": 0.5}}, {"fit"}),
        ({"data_seed": 1}, ALL),
        ({"size_hw": (48, 32)}, ALL),
        (counts(fit=3), {"fit", "calibration"}),
        (counts(select=0), {"select"}),
        (counts(report=2), {"report"}),
    ],
)
def test_each_option_touches_the_identity_of_its_roles_only(make, changes, roles):
    assert touched(make().identity, make(**changes).identity) == roles


def test_identity_does_not_depend_on_the_cache_folder(make, tmp_path):
    assert make(cache_dir=tmp_path / "other").identity == make().identity


def test_the_modules_that_draw_are_all_that_a_scene_is_made_by():
    code = _Search((), files_of)
    code.add("segprune.dataset.streets_scene")
    files = {os.path.relpath(path, "dataset") for held in code.code.values() for path in held}
    assert files - {"__init__.py"} == {f"{name}.py" for name in module._DRAWERS}


def test_after_an_edit_of_what_draws_the_old_cache_is_left_unread(make, monkeypatch):
    make()
    drawn = []
    monkeypatch.setattr(module, "written_as", lambda *modules: "edited")
    monkeypatch.setattr(module, "scene", lambda *place: drawn.append(place) or scene(*place))
    make()
    assert len(drawn) == 9


def test_cache_folder_that_cannot_be_written_is_named(make, tmp_path):
    (tmp_path / "a_file").write_text("")
    with pytest.raises(ConfigError, match=r"dataset.cache_dir: .*a_file/streets cannot be written"):
        make(cache_dir=tmp_path / "a_file")
