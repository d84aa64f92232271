"""What the report images do to every interval over them."""

from collections.abc import Iterable

from segprune.result.row import Row

FEW_IMAGES = 60
"""From this number on, intervals over images hold as often as they say."""
_FEW = (
    f"fewer than {FEW_IMAGES}, so intervals over images are wide and hold a little less often than they say"
)
_FRAMES = (
    "most file names count up like frames of a video; if they are, intervals over images are too narrow, since "
    "neighbouring frames show nearly the same"
)


def cautions(rows: Iterable[Row]) -> list[str]:
    """One sentence for each report split that has few images, or mostly frames of a video by their file names."""
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
