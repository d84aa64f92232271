from pathlib import Path

import numpy as np
from PIL import Image

from segprune.doctor.case import Case
from segprune.doctor.contents import look_into_files
from segprune.doctor.pairs import found_pairs
from tests.dataset.trees import save
from tests.doctor.cases import case_of
from tests.doctor.sick import folders


def looked_into(case: Case, root: Path) -> Case:
    look_into_files(case, root, found_pairs(case, root))
    return case


def test_sound_files_need_nothing(tmp_path: Path) -> None:
    assert looked_into(case_of(folders(tmp_path)), tmp_path).problems == []


def test_a_half_turn_is_a_guess_and_is_called_one(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 3
    path = folders(tmp_path) / "val/images/a10.png"
    Image.open(path).save(path, exif=exif)
    (problem,) = looked_into(case_of(tmp_path), tmp_path).problems
    assert problem.keys == {"exif": "ignore"}
    assert "a guess: look at data/masks.png, and try the other" in problem.text


def test_a_role_of_damaged_files_alone_has_no_remedy(tmp_path: Path) -> None:
    for path in (folders(tmp_path) / "test/images").iterdir():
        path.write_bytes(b"damaged")
    (problem,) = looked_into(case_of(tmp_path), tmp_path).problems
    assert problem.keys == {}
    assert "4 pairs are not usable" in problem.text


def test_one_pair_is_told_in_the_singular(tmp_path: Path) -> None:
    (folders(tmp_path) / "test/images/a20.png").write_bytes(b"damaged")
    (problem,) = looked_into(case_of(tmp_path), tmp_path).problems
    assert problem.text.startswith("1 pair is not usable; mend")


def test_compressed_colours_have_no_remedy_by_a_key(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (40, 50, 3), dtype=np.uint8)
    for path in folders(tmp_path).glob("*/masks/*.png"):
        save(path, noise)
    (problem,) = looked_into(case_of(tmp_path), tmp_path).problems
    assert "12 pairs are not usable" in problem.text
    assert "colours, so it was compressed or smoothed" in problem.text
