import dataclasses

import numpy as np
import pytest
from PIL import Image

from segprune.dataset.labels import CAMVID
from segprune.dataset.mask_code import MaskCode
from segprune.dataset.pair_set import PairSet, check_files, refuse_unlabelled, summarise
from segprune.dataset.pairing import Pair
from segprune.errors import DataError
from tests.dataset.trees import labels, picture, save


@pytest.fixture
def pairs(tmp_path):
    root = tmp_path / "data"
    made = [
        Pair(str(k), save(root / f"i/{k}.png", picture(k)), save(root / f"l/{k}.png", labels(k, 12)))
        for k in range(4)
    ]
    return PairSet(
        name="tiny", root=root, space=CAMVID, code=MaskCode(),
        fit=tuple(made[:2]), select=(made[2],), report=(made[3],), report_split="test",
    )  # fmt: skip


def changed(pairs, **changes):
    return dataclasses.replace(pairs, **changes)


@pytest.fixture
def check(tmp_path):
    """The checks of a dataset, in their order; gives what each role holds."""

    def checked(pairs):
        facts = check_files(pairs, tmp_path / "cache")
        summary = {name: summarise(pairs, role, facts) for name, role in pairs.roles.items() if role}
        refuse_unlabelled(pairs, summary)
        return summary

    return checked


def test_a_role_is_summarised_by_its_own_files(pairs, check):
    found = check(pairs)["fit"]
    both = np.stack([labels(0, 12), labels(1, 12)])
    assert (found.images, found.sizes, found.modes) == (2, {"16x12": 2}, {"RGB": 2})
    assert list(found.pixels) == [int((both == k).sum()) for k in range(11)]
    assert found.ignored == int((both == 11).sum())
    assert found.stored == {str(k): int((both == k).sum()) for k in range(12)}


def test_image_and_label_of_other_size_are_refused(pairs, check):
    save(pairs.fit[1].label, labels(1, 12, (12, 15)))
    with pytest.raises(
        DataError, match=r"i/1.png is 16x12 but its label .*l/1.png is 15x12; regenerate the label"
    ):
        check(pairs)


def test_label_value_that_is_no_class_is_refused_with_the_allowed_ones(pairs, check):
    wrong = labels(3, 12)
    wrong[0, :2] = (12, 200)
    save(pairs.report[0].label, wrong)
    with pytest.raises(
        DataError, match=r"l/3.png has label values \[12, 200\]; allowed are 0..10 and 11 \(ignored\)"
    ):
        check(pairs)


def test_lookup_decides_which_stored_values_are_allowed(pairs, check):
    code = MaskCode("numbers", {v: 11 if v == 0 else 77 if v == 5 else 1 for v in range(256)})
    with pytest.raises(DataError, match=r"has label values \[5\]; allowed are 0..10 and 11"):
        check(changed(pairs, code=code))


def test_cut_off_file_is_refused_at_once(pairs, check):
    content = pairs.report[0].image.read_bytes()
    pairs.report[0].image.write_bytes(content[: len(content) // 2])
    with pytest.raises(DataError, match=r"i/3.png cannot be decoded.*restore it"):
        check(pairs)


@pytest.mark.parametrize("role", ["fit", "select", "report"])
def test_a_role_whose_labels_are_all_ignored_is_refused(pairs, check, role):
    for pair in getattr(pairs, role):
        save(pair.label, np.full((12, 16), 11, np.uint8))
    with pytest.raises(
        DataError, match=rf"labels of the role {role} .* hold nothing but 11.*correct the labels"
    ):
        check(pairs)


def test_one_label_of_many_may_be_all_ignored(pairs, check):
    save(pairs.fit[0].label, np.full((12, 16), 11, np.uint8))
    assert check(pairs)["fit"].images == 2


def test_a_number_beside_the_one_that_is_listed_for_its_class_is_not_taken_for_it(pairs, check):
    for role in pairs.roles.values():
        for pair in role:
            save(pair.label, np.resize(np.array([0, 7, 26, 11], np.uint8), (12, 16)))
    with pytest.raises(
        DataError,
        match=r"has the value 0, .* It would be sky, as 7 is: list it too, as '0: sky' or '0: ignore'",
    ):
        check(changed(pairs, code=MaskCode("numbers", {7: 0, 26: 1})))
    found = check(changed(pairs, code=MaskCode("numbers", {7: 0, 26: 1, 0: 11})))
    assert found["fit"].pixels[:2] == (96, 96)


def test_palettes_that_show_a_number_in_two_colours_are_refused(pairs, check):
    for k, pair in enumerate(pairs.fit):
        mask = Image.open(pair.label)
        mask.putpalette([0, 0, 0, *([255, 0, 0, 0, 255, 0] if k else [0, 255, 0, 255, 0, 0]), *[7] * 759])
        mask.save(pair.label)
    with pytest.raises(
        DataError, match=r"0.png shows the number 1 as \[0, 255, 0\] and .*1.png as \[255, 0, 0\]"
    ) as told:
        check(pairs)
    assert "say so by 'dataset.values={1: 1, 2: 2}'" in str(told.value)
    check(changed(pairs, code=MaskCode(labels={1: 1, 2: 2})))
    check(changed(pairs, fit=pairs.fit[:1], report=(pairs.report[0],)))


@pytest.mark.parametrize(
    ("role", "other", "told"),
    [
        ("report", "fit", "1 of the 1 reported images have the same bytes as a training image, so mIoU"),
        ("report", "select", "1 of the 1 reported images have the same bytes as one that chooses the epoch"),
        ("select", "fit", "1 of the 1 images that choose the epoch have the same bytes as a training image"),
    ],
)
def test_an_image_with_the_bytes_of_one_of_another_role_is_told_once(pairs, check, caplog, role, other, told):
    check(pairs)
    assert "same bytes" not in caplog.text
    (copy,), source = pairs.roles[role], pairs.roles[other][-1]
    copy.image.write_bytes(source.image.read_bytes())
    check(pairs)
    assert told in caplog.text
    assert f"the first ones are {copy.image} and {source.image}" in caplog.text
    assert caplog.text.count("same bytes") == 1
