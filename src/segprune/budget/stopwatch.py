"""Which share of a network's time its cuts take, in one runtime."""

import tempfile
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from segprune.deploy.ready import Place, device_of, ready, refuse_unusable
from segprune.graph.dependency import structure
from segprune.graph.kept import Kept
from segprune.measure.contract import TimedIn
from segprune.measure.latency import Timing, interleaved, speedup
from segprune.model.contract import Predicts, SegmentationNet

SEED = 0
"""Of the images, whose content takes no time, and of the turns."""
_KNOWN: Kept[float] = Kept(64)
"""What this process has timed: a check before a training and the cut after it time the same network once."""


@contextmanager
def stopwatch(
    dense: SegmentationNet, runtime: TimedIn, timing: Timing, size_hw: tuple[int, int]
) -> Iterator[Callable[[SegmentationNet], float]]:
    """Gives a function: another network -> its time by that of the dense one, timed in turns.

    A network of the same structure is timed once in a process, whatever its weights are.

    Args:
        dense: On the device of the run; left as it was.
        runtime: Where both are timed.
        timing: How carefully.
        size_hw: (H, W) of the images in px.

    Raises:
        ConfigError: The runtime is not installed, or cannot run here or a network.
    """
    device = device_of(runtime, next(dense.parameters()).device)
    refuse_unusable(runtime, device)
    image = torch.rand(timing.batch_size, dense.bands, *size_hw, device=device)
    setting = (runtime, timing, timing.threads, size_hw, device, _kind(dense))
    with tempfile.TemporaryDirectory() as folder:
        place = Place(image=image, threads=timing.threads, folder=Path(folder))
        whole: list[Predicts] = []

        def share(other: SegmentationNet) -> float:
            whole.extend([] if whole else ready([dense], runtime, place))
            times = interleaved(
                [whole[0], *ready([other], runtime, place)],
                timing,
                size_hw=size_hw,
                bands=dense.bands,
                device=device,
                seed=SEED,
            )
            return 1 / speedup(*times)

        yield lambda other: _KNOWN((setting, _kind(other)), lambda: share(other))


def _kind(net: SegmentationNet) -> Hashable:
    """All of a network that its time depends on: structure, number formats and the order of weights in memory."""
    return structure(net), tuple((tensor.dtype, tensor.stride()) for tensor in net.state_dict().values())
