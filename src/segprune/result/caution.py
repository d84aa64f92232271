"""What to know of the rows before their numbers are believed."""

from collections.abc import Iterable, Sequence

from segprune.result.row import Row
from segprune.result.slower import Job, of_slower

FEW_IMAGES = 60
"""From this number on, intervals over images hold as often as they say."""
_FEW = (
    f"fewer than {FEW_IMAGES}, so intervals over images are wide and hold a little less often than they say"
)
_FRAMES = (
    "most file names count up like frames of a video; if they are, intervals over images are too narrow, since "
    "neighbouring frames show nearly the same"
)


def cautions(jobs: Iterable[Job]) -> list[str]:
    """One sentence for each doubt about a split; others on slow cuts, devices, trainings and accepted results."""
    jobs = list(jobs)
    rows = [row for _, own in jobs for row in own]
    return [
        *of_slower(jobs),
        *_of_splits(rows),
        *_of_absent(rows),
        *_of_devices(rows),
        *_of_trainings(rows),
        *_of_accepted(rows),
        *_of_statistics(jobs),
    ]


def _of_absent(rows: Sequence[Row]) -> list[str]:
    splits = dict.fromkeys((row.dataset, row.split, row.absent) for row in rows if row.absent)
    return [
        f"No label of {dataset} {split} holds {absent}: mIoU is the mean over the other classes."
        for dataset, split, absent in splits
    ]


def _of_devices(rows: Sequence[Row]) -> list[str]:
    """Rows that were not measured on devices of one kind; rows of earlier versions do not name their GPU."""
    kinds = sorted({f"{row.gpu} ({row.precision})" if row.gpu else row.device.split(":")[0] for row in rows})
    if len(kinds) < 2:
        return []
    return [
        f"The rows were measured on devices of {len(kinds)} kinds, {', '.join(kinds)}, which round and take time "
        "differently, so differences between rows of two kinds are not those of the networks alone. The columns "
        "device, gpu and precision say which."
    ]


def _of_trainings(rows: Sequence[Row]) -> list[str]:
    """Networks of one name that were trained in several ways; rows of earlier versions do not tell."""
    said = []
    for stage in dict.fromkeys(row.stage for row in rows):
        ways = sorted({row.training for row in rows if row.stage == stage and row.training})
        if len(ways) > 1:
            said.append(
                f"The {stage} networks were trained in {len(ways)} ways, {'; '.join(ways)}, which round "
                "differently, so differences between them are not those of the methods alone. The column training "
                "says which."
            )
    return said


def _of_accepted(rows: Sequence[Row]) -> list[str]:
    """What was taken though others made it (``store.accept``); rows of earlier versions do not tell."""
    accepted = [row.accepted for row in rows if row.accepted]
    words = sorted({word for words in accepted for word in words.split(",")})
    if not words:
        return []
    return [
        f"{len(accepted)} of {len(rows)} rows stand on results that other code, library versions or another "
        f"GPU made (store.accept): {', '.join(words)}. The column accepted says which rows."
    ]


def _of_statistics(jobs: Sequence[Job]) -> list[str]:
    """Cut networks without any training that predict better than the dense one, of better BN statistics."""
    found = []
    for name, rows in jobs:
        miou = {row.stage: value for row in rows if (value := row["miou_percent"]) is not None}
        dense, value = miou.get("dense", miou.get("start")), miou.get("pruned")
        if dense is not None and value is not None and value > dense:
            found.append((value - dense, value, dense, name))
    if not found:
        return []
    _, value, dense, name = max(found)
    return [
        f"A cut alone seems to help: {value:.2f} after {dense:.2f} % mIoU in {name}. The row pruned has its BN "
        "statistics re-estimated on calibration images; the other rows have those of their training, which was too "
        "short for them. Compare pruned_raw, or train longer."
    ]


def _of_splits(rows: Sequence[Row]) -> list[str]:
    splits = dict.fromkeys(
        (row.dataset, row.split, row["report_images"], row["report_frames"]) for row in rows
    )
    found = []
    for dataset, split, images, frames in splits:
        if images is None:  # a row of an earlier version
            continue
        reasons = [_FEW] * (images < FEW_IMAGES) + [_FRAMES] * (2 * (frames or 0) > images)
        if reasons:
            found.append(f"{images} report images of {dataset} {split}: {'; '.join(reasons)}.")
    return found
