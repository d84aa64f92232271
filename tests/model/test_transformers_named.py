import re
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from hydra.core.override_parser.overrides_parser import OverridesParser

from segprune.errors import CheckpointError, ConfigError
from segprune.graph.trace import followed
from segprune.model.initial import weights_to_come
from segprune.model.transformers_named import transformers
from segprune.model.wrapped import Wrapped

library = pytest.importorskip("transformers", reason="pip install 'segprune[transformers]'")
SMALL: dict[str, Any] = {
    "depths": [1, 1],
    "num_encoder_blocks": 2,
    "hidden_sizes": [8, 16],
    "num_attention_heads": [1, 2],
    "decoder_hidden_size": 12,
}
REST: dict[str, Any] = {
    "name": "segformer", "weights": "none", "args": SMALL, "mean": "imagenet", "std": "imagenet",
    "checkpoint": None, "allow": [], "num_classes": 3,
}  # fmt: skip


def made(**given: Any) -> Wrapped:
    torch.manual_seed(0)
    return transformers(**{**REST, **given})


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    """A network of two classes, as the library saves it."""
    made(num_classes=2).net.save_pretrained(tmp_path)
    return tmp_path / "model.safetensors"


def test_a_name_and_entries_of_its_configuration_make_a_network_with_logits_of_the_images_size() -> None:
    net = made().eval()
    with torch.no_grad():
        assert net(torch.rand(1, 3, 64, 96)).shape == (1, 3, 64, 96)
    found = followed(net)
    cuttable = {group.name.removeprefix("net.segformer.") for group in found.groups}
    assert {
        "stages.0.blocks.0.mlp.fc1",
        "stages.1.blocks.0.mlp.fc1",
        "net.decode_head.linear_fuse",
    } <= cuttable
    assert any("LayerNorm" in one.reason for one in found.whole)


def test_what_the_library_saved_is_loaded_and_what_differs_has_to_be_allowed(saved: Path) -> None:
    with pytest.raises(CheckpointError, match=r"has in another shape 2: decode_head\.classifier\.bias"):
        made(checkpoint=saved)
    net = made(checkpoint=saved, allow=["decode_head.classifier.*"])
    theirs, own = made(num_classes=2).net.state_dict(), made().net.state_dict()
    torch.manual_seed(1)
    assert all(
        torch.equal(tensor, (own if "classifier" in key else theirs)[key])
        for key, tensor in net.net.state_dict().items()
    )
    torch.save(made(num_classes=2).net.state_dict(), saved.with_name("best.pth"))
    assert made(checkpoint=saved.with_name("best.pth"), num_classes=2).net.config.num_labels == 2


def test_weights_of_another_network_are_refused_with_the_arguments_that_fit(saved: Path) -> None:
    with pytest.raises(ConfigError, match=r"is a segformer, but model\.name is mobilevit") as kind:
        made(name="mobilevit", args=None, checkpoint=saved)
    assert "model.name=segformer" in str(kind.value)
    with pytest.raises(ConfigError, match="is configured otherwise in num_encoder_blocks, depths") as refusal:
        made(args={"decoder_hidden_size": 12}, checkpoint=saved, num_classes=2)
    remedy = re.search(r"'(model\.args=\{.*\})'", str(refusal.value))
    assert remedy
    args = OverridesParser.create().parse_override(remedy[1]).value()
    assert made(args=args, checkpoint=saved, num_classes=2).net.config.depths == [1, 1]


def test_a_finished_network_is_built_without_the_files_that_it_began_with(tmp_path: Path) -> None:
    with weights_to_come():
        assert made(checkpoint=tmp_path / "model.safetensors").net.config.num_labels == 3
        assert made(weights="nobody/nothing").net.config.num_labels == 3


def test_wrong_values_are_named(saved: Path) -> None:
    with pytest.raises(ConfigError, match=r"model\.name is 'resnet'; it must be one of beit, .*segformer"):
        made(name="resnet")
    with pytest.raises(ConfigError, match=r"model\.args\.depth is no entry of its configuration.*depths"):
        made(args={"depth": [1]})
    with pytest.raises(ConfigError, match="segformer cannot be made with depths='x'"):
        made(args={"depths": "x"})
    with pytest.raises(ConfigError, match=f"a path.* Give model.checkpoint={saved}"):
        made(weights=str(saved.parent))
    with pytest.raises(ConfigError, match=r"only one can be loaded\. Give model\.weights=none"):
        made(weights="nvidia/mit-b0", checkpoint=saved)


def test_without_the_package_it_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(ConfigError, match=r"pip install 'segprune\[transformers\]'"):
        made()
