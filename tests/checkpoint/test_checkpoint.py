import copy
import functools
import hashlib
import json
import os
import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from safetensors.torch import load, save
from torch import nn

from segprune.checkpoint import checkpoint
from segprune.errors import CheckpointError, ConfigError
from segprune.graph.cut import cut
from segprune.model.backbone_weights import load_backbone
from segprune.model.contract import SegmentationNet
from segprune.transform import registry
from segprune.transform.contract import Transform
from segprune.transform.cut import Cut
from tests.toys import TOYS, Plain, Residual, toy


def written(folder: Path, kind: type[SegmentationNet] = Plain) -> SegmentationNet:
    net = small(kind)
    checkpoint.write(folder, net, transforms=(Cut({first_layer(kind): (0,)}),), about={"seed": 3})
    return net


@functools.cache
def small(kind: type[SegmentationNet]) -> SegmentationNet:
    return cut(toy(kind), {first_layer(kind): (0,)})


def first_layer(kind: type[SegmentationNet]) -> str:
    return next(iter(dict(kind().named_children()))) + ".0"


@pytest.mark.parametrize("kind", TOYS)
def test_a_cut_network_comes_back_bit_for_bit(tmp_path: Path, kind: type[SegmentationNet]) -> None:
    net = written(tmp_path, kind)
    back, transforms, about = checkpoint.read(tmp_path, kind)
    assert (transforms, about["seed"]) == ((Cut({first_layer(kind): (0,)}),), 3)
    image = torch.rand(2, 3, 20, 20)
    assert torch.equal(back.eval()(image), net.eval()(image))
    assert back.state_dict().keys() == net.state_dict().keys()
    assert all(torch.equal(tensor, net.state_dict()[name]) for name, tensor in back.state_dict().items())


def test_what_training_began_with_is_not_read_again(tmp_path: Path) -> None:
    def build() -> SegmentationNet:
        net = Plain()
        load_backbone(net, Path("on another machine.pth"), imagenet=dict, not_used=())
        return net

    written(tmp_path)
    checkpoint.read(tmp_path, build)
    with pytest.raises(ConfigError, match="no file"):
        build()


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
        ("[]", "has format None; this version reads the formats 1 and 2"),
        (
            json.dumps({"format": 3}),
            "has format 3; this version reads the formats 1 and 2. Use the version that",
        ),
        (json.dumps({"format": 1}), "lacks plans, weights_sha256; it is damaged"),
        (json.dumps({"format": 2}), "lacks transforms, weights_sha256; it is damaged"),
        (
            json.dumps({"format": 10**9}),
            "has format 1000000000; this version reads the formats 1 and 2. Use the version that",
        ),
        ("[" * 1_000_000, "is not JSON: maximum recursion depth exceeded"),
        ('{"a":' * 1_000_000, "is not JSON: maximum recursion depth exceeded"),
        (f'{{"format": {"9" * 5000}}}', "is not JSON: Exceeds the limit"),
        ("\0" * 100, "is not JSON"),
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
    checkpoint.write(tmp_path, MoreWeights(), transforms=(), about={})
    with pytest.raises(CheckpointError, match=r"does not hold a Plain of this configuration.*unknown"):
        checkpoint.read(tmp_path, Plain)


