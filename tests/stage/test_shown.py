from segprune.measure.passes import ONE_PASS, Passes
from segprune.stage.shown import Shown
from tests.tiny import tiny_data


def test_a_pass_has_the_size_of_a_tile_or_of_an_image() -> None:
    whole, tiled = (
        Shown(data=tiny_data(size_hw=(16, 24)), passes=passes) for passes in (ONE_PASS, Passes(tile=(8, 12)))
    )
    assert (whole.pass_hw, tiled.pass_hw) == ((16, 24), (8, 12))
    assert (whole.several_passes, tiled.several_passes) == (None, tiled.passes)
