"""What a deployed file says of itself, so that a mask can be made and read with nothing else at hand."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import ConfigDict, Field, PositiveInt, TypeAdapter, ValidationError

from segprune.dataset.contract import Bands, SegData
from segprune.deploy.form import Axis, Form, Output
from segprune.errors import CheckpointError
from segprune.measure.passes import Passes

Byte = Annotated[int, Field(ge=0, le=255)]


@dataclass(frozen=True, kw_only=True)
class About:
    """Input and output of a file in words and numbers.

    Attributes:
        classes: K names; class id k means ``classes[k]``.
        palette: K colours, RGB 0..255.
        ignore_index: Label that was never trained nor scored.
        size_hw: (H, W) in px at which the network was evaluated.
        dynamic: Axes of the images whose size is free.
        output: What the file gives.
        passes: How images were shown to the network in evaluation; None: whole, once. Where they were shown in
            tiles, the file takes tiles.
        image: What it takes.
        bands: C, of images.
        bits: Of the whole numbers that images are stored in; the largest is 1.
    """

    __pydantic_config__ = ConfigDict(extra="ignore", strict=False)

    classes: tuple[str, ...]
    palette: tuple[tuple[Byte, Byte, Byte], ...]
    ignore_index: int
    size_hw: tuple[PositiveInt, PositiveInt]
    dynamic: tuple[Axis, ...]
    output: Output
    passes: Passes | None = None
    image: str = "float32 NCHW, RGB in [0, 1]; the normalisation is inside"
    bands: int = 3
    bits: int = 8

    def metadata(self) -> dict[str, str]:
        """As an ONNX file holds it: name -> JSON."""
        return {name: json.dumps(value, ensure_ascii=False) for name, value in asdict(self).items()}


def about_data(data: SegData, form: Form) -> About:
    """What a file says of a network that was trained on a dataset."""
    return About(
        classes=data.classes,
        palette=data.palette,
        ignore_index=data.ignore_index,
        size_hw=data.size_hw,
        dynamic=form.dynamic,
        output=form.output,
        **_of_bands(data.bands),
    )


def _of_bands(bands: Bands | None) -> dict[str, Any]:
    if bands is None:
        return {}
    image = f"float32 NCHW, {bands.count} bands of {bands.bits} bits in [0, 1]; the normalisation is inside"
    return {"image": image, "bands": bands.count, "bits": bands.bits}


def about(metadata: Mapping[str, str], path: Path) -> About:
    """What a file says of itself.

    Args:
        metadata: Name -> JSON; a file may hold anything.
        path: The file, for messages.

    Raises:
        CheckpointError: It does not say how to use it.
    """
    try:
        values: dict[str, Any] = {name: json.loads(text) for name, text in _ours(metadata).items()}
        return TypeAdapter(About).validate_python(values)
    except (ValueError, ValidationError) as error:
        raise CheckpointError(
            f"{path} does not say which classes it knows and at which size it was evaluated; give a file that the "
            "stage export has written."
        ) from error


def _ours(metadata: Mapping[str, str]) -> dict[str, str]:
    return {name: metadata[name] for name in About.__dataclass_fields__ if name in metadata}
