"""``segprune predict <network> <images> --out <folder>``: masks of images, as class ids and in colour."""

import argparse
import logging
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from segprune.console import MISTAKE, command
from segprune.errors import DataError, SegpruneError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from segprune.predict.predictor import Predictor

SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp", ".ppm"}
IDS, COLOURS = "ids", "colours"
log = logging.getLogger(__name__)


def main(arguments: Sequence[str]) -> int:
    """Write a mask per image: ``ids/<name>.png``, one class id per pixel, and ``colours/<name>.png`` to look at."""
    options = _parser().parse_args(arguments)
    try:
        count = predict(
            options.network,
            options.images,
            options.out,
            device=options.device,
            extensions=options.extension,
            tile=options.tile,
        )
    except (SegpruneError, OSError) as error:
        sys.stderr.write(f"segprune: {error}\n")
        return MISTAKE
    log.info("%d masks in %s", count, options.out)
    return 0


def predict(
    network: Path,
    images: Path,
    out: Path,
    *,
    device: str = "cpu",
    extensions: Sequence[str] = (),
    tile: bool = False,
) -> int:
    """Write the masks of all images of a folder; gives their number.

    Args:
        network: As ``segprune.load`` takes it: folder of a run, of a store entry, or an exported file.
        images: A folder with all below it that is not hidden, or one image; photos are turned as EXIF tags say.
        out: Folder for the masks; ``ids`` and ``colours`` in it are as ``images``.
        device: Where the network runs.
        extensions: Packages of your own that build it.
        tile: Leave images at their own size and predict them in tiles of the size of a pass in evaluation; else
            they are resized and shown to the network as they were in evaluation.

    Raises:
        SegpruneError: There is no such network or device, an image cannot be read, ``out`` is among the images, or
            a mask is there already; nothing is written then.
        OSError: A mask cannot be written.
    """
    from tqdm import tqdm

    from segprune.predict.predictor import load

    _refuse_among(images, out)
    names = _names(images, out)
    net = load(network, device=device, extensions=extensions)
    mask_of = _mask_of(net, tile=tile)
    # disable=None: a bar on a terminal, nothing in a log file
    for path in tqdm(names, desc="check", unit="image", leave=False, disable=None):
        _read(path, net)
    for path, name in tqdm(names.items(), desc="predict", unit="image", leave=False, disable=None):
        _write(out, name, mask_of(_read(path, net)), net)
    return len(names)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="segprune predict", description=main.__doc__)
    parser.add_argument(
        "network", type=Path, help="folder of a run or of a store entry, or an exported model.onnx"
    )
    parser.add_argument("images", type=Path, help="folder of images, with all below it, or one image")
    parser.add_argument("--out", type=Path, required=True, help="folder for the masks")
    parser.add_argument(
        "--device", default="cpu", help="cpu (default), auto, cuda, cuda:1 ...; a file runs on cpu only"
    )
    parser.add_argument(
        "--tile",
        action="store_true",
        help="leave images at their own size and predict them in overlapping tiles of the size of a pass in "
        "evaluation; without it they are resized and shown to the network as in evaluation",
    )
    parser.add_argument(
        "--extension", action="append", default=[], help="a package of yours that builds the network"
    )
    return parser


def _names(images: Path, out: Path) -> dict[Path, str]:
    """Image -> where its masks go below ``ids`` and ``colours``.

    Raises:
        DataError: There are no images, two would have one mask, a mask is there already, or a folder cannot be
            listed or is there twice through a link.
    """
    from segprune.dataset.pairing import files_below

    is_one = images.is_file()
    paths = (
        [images]
        if is_one
        else sorted(path for path in files_below(images) if path.suffix.lower() in SUFFIXES)
    )
    if not paths:
        raise DataError(
            f"there are no images ({', '.join(sorted(SUFFIXES))}) in {images}; give another folder."
        )
    base = images.parent if is_one else images
    found: dict[str, Path] = {}
    for path in paths:
        name = path.relative_to(base).with_suffix(".png").as_posix()
        if name in found:
            raise DataError(f"{found[name]} and {path} would have one mask, {name}; rename one of them.")
        if (out / IDS / name).exists() or (out / COLOURS / name).exists():
            raise DataError(f"{out} holds a mask {name} already; give another folder, or remove it.")
        found[name] = path
    return {path: name for name, path in found.items()}


def _refuse_among(images: Path, out: Path) -> None:
    """Keep masks from being taken for images the next time.

    Raises:
        DataError: They would lie among the images.
    """
    if images.is_dir() and out.resolve().is_relative_to(images.resolve()):
        raise DataError(
            f"--out is {out}, which is inside of {images}; give a folder that is not among the images."
        )


def _read(path: Path, net: "Predictor") -> "NDArray[Any]":
    """(H, W, C) uint8 or uint16.

    Raises:
        DataError: The file is damaged, or holds other images than the network was trained on.
    """
    from segprune.dataset.decode import BandsError, read_image

    wants = f"the network takes images of {net.bands} bands of {net.bits} bits, as it was trained on"
    try:
        image = read_image(path, upright=True, bands=net.bands)
    except BandsError as error:
        raise DataError(f"{path} has {error.held} bands; {wants}. Give such images.") from error
    if image.dtype.itemsize * 8 != net.bits:
        raise DataError(f"{path} has {image.dtype.itemsize * 8} bits; {wants}. Give such images.")
    return image


def _mask_of(net: "Predictor", *, tile: bool) -> "Callable[[NDArray[Any]], NDArray[Any]]":
    """What makes the class ids (H, W) of an image (H, W, C).

    Raises:
        DataError: Tiles are asked for, and nothing says how large they should be.
    """
    if not tile:
        return lambda image: net.predict(image).cpu().numpy()
    tile_hw = net.passes.tile or net.size_hw
    if tile_hw is None:
        raise DataError("the checkpoint does not say at which size it was evaluated; leave out --tile.")
    at_own_size = replace(net, size_hw=None, passes=replace(net.passes, tile=tile_hw))
    return lambda image: at_own_size.predict(image).cpu().numpy()


def _write(out: Path, name: str, mask: "NDArray[Any]", net: "Predictor") -> None:
    """Write a mask, whole or not at all."""
    import numpy as np
    from PIL import Image

    from segprune.durable import replacing

    small = mask.astype(np.uint8 if len(net.classes) <= 256 else np.uint16)
    pictures = {IDS: Image.fromarray(small)}
    if net.palette is not None:
        pictures[COLOURS] = Image.fromarray(np.array(net.palette, dtype=np.uint8)[mask])
    for folder, picture in pictures.items():
        path = out / folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as file:
            picture.save(file, format="PNG")


if __name__ == "__main__":
    sys.exit(command(main, sys.argv[1:]))
