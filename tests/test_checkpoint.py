import json
from pathlib import Path

import pytest
import torch

from segprune import checkpoint
from segprune.errors import CheckpointError
from segprune.graph.cut import cut
from segprune.model.contract import SegmentationNet
from tests.toys import TOYS, Plain, Residual, toy


def written(folder: Path, kind: type[SegmentationNet] = Plain) -> SegmentationNet:
    net = cut(toy(kind), {next(iter(dict(toy(kind).named_children()))) + ".0": (0,)})
    checkpoint.write(folder, net, plans=({"a": (0, 2)},), about={"seed": 3})
    return net


@pytest.mark.parametrize("kind", TOYS)
def test_a_cut_network_comes_back_bit_for_bit(tmp_path: Path, kind: type[SegmentationNet]) -> None:
    net = written(tmp_path, kind)
    back, plans, about = checkpoint.read(tmp_path, kind)
    assert (plans, about["seed"]) == (({"a": (0, 2)},), 3)
    image = torch.rand(2, 3, 20, 20)
    assert torch.equal(back.eval()(image), net.eval()(image))
    assert back.state_dict().keys() == net.state_dict().keys()
    assert all(torch.equal(tensor, net.state_dict()[name]) for name, tensor in back.state_dict().items())


def test_a_folder_without_a_checkpoint_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"is not a checkpoint: net\.json cannot be read"):
        checkpoint.read(tmp_path, Plain)


def test_damaged_weights_are_refused_by_their_checksum(tmp_path: Path) -> None:
    written(tmp_path)
    raw = bytearray((tmp_path / "weights.safetensors").read_bytes())
    raw[-1] ^= 1
    (tmp_path / "weights.safetensors").write_bytes(raw)
    with pytest.raises(CheckpointError, match=r"does not have the checksum that net\.json records"):
        checkpoint.read(tmp_path, Plain)


def test_missing_weights_are_refused(tmp_path: Path) -> None:
    written(tmp_path)
    (tmp_path / "weights.safetensors").unlink()
    with pytest.raises(CheckpointError, match=r"weights\.safetensors cannot be read"):
        checkpoint.read(tmp_path, Plain)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "is not JSON"),
        ("[]", "has format None; this version reads format 1"),
        (json.dumps({"format": 2}), "has format 2; this version reads format 1"),
        (json.dumps({"format": 1}), "lacks plans, weights_sha256; it is damaged"),
    ],
)
def test_a_damaged_or_foreign_description_is_refused(tmp_path: Path, text: str, message: str) -> None:
    written(tmp_path)
    (tmp_path / "net.json").write_text(text)
    with pytest.raises(CheckpointError, match=message):
        checkpoint.read(tmp_path, Plain)


def test_another_architecture_is_refused(tmp_path: Path) -> None:
    written(tmp_path)
    with pytest.raises(CheckpointError, match="belongs to another architecture"):
        checkpoint.read(tmp_path, Residual)


class MoreWeights(Plain):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("unknown", torch.zeros(1))


def test_weights_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    checkpoint.write(tmp_path, MoreWeights(), plans=(), about={})
    with pytest.raises(CheckpointError, match=r"does not hold a Plain of this configuration.*unknown"):
        checkpoint.read(tmp_path, Plain)


def test_no_file_of_a_checkpoint_is_a_pickle(tmp_path: Path) -> None:
    net = written(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["net.json", "weights.safetensors"]
    raw = (tmp_path / "weights.safetensors").read_bytes()
    header = json.loads(raw[8 : 8 + int.from_bytes(raw[:8], "little")])
    assert header.keys() - {"__metadata__"} == net.state_dict().keys()
