"""Tiny data sets as people have them, each with something that ``dataset=folder`` does not expect."""

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.dataset.trees import picture, save

SIZE = (12, 16)
RGB = np.array([[128, 64, 128], [0, 0, 142], [0, 0, 0]], np.uint8)
Make = Callable[[Path], object]


def stripes(values: Sequence[int], seed: int = 0, size: tuple[int, int] = SIZE) -> np.ndarray:
    """(H, W) uint8: every value in a stripe of its own, moved by the seed."""
    flat = np.array(values, np.uint8)[np.arange(size[0] * size[1]) * len(values) // (size[0] * size[1])]
    return np.roll(flat, 7 * seed).reshape(size)


def folders(
    root: Path,
    values: Sequence[int] = (0, 1),
    *,
    roles: Sequence[str] = ("train", "val", "test"),
    images: str = "{}/images/{}.png",
    masks: str = "{}/masks/{}.png",
    count: int = 4,
) -> Path:
    """For each role some pairs; file names have the places of role and number."""
    for place, role in enumerate(roles):
        for k in range(count):
            name = f"{'abcdefgh'[k]}{place}{k * k}"
            save(root / images.format(role, name), picture(100 * place + k, SIZE))
            save(root / masks.format(role, name), stripes(values, k))
    return root


def files(root: Path, pattern: str) -> list[Path]:
    return sorted(root.glob(pattern))


def recoloured(root: Path) -> None:
    for path in files(root, "*/masks/*.png"):
        save(path, RGB[np.array(Image.open(path))])


def upright_masks(root: Path) -> None:
    """Photos with EXIF orientation 6, whose masks are as viewers show them."""
    for path in files(root, "train/images/*.png"):
        exif = Image.Exif()
        exif[0x0112] = 6
        Image.open(path).save(path, exif=exif)
        mask = root / "train/masks" / path.name
        save(mask, np.rot90(np.array(Image.open(mask)), 3).copy())


def damage(root: Path) -> None:
    first, second, third = files(root, "train/images/*.png")[:3]
    first.write_bytes(first.read_bytes()[:-40])
    (root / "train/masks" / second.name).unlink()
    save(root / "train/masks" / third.name, stripes((0, 1), size=(6, 6)))


def other_endings(root: Path) -> None:
    for k, path in enumerate(files(root, "*/images/*.png")):
        Image.open(path).save(path.with_suffix(".JPG" if k % 2 else ".jpg"), format="JPEG")
        path.unlink()
    for path in files(root, "*/masks/*.png"):
        path.rename(path.with_name(f"{path.stem}_mask.png"))


def with_lists(root: Path) -> None:
    folders(root, roles=["all"], images="JPEGImages/{1}.jpg", masks="SegmentationClass/{1}.png", count=6)
    names = [path.stem for path in files(root, "JPEGImages/*.jpg")]
    (root / "lists").mkdir()
    for name, some in (("train", names[:3]), ("val", names[3:5]), ("test", names[5:])):
        (root / "lists" / f"{name}.txt").write_text("\n".join(some))


def one_folder(root: Path, count: int = 8) -> list[Path]:
    """images/ with masks/; the images."""
    folders(root, roles=["all"], images="images/{1}.jpg", masks="masks/{1}.png", count=count)
    return files(root, "images/*.jpg")


def split_lists(
    root: Path, line: str = "{}", *, name: str = "{}.txt", start: str = "", end: str = "\n"
) -> None:
    """A list for each role, of 4, 2 and 2 images; a line has a place for the stem of a name."""
    stems = [path.stem for path in one_folder(root)]
    for role, some in (("train", stems[:4]), ("val", stems[4:6]), ("test", stems[6:])):
        (root / name.format(role)).write_bytes(
            (start + "".join(line.format(stem) + end for stem in some)).encode()
        )


def spaced_lists(root: Path) -> None:
    """Names with spaces, without endings."""
    split_lists(root, "p {}")
    for path in files(root, "*/*.*"):
        path.rename(path.with_name(f"p {path.name}"))


def table(root: Path, words: Sequence[str], titles: str = "image,mask,role") -> None:
    """split.csv, in which every image has one of the words, in turns."""
    paths = one_folder(root)
    rows = [
        f"images/{path.name},masks/{path.stem}.png,{words[k % len(words)]}".removesuffix(",")
        for k, path in enumerate(paths)
    ]
    (root / "split.csv").write_text("\n".join([titles, *rows]))


def split_tables(root: Path) -> None:
    """A table of images and masks for each role."""
    split_lists(root, "images/{0}.jpg,masks/{0}.png", name="{}_set.csv", start="image,mask\n")


def scenes(root: Path) -> None:
    """Frames of three videos, each in a folder of its own."""
    for scene in ("scene1", "scene2", "scene3"):
        for k in range(4):
            save(root / scene / "images" / f"{k:03}.png", picture(k, SIZE))
            save(root / scene / "masks" / f"{k:03}.png", stripes((0, 1), k))


def patients(root: Path) -> None:
    """Photos and masks side by side in a folder for each patient."""
    for patient in ("ann", "bob"):
        for k in range(4):
            save(root / patient / f"{patient}{k * k}.jpg", picture(k, SIZE))
            save(root / patient / f"{patient}{k * k}_mask.png", stripes((0, 1), k))


def role_scenes(root: Path, roles: Sequence[str] = ("train/a", "train/b", "val/c", "test/d")) -> None:
    folders(root, roles=roles)


def inner_roles(root: Path) -> None:
    """Images for training beside, or above, the folders of val and test."""
    folders(root, roles=["."])
    folders(root, roles=["val", "test"], images="images/{}/{}.png", masks="masks/{}/{}.png")


def other_names(root: Path) -> None:
    """img_1.png with mask_1.png, which no ending tells."""
    folders(root, roles=["all"], count=8)
    for k, path in enumerate(files(root, "all/images/*.png")):
        (root / "all/masks" / path.name).rename(root / f"all/masks/mask_{k}.png")
        path.rename(path.with_name(f"img_{k}.png"))


def named_colours(root: Path) -> None:
    recoloured(folders(root, (0, 1, 2)))
    (root / "label_colors.txt").write_text(
        "128 64 128\troad\n0 0 142\t\tcar\n0 0 0\tvoid\n"
    )  # as with CamVid


def many_bands(root: Path) -> None:
    """Images of five bands, which only TIFF holds."""
    tifffile = pytest.importorskip("tifffile", reason="needs the extra tiff")
    for path in files(root, "*/images/*.png"):
        pixels = np.repeat(np.array(Image.open(path)), 2, 2)[..., :5]
        tifffile.imwrite(path.with_suffix(".tif"), pixels, photometric="minisblack", planarconfig="contig")
        path.unlink()


def gray_and_colour(root: Path) -> None:
    for path in files(root, "*/images/*.png")[::3]:
        Image.open(path).convert("L").save(path)


def own_palettes(root: Path) -> None:
    """Every second mask has its classes in another order, with its own palette."""
    for k, path in enumerate(files(root, "*/masks/*.png")):
        turn = [0, 2, 1] if k % 2 else [0, 1, 2]
        mask = Image.fromarray(np.array(turn, np.uint8)[np.array(Image.open(path))])
        mask.putpalette(RGB[turn].flatten().tolist())
        mask.save(path)


def emptied(folder: Path) -> None:
    for path in folder.iterdir():
        path.unlink()


def arrays(root: Path) -> None:
    """Masks in .npy whose -1 is what is ignored."""
    for path in files(root, "*/masks/*.png"):
        np.save(path.with_suffix(".npy"), np.array(Image.open(path)).astype(np.int16) - 1)
        path.unlink()


TWO, THREE = "'dataset.classes=[ground,crack]'", "'dataset.classes=[a,b,c]'"
PNG = "dataset.image_suffix=.png"
SETS: dict[str, tuple[Make, Sequence[str], str]] = {
    "black and white": (lambda d: folders(d, (0, 255)), [PNG, TWO], "{255: 1}"),
    "stretched": (lambda d: folders(d, (0, 127, 254)), [PNG, THREE], "{127: 1, 254: 2}"),
    "ids with gaps": (lambda d: folders(d, (0, 7, 26)), [PNG], "{7: 1, 26: 2}"),
    "ids from 1": (lambda d: folders(d, (1, 2, 3)), [PNG, THREE], "{shift: -1}"),
    "0 is ignored": (lambda d: folders(d, (0, 1, 2, 3)), [PNG, THREE], "{0: ignore, shift: -1}"),
    "ignore_index of a class": (
        lambda d: folders(d, (0, 1, 2)), [PNG, TWO, "dataset.ignore_index=0"], "dataset.ignore_index=255"
    ),
    "a number too many": (lambda d: folders(d, (0, 1, 9)), [PNG, TWO], "{9: ignore}"),
    "a class that no mask holds": (lambda d: folders(d, (0, 1)), [PNG, THREE], "dataset.allow_absent=[c]"),
    "no classes": (lambda d: folders(d, (0, 1, 2, 255)), [PNG], "dataset.classes=[class_0,class_1,class_2]"),
    "colours": (lambda d: recoloured(folders(d, (0, 1, 2))), [PNG], "rgb_128_64_128: [128,64,128]"),
    "colours of a table": (named_colours, [PNG], "label_colors.txt"),
    "other endings": (lambda d: other_endings(folders(d)), [TWO], "dataset.mask_suffix=_mask.png"),
    "no val": (lambda d: folders(d, roles=["train", "test"]), [PNG, TWO], "dataset.select=null"),
    "no test": (lambda d: folders(d, roles=["train", "val"]), [PNG, TWO], "dataset.report_split=val"),
    "only train": (lambda d: folders(d, roles=["train"], count=8), [PNG, TWO], "dataset.split=[0.7,0.15,0.15]"),
    "one folder": (
        lambda d: folders(d, roles=["x"], images="photos/{1}.png", masks="labels/{1}.png", count=8),
        [PNG, TWO],
        "dataset.split=[0.7,0.15,0.15]",
    ),
    "one folder for both": (
        lambda d: folders(d, roles=["x"], images="data/{1}.jpg", masks="data/{1}.png", count=8),
        [TWO],
        "images: data",
    ),
    "other folders": (
        lambda d: folders(d, images="img/{}/ulm/{}_rgb.png", masks="gt/{}/ulm/{}_gt.png"), [TWO], "masks: gt/train"
    ),
    "SegNet layout": (
        lambda d: folders(d, images="{}/{}.png", masks="{}annot/{}.png"), [TWO], "masks: trainannot"
    ),
    "lists": (with_lists, [TWO], "list: lists/train.txt"),
    "lists with a byte order mark": (
        lambda d: split_lists(d, start="\ufeff", end="\r\n"), [TWO], "list: train.txt"
    ),
    "lists of paths": (lambda d: split_lists(d, "images/{0}.jpg masks/{0}.png"), [TWO], "list: train.txt"),
    "lists of names with spaces": (spaced_lists, [TWO], "list: train.txt"),
    "lists with a role within their names": (
        lambda d: split_lists(d, name="split_{}.txt"), [TWO], "list: split_train.txt"
    ),
    "a table of roles": (lambda d: table(d, ["train", "val", "test"]), [TWO], "dataset.pairs=split.csv"),
    "a table without test": (lambda d: table(d, ["train", "val"]), [TWO], "dataset.report_split=val"),
    "a table without roles": (lambda d: table(d, [""], "image,mask"), [TWO], "dataset.pairs=split.csv"),
    "a table for each role": (split_tables, [TWO], "train_set.csv, val_set.csv, test_set.csv say"),
    "videos": (scenes, [PNG, TWO], "fit: scene1/images; select: scene2/images; report: scene3/images"),
    "patients": (patients, [TWO], "a table of the 8 pairs was written"),
    "several folders of a role": (role_scenes, [PNG, TWO], "(fit 8, select 4, report 4)"),
    "several folders, and no test": (
        lambda d: role_scenes(d, ["train/a", "train/b", "val/c"]), [PNG, TWO], "(fit 8, report 4)"
    ),
    "images for training in no folder of their own": (
        lambda d: folders(d, roles=[".", "val", "test"]), [PNG, TWO], "fit: images with masks"
    ),
    "val and test within the folder for training": (inner_roles, [PNG, TWO], "(fit 4, select 4, report 4)"),
    "names that begin differently": (other_names, [TWO], "dataset.pairs="),
    "EXIF": (lambda d: upright_masks(folders(d)), [PNG, TWO], "dataset.exif=apply"),
    "damaged files": (lambda d: damage(folders(d, count=6)), [PNG, TWO], "dataset.pairs="),
    "five bands": (
        lambda d: many_bands(folders(d)), ["dataset.image_suffix=.tif", TWO], "dataset.bands=5"
    ),
    "gray and colour": (lambda d: gray_and_colour(folders(d)), [PNG, TWO, "dataset.bands=1"], "dataset.bands=3"),
    "one class": (folders, [PNG, "dataset.classes=[crack]"], "dataset.classes=[background,crack]"),
    "white is the one class": (
        lambda d: folders(d, (0, 255)), [PNG, "dataset.classes=[crack]"], "dataset.values={255: 1}"
    ),
    "a colour without a name": (
        lambda d: recoloured(folders(d, (0, 1, 2))),
        [PNG, TWO, "'dataset.colours={ground: [128, 64, 128], crack: [0, 0, 142]}'"],
        "ignore: [[0,0,0]]",
    ),
    "values that leave a number out": (
        lambda d: folders(d, (1, 2, 3)), [PNG, THREE, "'dataset.values={3: 2}'"], "{shift: -1}"
    ),
    "palettes that differ": (
        lambda d: own_palettes(folders(d, (0, 1, 2))), [PNG, THREE], "[128,64,128]"
    ),
    "negative numbers": (
        lambda d: arrays(folders(d, (0, 1, 2))), [PNG, TWO, "dataset.mask_suffix=.npy"], "{-1: ignore}"
    ),
    "val is empty": (
        lambda d: [folders(d), emptied(d / "val/images"), emptied(d / "val/masks")],
        [PNG, TWO],
        "dataset.select=null",
    ),
    "all at once": (
        lambda d: other_endings(folders(d, (0, 255), roles=["train", "val"])), [], "{255: 1}"
    ),
}  # fmt: skip
"""Name -> what makes it, the overrides that a person has typed, and a part of the command that works."""


def removed(path: Path) -> None:
    shutil.rmtree(path)
