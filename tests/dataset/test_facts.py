import hashlib
import json
import os

import numpy as np
import pytest
from PIL import Image

from segprune.dataset import facts
from segprune.dataset.facts import FileKey, gather, refuse
from segprune.errors import DataError
from tests.dataset.trees import picture, save


@pytest.fixture
def examined(monkeypatch):
    """Names of the files that were really opened."""
    seen = []
    for name in ("decode_image", "decode_mask"):
        read = getattr(facts, name)

        def counted(path, *kind, read=read):
            seen.append(path.name)
            return read(path, *kind)

        monkeypatch.setattr(facts, name, counted)
    return seen


BY = json.dumps({"examined_by": facts.examined_by(), "files": {}})


def keys(root):
    return [FileKey("image", root / "a.png"), FileKey("numbers", root / "b.png")]


@pytest.fixture
def files(tmp_path):
    save(tmp_path / "a.png", picture(0, (6, 8)))
    save(tmp_path / "b.png", np.array([[3, 0, 7], [7, 7, 0]], np.uint8))
    return tmp_path


def test_facts_are_size_content_and_label_values(files):
    image, label = gather(keys(files), files / "cache" / "index.json").values()
    assert image == ((6, 8), hashlib.sha256((files / "a.png").read_bytes()).hexdigest(), "RGB", 1, (), 8, ())
    assert label == (
        (2, 3),
        hashlib.sha256((files / "b.png").read_bytes()).hexdigest(),
        "L",
        1,
        ((0, 2), (3, 1), (7, 3)),
        8,
        (),
    )


def test_of_a_palette_mask_the_colours_of_its_numbers_are_known(files):
    mask = Image.open(files / "b.png")
    mask.putpalette([channel for k in range(256) for channel in (k, 2 * k % 256, 5)])
    mask.save(files / "b.png")
    index = files / "cache" / "index.json"
    for _ in range(2):  # the second time from the index
        facts = gather([FileKey("numbers", files / "b.png")], index)
        assert [fact.shown for fact in facts.values()] == [(0x000005, 0x030605, 0x070E05)]
    (coloured,) = gather([FileKey("colours", files / "b.png")], index).values()
    assert coloured.shown == ()


def test_known_files_are_not_opened_again(files, examined):
    first = gather(keys(files), files / "index.json")
    assert sorted(examined) == ["a.png", "b.png"]
    assert gather(keys(files), files / "index.json") == first
    assert len(examined) == 2


def test_only_a_changed_file_is_opened_again(files, examined):
    gather(keys(files), files / "index.json")
    status = (files / "a.png").stat()
    os.utime(files / "a.png", ns=(status.st_atime_ns, status.st_mtime_ns + 1))
    gather(keys(files), files / "index.json")
    assert sorted(examined) == ["a.png", "a.png", "b.png"]


def test_a_file_with_the_times_and_the_length_of_another_is_opened(files, examined):
    index = files / "index.json"
    values = np.zeros((2, 2), np.uint8)
    for folder, value in (("one", 1), ("other", 2)):
        (files / folder).mkdir()
        np.save(files / folder / "m.npy", values + value)
        os.utime(files / folder / "m.npy", ns=(10**18, 10**18))
    mask = FileKey("numbers", files / "now" / "m.npy")
    found = []
    for folder in ("one", "other", "one"):  # a link to a folder is turned to another one, and back
        (files / "now").unlink(missing_ok=True)
        (files / "now").symlink_to(files / folder)
        found.append(gather([mask], index)[mask].counts)
    assert found == [((1, 4),), ((2, 4),), ((1, 4),)]
    assert examined == ["m.npy", "m.npy"]
    np.save(files / "one" / "m.npy", values + 3)  # written anew with the old time
    os.utime(files / "one" / "m.npy", ns=(10**18, 10**18))
    assert gather([mask], index)[mask].counts == ((3, 4),)


def test_after_an_edit_of_the_code_that_reads_every_file_is_opened_again_and_nothing_is_called_damaged(
    files, examined, monkeypatch, caplog
):
    index = files / "index.json"
    gather(keys(files), index)
    monkeypatch.setattr(facts, "written_as", lambda *modules: "edited")
    gather(keys(files), index)
    assert sorted(examined) == ["a.png", "a.png", "b.png", "b.png"]
    index.write_text('{"image:x": [[1, 2], []]}')  # as earlier versions wrote it
    gather(keys(files), index)
    assert len(examined) == 6
    assert "damaged" not in caplog.text


def test_sound_files_stay_known_when_another_is_faulty(files, examined):
    whole = (files / "a.png").read_bytes()
    (files / "a.png").write_bytes(whole[:60])
    with pytest.raises(DataError, match=r"a.png cannot be decoded"):
        gather(keys(files), files / "index.json")
    (files / "a.png").write_bytes(whole)
    gather(keys(files), files / "index.json")
    assert examined.count("b.png") == 1


@pytest.mark.parametrize(
    "damage",
    ["{", "[1]", *(BY.replace("{}", held) for held in ("3", '{"image:x": 3}', '{"image:x": [[1], []]}'))],
)
def test_damaged_index_is_made_again(files, caplog, damage):
    index = files / "index.json"
    first = gather(keys(files), index)
    index.write_text(damage)
    assert gather(keys(files), index) == first
    assert "index.json is damaged" in caplog.text


def test_missing_file_is_named(files):
    (files / "b.png").unlink()
    with pytest.raises(DataError, match=r"b.png cannot be read.*restore it"):
        gather(keys(files), files / "index.json")


def test_first_fault_is_told_in_full_with_the_number_of_the_others():
    refuse([])
    with pytest.raises(DataError, match=r"^one$"):
        refuse(["one"])
    with pytest.raises(DataError, match=r"^one \(and 2 more faulty files\)$"):
        refuse(["one", "two", "three"])


def test_a_pipe_is_refused_and_not_waited_for(files):
    (files / "a.png").unlink()
    os.mkfifo(files / "a.png")
    with pytest.raises(DataError, match=r"a.png is no plain file but a pipe, socket or device; remove it"):
        gather(keys(files), files / "cache" / "index.json")
