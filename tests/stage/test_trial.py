import copy
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from segprune.dataset.contract import Bands, Batch
from segprune.errors import ConfigError, DataError
from segprune.measure.passes import Passes
from segprune.model.bands import for_bands
from segprune.stage.trial import (
    refuse_batch,
    refuse_misfit,
    refuse_no_gradients,
    refuse_other_sizes,
    refuse_schedule,
    refuse_single,
    refuse_uncompiled,
)
from tests.tiny import Items, tiny_context, tiny_data, tiny_schedule
from tests.toys import Residual
from tests.training.test_recompute import Deep, InPlace


class Halving(Residual):
    """Halves its 16 px five times, which is one time more than there are pixels for."""

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        logits = super().forward(image)
        for _ in range(5):
            logits = torch.nn.functional.max_pool2d(logits, 2)
        return logits


class Pooling(Residual):
    """Norms one pixel, which one image alone does not allow in training."""

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return super().forward(image) + self.outer[1](self.stem(image).mean((2, 3), keepdim=True)).mean()


class Large(Residual):
    """Takes more memory than there is."""

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 1 bytes")


class Random(Residual):
    """Drops something in evaluation too."""

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.dropout(super().forward(image))


class Asleep(Residual):
    """Runs without gradients, in evaluation or always.

    Attributes:
        always: Which of the two.
    """

    always = True

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        with torch.set_grad_enabled(self.training and not self.always):
            return super().forward(image)


class AsleepInEvaluation(Asleep):
    """Runs with gradients in training."""

    always = False


def test_a_network_that_draws_numbers_in_evaluation_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="other logits when it is shown the same image again"):
        refuse_misfit(tiny_context(tmp_path, build=Random))


def test_a_network_that_cannot_learn_is_refused(tmp_path: Path) -> None:
    refuse_no_gradients(tiny_context(tmp_path))
    refuse_no_gradients(tiny_context(tmp_path, build=AsleepInEvaluation))
    with pytest.raises(ConfigError, match="logits have no gradients in training"):
        refuse_no_gradients(tiny_context(tmp_path, build=Asleep))


def test_a_network_that_runs_on_the_images_is_let_through(tmp_path: Path) -> None:
    refuse_misfit(tiny_context(tmp_path))
    refuse_misfit(tiny_context(tmp_path, build=Pooling))


def test_a_network_that_cannot_run_on_the_images_is_refused(tmp_path: Path) -> None:
    with pytest.raises(
        ConfigError, match=r"dataset\.size_hw is \[16, 16\], on which the network cannot run \(.*it runs on "
    ):
        refuse_misfit(tiny_context(tmp_path, build=Halving))


class Divided(Residual):
    """As transformers do."""

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        if any(side % 48 for side in image.shape[-2:]):
            raise ValueError("height and width must be divisible by 48")
        return super().forward(image)


class FourBands(Residual):
    """Takes images of four bands."""

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        torch.nn.functional.conv2d(image, torch.zeros(1, 4, 1, 1))
        return super().forward(image)


def test_the_size_that_is_advised_works(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"it runs on \[48,48\], so give 'dataset.size_hw=\[48,48\]'\."):
        refuse_misfit(tiny_context(tmp_path, build=Divided))
    fit = replace(tiny_data(), size_hw=(48, 48), fit=Large48())
    refuse_misfit(tiny_context(tmp_path, build=Divided, data=fit))


def test_a_size_is_advised_for_images_of_other_bands_too(tmp_path: Path) -> None:
    bands = Bands(count=5, bits=8, mean=(0.5,) * 5, std=(0.2,) * 5)
    data = replace(tiny_data(), bands=bands, fit=Large48(bands=5))
    net = for_bands(Divided(), bands.mean, bands.std, (48, 48))
    ctx = tiny_context(tmp_path, build=lambda: copy.deepcopy(net), data=data)
    with pytest.raises(ConfigError, match=r"it runs on \[48,48\], so give"):
        refuse_misfit(ctx)


def test_a_network_that_no_size_helps_is_not_told_to_take_larger_images(tmp_path: Path) -> None:
    with pytest.raises(
        ConfigError, match=r"nor does it run on larger ones, so the size is not what is wrong"
    ):
        refuse_misfit(tiny_context(tmp_path, build=FourBands))


class Large48:
    """One training image of 48 px."""

    def __init__(self, bands: int = 3) -> None:
        self.bands = bands

    def __len__(self) -> int:
        return 1

    def __getitem__(self, index: int, /) -> Batch:
        return Batch(torch.zeros(self.bands, 48, 48), torch.zeros(48, 48, dtype=torch.uint8))


def test_a_lack_of_memory_is_no_misfit(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="can't allocate memory"):
        refuse_misfit(tiny_context(tmp_path, build=Large))


