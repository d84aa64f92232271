import json
from dataclasses import replace
from pathlib import Path

import pytest

from segprune.deploy.about import About, about
from segprune.errors import CheckpointError

FILE = Path("model.onnx")
OURS = About(
    classes=("road", "Gehweg, geräumt"),
    palette=((128, 64, 128), (0, 0, 255)),
    ignore_index=255,
    size_hw=(96, 128),
    dynamic=("batch",),
    output="logits",
)


def test_it_comes_back_as_it_went() -> None:
    assert about(OURS.metadata(), FILE) == OURS
    others = replace(OURS, dynamic=(), output="argmax")
    assert about({**others.metadata(), "of another program": "not JSON"}, FILE) == others


def test_other_programs_can_read_it() -> None:
    said = OURS.metadata()
    assert json.loads(said["classes"]) == ["road", "Gehweg, geräumt"]
    assert "geräumt" in said["classes"]
    assert (said["ignore_index"], said["size_hw"]) == ("255", "[96, 128]")


@pytest.mark.parametrize(
    "changes",
    [
        {"classes": None},
        {"classes": "road"},
        {"size_hw": "[0, 128]"},
        {"palette": "[[300, 0, 0]]"},
        {"output": '"masks"'},
    ],
)
def test_a_file_that_does_not_say_how_to_use_it_is_refused(changes: dict[str, str | None]) -> None:
    said = {name: text for name, text in {**OURS.metadata(), **changes}.items() if text is not None}
    with pytest.raises(CheckpointError, match=r"^model\.onnx does not say which classes"):
        about(said, FILE)
