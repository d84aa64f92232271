import copy
import io
import pickle
import urllib.error
from pathlib import Path

import pytest
import torch
import torchvision
from safetensors.torch import save_file
from torch import nn

from segprune.errors import CheckpointError, ConfigError
from segprune.model.backbone_weights import load_backbone, read_state_dict, resnet_imagenet
from segprune.model.initial import weights_to_come


def backbone() -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))


def load(net, weights, **changed):
    arguments = {"imagenet": never, "not_used": ("fc.",)}
    load_backbone(net, weights, **(arguments | changed))


def never():
    raise AssertionError("nobody asked for imagenet")


def states_equal(a: nn.Module, b: nn.Module) -> bool:
    return all(
        torch.equal(x, y) for x, y in zip(a.state_dict().values(), b.state_dict().values(), strict=True)
    )


@pytest.fixture
def trained() -> nn.Sequential:
    net = backbone()
    nn.init.uniform_(net[1].running_mean)
    return net


def save(state, path: Path) -> Path:
    save_file(state, path) if path.suffix == ".safetensors" else torch.save(state, path)
    return path


def test_none_leaves_the_weights():
    net = backbone()
    before = {key: value.clone() for key, value in net.state_dict().items()}
    load(net, "none")
    assert all(torch.equal(value, before[key]) for key, value in net.state_dict().items())


@pytest.mark.parametrize("suffix", [".pth", ".pt", ".safetensors"])
def test_file_fills_the_backbone_and_its_classifier_is_ignored(trained, suffix, tmp_path):
    state = trained.state_dict() | {"fc.weight": torch.zeros(2, 4), "fc.bias": torch.zeros(2)}
    net = backbone()
    load(net, save(state, tmp_path / f"weights{suffix}"))
    assert states_equal(net, trained)


def test_imagenet_is_asked_for_its_state_dict(trained):
    net = backbone()
    load(net, "imagenet", imagenet=trained.state_dict)
    assert states_equal(net, trained)


def test_keys_are_renamed_before_anything_else(trained):
    state = {f"module.{key}": value for key, value in trained.state_dict().items()}
    state["module.fc.weight"] = torch.zeros(2, 4)
    net = backbone()
    load(net, "imagenet", imagenet=lambda: state, rename=lambda key: key.removeprefix("module."))
    assert states_equal(net, trained)


def test_weights_without_batch_counters_are_taken(trained):
    state = {key: value for key, value in trained.state_dict().items() if "num_batches" not in key}
    net = backbone()
    load(net, "imagenet", imagenet=lambda: state)
    assert torch.equal(net[1].running_mean, trained[1].running_mean)


def test_weights_to_come_are_not_asked_for(trained):
    net = copy.deepcopy(trained)
    with weights_to_come():
        load(net, "imagenet")
        load(net, Path("missing.pth"))
    assert states_equal(net, trained)
    with pytest.raises(ConfigError, match="no file"):
        load(net, Path("missing.pth"))


def test_missing_keys_are_named(trained, tmp_path):
    state = trained.state_dict()
    del state["1.running_mean"]
    path = save(state, tmp_path / "weights.pth")
    with pytest.raises(
        CheckpointError, match=r"weights.pth, which does not fit .* 1 missing: 1.running_mean;"
    ):
        load(backbone(), path)


def test_only_the_first_unexpected_keys_are_named(trained):
    state = trained.state_dict() | {f"layer{i}": torch.zeros(1) for i in range(5)}
    with pytest.raises(CheckpointError, match=r"5 unexpected: layer0, layer1, layer2, \.\.\.;"):
        load(backbone(), "imagenet", imagenet=lambda: state)


def test_another_shape_is_named_with_both_shapes(trained):
    state = trained.state_dict() | {"1.bias": torch.zeros(6)}
    with pytest.raises(CheckpointError, match=r"1 of another shape: 1.bias \(6,\) instead of \(4,\)"):
        load(backbone(), "imagenet", imagenet=lambda: state)


