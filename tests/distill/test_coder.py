from pathlib import Path

import pytest
import torch
from torch import Tensor

from segprune.dataset.contract import Batch
from segprune.distill.coder import AutoEncoder, Coding, coder_loss, encoder, first_look, train_coder
from segprune.distill.contract import Seen
from segprune.training.step import Epoch, Training
from tests.distill.loss_laws import maps
from tests.tiny import CPU, tiny_data, tiny_schedule

CODING = Coding(width=0.5, stride=2, epochs=2, lr=0.05, weight_decay=1e-4, sparsity=1e-7)


def look(batch: Batch) -> Seen:
    """A teacher whose map of 4 channels has two that say something and two that repeat it."""
    image = torch.nn.functional.avg_pool2d(batch.image, 2)
    features = torch.cat([image[:, :2], 2 * image[:, :2]], 1)
    return Seen(logits=image, features={"early": image, "late": features})


def training(folder: Path, on_epoch=lambda epoch: None) -> Training:
    folder.mkdir(exist_ok=True)
    return Training(
        data=tiny_data(), schedule=tiny_schedule(), seed=0, hardware=CPU, folder=folder, on_epoch=on_epoch
    )


@pytest.mark.parametrize(("size", "stride"), [((6, 8), 1), ((6, 8), 2), ((5, 7), 2)])
def test_what_comes_back_has_the_size_of_the_map(size: tuple[int, int], stride: int) -> None:
    assert AutoEncoder(4, 2, stride)(maps(0, 2, 4, *size)).shape == (2, 4, *size)


def test_the_code_is_not_negative() -> None:
    code = encoder(4, 2, 1)(maps(0, 2, 4, 6, 8))
    assert code.shape == (2, 2, 6, 8)
    assert code.min() == 0


def test_the_loss_is_the_squared_error_and_the_code_by_the_values_of_the_map() -> None:
    net, seen = AutoEncoder(4, 2, 1).eval(), maps(0, 2, 4, 6, 8)
    error, code = (net(seen) - seen).square().mean(), net.encoder(seen).abs().sum()
    assert torch.allclose(coder_loss(net, seen, sparsity=3.0), error + 3 * code / seen.numel())


def test_a_look_at_one_image_says_the_sizes(tmp_path: Path) -> None:
    shapes = {place: seen.shape[:2] for place, seen in first_look(look, training(tmp_path)).items()}
    assert shapes == {"early": (1, 3), "late": (1, 4)}


def test_it_learns_to_give_the_map_back_and_ends_in_the_same_bits_after_a_kill(tmp_path: Path) -> None:
    seen: list[Epoch] = []

    def killed(epoch: Epoch) -> None:
        raise KeyboardInterrupt

    whole = train_coder(look, training(tmp_path / "a", seen.append), "late", 4, CODING)
    assert seen[-1].loss < seen[0].loss
    assert all(epoch.select_miou_percent is None for epoch in seen)
    with pytest.raises(KeyboardInterrupt):
        train_coder(look, training(tmp_path / "b", killed), "late", 4, CODING)
    again = train_coder(look, training(tmp_path / "b"), "late", 4, CODING)
    pairs = zip(whole.state_dict().values(), again.state_dict().values(), strict=True)
    assert all(torch.equal(one, other) for one, other in pairs)
    assert not whole.training


def test_its_own_schedule_replaces_that_of_the_student(tmp_path: Path) -> None:
    seen: list[Tensor | float] = []
    train_coder(look, training(tmp_path, lambda epoch: seen.append(epoch.lr)), "late", 4, CODING)
    assert len(seen) == 2
    assert 0 < float(seen[0]) <= 0.05
