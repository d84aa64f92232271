"""Every metric, declared once: to add one, add its declaration here and the code that measures it."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from segprune.measure.contract import OTHER_RUNTIMES, TimedIn
from segprune.result.contract import Measured, Metric

if TYPE_CHECKING:
    from segprune.measure.latency import Latency

_ALL = 100 + 1e-9
"""Per cent; a mean of rounded parts may exceed 100 in its last digit."""


def declared() -> Mapping[str, Metric]:
    """Name -> metric, in the order of the columns."""
    return {metric.name: metric for metric in METRICS}


def documentation() -> str:
    """The metrics as a Markdown table."""
    lines = [
        f"| `{one.name}` | {one.unit} | {one.better} | "
        f"{', '.join(f'`{name}`' for name in (one.shown_name, *one.aliases))} | {one.about} |"
        for one in METRICS
    ]
    return "\n".join(["| key | unit | better | in MLflow | what it is |", "|---|---|---|---|---|", *lines])


def _ratio_reached(net: Measured, dense: Measured) -> float | None:
    """Of a unit that is a metric, or of which one says what is kept; of time, by the paired ratio."""
    if net.budget in (times := {f"latency_{name}": name for name in ("eager", *OTHER_RUNTIMES)}):
        speedup = net.speedup(dense, times[net.budget])
        return None if speedup is None else max(0.0, 1 - 1 / speedup)
    kept, unit = (declared().get(name) for name in (f"{net.budget}_kept", str(net.budget)))
    left = None
    if kept is not None:
        left = kept.get(net, dense)
    elif unit is not None:
        left = _by(unit.get(net, dense), unit.get(dense, dense))
    return None if left is None else 1 - left


def _by(value: float | None, base: float | None) -> float | None:
    return value / base if value is not None and base else None


def _percent(fraction: float | None) -> float | None:
    return None if fraction is None else 100 * fraction


def _small_object_recall(net: Measured, _: Measured) -> float | None:
    small, recalled = net.quality.small_objects.tolist()
    return 100 * recalled / small if small else None


def _hd95(net: Measured, _: Measured) -> float | None:
    total, pairs, _one_sided = net.quality.hausdorff.tolist()
    return total / pairs if pairs else None


def _realised(net: Measured, dense: Measured, runtime: TimedIn = "eager") -> float | None:
    macs_kept, speedup = _by(net.macs, dense.macs), net.speedup(dense, runtime)
    return None if net.budget is None or macs_kept is None or speedup is None else speedup * macs_kept


def _time(
    read: "Callable[[Latency], float | None]", runtime: TimedIn = "eager"
) -> Callable[..., float | None]:
    """What is read of a network's times; ``None`` where it was not timed."""

    def get(net: Measured, _: Measured) -> float | None:
        latency = net.latency(runtime)
        return None if latency is None else read(latency)

    return get


def _pixels_per_s(net: Measured, _: Measured) -> float | None:
    latency = net.latency()
    return None if latency is None else latency.frames_per_s * net.size_hw[0] * net.size_hw[1]


def _in_runtime(runtime: TimedIn, words: str) -> tuple[Metric, ...]:
    """The metrics of time in a runtime other than PyTorch's eager mode."""
    return (
        Metric(
            name=f"latency_{runtime}_ms",
            unit="ms",
            better="lower",
            about=f"Median time of a batch in {words}",
            get=_time(lambda latency: latency.median_ms, runtime),
            is_timed=True,
        ),
        Metric(
            name=f"speedup_{runtime}",
            unit="factor",
            better="higher",
            about=f"As `speedup`, in {words}",
            get=lambda net, dense: net.speedup(dense, runtime),
            needs=f"latency_{runtime}_ms",
            is_relative=True,
            is_timed=True,
        ),
        Metric(
            name=f"realisation_efficiency_{runtime}",
            unit="factor",
            better="higher",
            about=f"As `realisation_efficiency`, in {words}",
            get=lambda net, dense: _realised(net, dense, runtime),
            needs=f"speedup_{runtime}",
            is_relative=True,
            is_timed=True,
        ),
    )


def _channels(net: Measured) -> int | None:
    return sum(net.channels.values()) if net.channels else None


