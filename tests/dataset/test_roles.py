"""Which files serve which role: folders, names, a CSV or a split, and what contradicts itself is refused."""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from segprune.dataset.roles import Roles, Sources
from segprune.errors import ConfigError, DataError
from tests.dataset.trees import labels, picture, save

FOLDERS = {
    role: {"images": f"{name}/images", "masks": f"{name}/masks"}
    for role, name in (("fit", "train"), ("select", "val"), ("report", "test"))
}
NO_SELECT = {role: FOLDERS[role] for role in ("fit", "report")}


@pytest.fixture
def find(tmp_path: Path) -> Callable[..., Roles]:
    for k in range(10):
        save(tmp_path / f"train/images/{'ab'[k % 2]}_{k}.png", picture(k))
        save(tmp_path / f"train/masks/{'ab'[k % 2]}_{k}.png", labels(k, 2))

    def found(**changes: Any) -> Roles:
        values: dict[str, Any] = {
            "root": tmp_path, "folders": FOLDERS, "suffixes": ((".png",), (".png",)), "pairs": None,
            "split": None, "split_seed": 0, "limit": None,
        }  # fmt: skip
        return Sources(**(values | changes)).find(lambda pairs: [{0} for _ in pairs])

    return found


def sizes(roles: Roles) -> dict[str, int]:
    return {role: len(pairs) for role, pairs in roles.items()}


def add(root: Path, role: str, count: int = 2) -> None:
    for k in range(count):
        save(root / role / f"images/{k}.png", picture(100 + k))
        save(root / role / f"masks/{k}.png", labels(k, 2))


def test_one_folder_is_shared_out(find: Callable[..., Roles]) -> None:
    roles = find(split=(0.6, 0.2, 0.2))
    assert sizes(roles) == {"fit": 6, "select": 2, "report": 2}
    assert len({pair for pairs in roles.values() for pair in pairs}) == 10
    assert [pair.name for pair in roles["fit"]] == sorted(pair.name for pair in roles["fit"])
    assert find(split=(0.6, 0.2, 0.2)) == roles != find(split=(0.6, 0.2, 0.2), split_seed=1)
    assert sizes(find(split=(0.6, 0.2, 0.2), limit=1)) == {"fit": 1, "select": 1, "report": 1}


def test_a_role_of_0_has_its_own_folder_or_is_left_out(find: Callable[..., Roles], tmp_path: Path) -> None:
    assert sizes(find(split=(0.8, 0, 0.2), folders=NO_SELECT)) == {"fit": 8, "report": 2}
    add(tmp_path, "test")
    assert sizes(find(split=(0.8, 0.2, 0))) == {"fit": 8, "select": 2, "report": 2}


def test_a_split_beside_a_folder_that_is_there_is_refused(find: Callable[..., Roles], tmp_path: Path) -> None:
    add(tmp_path, "test")
    with pytest.raises(
        ConfigError, match=r"takes the images of report out .*Give 0 for report in dataset.spl"
    ):
        find(split=(0.6, 0.2, 0.2))


def test_fractions_have_the_sum_1(find: Callable[..., Roles]) -> None:
    with pytest.raises(ConfigError, match=r"has the sum 0.9; .* as in 'dataset.split=\[0.7,0.15,0.15\]'"):
        find(split=(0.6, 0.2, 0.1))


@pytest.mark.parametrize(
    ("there", "role", "remedy", "changes", "found"),
    [
        ("test", "val", r"dataset.select=null", {"folders": NO_SELECT}, {"fit": 10, "report": 2}),
        ("test", "val", r"'dataset.split=\[0.85,0.15,0\]'", {"split": (0.85, 0.15, 0)}, (9, 1, 2)),
        ("val", "test", r"'dataset.split=\[0.8,0,0.2\]'", {"split": (0.8, 0, 0.2)}, (8, 2, 2)),
        (None, "test", r"'dataset.split=\[0.7,0.15,0.15\]'", {"split": (0.7, 0.15, 0.15)}, (7, 2, 1)),
    ],
)
def test_the_remedies_for_a_missing_role_work(
    find: Callable[..., Roles],
    tmp_path: Path,
    there: str | None,
    role: str,
    remedy: str,
    changes: Any,
    found: Any,
) -> None:
    if there:
        add(tmp_path, there)
    with pytest.raises(DataError, match=rf"{role}/images is missing.*{remedy}"):
        find()
    expected = (
        found if isinstance(found, dict) else dict(zip(("fit", "select", "report"), found, strict=True))
    )
    assert sizes(find(**changes)) == expected


