from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from segprune.dataset.contract import SegData
from segprune.errors import TrainingError
from segprune.measure.passes import ONE_PASS, Passes
from segprune.model.contract import SegmentationNet
from segprune.schedule.schedule import Schedule
from segprune.training.loop import fit
from segprune.training.step import Epoch, Step, Training
from tests.tiny import CPU, tiny_data, tiny_net, tiny_schedule
from tests.toys import Plain


def run(
    folder: Path,
    *,
    net: SegmentationNet | None = None,
    data: SegData | None = None,
    schedule: Schedule | None = None,
    on_epoch=lambda epoch: None,
    passes: Passes = ONE_PASS,
) -> tuple[SegmentationNet, tuple[Epoch, ...]]:
    folder.mkdir(exist_ok=True)
    training = Training(
        data=data or tiny_data(),
        schedule=schedule or tiny_schedule(),
        seed=0,
        hardware=CPU,
        folder=folder,
        on_epoch=on_epoch,
        passes=passes,
    )
    trained, curve, _ = fit(net or tiny_net(), training, Step)
    return trained, curve


def equal(a: SegmentationNet, b: SegmentationNet) -> bool:
    return all(
        torch.equal(x, y) for x, y in zip(a.state_dict().values(), b.state_dict().values(), strict=True)
    )


def test_it_learns_and_leaves_the_given_network_alone(tmp_path: Path) -> None:
    net = tiny_net()
    trained, curve = run(tmp_path, net=net, schedule=tiny_schedule(epochs=12))
    assert curve[-1].loss < 0.5 * curve[0].loss
    assert equal(net, tiny_net())
    assert not equal(trained, net)