def test_numbers_that_are_not_finite_or_not_floating_are_named(trained):
    state = trained.state_dict()
    state["0.weight"] = state["0.weight"].to(torch.int8)
    state["1.running_var"] = state["1.running_var"] * float("nan")
    with pytest.raises(
        CheckpointError,
        match=r"2 not of finite floating-point numbers: 0\.weight \(torch\.int8\), 1\.running_var \(not finite\);",
    ):
        load(backbone(), "imagenet", imagenet=lambda: state)


def test_refused_weights_leave_the_backbone_as_it_was(trained):
    net = backbone()
    before = {key: value.clone() for key, value in net.state_dict().items()}
    state = trained.state_dict() | {"1.bias": torch.zeros(6)}
    with pytest.raises(CheckpointError, match=r"1\.bias"):
        load(net, "imagenet", imagenet=lambda: state)
    assert all(torch.equal(value, before[key]) for key, value in net.state_dict().items())


@pytest.mark.parametrize("name", ["weights.npz", "imagenet21k"])
def test_other_suffix_is_refused(name):
    with pytest.raises(ConfigError, match=rf"model.weights is {name}; it must be none, imagenet or"):
        read_state_dict(Path(name))


def test_missing_file_is_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"absent\.pth, which is no file"):
        read_state_dict(tmp_path / "absent.pth")


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
@pytest.mark.parametrize(
    ("content", "told"), [(b"", "is empty"), (b"no weights at all", "is text that begins")]
)
def test_damaged_file_is_refused(suffix, content, told, tmp_path):
    path = tmp_path / f"damaged{suffix}"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=rf"damaged{suffix} {told}"):
        read_state_dict(path)


def test_truncated_file_is_refused(trained, tmp_path):
    buffer = io.BytesIO()
    torch.save(trained.state_dict(), buffer)
    path = tmp_path / "half.pth"
    path.write_bytes(buffer.getvalue()[: len(buffer.getvalue()) // 2])
    with pytest.raises(CheckpointError, match=r"half\.pth is damaged or not whole"):
        read_state_dict(path)


class Touch:
    """Unpickled by a careless reader, it makes a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


@pytest.mark.parametrize(
    "write", [torch.save, lambda thing, path: path.write_bytes(pickle.dumps(thing, protocol=2))]
)
def test_file_that_would_run_code_is_refused_and_runs_none(write, tmp_path):
    write({"weight": Touch(tmp_path / "touched")}, tmp_path / "evil.pth")
    with pytest.raises(CheckpointError, match=r"evil\.pth cannot be read as tensors alone"):
        read_state_dict(tmp_path / "evil.pth")
    assert not (tmp_path / "touched").exists()


@pytest.mark.parametrize("content", [{"state_dict": {"weight": torch.zeros(1)}, "epoch": 3}, torch.zeros(2)])
def test_file_with_more_than_tensors_is_refused(content, tmp_path):
    torch.save(content, tmp_path / "training.pth")
    with pytest.raises(CheckpointError, match=r"training\.pth holds something other than named tensors"):
        read_state_dict(tmp_path / "training.pth")


def test_imagenet_resnet_is_read_from_the_cache_of_torchvision(tmp_path, monkeypatch):
    published = torchvision.models.ResNet50_Weights.IMAGENET1K_V1
    cache = tmp_path / "hub" / "checkpoints"
    cache.mkdir(parents=True)
    torch.save({"conv1.weight": torch.full((1,), 7.0)}, cache / Path(published.url).name)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    assert torch.equal(resnet_imagenet(50)["conv1.weight"], torch.tensor([7.0]))


@pytest.mark.parametrize("depth", [50, 101])
def test_failed_download_says_what_to_do(depth, tmp_path, monkeypatch):
    def no_network(request, *_, **__):
        raise urllib.error.URLError("no route")

    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr("torch.hub.urlopen", no_network)
    with pytest.raises(
        ConfigError, match=rf"resnet{depth}-\w+\.pth could not be fetched .*no route.* to its path"
    ):
        resnet_imagenet(depth)