def test_images_that_choose_the_epoch_although_there_are_to_be_none_are_told(
    find: Callable[..., Roles], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    find(split=(0.6, 0.2, 0.2))
    find(split=(0.8, 0, 0.2), folders=NO_SELECT)
    assert "no effect" not in caplog.text
    find(split=(0.6, 0.2, 0.2), folders=NO_SELECT)
    assert (
        "dataset.select=null has no effect: dataset.split=[0.6, 0.2, 0.2] gives the role select 2 images"
        in caplog.text
    )
    rows = zip((0, 1, 2), ("fit", "select", "report"), strict=True)
    lines = [
        f"train/images/{'ab'[k % 2]}_{k}.png,train/masks/{'ab'[k % 2]}_{k}.png,{role}" for k, role in rows
    ]
    (tmp_path / "p.csv").write_text("\n".join(["image,mask,role", *lines]))
    caplog.clear()
    find(pairs=Path("p.csv"))
    assert "no effect" not in caplog.text
    find(pairs=Path("p.csv"), folders=NO_SELECT)
    assert (
        f"dataset.select=null has no effect: dataset.pairs={tmp_path}/p.csv gives the role select 1 im"
        in caplog.text
    )


def test_lists_and_patterns_that_are_not_looked_at_are_told(
    find: Callable[..., Roles], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    fit, report = ({**FOLDERS["fit"], **keys} for keys in ({"only": ("*_[0-7]",)}, {"list": "test.txt"}))
    folders = {"fit": fit, "report": report}
    (tmp_path / "test.txt").write_text("a_8\nb_9\n")
    assert sizes(find(folders=folders)) == {"fit": 8, "report": 2}
    assert "looked at" not in caplog.text
    assert sizes(find(folders=folders, split=(0.5, 0, 0.5))) == {"fit": 4, "report": 4}
    assert (
        "dataset.report.list is not looked at, since dataset.split=[0.5, 0, 0.5] says which images serve that role"
        in caplog.text
    )
    caplog.clear()
    (tmp_path / "p.csv").write_text(
        "image,mask\n" + "".join(f"train/images/a_{k}.png,train/masks/a_{k}.png\n" for k in (0, 2))
    )
    find(folders=folders, pairs=Path("p.csv"), split=(0.5, 0, 0.5))
    assert (
        f"dataset.fit.only, dataset.report.list is not looked at, since dataset.pairs={tmp_path}/p.csv"
        in caplog.text
    )


def test_frames_of_a_video_are_not_shared_out_without_a_word(
    find: Callable[..., Roles], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    find(split=(0.6, 0.2, 0.2))
    assert "dataset.split: fit 6, select 2, report 2 of 10 images" in caplog.text
    assert "look like frames of a video" in caplog.text


def test_names_tell_the_roles_of_one_folder(find: Callable[..., Roles]) -> None:
    one = FOLDERS["fit"]
    folders = {"fit": {**one, "only": ("a_*",)}, "report": {**one, "only": ("b_*",)}}
    assert sizes(find(folders=folders)) == {"fit": 5, "report": 5}
    with pytest.raises(
        ConfigError, match=r"one image must not serve two roles; take it out of dataset.report.only"
    ):
        find(folders={**folders, "report": {**one, "only": ("b_*", "a_0")}})
    with pytest.raises(ConfigError, match=r"dataset.fit has both list and only"):
        find(folders={**folders, "fit": {**one, "only": ("a_*",), "list": "a.txt"}})


def pairs_file(root: Path, *, roles: list[str] | None) -> Path:
    names = [path.name for path in sorted((root / "train/images").iterdir())]
    lines = [f"train/images/{name},train/masks/{name}" for name in names]
    if roles:
        lines = [f"{line},{role}" for line, role in zip(lines, roles, strict=False)]
    (root / "p.csv").write_text("\n".join(["image,mask,role" if roles else "image,mask", *lines]))
    return Path("p.csv")


def test_a_csv_says_it_instead_of_folders(find: Callable[..., Roles], tmp_path: Path) -> None:
    file = pairs_file(tmp_path, roles=["train"] * 7 + ["test"] * 3)
    assert sizes(find(pairs=file)) == {"fit": 7, "report": 3}
    with pytest.raises(
        ConfigError, match=r"and dataset.split=.* would give it another; give dataset.split=null"
    ):
        find(pairs=file, split=(0.6, 0.2, 0.2))
    file = pairs_file(tmp_path, roles=["train"] * 10)
    with pytest.raises(
        DataError, match=r"no line with the role report; give some images that role, or leave"
    ):
        find(pairs=file)


def test_a_csv_without_roles_is_shared_out(find: Callable[..., Roles], tmp_path: Path) -> None:
    file = pairs_file(tmp_path, roles=None)
    with pytest.raises(ConfigError, match=r"has no column role; .* 'dataset.split=\[0.7,0.15,0.15\]'"):
        find(pairs=file)
    assert sizes(find(pairs=file, split=(0.7, 0.15, 0.15))) == {"fit": 7, "select": 2, "report": 1}
    with pytest.raises(ConfigError, match="the last fraction must be more than 0"):
        find(pairs=file, split=(0.7, 0.3, 0))