class Frames(Plain):
    """Reads its images as frames of one."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Sequential(nn.Conv3d(3, 6, (1, 3, 3), padding=(0, 1, 1)), nn.Flatten(1, 2))

    def forward(self, image: Tensor) -> Tensor:
        return super().forward(image[:, :, None])

    def normalise(self, image: Tensor) -> Tensor:
        return super().normalise(image[:, :, 0])[:, :, None]


def test_layers_in_three_dimensions_are_trained(tmp_path: Path) -> None:
    trained, _ = run(tmp_path, net=Frames())
    assert trained.first[0].weight.isfinite().all()


def test_the_same_seed_gives_the_same_bits(tmp_path: Path) -> None:
    first, curve = run(tmp_path / "a")
    second, again = run(tmp_path / "b")
    assert equal(first, second)
    assert curve == again


@pytest.mark.slow
def test_a_run_killed_after_any_epoch_ends_in_the_same_bits(tmp_path: Path) -> None:
    schedule = tiny_schedule(epochs=4, optimizer="sgd", keep="best")
    whole, curve = run(tmp_path / "whole", schedule=schedule)

    for last in range(4):

        def stop(epoch: Epoch, last: int = last) -> None:
            if epoch.epoch == last:
                raise KeyboardInterrupt

        folder = tmp_path / f"killed-{last}"
        with pytest.raises(KeyboardInterrupt):
            run(folder, schedule=schedule, on_epoch=stop)
        resumed, resumed_curve = run(folder, schedule=schedule)
        assert equal(whole, resumed)
        assert curve == resumed_curve


def test_the_best_epoch_on_select_counts_the_first_of_equals(tmp_path: Path) -> None:
    schedule = tiny_schedule(epochs=6, keep="best")
    best, curve = run(tmp_path, schedule=schedule)
    index = max(range(6), key=lambda i: (curve[i].select_miou_percent or 0.0, -i))

    # the same training stopped after that epoch, keeping the last, must give the same weights
    def stop(epoch: Epoch) -> None:
        if epoch.epoch == index:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "stopped", schedule=schedule, on_epoch=stop)
    saved = torch.load(tmp_path / "stopped" / "progress.pt", weights_only=True)
    assert all(torch.equal(value, saved["net"][name]) for name, value in best.state_dict().items())


def test_without_a_select_split_the_last_epoch_counts(tmp_path: Path) -> None:
    data = tiny_data(select=None)
    best, curve = run(tmp_path / "a", data=data, schedule=tiny_schedule(keep="best"))
    last, _ = run(tmp_path / "b", data=data, schedule=tiny_schedule(keep="last"))
    assert equal(best, last)
    assert [epoch.select_miou_percent for epoch in curve] == [None, None]


def test_accumulated_batches_equal_one_large_batch(tmp_path: Path) -> None:
    # without batch norm, and with equally many labelled pixels a batch, two halves are one whole
    class NoNorm(Plain):
        def __init__(self) -> None:
            super().__init__()
            self.first[1], self.second[1] = torch.nn.Identity(), torch.nn.Identity()

    def build() -> SegmentationNet:
        with torch.random.fork_rng():
            torch.manual_seed(0)
            return NoNorm().double()

    common = {"epochs": 1, "class_weights": "none", "optimizer": "sgd"}
    data = tiny_data(select=None, fit=AsDouble(tiny_data().fit))
    whole, _ = run(tmp_path / "a", net=build(), data=data, schedule=tiny_schedule(batch_size=8, **common))
    halves, _ = run(
        tmp_path / "b", net=build(), data=data, schedule=tiny_schedule(batch_size=4, accumulate=2, **common)
    )
    for a, b in zip(whole.parameters(), halves.parameters(), strict=True):
        assert torch.allclose(a, b, rtol=1e-4, atol=1e-6)


class AsDouble:
    def __init__(self, items) -> None:
        self.items = items

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int):
        item = self.items[index]
        return item._replace(image=item.image.double())


class Explodes(Plain):
    def forward(self, image: Tensor) -> Tensor:
        return super().forward(image) * float("inf")


def test_a_loss_that_is_not_finite_stops_and_says_where(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"loss is nan at epoch 1, step 1 of 2.*Lower train\.lr"):
        run(tmp_path, net=Explodes())


def test_resumed_training_reports_its_first_epochs_too(tmp_path: Path) -> None:
    def stop(epoch: Epoch) -> None:
        if epoch.epoch == 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, schedule=tiny_schedule(epochs=3), on_epoch=stop)
    seen: list[int] = []
    run(tmp_path, schedule=tiny_schedule(epochs=3), on_epoch=lambda epoch: seen.append(epoch.epoch))
    assert seen == [0, 1, 2]


@pytest.mark.parametrize("damage", [b"", b"not a file of torch", b"PK\x03\x04"])
def test_damaged_progress_starts_the_training_again(
    tmp_path: Path, damage: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    whole, _ = run(tmp_path / "whole")
    (tmp_path / "damaged").mkdir()
    (tmp_path / "damaged" / "progress.pt").write_bytes(damage)
    again, _ = run(tmp_path / "damaged")
    assert equal(whole, again)
    assert "is damaged" in caplog.text


def test_an_incomplete_window_averages_the_batches_it_has(tmp_path: Path) -> None:
    # one batch an epoch: accumulating up to four of them is then the same as not accumulating
    data = tiny_data(select=None)
    one, many = (
        tiny_schedule(batch_size=8, optimizer="sgd"),
        tiny_schedule(batch_size=8, optimizer="sgd", accumulate=4),
    )
    plain, _ = run(tmp_path / "a", data=data, schedule=one)
    windowed, _ = run(tmp_path / "b", data=data, schedule=many)
    assert equal(plain, windowed)


def test_the_select_split_is_shown_as_the_report_split_is(tmp_path: Path) -> None:
    whole = run(tmp_path / "a", passes=ONE_PASS)[1]
    tiles = run(tmp_path / "b", passes=Passes(tile=(8, 8), overlap=0.0))[1]
    assert [epoch.loss for epoch in whole] == [epoch.loss for epoch in tiles]
    assert [epoch.select_miou_percent for epoch in whole] != [epoch.select_miou_percent for epoch in tiles]
