import logging
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from segprune.errors import CheckpointError, ConfigError
from segprune.model import existing_weights
from segprune.model.existing_weights import load_existing
from segprune.model.initial import weights_to_come

State = dict[str, Tensor]


def net() -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.Conv2d(4, 2, 1))


def trained() -> State:
    return {name: torch.full_like(tensor, 7) for name, tensor in net().state_dict().items()}


def named(prefix: str) -> State:
    return {f"{prefix}{name}": tensor for name, tensor in trained().items()}


@pytest.mark.parametrize(
    "content",
    [
        trained(),
        named("module."),
        named("model."),
        named("net."),
        named("module.model."),
        {"state_dict": trained()},
        {"model": trained(), "epoch": 3},
        {"model_state_dict": trained(), "optimizer_state_dict": {"state": {}}},
        {"ema": trained()},
        {"state_dict": named("model."), "pytorch-lightning_version": "2.1", "hyper_parameters": {"lr": 0.1}},
        {"meta": {"epoch": 1}, "state_dict": named("module."), "optimizer": {}},  # mmseg
        {"model": {"state_dict": named("_orig_mod.")}},
        {"model_ema": {"n_averaged": torch.tensor(3), **named("module.")}},  # torchvision's references
        {"generator": trained(), "discriminator": {"0.weight": torch.ones(1)}},
        {"checkpoint": {"state_dict": trained()}, "optimizer": {"state": {0: {"exp_avg": torch.ones(4)}}}},
    ],
)
def test_weights_are_found_in_the_layouts_of_common_programs(tmp_path: Path, content: object) -> None:
    torch.save(content, tmp_path / "best.pth")
    here = net()
    load_existing(here, tmp_path / "best.pth")
    assert all((tensor == 7).all() for tensor in here.state_dict().values())


def test_safetensors_are_read_and_what_went_where_is_said_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(existing_weights, "_TOLD", set())
    save_file({**named("net."), "loss.weight": torch.ones(2)}, tmp_path / "best.safetensors")
    with caplog.at_level(logging.INFO):
        for _ in range(2):
            load_existing(net(), tmp_path / "best.safetensors", allow=["loss.*"])
    assert [record.message for record in caplog.records] == [
        "model.checkpoint: 9 tensors of best.safetensors, without 'net.' before their names; not used: loss.weight"
    ]


def test_other_weights_of_the_same_network_are_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(existing_weights, "_TOLD", set())
    average = {name: tensor + 1 for name, tensor in named("module.").items()}
    held = {"state_dict_ema": trained(), "model_ema": average, "model": trained(), "optimizer": {}}
    torch.save(held, tmp_path / "best.pth.tar")
    here = net()
    with caplog.at_level(logging.INFO):
        load_existing(here, tmp_path / "best.pth.tar")
    assert all((tensor == 7).all() for tensor in here.state_dict().values())
    assert caplog.messages == [
        "model.checkpoint: 9 tensors of best.pth.tar, under 'model'; not used, though they fit, are those under: "
        "'state_dict_ema', 'model_ema'"
    ]


@pytest.mark.filterwarnings("ignore:Validating sparse tensor")
@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda tensor: tensor.to(torch.int8), r"torch\.int8"),
        (lambda tensor: tensor.to(torch.complex64), r"torch\.complex64"),
        (lambda tensor: tensor.to_sparse(), r"torch\.sparse_coo"),
        (lambda tensor: tensor * float("nan"), "not finite"),
        (lambda tensor: tensor.half() * float("inf"), "not finite"),
    ],
)
def test_what_no_training_leaves_in_weights_is_refused(
    tmp_path: Path, change: Callable[[Tensor], Tensor], told: str
) -> None:
    torch.save(trained() | {"2.weight": change(trained()["2.weight"])}, tmp_path / "best.pt")
    here = net()
    before = {name: tensor.clone() for name, tensor in here.state_dict().items()}
    with pytest.raises(
        CheckpointError, match=rf" 1 not of finite floating-point numbers: 2\.weight \({told}\)\."
    ):
        load_existing(here, tmp_path / "best.pt")
    assert all(torch.equal(tensor, before[name]) for name, tensor in here.state_dict().items())


