from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from torch import nn

from segprune.errors import ConfigError
from segprune.pruner.cap import ContextTraining
from segprune.pruner.sparse import SparseTraining
from segprune.stage.contract import Context
from segprune.stage.several_gpus import refuse_gpus
from tests.tiny import CPU, tiny_context, tiny_net, tiny_schedule
from tests.toys import Plain


@dataclass(frozen=True)
class Own:
    """A step factory that says nothing."""


def context(folder: Path, gpus: int) -> Context:
    return replace(tiny_context(folder), hardware=replace(CPU, gpus=gpus))


@pytest.mark.parametrize(
    ("gpus", "changes", "part", "said"),
    [
        (
            3,
            {"batch_size": 4},
            None,
            r"train\.batch_size is 4.*Give train\.batch_size=3 or train\.batch_size=6, or",
        ),
        (6, {"batch_size": 4}, None, r"Give train\.batch_size=6, or another"),
        (
            2,
            {"compile": True},
            None,
            r"train\.compile is true and gpus is 2.*train\.compile=false, or gpus=1",
        ),
        (2, {}, Own(), r"gpus is 2, but .*Own, which train is for.*Give gpus=1"),
        (
            2,
            {},
            ContextTraining(
                penalty=0.01, memory=0.9, softening=0.1, pool=17, schedule=tiny_schedule(keep="last")
            ),
            "ContextTraining",
        ),
    ],
)
def test_what_gpus_cannot_do_together_is_refused(
    gpus: int, changes: dict[str, object], part: object, said: str, tmp_path: Path
) -> None:
    schedule = tiny_schedule(**changes)
    with pytest.raises(ConfigError, match=said):
        refuse_gpus(context(tmp_path, gpus), "train", schedule, part)
    refuse_gpus(context(tmp_path, 1), "train", schedule, part)


def test_plain_and_sparse_training_are_not_refused(tmp_path: Path) -> None:
    ctx, schedule = context(tmp_path, 2), tiny_schedule()
    refuse_gpus(ctx, "train", schedule, None)
    refuse_gpus(ctx, "train", schedule, SparseTraining(penalty=0.01, schedule=tiny_schedule()))


def test_a_norm_that_cannot_be_shared_is_refused(tmp_path: Path) -> None:
    class Odd(Plain):
        def __init__(self) -> None:
            super().__init__()
            self.odd = nn.BatchNorm1d(4)

    ctx = replace(context(tmp_path, 2), build=Odd)
    with pytest.raises(
        ConfigError, match=r"kind BatchNorm1d, whose statistics GPUs cannot share\. Give gpus=1"
    ):
        refuse_gpus(ctx, "train", tiny_schedule(), None)
    refuse_gpus(replace(ctx, build=tiny_net), "train", tiny_schedule(), None)