@pytest.mark.parametrize(
    "error",
    [
        torch.AcceleratorError("CUDA error: no kernel image is available for execution on the device\nmore"),
        RuntimeError("cuDNN error: CUDNN_STATUS_NOT_SUPPORTED. This error may appear if ..."),
    ],
)
def test_an_error_of_the_gpu_is_told_in_its_own_words(error: RuntimeError, tmp_path: Path) -> None:
    class Failing(Residual):
        def forward(self, image: torch.Tensor) -> torch.Tensor:
            raise error

    with pytest.raises(ConfigError, match=r"^the network cannot run on cpu: ") as said:
        refuse_misfit(tiny_context(tmp_path, build=Failing))
    assert str(error).partition("\n")[0] in str(said.value)
    assert "larger" not in str(said.value)
    assert "size_hw" not in str(said.value)


def test_a_batch_that_can_never_be_filled_is_refused(tmp_path: Path) -> None:
    ctx = tiny_context(tmp_path, data=tiny_data(fit=Items(8, seed=0)))
    refuse_batch(ctx, "train.batch_size", 8)
    with pytest.raises(
        DataError, match=r"^a\.b is 9, but the training images are only 8; give a\.b=8 or less"
    ):
        refuse_batch(ctx, "a.b", 9)


def test_one_image_at_a_time_is_refused_for_a_network_that_needs_two(tmp_path: Path) -> None:
    refuse_batch(tiny_context(tmp_path), "train.batch_size", 1)
    with pytest.raises(
        ConfigError, match=r"^train\.batch_size is 1, on which .* cannot be trained .*give 2 or"
    ):
        refuse_batch(tiny_context(tmp_path, build=Pooling), "train.batch_size", 1)
    alone = tiny_context(tmp_path, build=Pooling, data=tiny_data(fit=Items(1, seed=0)))
    with pytest.raises(ConfigError, match=r"^only one, .*give the dataset more training images"):
        refuse_single(alone, "only one")


@pytest.mark.slow
def test_a_missing_compiler_is_told_before_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from torch._inductor import config

    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    with (
        config.patch({"cpp.cxx": ("/nonexistent/g++",)}),
        pytest.raises(
            ConfigError, match=r"^train\.compile is true, but torch cannot compile for cpu here \(.*"
        ),
    ):
        refuse_uncompiled(torch.device("cpu"), "train.compile")


def test_activations_that_can_be_computed_twice_are_let_through(tmp_path: Path) -> None:
    refuse_schedule(tiny_context(tmp_path, build=Deep), "train", tiny_schedule(checkpointing=True))


def test_a_network_without_blocks_spares_nothing_and_is_refused(tmp_path: Path) -> None:
    with pytest.raises(
        ConfigError, match=r"^train\.checkpointing is true, but Residual has no submodule of several layers"
    ):
        refuse_schedule(tiny_context(tmp_path), "train", tiny_schedule(checkpointing=True))


def test_a_network_that_cannot_be_computed_twice_is_refused_before_work(tmp_path: Path) -> None:
    with pytest.raises(
        ConfigError, match=r"InPlace cannot be computed twice \(.*\)\. Give finetune\.checkpointing=false\."
    ):
        refuse_schedule(tiny_context(tmp_path, build=InPlace), "finetune", tiny_schedule(checkpointing=True))


def test_tiles_are_not_larger_than_images(tmp_path: Path) -> None:
    ctx = tiny_context(tmp_path)
    refuse_misfit(replace(ctx, passes=Passes(tile=(16, 8))))
    with pytest.raises(ConfigError, match=r"eval\.tile is \[16, 32\].*size_hw=\[16, 16\].*eval\.tile=null"):
        refuse_misfit(replace(ctx, passes=Passes(tile=(16, 32))))


def test_a_network_that_cannot_run_on_a_tile_or_at_a_scale_is_refused(tmp_path: Path) -> None:
    class Even(Residual):
        def forward(self, image: torch.Tensor) -> torch.Tensor:
            assert image.shape[-1] % 8 == 0, "sides must be divisible by 8"
            return super().forward(image)

    ctx = tiny_context(tmp_path, build=Even)
    with pytest.raises(ConfigError, match=r"eval\.tile is \[12, 12\], on which the network cannot run"):
        refuse_misfit(replace(ctx, passes=Passes(tile=(12, 12))))
    with pytest.raises(
        ConfigError, match=r"eval\.scales has 0\.75, so images have \[12, 12\] px.*leave it out"
    ):
        refuse_misfit(replace(ctx, passes=Passes(scales=(0.75, 1.0))))
    refuse_misfit(replace(ctx, passes=Passes(scales=(0.75, 1.0), tile=(16, 16))))


def test_a_file_of_one_size_is_not_shown_scaled_images(tmp_path: Path) -> None:
    ctx = replace(tiny_context(tmp_path), passes=Passes(scales=(0.5, 1.0)))
    with pytest.raises(
        ConfigError, match=r"eval\.scales is \[0\.5, 1\.0\], but the file.*eval\.tile=\[16, 16\]"
    ):
        refuse_other_sizes(ctx, "the file", "")
    refuse_other_sizes(replace(ctx, passes=replace(ctx.passes, tile=(16, 16))), "the file", "")
