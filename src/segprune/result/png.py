"""Figures as PNG files."""

import io

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

DPI = 100


def png(figure: Figure) -> bytes:
    """A figure of 100 dots per inch, the same bit for bit as by ``savefig``, which draws more than once.

    ``savefig`` draws twice, once unseen, and a figure with a layout another time for that.
    """
    figure.dpi = DPI
    if (layout := figure.get_layout_engine()) is not None:
        layout.execute(figure)
        figure.set_layout_engine("none")
    buffer = io.BytesIO()
    FigureCanvasAgg(figure).print_png(buffer)  # type: ignore[no-untyped-call]
    return buffer.getvalue()