def test_no_file_of_a_checkpoint_is_a_pickle(tmp_path: Path) -> None:
    net = written(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["net.json", "weights.safetensors"]
    raw = (tmp_path / "weights.safetensors").read_bytes()
    header = json.loads(raw[8 : 8 + int.from_bytes(raw[:8], "little")])
    assert header.keys() - {"__metadata__"} == net.state_dict().keys()


def of_format_1(folder: Path, plans: object) -> None:
    """The description as it was before there were transforms other than cuts."""
    path = folder / "net.json"
    now = json.loads(path.read_text())
    assert now.pop("transforms")
    head = {"format": 1, "weights_sha256": now["weights_sha256"], "plans": plans}
    path.write_text(json.dumps({**head, "seed": now["seed"]}, indent=1))


def test_a_checkpoint_of_format_1_is_read(tmp_path: Path) -> None:
    net = written(tmp_path)
    of_format_1(tmp_path, [{"first.0": [0]}])
    back, transforms, about = checkpoint.read(tmp_path, Plain)
    assert (transforms, about["seed"]) == ((Cut({"first.0": (0,)}),), 3)
    assert all(torch.equal(tensor, net.state_dict()[name]) for name, tensor in back.state_dict().items())


@dataclass(frozen=True)
class Split:
    """A 1x1 convolution as two with ``rank`` channels in between."""

    kind: ClassVar[str] = "split"
    layer: str
    rank: int

    def to_json(self) -> dict[str, Any]:
        return {"layer": self.layer, "rank": self.rank}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "Split":
        return cls(**values)

    def replay(self, net: SegmentationNet) -> SegmentationNet:
        net = copy.deepcopy(net)
        whole = net.get_submodule(self.layer)
        parts = (
            nn.Conv2d(whole.in_channels, self.rank, 1),
            nn.Conv2d(self.rank, whole.out_channels, 1),
        )
        setattr(net, self.layer, nn.Sequential(*parts))
        return net

    def describe(self) -> str:
        return f"split {self.layer}"


@pytest.fixture
def split(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "_KINDS", dict(registry._kinds()))
    registry.register(Split)


CHAIN = (Cut({"first.0": (0,)}), Split("bare", 2), Cut({"second.0": (1, 2)}))


@functools.cache
def chained(count: int) -> SegmentationNet:
    """The network after the first transforms of the chain."""
    return CHAIN[count - 1].replay(chained(count - 1)).eval() if count else toy(Plain)


@pytest.mark.parametrize("count", [1, 2, 3])
@pytest.mark.usefixtures("split")
def test_a_network_of_several_transforms_comes_back_bit_for_bit(tmp_path: Path, count: int) -> None:
    net = chained(count)
    checkpoint.write(tmp_path, net, transforms=CHAIN[:count], about={})
    back, transforms, _ = checkpoint.read(tmp_path, Plain)
    assert transforms == CHAIN[:count]
    image = torch.rand(2, 3, 8, 8)
    assert torch.equal(back.eval()(image), net(image))


@pytest.mark.parametrize(
    ("transforms", "message"),
    [
        (CHAIN[:2], r"leave 5 channels of 'second\.0', the weights have 3"),
        ((CHAIN[0], CHAIN[2]), r"holds no 'bare\.weight'"),
        (
            (CHAIN[0], Split("base", 2), CHAIN[2]),
            r"kind 'split' that cannot be replayed .*AttributeError.*base",
        ),
        ((CHAIN[0], Split("bare", 1), CHAIN[2]), r"'bare\.0\.weight' of shape"),
        ((Cut({"first.0": (6,)}), *CHAIN[1:]), r"removes the channels \[6\] of 'first\.0'"),
        ((Cut({"nowhere": (0,)}), *CHAIN[1:]), r"names 'nowhere', which is no layer"),
        (
            (Cut({"first.0": tuple(range(6))}), *CHAIN[1:]),
            r"kind 'cut' that cannot be replayed .*removes 6 of the 6",
        ),
    ],
)
@pytest.mark.usefixtures("split")
def test_transforms_that_the_weights_contradict_are_refused(
    tmp_path: Path, transforms: Sequence[Transform], message: str
) -> None:
    checkpoint.write(tmp_path, chained(len(CHAIN)), transforms=CHAIN, about={})
    redescribed(tmp_path, transforms=[registry.to_record(one) for one in transforms])
    with pytest.raises(CheckpointError, match=message):
        checkpoint.read(tmp_path, Plain)


def test_a_transform_that_nobody_knows_is_refused_by_the_description_alone(tmp_path: Path) -> None:
    written(tmp_path)
    redescribed(tmp_path, transforms=[{"kind": "melted", "package": "elsewhere"}])
    with pytest.raises(CheckpointError, match=r"net\.json was made by .*'melted'.*extensions=\[elsewhere\]"):
        checkpoint.describe(tmp_path)


def redescribed(folder: Path, **changes: object) -> None:
    path = folder / "net.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"transforms": {"kind": "cut"}}, r"transforms is \{'kind': 'cut'\}; input should be a valid list"),
        ({"transforms": ["cut"]}, r"transforms\.0 is 'cut'; input should be a valid dict"),
        ({"plans": {"a": [0]}}, r"plans is \{'a': \[0\]\}; input should be a valid list"),
        ({"plans": [["a", 0]]}, r"plans\.0 is \['a', 0\]; input should be a valid dict"),
        ({"plans": [{"a": 0}]}, r"plans\.0\.a is 0; input should be a valid list"),
        ({"plans": [{"a": [-1]}]}, r"plans\.0\.a\.0 is -1; input should be greater than or equal to 0"),
        ({"plans": [{"a": [0.5]}]}, r"plans\.0\.a\.0 is 0\.5; input should be a valid integer"),
        ({"plans": [{"a": [True]}]}, r"plans\.0\.a\.0 is True; input should be a valid integer"),
        ({"plans": [{"a": ["0"]}]}, r"plans\.0\.a\.0 is '0'; input should be a valid integer"),
        ({"weights_sha256": 3}, r"weights_sha256 is 3; input should be a valid string"),
        ({"model": ["unet"]}, r"model is \['unet'\]; input should be a valid dict"),
        ({"classes": [1, 2]}, r"classes\.0 is 1; input should be a valid string"),
        ({"run_id": {}}, r"run_id is \{\}; input should be a valid string"),
    ],
)
def test_a_description_of_other_kinds_of_values_is_refused(
    tmp_path: Path, changes: Mapping[str, object], message: str
) -> None:
    written(tmp_path)
    redescribed(tmp_path, **changes)
    with pytest.raises(CheckpointError, match=rf"net\.json: {message}.*The file is damaged"):
        checkpoint.describe(tmp_path)


