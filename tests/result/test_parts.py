import pytest

from segprune.result.parts import parts_of


@pytest.mark.parametrize(
    ("layers", "parts"),
    [
        (["encoder.0.0", "decoder.1", "classifier"], ["backbone", "head", "head"]),
        (["net.backbone.layer1.0.conv1", "net.classifier.0"], ["backbone", "head"]),
        (["net.segformer.encoder.block", "net.decode_head.fuse"], ["backbone", "head"]),
        (["stem", "encoders"], [None, None]),
        ([], []),
    ],
)
def test_what_is_in_a_backbone_is_told_by_its_name(layers: list[str], parts: list[str | None]) -> None:
    assert parts_of(layers) == parts
