from segprune.dataset.contract import RoleSummary
from segprune.dataset.summary import as_text

FIT = RoleSummary(
    images=4, sizes={"16x12": 3, "10x10": 1}, modes={"RGB": 4}, stored={"0": 30, "7": 10, "255": 60},
    pixels=(30, 10, 0), ignored=60,
)  # fmt: skip


def test_absent_classes_are_those_without_a_pixel():
    assert FIT.absent(["x", "y", "z"]) == ["z"]


def test_text_says_images_values_and_shares_of_labelled_pixels():
    first, _, x, y, z = as_text({"fit": FIT}, ["x", "y", "z"]).splitlines()
    assert first == "fit: 4 images (RGB), 16x12, 10x10 px; 60.0 % of the pixels ignored; masks hold 0, 7, 255"
    assert [line.split() for line in (x, y, z)] == [["x", "75.00"], ["y", "25.00"], ["z", "none"]]


def test_many_values_are_cut_short():
    many = RoleSummary(
        images=1,
        sizes={"1x1": 1},
        modes={"L": 1},
        stored={str(v): 1 for v in range(20)},
        pixels=(20,),
        ignored=0,
    )
    assert "masks hold 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11 and 8 others" in as_text({"fit": many}, ["x"])