def test_integers_of_counters_half_precision_and_masks_in_buffers_are_loaded(tmp_path: Path) -> None:
    here = nn.Sequential(nn.BatchNorm2d(2))
    here.register_buffer("mask", torch.zeros(2))
    state = {
        name: tensor.half() if tensor.is_floating_point() else tensor
        for name, tensor in here.state_dict().items()
    }
    torch.save(state | {"mask": torch.tensor([0.0, float("-inf")])}, tmp_path / "best.pt")
    load_existing(here, tmp_path / "best.pt")
    assert here.mask.tolist() == [0.0, float("-inf")]


def test_a_file_that_ends_early_is_said_to_be_damaged(tmp_path: Path) -> None:
    path = tmp_path / "best.pth"
    torch.save(trained(), path)
    path.write_bytes(path.read_bytes()[:2000])
    with pytest.raises(CheckpointError, match=r"best\.pth is damaged or not whole .*download it again\.$"):
        load_existing(net(), path)


def test_what_does_not_fit_is_named_and_refused_unless_it_is_allowed(tmp_path: Path) -> None:
    state = {**trained(), "2.weight": torch.ones(19, 4, 1, 1), "3.weight": torch.ones(1)}
    del state["2.bias"], state["1.num_batches_tracked"]
    torch.save(state, tmp_path / "best.pt")
    with pytest.raises(
        CheckpointError,
        match=r"gives 19 classes, and the network 2; "
        r"the file lacks 1: 2\.bias; has in another shape 1: 2\.weight; has besides 1: 3\.weight\. .*allow",
    ):
        load_existing(net(), tmp_path / "best.pt")
    here = net()
    load_existing(here, tmp_path / "best.pt", allow=["2.*", "3.weight"])
    assert (here[0].weight == 7).all()
    assert not (here[2].weight == 7).any()
    torch.save({"other": torch.ones(1)}, tmp_path / "best.pt")
    with pytest.raises(CheckpointError, match="no name is the same"):
        load_existing(net(), tmp_path / "best.pt", allow=["*"])


def test_weights_for_another_number_of_classes_are_said_to_be_that(tmp_path: Path) -> None:
    state = {**trained(), "2.weight": torch.ones(19, 4, 1, 1), "2.bias": torch.ones(19)}
    torch.save(state, tmp_path / "best.pt")
    with pytest.raises(
        CheckpointError, match=r"network: it gives 19 classes, and the network 2; has in another"
    ):
        load_existing(net(), tmp_path / "best.pt")
    torch.save({**state, "0.weight": torch.ones(4, 1, 1, 1)}, tmp_path / "best.pt")  # of other images too
    with pytest.raises(CheckpointError, match=r"the network: has in another shape 3"):
        load_existing(net(), tmp_path / "best.pt")


class Code:
    """Would be executed by unpickling."""


def test_nothing_in_a_file_is_executed(tmp_path: Path) -> None:
    torch.save({"state_dict": trained(), "config": Code()}, tmp_path / "best.pth")
    with pytest.raises(CheckpointError, match=r"cannot be read as tensors alone.*never done\. Save it again"):
        load_existing(net(), tmp_path / "best.pth")
    torch.save({"epoch": 3}, tmp_path / "best.pth")
    with pytest.raises(CheckpointError, match=r"holds no named tensors, neither by itself nor under one"):
        load_existing(net(), tmp_path / "best.pth")


def test_no_file_is_refused_and_none_is_read_where_weights_come_later(tmp_path: Path) -> None:
    (tmp_path / "best.h5").touch()
    for name, told in (("absent.pth", "no file"), ("best.h5", r"no \.pth")):
        with pytest.raises(ConfigError, match=rf"model\.checkpoint is .*{name}, which is {told}"):
            load_existing(net(), tmp_path / name)
    with weights_to_come():
        load_existing(net(), tmp_path / "absent.pth")
    load_existing(net(), None)