@pytest.mark.parametrize(
    ("plans", "message"),
    [
        ([{"../../first": [0]}], r"names '\.\./\.\./first', which is no layer"),
        (
            [{"first.0": [0, 0]}],
            r"removes the channels \[0, 0\] of 'first\.0'; they must be ascending, from 0 to 5",
        ),
        ([{"first.0": [6]}], r"removes the channels \[6\] of 'first\.0'"),
        ([{"first.0": [10**30]}], r"removes the channels \[1000"),
        ([], r"leave 6 channels of 'first\.0', the weights have 5"),
        ([{"first.0": []}], r"leave 6 channels of 'first\.0', the weights have 5"),
        ([{"first.0": [0, 1]}], r"leave 4 channels of 'first\.0', the weights have 5"),
        ([{"first.0": [0]}] * 2, r"leave 4 channels of 'first\.0', the weights have 5"),
    ],
)
@pytest.mark.parametrize("is_old", [False, True])
def test_plans_that_the_weights_contradict_are_refused(
    tmp_path: Path, plans: list[dict[str, list[int]]], message: str, is_old: bool
) -> None:
    written(tmp_path)
    if is_old:
        of_format_1(tmp_path, plans)
    else:
        cuts = [{"kind": "cut", "package": "segprune", "plan": plan} for plan in plans]
        redescribed(tmp_path, transforms=cuts)
    with pytest.raises(CheckpointError, match=message):
        checkpoint.read(tmp_path, Plain)


def forged(folder: Path, raw: bytes) -> None:
    """Weights with the right checksum, as somebody who means harm would write them."""
    (folder / "weights.safetensors").write_bytes(raw)
    redescribed(folder, weights_sha256=hashlib.sha256(raw).hexdigest())


def safetensors(header: object, data: bytes = b"") -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


def one(dtype: str, shape: list[int], *offsets: int) -> bytes:
    return safetensors({"bare.bias": {"dtype": dtype, "shape": shape, "data_offsets": offsets}}, b"\0" * 16)


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"\0" * 7,
        struct.pack("<Q", 2**64 - 1) + b"{}",
        struct.pack("<Q", 99_000_000) + b"{}",
        safetensors(b"[" * 100_000),
        safetensors([]),
        safetensors({"bare.bias": 3}),
        one("F32", [4], 0, 2**63),
        one("F32", [4], 16, 0),
        one("F32", [8], 0, 16),
        one("F32", [-4], 0, 16),
        one("F32", [2**63, 2**63], 0, 16),
        one("F4", [32], 0, 16),
        one("pickle", [4], 0, 16),
        safetensors({"bare.bias": {"dtype": "F32", "shape": [0, 2**63], "data_offsets": [0, 0]}}),
    ],
)
def test_forged_weights_are_refused_and_not_followed(tmp_path: Path, raw: bytes) -> None:
    written(tmp_path)
    forged(tmp_path, raw)
    with pytest.raises(CheckpointError, match=r"weights\.safetensors cannot be read: .*; it is damaged"):
        checkpoint.read(tmp_path, Plain)


def test_weights_cut_off_anywhere_are_refused(tmp_path: Path) -> None:
    written(tmp_path)
    path = tmp_path / "weights.safetensors"
    whole = path.read_bytes()
    for length in range(0, len(whole), 97):
        path.write_bytes(whole[:length])
        with pytest.raises(CheckpointError, match="does not have the checksum"):
            checkpoint.read(tmp_path, Plain)
        forged(tmp_path, whole[:length])
        with pytest.raises(CheckpointError, match="cannot be read: "):
            checkpoint.read(tmp_path, Plain)


