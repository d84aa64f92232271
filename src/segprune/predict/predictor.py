"""A network from a checkpoint, ready to predict: what ``segprune.load`` gives."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import ArrayLike, NDArray
from pydantic import TypeAdapter
from torch import Tensor, nn

from segprune import status
from segprune.checkpoint import checkpoint
from segprune.checkpoint.contract import DESCRIPTION
from segprune.config.component import component, import_extensions
from segprune.dataset.augment import resize_image
from segprune.deploy.opened import open_file
from segprune.errors import CheckpointError, ConfigError, DataError
from segprune.gpu import device_of
from segprune.measure.eval_mode import eval_mode
from segprune.measure.passes import ONE_PASS, Passes
from segprune.model.bands import for_bands
from segprune.model.contract import Predicts, SegmentationNet
from segprune.model.copies import ready
from segprune.predict.trust import HYDRA, PYTHON, refuse_unnamed
from segprune.result.files import ONNX

EXPORTED = Path(ONNX).suffix
PROBED_HW = (256, 256)
LAYOUTS = (
    "give uint{bits} images as (H, W, {bands}) or (N, H, W, {bands}), float ones in [0, 1] as ({bands}, H, W) or "
    "(N, {bands}, H, W)"
)


@dataclass(frozen=True, kw_only=True)
class Predictor:
    """A network with what goes before and after it, as the evaluation measured it.

    Images are resized to ``size_hw``, normalised by the network itself, and its logits are resized back to the
    size of the images. ``dataclasses.replace(net, size_hw=None)`` leaves images at their own size.

    Attributes:
        net: The network, possibly cut, on its device; or a runner of an exported file, on the CPU.
        classes: K names; class id k means ``classes[k]``.
        palette: K colours, RGB 0..255; None in a checkpoint of a version that did not write them.
        size_hw: (H, W) in px at which the network was evaluated; None likewise.
        passes: How images of that size are shown to the network, as in evaluation: whole, or in tiles, also
            mirrored or at several scales.
        bands: C, of images.
        bits: Of their whole numbers, 8 or 16.
    """

    net: Predicts
    classes: tuple[str, ...]
    palette: tuple[tuple[int, int, int], ...] | None
    size_hw: tuple[int, int] | None
    passes: Passes = ONE_PASS
    bands: int = 3
    bits: int = 8

    def predict(self, images: ArrayLike | Tensor) -> Tensor:
        """Class ids: (H, W) int64 of one image, (N, H, W) of several of one size.

        Args:
            images: RGB, as an array, a tensor or a PIL image: uint8 (H, W, 3) or (N, H, W, 3), or float in [0, 1]
                as (3, H, W) or (N, 3, H, W). Of a network for other images, C bands in the place of 3, and
                uint16 for 16 bits.

        Raises:
            DataError: The images have another layout or range.
        """
        return self.logits(images).argmax(dim=-3)

    def logits(self, images: ArrayLike | Tensor) -> Tensor:
        """As ``predict``, before the decision: (K, H, W) float32 of one image, (N, K, H, W) of several.

        Raises:
            DataError: The images have another layout or range.
        """
        pixels = self._pixels(images)
        with eval_mode(self.net), torch.no_grad():
            found = self.passes(self.net, self._planes(pixels)).float()  # (N, K, H', W')
        size_hw = (pixels.shape[-3], pixels.shape[-2])
        whole = F.interpolate(found, size=size_hw, mode="bilinear", align_corners=False)
        return whole if pixels.ndim == 4 else whole[0]

    def preprocess(self, images: ArrayLike | Tensor) -> Tensor:
        """What ``net`` is given: (N, C, H', W') float32 in [0, 1] on its device, with N = 1 for a single image.

        Raises:
            DataError: The images have another layout or range.
        """
        return self._planes(self._pixels(images))

    def _planes(self, pixels: NDArray[Any]) -> Tensor:
        batch = pixels if pixels.ndim == 4 else pixels[None]  # (N, H, W, C)
        size_hw = self.size_hw or (batch.shape[1], batch.shape[2])
        resized = np.stack([resize_image(image, size_hw) for image in batch])
        planes = torch.from_numpy(
            resized.transpose(0, 3, 1, 2).astype(np.float32, order="C")
        )  # (N, C, H', W')
        if not np.issubdtype(resized.dtype, np.floating):
            planes.div_(np.iinfo(resized.dtype).max)
        return planes.to(next(self.net.parameters()).device if isinstance(self.net, nn.Module) else "cpu")

    def _pixels(self, images: ArrayLike | Tensor) -> NDArray[Any]:
        """Images of any accepted layout -> (H, W, C) or (N, H, W, C), whole numbers or float32 in [0, 1]."""
        pixels = images.detach().cpu().numpy() if isinstance(images, Tensor) else np.asarray(images)
        is_float = np.issubdtype(pixels.dtype, np.floating)
        axis, whole = -3 if is_float else -1, np.uint8 if self.bits == 8 else np.uint16
        is_known = (is_float or pixels.dtype == whole) and pixels.ndim in (3, 4) and pixels.size > 0
        layouts = LAYOUTS.format(bands=self.bands, bits=self.bits)
        if not is_known or pixels.shape[axis] != self.bands:
            raise DataError(
                f"the images have shape {pixels.shape} and numbers of type {pixels.dtype}; {layouts}."
            )
        if not is_float:
            return pixels
        low, high = float(pixels.min()), float(pixels.max())
        if not (low >= 0 and high <= 1):
            raise DataError(f"the images have values from {low:g} to {high:g}; {layouts}.")
        return np.moveaxis(pixels.astype(np.float32), -3, -1)


def load(folder: str | Path, *, device: str = "cpu", extensions: Sequence[str] = ()) -> Predictor:
    """A trained, possibly cut network that is ready to predict, or a file that the stage export wrote of one.

    Nothing in the folder is executed, and nothing is downloaded. The network is built by one of segprune's own
    models, or by a package that you name; a file is run by ONNX Runtime.

    >>> net = load(folder)
    >>> mask = net.predict(image)
    >>> mask.shape == image.shape[:2]
    True
    >>> net.classes[int(mask[0, 0])] in net.classes
    True

    Args:
        folder: Of a run or of one job of a sweep (its last network), of an entry of the store such as
            ``outputs/store/finetune/<fingerprint>``, or any other that holds ``net.json`` and
            ``weights.safetensors``. Or an exported file, or the folder that holds it alone.
        device: Where it runs: ``cpu``, ``cuda``, ``cuda:1`` ..., or ``auto``: a GPU if there is one; a file on the
            CPU only.
        extensions: Packages of your own whose code may build and transform the network.

    Raises:
        CheckpointError: There is no network, it is damaged, or it is built by code that was not named.
        ConfigError: The code that builds it cannot be imported or takes other arguments now; the device does not
            exist here; or a file is given and ONNX Runtime is missing, or a GPU is asked for.
    """
    import_extensions(extensions)
    place = network_folder(Path(folder))
    if place.suffix == EXPORTED or (not (place / DESCRIPTION).exists() and (place / ONNX).exists()):
        return _of_file(place if place.suffix == EXPORTED else place / ONNX, device)
    where, made = device_of(device), checkpoint.describe(place)
    net, _, _ = checkpoint.read(place, builder(made, place, extensions, PYTHON))
    palette, size_hw, passes = map({**made, **_as_of_run(Path(folder))}.get, ("palette", "size_hw", "passes"))
    bands = made.get("bands") or {}
    return Predictor(
        net=ready(net, where),  # as it was evaluated
        classes=tuple(made["classes"]),
        palette=tuple((r, g, b) for r, g, b in palette) if palette else None,
        size_hw=(size_hw[0], size_hw[1]) if size_hw else None,
        passes=TypeAdapter(Passes).validate_python(passes) if passes else ONE_PASS,
        bands=bands.get("count", 3),
        bits=bands.get("bits", 8),
    )


def _as_of_run(folder: Path) -> Mapping[str, Any]:
    """What a run says of how its networks are used; nothing if it did not record that, or if it is no run."""
    origin = folder / status.ORIGIN
    try:
        made = json.loads(origin.read_text(encoding="utf-8")) if origin.exists() else {}
    except ValueError as error:
        raise CheckpointError(
            f"{origin} cannot be read ({error}). Remove it to have the colours and passes that the checkpoint has."
        ) from error
    said: Mapping[str, Any] = made.get("prediction", {})
    return said


def _of_file(path: Path, device: str) -> Predictor:
    """An exported file that is ready to predict."""
    if device not in ("cpu", "auto"):
        raise ConfigError(f"device is {device!r}, but {path} is run by the CPU; give device='cpu'.")
    run, said = open_file(path, threads=torch.get_num_threads())
    return Predictor(
        net=run,
        classes=said.classes,
        palette=said.palette,
        size_hw=said.size_hw,
        passes=said.passes or ONE_PASS,
        bands=said.bands,
        bits=said.bits,
    )


def network_folder(folder: Path) -> Path:
    """The folder itself, or for that of a run the last entry of its store that holds a network.

    Raises:
        CheckpointError: The run has none.
    """
    found = status.read(folder)
    if (folder / DESCRIPTION).exists() or not found:
        return folder
    entries = (Path(found.get("store", folder), name) for name in found.get("entries", ()))
    networks = [entry for entry in entries if (entry / DESCRIPTION).exists()]
    if not networks:
        raise CheckpointError(
            f"the run in {folder} ({found.get('status')}) has no network in its store; give a run that is done, or "
            "one job of a sweep."
        )
    return networks[-1]


def builder(
    made: Mapping[str, Any], place: Path, extensions: Sequence[str], remedy: str = HYDRA
) -> Callable[[], SegmentationNet]:
    """What makes the dense network that a description names.

    Args:
        made: The description.
        place: Its folder.
        extensions: Packages of the caller whose code may build the network.
        remedy: How the caller names packages; ``{0}`` stands for their list, ``{1}`` for the new one.

    Raises:
        CheckpointError: The description does not say it, or names code that the caller did not.
    """
    node, classes = made.get("model"), made.get("classes")
    if not node or not classes:
        raise CheckpointError(
            f"{place} does not say how its network is built and which classes it knows; start from it with "
            "segprune run 'stages=[eval]' checkpoint=<folder> and the model and dataset it was made with."
        )
    refuse_unnamed(node, place, extensions, remedy)
    make = component(node, "model", extensions=extensions, runtime=("num_classes",))
    bands, size_hw = made.get("bands"), made.get("size_hw")

    def build() -> SegmentationNet:
        net: SegmentationNet = make(num_classes=len(classes))
        if bands:
            net = for_bands(net, bands["mean"], bands["std"], size_hw or PROBED_HW)
        if size_hw and isinstance(net, SegmentationNet):
            net.image_hw = (size_hw[0], size_hw[1])
        return net

    return build
