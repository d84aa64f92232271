"""Masks of images by one command: what it writes is what the network predicts."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import segprune
from segprune.dataset import decode
from segprune.measure.passes import Passes
from segprune.predict import __main__ as door
from segprune.predict.__main__ import _names, main, predict
from segprune.stage.state import Trail
from tests.predict.test_predictor import folder as checkpoint  # noqa: F401 - a fixture
from tests.stage.test_export import cut, stage
from tests.tiny import tiny_context

SIZE_HW = (16, 16)


@pytest.fixture
def images(tmp_path: Path) -> Path:
    place = tmp_path / "images"
    (place / "more").mkdir(parents=True)
    generator = np.random.default_rng(0)
    for name, size_hw in (("a.png", (32, 40)), ("more/b.JPG", (40, 70)), ("more/a.png", SIZE_HW)):
        Image.fromarray(generator.integers(0, 256, (*size_hw, 3), dtype=np.uint8)).save(place / name)
    (place / "notes.txt").write_text("no image")
    return place


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Trail:
    ctx = tiny_context(tmp_path_factory.mktemp("exported"))
    return stage()(ctx, cut(ctx))


def read_image(path: Path) -> np.ndarray:
    return decode.read_image(path, upright=True)


def masks(out: Path, folder: str) -> dict[str, np.ndarray]:
    return {
        path.relative_to(out / folder).as_posix(): np.array(Image.open(path))
        for path in sorted((out / folder).rglob("*.png"))
    }


def refused(capsys: pytest.CaptureFixture[str], arguments: Sequence[object]) -> str:
    assert main([str(argument) for argument in arguments]) == 1
    said = capsys.readouterr().err
    assert said.startswith("segprune: ")
    assert "Traceback" not in said
    return said


def test_every_image_gets_its_ids_and_its_colours(tmp_path: Path, checkpoint: Path, images: Path) -> None:  # noqa: F811
    out = tmp_path / "masks"
    assert main([str(checkpoint), str(images), "--out", str(out)]) == 0
    net, ids, colours = segprune.load(checkpoint), masks(out, "ids"), masks(out, "colours")
    assert list(ids) == list(colours) == ["a.png", "more/a.png", "more/b.png"]
    for name, source in (("a.png", "a.png"), ("more/b.png", "more/b.JPG")):
        expected = net.predict(read_image(images / source)).numpy()
        assert np.array_equal(ids[name], expected)
        assert np.array_equal(colours[name], np.array(net.palette)[expected])
    assert sorted(path.suffix for path in out.rglob("*") if path.is_file()) == [".png"] * 6


def test_hidden_files_and_folders_are_left_alone(tmp_path: Path, images: Path) -> None:
    for name in ("._a.png", ".ipynb_checkpoints/a-checkpoint.png", "more/.cache/deep/a.png"):
        (images / name).parent.mkdir(parents=True, exist_ok=True)
        (images / name).write_text("no image")
    assert list(_names(images, tmp_path / "out").values()) == ["a.png", "more/a.png", "more/b.png"]


def test_a_file_predicts_as_the_network_that_it_was_made_of(
    tmp_path: Path, exported: Trail, images: Path
) -> None:
    file, image = exported[2].folder / "model.onnx", images / "a.png"
    assert predict(file, image, tmp_path / "one") == 1
    pixels = read_image(image)
    by_file, by_folder = segprune.load(file), segprune.load(file.parent)
    by_network = replace(by_file, net=exported[-1].module)
    assert by_file.classes == ("none", "red", "green", "blue")
    assert np.array_equal(masks(tmp_path / "one", "ids")["a.png"], by_network.predict(pixels).numpy())
    assert np.array_equal(by_folder.logits(pixels), by_file.logits(pixels))
    with pytest.raises(segprune.ConfigError, match=r"device is 'cuda', but .*model\.onnx is run by the CPU"):
        segprune.load(file, device="cuda")


def test_large_images_are_predicted_in_tiles_on_request(
    tmp_path: Path, exported: Trail, images: Path
) -> None:
    file = exported[2].folder / "model.onnx"
    assert main([str(file), str(images), "--out", str(tmp_path / "out"), "--tile"]) == 0
    found = masks(tmp_path / "out", "ids")
    at_own_size = replace(segprune.load(file), size_hw=None)
    in_tiles = replace(at_own_size, passes=Passes(tile=SIZE_HW))
    for name, source in (("a.png", "a.png"), ("more/b.png", "more/b.JPG"), ("more/a.png", "more/a.png")):
        pixels = read_image(images / source)
        assert np.array_equal(found[name], in_tiles.predict(pixels).numpy())
    assert np.array_equal(found["more/a.png"], at_own_size.predict(read_image(images / "more/a.png")).numpy())


def test_mistakes_are_one_sentence_and_leave_nothing(
    tmp_path: Path,
    checkpoint: Path,  # noqa: F811
    images: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out = tmp_path / "masks"
    empty = tmp_path / "empty"
    empty.mkdir()
    assert "there are no images (" in refused(capsys, [checkpoint, empty, "--out", out])
    assert "there is no file" in refused(capsys, [tmp_path / "none.onnx", images, "--out", out])
    assert "net.json" in refused(capsys, [empty, images, "--out", out])
    Image.new("RGB", (8, 8)).save(images / "a.bmp")
    assert "would have one mask, a.png" in refused(capsys, [checkpoint, images, "--out", out])
    (images / "a.bmp").unlink()
    assert not out.exists()
    for inside in (images, images / "more" / "masks"):
        assert "give a folder that is not among" in refused(capsys, [checkpoint, images, "--out", inside])
    for device in ("gpu", "cuda:99"):
        said = refused(capsys, [checkpoint, images, "--out", out, "--device", device])
        assert f"device is '{device}', which cannot be used here" in said
    (images / "z.png").write_bytes(b"damaged")
    assert "z.png cannot be decoded" in refused(capsys, [checkpoint, images, "--out", out])
    assert not out.exists()
    (images / "z.png").unlink()
    assert main([str(checkpoint), str(images), "--out", str(out), "--device", "auto"]) == 0
    assert "holds a mask a.png already" in refused(capsys, [checkpoint, images, "--out", out])


def test_images_that_the_network_does_not_take_are_named_with_what_it_takes(
    tmp_path: Path,
    checkpoint: Path,  # noqa: F811
    capsys: pytest.CaptureFixture[str],
) -> None:
    wants = "the network takes images of 3 bands of 8 bits"
    place = tmp_path / "image.tif"
    tifffile = pytest.importorskip("tifffile", reason="needs the extra tiff")
    for bands, dtype, held in ((5, np.uint8, "5 bands"), (3, np.uint16, "16 bits")):
        tifffile.imwrite(
            place, np.zeros((16, 16, bands), dtype), photometric="minisblack", planarconfig="contig"
        )
        assert f"image.tif has {held}; {wants}" in refused(
            capsys, [checkpoint, place, "--out", tmp_path / "out"]
        )


def test_a_folder_that_cannot_be_written_is_told(
    tmp_path: Path,
    checkpoint: Path,  # noqa: F811
    images: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "file").write_text("no folder")
    assert "file" in refused(capsys, [checkpoint, images, "--out", tmp_path / "file" / "masks"])


def test_many_classes_need_more_than_a_byte(tmp_path: Path, checkpoint: Path) -> None:  # noqa: F811
    net = replace(segprune.load(checkpoint), classes=tuple(map(str, range(300))), palette=None)
    door._write(tmp_path, "a.png", np.array([[0, 299]]), net)
    assert np.array_equal(masks(tmp_path, "ids")["a.png"], [[0, 299]])
    assert not (tmp_path / "colours").exists()  # an old checkpoint knows no colours
