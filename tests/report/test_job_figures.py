import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_hex

from segprune.report.job_figures import layer_figure, score_figure
from segprune.report.style import KEPT, REMOVED
from tests.report.test_figures import boxes

LAYERS = pd.DataFrame(
    {"layer": ["a", "b$"], "part": None, "channels": [4, 2], "kept": [3, 2], "removed": [1, 0]}
)
SCORES = pd.DataFrame(
    {
        "layer": [*"aaaa", *"bb"],
        "channel": [0, 1, 2, 3, 0, 1],
        "score": [3.0, 0.5, 1.0, 2.0, 500.0, 400.0],
        "is_kept": [True, False, True, True, True, False],
    }
)


def drawn(scope: str, table: pd.DataFrame = SCORES) -> tuple[dict[str, float], float]:
    """Channels drawn by colour, and where the line is."""
    ax = score_figure(table, scope).axes[0]
    heights: dict[str, float] = {}
    for patch in ax.patches:
        tops, _, bottoms = patch.get_data()
        heights[to_hex(patch.get_facecolor())] = float(np.sum(tops - bottoms))
    return heights, float(np.asarray(ax.lines[0].get_xdata())[0])


def test_bars_stack_to_all_channels_of_the_layer() -> None:
    figure = layer_figure(LAYERS)
    ax = figure.axes[0]
    kept, removed = ([bar.get_width() for bar in bars] for bars in ax.containers)
    assert (kept, removed) == ([3, 2], [1, 0])
    assert [text.get_text() for text in ax.texts] == ["3/4", "2/2"]
    assert ax.get_xlabel() == "channels (kept/all)"
    bottom, top = ax.get_ylim()
    assert bottom > top  # the first layer is above


def test_layers_of_long_names_have_different_labels() -> None:
    names = [f"segformer.encoder.block.{block}.attention.self.query.parametrizations" for block in (0, 1)]
    ax = layer_figure(LAYERS.assign(layer=names)).axes[0]
    assert len({label.get_text() for label in ax.get_yticklabels()}) == 2


def test_backbone_and_head_have_a_title_with_their_channels() -> None:
    parts = ["backbone", "backbone", "head"]
    table = pd.DataFrame(
        {"layer": [*"abc"], "part": parts, "channels": [4, 2, 5], "kept": [3, 2, 1], "removed": 1}
    )
    ax = layer_figure(table).axes[0]
    texts = {text.get_text(): text.get_position()[1] for text in ax.texts}
    assert texts == {
        "3/4": 1,
        "2/2": 2,
        "1/5": 4,
        "backbone: 5 of 6 channels kept": 0,
        "head: 1 of 5 channels kept": 3,
    }
    assert ax.get_yticks().tolist() == [1, 2, 4]


def test_channels_are_counted_in_whole_numbers() -> None:
    for ax in (layer_figure(LAYERS).axes[0].xaxis, score_figure(SCORES, "global").axes[0].yaxis):
        assert [tick for tick in ax.get_majorticklocs() if tick % 1] == []


def test_many_long_layer_names_do_not_cover_each_other() -> None:
    names = [f"backbone.layer{n}.22.downsample.0.conv" for n in range(60)]
    boxes(
        layer_figure(
            pd.DataFrame(
                {"layer": names, "part": "backbone", "channels": 2048, "kept": 1024, "removed": 1024}
            )
        )
    )


@pytest.mark.parametrize("scope", ["local", "global"])
def test_every_channel_is_counted_in_its_colour(scope: str) -> None:
    heights, _ = drawn(scope)
    assert heights == {KEPT: 4, REMOVED: 2}


def test_the_global_line_is_between_removed_and_kept() -> None:
    # without layer b: 0.5 is removed, 1.0 is the lowest that is kept
    assert drawn("global", SCORES[SCORES["layer"] == "a"])[1] == 0.75
    # with it, 400 is the highest removed and 500 the next above
    assert drawn("global")[1] == 450.0


def test_local_scores_are_distances_from_their_own_layers_line() -> None:
    table = SCORES[SCORES["layer"] == "b"]
    figure = score_figure(table, "local")
    # line 450, sd of 400 and 500 is 50 * sqrt(2): distances -+ 1 / sqrt(2), on their sides of 0
    bars = [
        (edges[place], edges[place + 1])
        for tops, edges, bottoms in (patch.get_data() for patch in figure.axes[0].patches)
        for place in np.flatnonzero(tops - bottoms)
    ]
    (low, end), (start, high) = sorted(bars)
    assert low <= -1 / 2**0.5 <= end <= 0 <= start <= 1 / 2**0.5 <= high
    assert drawn("local")[1] == 0.0


@pytest.mark.parametrize("scope", ["local", "global"])
def test_without_a_cut_there_is_no_line(scope: str) -> None:
    drawn = score_figure(SCORES.assign(is_kept=True), "global", threshold=-5.0).axes[0]
    assert drawn.get_xlim()[0] < drawn.lines[0].get_xdata()[0] == -5.0
    figure = score_figure(SCORES.assign(is_kept=True), scope)
    assert [text.get_text() for text in figure.axes[0].texts] == ["nothing was removed"]


@pytest.mark.parametrize(
    "values",
    [
        [0.0] * 6,
        [1e-12, 1e-9, 1e-3, 1.0, 1e6, 1e9],
        [2e-6, 1e-5, 2e-5, 5e-5, 1e-4, 3e-3],
        [-5.0, -1.0, 0.0, 0.0, 2.0, 9.0],
    ],
)
@pytest.mark.parametrize("scope", ["local", "global"])
def test_scores_of_any_size_and_sign_are_drawn(scope: str, values: list[float]) -> None:
    heights, _ = drawn(scope, SCORES.assign(score=values))
    assert sum(heights.values()) == 6
    boxes(score_figure(SCORES.assign(score=values), scope))