Change = Callable[[dict[str, torch.Tensor]], object]
CHANGES: dict[str, Change] = {
    r"'first\.0\.weight' of shape \(7, 3, 3, 3\)": lambda w: w.update(
        {"first.0.weight": torch.ones(7, 3, 3, 3)}
    ),
    r"'first\.0\.weight' of shape \(5,\)": lambda w: w.update({"first.0.weight": torch.ones(5)}),
    r"'first\.0\.weight' of .*float16": lambda w: w.update({"first.0.weight": w["first.0.weight"].half()}),
    r"layers that do not fit each other": lambda w: w.update({"bare.weight": torch.ones(4, 3, 1, 1)}),
    r"'bare\.bias' holds values that are not finite": lambda w: w["bare.bias"].fill_(float("nan")),
    r"holds no 'bare\.bias'; it belongs to another": lambda w: w.pop("bare.bias"),
    r"does not hold a Plain .*more": lambda w: w.update({"more": torch.ones(1)}),
    r"has logits for \[2\] classes, but names 4": lambda w: w.update(
        {"head.weight": torch.ones(2, 4, 1, 1), "head.bias": torch.ones(2)}
    ),
}


@pytest.mark.parametrize("message", CHANGES)
def test_well_formed_weights_of_something_else_are_refused(tmp_path: Path, message: str) -> None:
    written(tmp_path)
    redescribed(tmp_path, classes=["a", "b", "c", "d"])
    weights = load((tmp_path / "weights.safetensors").read_bytes())
    CHANGES[message](weights)
    forged(tmp_path, save(weights))
    with pytest.raises(CheckpointError, match=message):
        checkpoint.read(tmp_path, Plain)


def test_files_too_large_to_be_true_are_not_read(tmp_path: Path) -> None:
    written(tmp_path)
    weights, description = tmp_path / "weights.safetensors", tmp_path / "net.json"
    os.truncate(weights, 10 << 40)  # ten terabytes of nothing, which take no space
    with pytest.raises(
        CheckpointError, match=r"weights\.safetensors is no plain file of at most 10\d{5} bytes"
    ):
        checkpoint.read(tmp_path, Plain)
    os.truncate(description, 1 << 40)
    with pytest.raises(CheckpointError, match=r"net\.json is no plain file of at most 16777216 bytes"):
        checkpoint.read(tmp_path, Plain)


@pytest.mark.parametrize("name", ["weights.safetensors", "net.json"])
def test_pipes_and_devices_are_not_read_and_links_are(tmp_path: Path, name: str) -> None:
    net = written(tmp_path)
    path, elsewhere = tmp_path / name, tmp_path / "elsewhere"
    path.rename(elsewhere)
    path.symlink_to(elsewhere)
    assert checkpoint.read(tmp_path, Plain)[0].state_dict().keys() == net.state_dict().keys()
    path.unlink()
    path.symlink_to("/dev/zero")
    with pytest.raises(CheckpointError, match="is no plain file"):
        checkpoint.read(tmp_path, Plain)
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(CheckpointError, match="is no plain file"):
        checkpoint.read(tmp_path, Plain)
    path.unlink()
    path.mkdir()
    with pytest.raises(CheckpointError, match="is no plain file"):
        checkpoint.read(tmp_path, Plain)


def test_nothing_that_a_description_names_is_called_or_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "checkpoint").mkdir()
    written(tmp_path / "checkpoint")
    canary = tmp_path / "canary"
    redescribed(
        tmp_path / "checkpoint",
        model={"_target_": "os.mkdir", "path": str(canary)},
        weights="../canary",
        run_id="../../canary",
    )
    opened: list[str] = []
    really = Path.open

    def spied(path: Path, *arguments: object, **options: object) -> object:
        opened.append(path.name)
        return really(path, *arguments, **options)

    monkeypatch.setattr(Path, "open", spied)
    checkpoint.read(tmp_path / "checkpoint", Plain)
    assert set(opened) == {"net.json", "weights.safetensors"}
    assert not canary.exists()


def test_a_network_that_diverged_is_not_written(tmp_path: Path) -> None:
    net = toy(Plain)
    net.bare.bias.data[1] = float("inf")
    with pytest.raises(
        CheckpointError, match=r"'bare\.bias' holds values that are not finite.*lower the learning"
    ):
        checkpoint.write(tmp_path, net, transforms=(), about={})
    assert list(tmp_path.iterdir()) == []
