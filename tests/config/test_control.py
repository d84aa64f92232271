import pytest

from segprune.config.control import stages_of, unfit
from segprune.config.protocol import CHAIN, FROM_SCRATCH, NEVER_CUT
from tests.test_conf import CONF


def test_only_the_dense_control_leaves_the_cut_out_wherever_it_stands() -> None:
    asked = ["prune", "mine", "finetune", "export", "eval"]
    assert stages_of("dense", asked) == ["mine", "finetune", "export", "eval"]
    for protocol in ("standard", *FROM_SCRATCH):
        assert stages_of(protocol, asked) == asked


def test_every_control_is_known() -> None:
    options = {path.stem for path in (CONF / "protocol").glob("*.yaml")}
    assert options - {"standard", "fair", "full"} == {NEVER_CUT, *FROM_SCRATCH}


@pytest.mark.parametrize(
    ("protocol", "stages", "has_weights", "reason"),
    [
        ("dense", ["prune", "eval"], False, "it needs finetune in stages"),
        ("dense", ["finetune", "eval"], True, ""),
        ("half", ["prune", "eval"], False, "it needs finetune in stages"),
        ("scratch_e", ["train", "finetune", "eval"], False, "it needs prune in stages"),
        ("scratch_b", ["eval"], False, "it needs prune and finetune in stages"),
        ("half", ["prune", "finetune", "eval"], False, ""),
        ("standard", ["eval"], True, ""),
    ],
)
def test_a_control_needs_the_stages_that_make_it(
    protocol: str, stages: list[str], has_weights: bool, reason: str
) -> None:
    assert unfit(protocol, stages, has_weights=has_weights) == reason


def test_a_network_from_elsewhere_cannot_be_trained_from_scratch_unless_the_dense_one_began_with_it() -> None:
    assert "begin with the trained weights" in unfit("half", CHAIN[1:], has_weights=True)
    assert unfit("half", CHAIN, has_weights=True) == ""
