"""Loading for prediction: the same as what was evaluated, and no code that nobody named."""

import dataclasses
import doctest
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import segprune
from segprune import status
from segprune.checkpoint import checkpoint
from segprune.dataset.contract import Bands
from segprune.dataset.items import ArraySource, EvaluationItems
from segprune.errors import CheckpointError, ConfigError, DataError
from segprune.graph.cut import cut
from segprune.measure.inference import View, infer
from segprune.measure.passes import ONE_PASS, Passes
from segprune.model.bands import for_bands
from segprune.model.unet import unet
from segprune.predict import predictor
from segprune.stage.kept import write_state
from segprune.transform.cut import Cut
from tests.tiny import tiny_context, tiny_data
from tests.toys import Residual, toy

SIZE_HW = (16, 24)
UNET = {
    "_target_": "segprune.model.unet.unet",
    "width": 4,
    "max_width": 8,
    "depth": 2,
    "convs_per_level": 1,
    "upsample": "bilinear",
}
IMAGES = np.random.default_rng(0).integers(0, 256, (3, 32, 40, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint of a small cut U-Net."""
    place = tmp_path_factory.mktemp("entry")
    ctx = tiny_context(place, data=tiny_data(size_hw=SIZE_HW))
    about = {**ctx.about, "model": UNET}
    ctx = dataclasses.replace(ctx, about=about)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        dense = unet(**{key: value for key, value in UNET.items() if key != "_target_"}, num_classes=4)
    plan = {"encoder.0.0.0": (1,)}
    write_state(place, ctx, cut(dense, plan), (Cut(plan),), "key")
    return place


def rewritten(folder: Path, place: Path, **changes: Any) -> Path:
    """The checkpoint elsewhere, with other words in its description; None: without the key."""
    description = {**json.loads((folder / "net.json").read_text()), **changes}
    kept = {key: value for key, value in description.items() if value is not None}
    (place / "net.json").write_text(json.dumps(kept))
    (place / "weights.safetensors").write_bytes((folder / "weights.safetensors").read_bytes())
    return place


def test_it_predicts_what_the_evaluation_measures(folder: Path) -> None:
    net = segprune.load(folder)
    labels = np.zeros(IMAGES.shape[:3], dtype=np.uint8)
    seen: list[View] = []
    items = EvaluationItems(ArraySource(IMAGES, labels), SIZE_HW)
    infer([net.net], net.net, items, seen.append, batch_size=3, workers=0, device=torch.device("cpu"))
    assert torch.equal(net.predict(IMAGES), torch.stack([view.prediction for view in seen]))
    assert torch.equal(net.logits(IMAGES), torch.stack([view.logits for view in seen]))


def test_it_knows_classes_colours_and_size(folder: Path) -> None:
    net = segprune.load(str(folder))
    assert net.classes == ("none", "red", "green", "blue")
    assert net.palette == ((0, 0, 0), (255, 0, 0), (0, 255, 0), (0, 0, 255))
    assert net.size_hw == SIZE_HW
    assert not net.net.training


def test_every_layout_of_the_same_image_gives_the_same(folder: Path) -> None:
    net, image = segprune.load(folder), np.ascontiguousarray(IMAGES[0, : SIZE_HW[0], : SIZE_HW[1]])
    mask = net.predict(image)
    assert (mask.shape, mask.dtype) == (SIZE_HW, torch.int64)
    planes = image.transpose(2, 0, 1) / 255
    for same in (Image.fromarray(image), torch.from_numpy(image), planes, torch.from_numpy(planes).float()):
        assert torch.equal(net.predict(same), mask)
    assert torch.equal(net.predict(image[None]), mask[None])
    assert net.logits(planes).shape == (4, *SIZE_HW)


def test_without_a_size_images_stay_at_their_own(folder: Path) -> None:
    net = dataclasses.replace(segprune.load(folder), size_hw=None)
    planes = torch.from_numpy(IMAGES.transpose(0, 3, 1, 2).astype(np.float32, order="C")) / 255
    with torch.no_grad():
        assert torch.equal(net.logits(IMAGES), net.net(planes))


@pytest.mark.parametrize(
    ("images", "said"),
    [
        (np.zeros((3, 8, 8), np.uint8), r"shape \(3, 8, 8\) and numbers of type uint8"),
        (np.zeros((8, 8, 3)), r"shape \(8, 8, 3\) and numbers of type float64"),
        (np.zeros((8, 8), np.uint8), r"shape \(8, 8\)"),
        (np.zeros((0, 8, 8, 3), np.uint8), r"shape \(0, 8, 8, 3\)"),
        (np.zeros((8, 8, 3), np.int64), "numbers of type int64"),
        (np.full((3, 8, 8), 128.0), "values from 128 to 128"),
        (np.full((3, 8, 8), np.nan), "values from nan to nan"),
        (torch.full((3, 8, 8), -0.5), "values from -0.5 to -0.5"),
    ],
)
def test_images_of_another_kind_are_refused(folder: Path, images: Any, said: str) -> None:
    with pytest.raises(DataError, match=said):
        segprune.load(folder).predict(images)


def test_a_run_gives_its_last_network(folder: Path, tmp_path: Path) -> None:
    run, store = tmp_path / "run", tmp_path / "store"
    for place in (run, store / "prune" / "a", store / "finetune" / "b", store / "eval" / "c"):
        place.mkdir(parents=True)
    rewritten(folder, store / "prune" / "a", size_hw=[8, 8])
    rewritten(folder, store / "finetune" / "b", size_hw=[9, 9])
    entries = ["prune/a", "finetune/b", "eval/c"]
    status.write(run, {"status": "done", "store": str(store), "entries": entries})
    assert segprune.load(run).size_hw == (9, 9)
    status.write(run, {"status": "failed", "store": str(store), "entries": ["eval/c"]})
    with pytest.raises(CheckpointError, match=r"run \(failed\) has no network in its store"):
        segprune.load(run)


def test_every_run_that_shares_a_network_keeps_its_own_colours_and_passes(
    folder: Path, tmp_path: Path
) -> None:
    palettes, passes = (((1, 2, 3),) * 4, ((7, 8, 9),) * 4), (Passes(flips=True), ONE_PASS)
    for name, palette, shown in zip(("first", "second"), palettes, passes, strict=True):
        run = tmp_path / name
        run.mkdir()
        status.write(run, {"status": "killed", "store": str(folder.parent), "entries": [folder.name]})
        said = checkpoint.prediction(tiny_data(palette=palette), shown)
        (run / status.ORIGIN).write_text(json.dumps({"prediction": said}))
    found = [segprune.load(tmp_path / name) for name in ("first", "second")]
    assert [net.palette for net in found] == [*palettes]
    assert [net.passes for net in found] == [*passes]
    (tmp_path / "first" / status.ORIGIN).write_text("{}")  # a version that did not record it
    assert segprune.load(tmp_path / "first").palette == segprune.load(folder).palette
    (tmp_path / "first" / status.ORIGIN).write_text('{"prediction": {"pal')
    with pytest.raises(CheckpointError, match=r"origin\.json cannot be read .*Remove it"):
        segprune.load(tmp_path / "first")


def test_what_is_no_checkpoint_is_told(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="is not a checkpoint"):
        segprune.load(tmp_path)


@pytest.mark.parametrize("key", ["model", "classes"])
def test_a_description_without_model_or_classes_is_told(folder: Path, tmp_path: Path, key: str) -> None:
    with pytest.raises(CheckpointError, match="does not say how its network is built"):
        segprune.load(rewritten(folder, tmp_path, **{key: None}))


def test_of_a_version_that_wrote_no_colours_it_is_read(folder: Path, tmp_path: Path) -> None:
    net = segprune.load(rewritten(folder, tmp_path, palette=None, size_hw=None))
    assert (net.palette, net.size_hw) == (None, None)
    assert net.predict(IMAGES).shape == IMAGES.shape[:3]


@pytest.mark.parametrize(
    "node",
    [
        {"_target_": "os.system"},
        {"_target_": "segprune.store.inventory.remove", "folder": "/nowhere"},
        {"_target_": "segprune.model.unet.conv_bn_relu.__class__"},
        {"_target_": "segprune.model.torchvision_seg.partial"},
        {**UNET, "width": {"_target_": "segprune.model.backbone_weights.resnet_imagenet", "depth": 50}},
        {**UNET, "width": [{"_target_": "segprune.store.inventory.remove"}]},
        {"_target_": "tests.predict.test_predictor.colourful"},
    ],
)
def test_code_that_nobody_named_is_not_run(folder: Path, tmp_path: Path, node: dict[str, Any]) -> None:
    with pytest.raises((CheckpointError, ConfigError), match=r"none of segprune's models|cannot be imported"):
        segprune.load(rewritten(folder, tmp_path, model=node))


def colourful(*, num_classes: int) -> Residual:
    assert num_classes == 4
    return Residual()


def test_a_package_that_is_named_may_build_it(tmp_path: Path) -> None:
    ctx = tiny_context(tmp_path)
    ctx = dataclasses.replace(
        ctx, about={**ctx.about, "model": {"_target_": "tests.predict.test_predictor.colourful"}}
    )
    net = toy(Residual)
    write_state(tmp_path, ctx, net, (), "key")
    with pytest.raises(CheckpointError, match=r"extensions=\['tests'\]"):
        segprune.load(tmp_path)
    planes, net = torch.rand(3, 16, 16), net.to(memory_format=torch.channels_last)
    with torch.no_grad():
        assert torch.equal(segprune.load(tmp_path, extensions=["tests"]).logits(planes), net(planes[None])[0])


def test_the_examples_of_the_public_names_are_true(folder: Path) -> None:
    names = {"folder": folder, "image": IMAGES[0]}
    finder, runner = doctest.DocTestFinder(), doctest.DocTestRunner()
    found = finder.find(predictor.load, "load", globs={**vars(predictor), **names})
    assert sum(len(test.examples) for test in found) == 4
    for test in found:
        runner.run(test)
    assert runner.failures == 0


def test_the_public_names_are_these() -> None:
    assert sorted(segprune.__all__) == [
        *("BudgetError", "CheckpointError", "ConfigError", "CutError", "DataError", "Predictor"),
        *("SegpruneError", "StoreError", "TrackingError", "TrainingError", "__version__", "load"),
    ]
    assert all(getattr(segprune, name) for name in segprune.__all__)
    with pytest.raises(AttributeError, match="segprune has no 'lode'; there are BudgetError"):
        _ = segprune.lode


def test_the_import_alone_is_light() -> None:
    code = "import sys, segprune; segprune.__version__; print({'torch', 'numpy', 'hydra'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"


def test_the_example_of_the_readme_runs(folder: Path) -> None:
    readme = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
    (example,) = (
        one for one in re.findall(r"```python\n(.*?)```", readme, re.DOTALL) if "segprune.load" in one
    )
    names = {"image": IMAGES[0]}
    exec(example.replace("outputs/runs/<date>/<time>", str(folder)), names)
    assert names["mask"].shape == IMAGES.shape[1:3]


def test_images_are_shown_to_the_network_as_in_evaluation(folder: Path, tmp_path: Path) -> None:
    passes = Passes(tile=(8, 16), flips=True)
    shown = segprune.load(rewritten(folder, tmp_path, passes=passes.record()))
    plain = segprune.load(folder)
    assert (shown.passes, plain.passes) == (passes, ONE_PASS)
    planes = plain.preprocess(IMAGES[0])
    with torch.no_grad():
        expected = passes(plain.net, planes)
    back = torch.nn.functional.interpolate(expected, size=(32, 40), mode="bilinear")[0]
    assert torch.allclose(shown.logits(IMAGES[0]), back, atol=1e-5)
    assert not torch.allclose(plain.logits(IMAGES[0]), back, atol=1e-5)


def test_a_network_for_images_of_other_bands_takes_these_and_no_others(tmp_path: Path) -> None:
    bands = Bands(count=4, bits=16, mean=(0.1, 0.2, 0.3, 0.4), std=(1.0, 2.0, 1.0, 2.0))
    ctx = tiny_context(tmp_path, data=tiny_data(size_hw=SIZE_HW, bands=bands))
    ctx = dataclasses.replace(ctx, about={**ctx.about, "model": UNET, "bands": dataclasses.asdict(bands)})
    with torch.random.fork_rng():
        torch.manual_seed(0)
        dense = unet(**{key: value for key, value in UNET.items() if key != "_target_"}, num_classes=4)
    net = for_bands(dense, bands.mean, bands.std, SIZE_HW)
    write_state(tmp_path, ctx, net, (), "key")
    loaded = segprune.load(tmp_path)
    assert (loaded.bands, loaded.bits) == (4, 16)
    image = np.random.default_rng(0).integers(0, 65536, (*SIZE_HW, 4), dtype=np.uint16)
    planes = torch.from_numpy(image.transpose(2, 0, 1) / 65535).float()
    with torch.no_grad():
        assert torch.allclose(loaded.logits(image), net.eval()(planes[None])[0], atol=1e-5)
    assert torch.equal(loaded.predict(image), loaded.predict(planes))
    for wrong in (image[..., :3], image.astype(np.uint8)):
        with pytest.raises(DataError, match=r"give uint16 images as \(H, W, 4\)"):
            loaded.predict(wrong)
