"""A run's colour: one hue per pruner, one shade per ratio, the same in every experiment."""

import colorsys
import hashlib

# Spreads the hues of the pruners in conf/pruner: 14 degrees or more between any two of these 16.
_SALT = 181992


def color(pruner: str, ratio: float) -> str:
    """``#rrggbb`` of a run.

    Args:
        pruner: The pruner's name; it alone decides the hue.
        ratio: Fraction removed, in [0, 1]; more is darker.
    """
    digest = hashlib.sha256(f"{_SALT}{pruner}".encode()).digest()
    hue = int.from_bytes(digest[:4], "big") / 2**32
    red, green, blue = colorsys.hls_to_rgb(hue, 0.72 - 0.42 * ratio, 0.65)
    return "#" + "".join(f"{round(255 * channel):02x}" for channel in (red, green, blue))