METRICS: tuple[Metric, ...] = (
    Metric(
        name="ratio_reached",
        unit="fraction",
        better="neutral",
        about="Fraction removed, of the budget's unit; null for a network that the run did not cut, and for a time "
        "that eval did not measure",
        get=_ratio_reached,
        most=1,
        needs="pruner",
        is_relative=True,
    ),
    Metric(
        name="params",
        unit="count",
        better="lower",
        about="Parameters that the logits are computed from",
        get=lambda net, _: net.params,
        is_whole=True,
        shown_as=("mparams", 1e-6),
    ),
    Metric(
        name="macs",
        unit="count",
        better="lower",
        about="Multiply-adds per image",
        get=lambda net, _: net.macs,
        is_whole=True,
        shown_as=("gmacs", 1e-9),
    ),
    Metric(
        name="channels",
        unit="count",
        better="lower",
        about="Prunable channels that are left",
        get=lambda net, _: _channels(net),
        is_whole=True,
    ),
    Metric(
        name="channels_dense",
        unit="count",
        better="neutral",
        about="Prunable channels of the dense network",
        get=lambda _, dense: _channels(dense),
        is_whole=True,
    ),
    Metric(
        name="params_kept",
        unit="fraction",
        better="lower",
        about="Fraction of the dense network's parameters",
        get=lambda net, dense: _by(net.params, dense.params),
        is_relative=True,
    ),
    Metric(
        name="macs_kept",
        unit="fraction",
        better="lower",
        about="Fraction of its multiply-adds",
        get=lambda net, dense: _by(net.macs, dense.macs),
        is_relative=True,
    ),
    Metric(
        name="channels_kept",
        unit="fraction",
        better="lower",
        about="Fraction of its prunable channels",
        get=lambda net, dense: _by(_channels(net), _channels(dense)),
        most=1,
        is_relative=True,
    ),
    Metric(
        name="miou_percent",
        unit="%",
        better="higher",
        about="Mean IoU over the classes that occur in the split's labels",
        get=lambda net, _: 100 * net.segmentation.miou,
        most=_ALL,
        aliases=("miou",),
    ),
    Metric(
        name="pixel_accuracy_percent",
        unit="%",
        better="higher",
        about="Correct pixels by labelled pixels",
        get=lambda net, _: 100 * net.segmentation.pixel_accuracy,
        most=_ALL,
    ),
    Metric(
        name="mean_accuracy_percent",
        unit="%",
        better="higher",
        about="Mean of the classes' accuracies",
        get=lambda net, _: 100 * net.segmentation.mean_accuracy,
        most=_ALL,
    ),
    Metric(
        name="dice_percent",
        unit="%",
        better="higher",
        about="Mean Dice coefficient, or F1, over the classes that occur in the split's labels",
        get=lambda net, _: 100 * net.segmentation.mean_dice,
        most=_ALL,
    ),
    Metric(
        name="fw_iou_percent",
        unit="%",
        better="higher",
        about="IoU weighted by the classes' share of the pixels",
        get=lambda net, _: 100 * net.segmentation.fw_iou,
        most=_ALL,
    ),
    Metric(
        name="classes_scored",
        unit="count",
        better="neutral",
        about="Number of classes that occur in the split's labels",
        get=lambda net, _: net.segmentation.classes_scored,
        is_whole=True,
        least=1,
    ),
    Metric(
        name="report_images",
        unit="count",
        better="neutral",
        about="Images of the split",
        get=lambda net, _: len(net.quality.image_counts),
        is_whole=True,
        least=1,
    ),
    Metric(
        name="report_frames",
        unit="count",
        better="neutral",
        about="How many of them follow another one like frames of a video, by their file names",
        get=lambda net, _: net.frames,
        is_whole=True,
    ),
    Metric(
        name="miou_retention",
        unit="fraction",
        better="higher",
        about="mIoU by the dense network's mIoU; null if that is 0",
        get=lambda net, dense: _by(net.segmentation.miou, dense.segmentation.miou),
        is_relative=True,
    ),
    Metric(
        name="pixel_accuracy_retention",
        unit="fraction",
        better="higher",
        about="Pixel accuracy by the dense network's; null if that is 0",
        get=lambda net, dense: _by(net.segmentation.pixel_accuracy, dense.segmentation.pixel_accuracy),
        is_relative=True,
    ),
    Metric(
        name="boundary_iou_percent",
        unit="%",
        better="higher",
        about="IoU of the bands along borders between two classes (the frame of the image is none), mean over the "
        "classes that have a labelled border; null if no class has one",
        get=lambda net, _: _percent(net.boundary_iou),
        most=_ALL,
    ),
    Metric(
        name="small_objects",
        unit="count",
        better="neutral",
        about="Number of small connected parts of one class in the split's labels",
        get=lambda net, _: int(net.quality.small_objects[0]),
        is_whole=True,
    ),
    Metric(
        name="small_object_recall_percent",
        unit="%",
        better="higher",
        about="How many of them have at least half of their pixels right; null if there are none",
        get=_small_object_recall,
        most=_ALL,
        needs="small_objects",
    ),
    Metric(
        name="hd95_px",
        unit="px",
        better="lower",
        about="95th percentile of the distances between predicted and labelled borders, mean over the images and "
        "the classes that both hold; null without `eval.hd95`, or if there are none",
        get=_hd95,
    ),
    Metric(
        name="hd95_missed",
        unit="count",
        better="lower",
        about="Pairs of an image and a class that only its label or only its prediction holds: they have no "
        "distance; null without `eval.hd95`",
        get=lambda net, _: int(net.quality.hausdorff[2]) if net.quality.hausdorff.any() else None,
        is_whole=True,
    ),
    Metric(
        name="logit_mse",
        unit="squared logits",
        better="lower",
        about="Mean squared difference of the logits from the dense network's; null for the dense network itself",
        get=lambda net, dense: None if net is dense else net.reconstruction.logit_mse,
        is_relative=True,
    ),
    Metric(
        name="argmax_agreement_percent",
        unit="%",
        better="higher",
        about="Pixels predicted as the dense network does, right or wrong; null for the dense network itself",
        get=lambda net, dense: None if net is dense else 100 * net.reconstruction.argmax_agreement,
        most=_ALL,
        is_relative=True,
    ),
    Metric(
        name="latency_batch_size",
        unit="count",
        better="neutral",
        about="Images in a timed batch; null if nothing was timed, as all other times",
        get=_time(lambda latency: latency.batch_size),
        is_whole=True,
        least=1,
    ),
    Metric(
        name="latency_ms_median",
        unit="ms",
        better="lower",
        about="Median time of a batch",
        get=_time(lambda latency: latency.median_ms),
        is_timed=True,
        aliases=("latency_ms",),
    ),
    Metric(
        name="latency_rounds",
        unit="count",
        better="neutral",
        about="Timed passes",
        get=_time(lambda latency: latency.rounds),
        is_whole=True,
        least=1,
    ),
    Metric(
        name="latency_ms_p90",
        unit="ms",
        better="lower",
        about="90th percentile of the times; null below 10 passes",
        get=_time(lambda latency: latency.p90_ms),
        needs="latency_ms_median",
        is_timed=True,
    ),
    Metric(
        name="latency_ms_p95",
        unit="ms",
        better="lower",
        about="95th percentile of the times; null below 20 passes",
        get=_time(lambda latency: latency.p95_ms),
        needs="latency_ms_median",
        is_timed=True,
    ),
    Metric(
        name="latency_ms_p95_bound",
        unit="ms",
        better="lower",
        about="Bound that 95 % of all passes keep to, with 95 % confidence; null below 59 passes",
        get=_time(lambda latency: latency.p95_bound_ms),
        needs="latency_ms_median",
        is_timed=True,
    ),
    Metric(
        name="latency_ms_iqr",
        unit="ms",
        better="lower",
        about="Interquartile range of the times",
        get=_time(lambda latency: latency.iqr_ms),
        needs="latency_ms_median",
        is_timed=True,
    ),
    Metric(
        name="frames_per_s",
        unit="1/s",
        better="higher",
        about="Images per second at the median time",
        get=_time(lambda latency: latency.frames_per_s),
        needs="latency_ms_median",
        is_timed=True,
    ),
    Metric(
        name="pixels_per_s",
        unit="1/s",
        better="higher",
        about="Pixels of these images per second",
        get=_pixels_per_s,
        needs="frames_per_s",
        is_timed=True,
        shown_as=("mpixels_per_s", 1e-6),
    ),
    Metric(
        name="speedup",
        unit="factor",
        better="higher",
        about="Dense time by this network's time, paired by round; also the gain in frames per second; null for an "
        "exported file, which another runtime computes",
        get=lambda net, dense: net.speedup(dense),
        needs="latency_ms_median",
        is_relative=True,
        is_timed=True,
    ),
    Metric(
        name="realisation_efficiency",
        unit="factor",
        better="higher",
        about="Share of the MACs' speed-up that was measured: `speedup * macs_kept`; null for a network that the "
        "run did not cut",
        get=_realised,
        needs="speedup",
        is_relative=True,
        is_timed=True,
    ),
    Metric(
        name="layers_aligned_4_percent",
        unit="%",
        better="higher",
        about="Convolutions whose input channels are a multiple of 4, of all but those that read an image: ONNX "
        "Runtime computes others in a slower layout on a CPU; null for a file",
        get=lambda net, _: _percent(net.aligned(4)),
        most=_ALL,
    ),
    Metric(
        name="layers_aligned_8_percent",
        unit="%",
        better="higher",
        about="Likewise, a multiple of 8: no reordering between layers, and what tensor cores ask for in float16",
        get=lambda net, _: _percent(net.aligned(8)),
        most=_ALL,
    ),
    Metric(
        name="file_size_bytes",
        unit="bytes",
        better="lower",
        about="Weights and buffers as a safetensors file, without training-only submodules",
        get=lambda net, _: net.footprint.file_size_bytes,
        is_whole=True,
        least=1,
        shown_as=("file_size_mb", 1e-6),
    ),
    Metric(
        name="peak_memory_mb",
        unit="10^6 bytes",
        better="lower",
        about="Most tensor memory in use in one forward pass of `latency_batch_size` images beyond weights and "
        "images; null if it was not measured",
        get=lambda net, _: net.footprint.peak_memory_mb,
    ),
    *(metric for runtime, words in OTHER_RUNTIMES.items() for metric in _in_runtime(runtime, words)),
)
