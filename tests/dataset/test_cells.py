import pytest

from segprune.dataset.cells import cells

ROWS = [["image", "mask"], ["a, 1.png", "b;2.png"], ["c", ""]]


@pytest.mark.parametrize(
    "text",
    [
        'image,mask\n"a, 1.png","b;2.png"\nc,\n',
        'image;mask\r\n"a, 1.png";"b;2.png"\r\nc;\r\n',
        "image\tmask\na, 1.png\tb;2.png\nc\t",
        'image, mask\n"a, 1.png" , "b;2.png" \nc, ',
    ],
)
def test_what_spreadsheets_save_is_the_same_table(text: str) -> None:
    assert cells(text) == ROWS


def test_no_text_is_no_row() -> None:
    assert cells("") == []
    assert cells("one") == [["one"]]
