from pathlib import Path

import pytest
import torch

from segprune.dataset.contract import Batch
from segprune.distill.kept_logits import KeptLogits, changing, write
from segprune.errors import TrainingError
from tests.tiny import Items


class Flipped(Items):
    """Flipped in every other epoch."""

    def __getitem__(self, index: int, /) -> Batch:
        item = super().__getitem__(index)
        return Batch(item.image.flip(-1), item.label) if index // self.count % 2 else item


def test_an_image_finds_its_logits_in_any_batch_and_another_one_does_not(tmp_path: Path) -> None:
    images, logits = torch.rand(5, 3, 4, 4), torch.rand(5, 2, 2, 2)
    write(tmp_path, iter([(images[:3], logits[:3]), (images[3:], logits[3:])]))
    kept = KeptLogits(tmp_path)
    order = [4, 0, 3]
    assert torch.equal(kept(images[order].to(memory_format=torch.channels_last)), logits[order])
    with pytest.raises(TrainingError, match="cache_logits=false"):
        kept(images[:1].flip(-1))  # the same numbers elsewhere
    with pytest.raises(TrainingError, match="cache_logits=false"):
        kept(images[:1] + 1e-6)


def test_images_that_change_from_epoch_to_epoch_are_noticed() -> None:
    assert not changing(Items(3, seed=0))
    assert changing(Flipped(3, seed=0))
