"""Label spaces: the class names, colours and ignored value of a dataset's labels."""

from dataclasses import dataclass

from segprune.errors import ConfigError

Colour = tuple[int, int, int]


@dataclass(frozen=True, kw_only=True)
class LabelSpace:
    """What a label value means.

    Attributes:
        classes: K names; label k means ``classes[k]``.
        palette: K colours, RGB 0..255.
        ignore_index: Value of pixels that are never scored, 0..255, not in 0..K-1.

    Raises:
        ConfigError: A class name occurs twice, the palette has another length than the classes, or
            ``ignore_index`` is the value of a class.
    """

    classes: tuple[str, ...]
    palette: tuple[Colour, ...]
    ignore_index: int

    def __post_init__(self) -> None:
        count = len(self.classes)
        twice = sorted({name for name in self.classes if self.classes.count(name) > 1})
        if twice:
            raise ConfigError(f"dataset.classes names {twice} twice; give every class its own name")
        if len(self.palette) != count:
            raise ConfigError(
                f"dataset.palette has {len(self.palette)} colours for {count} classes; give one RGB colour "
                "per class, or dataset.palette=null for generated colours"
            )
        if 0 <= self.ignore_index < count:
            raise ConfigError(_ignored_class(self.classes, self.ignore_index))


def _ignored_class(classes: tuple[str, ...], ignored: int) -> str:
    rest = [name for name in classes if name != classes[ignored]]
    return (
        f"dataset.ignore_index is {ignored}, which is class {classes[ignored]!r}; use a value outside "
        f"0..{len(classes) - 1}, e.g. 255. If masks store {ignored} for what is ignored beside all these classes, "
        f"give {_shifted(ignored, len(classes))}; if {classes[ignored]!r} itself is what is ignored, give "
        f"'dataset.classes=[{','.join(rest)}]' {_shifted(ignored, len(rest))}"
    )


def _shifted(ignored: int, count: int) -> str:
    """The map of stored values for ``count`` classes whose numbers leave out the ignored one."""
    stored = [value for value in range(count + 1) if value != ignored]
    pairs = [f"{ignored}: ignore", *(f"{value}: {label}" for label, value in enumerate(stored))]
    return f"'dataset.values={{{', '.join(pairs)}}}' dataset.ignore_index=255"


def made_palette(count: int) -> tuple[Colour, ...]:
    """``count`` distinct colours, none black.

    Source: the colour map of the PASCAL VOC development kit (bits of the index, interleaved over R, G and B),
    from index 1 on.
    """

    def colour(index: int) -> Colour:
        channels = [0, 0, 0]
        for bit in range(8):
            for channel in range(3):
                channels[channel] |= ((index >> (3 * bit + channel)) & 1) << (7 - bit)
        return (channels[0], channels[1], channels[2])

    return tuple(colour(index) for index in range(1, count + 1))


# Source: the 11 classes and colours used with CamVid since its publication in 2009; order of the SegNet labels.
CAMVID = LabelSpace(
    classes=(
        "sky", "building", "pole", "road", "pavement", "tree", "sign", "fence", "car", "pedestrian",
        "bicyclist",
    ),
    palette=(
        (128, 128, 128), (128, 0, 0), (192, 192, 128), (128, 64, 128), (0, 0, 192), (128, 128, 0),
        (192, 128, 128), (64, 64, 128), (64, 0, 128), (64, 64, 0), (0, 128, 192),
    ),
    ignore_index=11,
)  # fmt: skip

# Source: Cityscapes, arXiv:1604.01685; train ids and colours of the dataset's own scripts.
CITYSCAPES = LabelSpace(
    classes=(
        "road", "sidewalk", "building", "wall", "fence", "pole", "traffic light", "traffic sign",
        "vegetation", "terrain", "sky", "person", "rider", "car", "truck", "bus", "train",
        "motorcycle", "bicycle",
    ),
    palette=(
        (128, 64, 128), (244, 35, 232), (70, 70, 70), (102, 102, 156), (190, 153, 153), (153, 153, 153),
        (250, 170, 30), (220, 220, 0), (107, 142, 35), (152, 251, 152), (70, 130, 180), (220, 20, 60),
        (255, 0, 0), (0, 0, 142), (0, 0, 70), (0, 60, 100), (0, 80, 100), (0, 0, 230), (119, 11, 32),
    ),
    ignore_index=255,
)  # fmt: skip
