import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from omegaconf import OmegaConf
from torch import nn
from torch.optim import SGD, AdamW

from segprune.config.component import component
from segprune.errors import ConfigError
from segprune.loss.ce import CrossEntropy
from segprune.schedule.schedule import Schedule, autocast_dtype, learning_rate, make_optimizer
from tests.gpus import with_gpus

CONF = Path(__file__).parents[2] / "conf"
OF_ANOTHER = CONF / "finetune" / "like_train.yaml"
YAMLS = sorted({*(CONF / "train").glob("*.yaml"), *(CONF / "finetune").glob("*.yaml")} - {OF_ANOTHER})

PLAIN = Schedule(
    epochs=5,
    batch_size=4,
    accumulate=1,
    optimizer="adamw",
    lr=0.4,
    weight_decay=0.1,
    momentum=0.9,
    decay="poly",
    poly_power=2.0,
    warmup_epochs=1.0,
    loss=CrossEntropy(),
    class_weights="none",
    aux_weight=0.4,
    penalty=0.0,
    amp="auto",
    compile=False,
    checkpointing=False,
    grad_clip=None,
    keep="last",
)


def rates(schedule: Schedule, steps_per_epoch: int) -> list[float]:
    return [
        learning_rate(schedule, step, steps_per_epoch) for step in range(schedule.epochs * steps_per_epoch)
    ]


def test_poly_after_warmup_worked_by_hand() -> None:
    # 10 steps, 2 of warm-up: lr/2, lr; then p = 0/8, 1/8, ...: 0.4 * (1 - p)^2
    expected = [0.2, 0.4, *(0.4 * (1 - p / 8) ** 2 for p in range(8))]
    assert rates(PLAIN, 2) == pytest.approx(expected)
    assert rates(PLAIN, 2)[6] == pytest.approx(0.1)  # halfway: 0.4 / 4


def test_cosine_worked_by_hand() -> None:
    # 4 steps without warm-up: angles 0, 45, 90, 135 degrees
    schedule = replace(PLAIN, epochs=4, warmup_epochs=0.0, decay="cosine")
    root = math.sqrt(2) / 2
    assert rates(schedule, 1) == pytest.approx([0.4, 0.2 * (1 + root), 0.2, 0.2 * (1 - root)])


def test_constant_stays_after_a_warmup_of_part_of_an_epoch() -> None:
    # 1.5 epochs of 2 steps: 3 steps of warm-up
    schedule = replace(PLAIN, epochs=3, warmup_epochs=1.5, decay="constant")
    assert rates(schedule, 2) == pytest.approx([0.4 / 3, 0.8 / 3, 0.4, 0.4, 0.4, 0.4])


@pytest.mark.parametrize("decay", ["poly", "cosine"])
def test_the_rate_rises_to_lr_and_then_falls_towards_zero(decay: str) -> None:
    schedule = replace(PLAIN, epochs=20, decay=decay)
    values = rates(schedule, 50)
    assert max(values) == schedule.lr == values[49] == values[50]
    assert values[:50] == sorted(values[:50])
    assert values[50:] == sorted(values[50:], reverse=True)
    assert 0 < values[-1] < 1e-4 * schedule.lr


def test_a_warmup_that_rounds_up_to_all_steps_ends_with_lr() -> None:
    assert rates(replace(PLAIN, epochs=1, warmup_epochs=0.9), 1) == [0.4]


@pytest.mark.parametrize("step", [-1, 10])
def test_a_step_outside_of_the_schedule_is_refused(step: int) -> None:
    with pytest.raises(ValueError, match=f"step {step} is not one of the 10 steps"):
        learning_rate(PLAIN, step, 2)


@pytest.mark.parametrize("warmup_epochs", [5.1, 7.5])
def test_a_warmup_longer_than_the_training_is_refused(warmup_epochs: float) -> None:
    message = f"warmup_epochs is {warmup_epochs:g} but epochs is 5; .* give warmup_epochs=2.5, or more epochs"
    with pytest.raises(ConfigError, match=message):
        replace(PLAIN, warmup_epochs=warmup_epochs)


def test_a_single_epoch_warms_up_for_its_first_half() -> None:
    schedule = replace(PLAIN, epochs=1, warmup_epochs=1.0, decay="constant")
    assert schedule.warmup == 0.5
    assert rates(schedule, 4) == [PLAIN.lr / 2, PLAIN.lr, PLAIN.lr, PLAIN.lr]


def test_a_schedule_of_no_epochs_may_keep_its_warmup() -> None:
    assert replace(PLAIN, epochs=0).warmup_epochs == 1.0


def layers() -> nn.Module:
    conv = nn.Conv2d(3, 4, 3)
    return nn.Sequential(conv, nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 3, 1, bias=False), conv)


def test_norms_and_biases_are_not_decayed_and_every_parameter_is_in_one_group() -> None:
    net = layers()
    optimizer = make_optimizer(PLAIN, net)
    assert isinstance(optimizer, AdamW)
    decay = {id(p): group["weight_decay"] for group in optimizer.param_groups for p in group["params"]}
    assert sum(len(group["params"]) for group in optimizer.param_groups) == len(list(net.parameters())) == 5
    assert {name: decay[id(p)] for name, p in net.named_parameters()} == {
        "0.weight": 0.1,
        "0.bias": 0.0,
        "1.weight": 0.0,
        "1.bias": 0.0,
        "3.weight": 0.1,
    }
    assert all(group["lr"] == 0.4 for group in optimizer.param_groups)


def test_sgd_takes_momentum_and_decay_from_the_schedule() -> None:
    # weight 1, gradient 1, momentum 0.9, decay 0.1, lr 0.4:
    # step 1: buffer 1.1, weight 1 - 0.44 = 0.56;  step 2: buffer 0.99 + 1 + 0.056 = 2.046, weight -0.2584
    net = nn.Linear(1, 1, bias=False)
    nn.init.ones_(net.weight)
    optimizer = make_optimizer(replace(PLAIN, optimizer="sgd"), net)
    assert isinstance(optimizer, SGD)
    for expected in (0.56, -0.2584):
        net.weight.grad = torch.ones(1, 1)
        optimizer.step()
        assert net.weight.item() == pytest.approx(expected)


@pytest.mark.parametrize(
    ("capability", "expected"),
    [
        pytest.param((8, 0), torch.bfloat16, id="Ampere"),
        pytest.param((7, 0), torch.float16, id="Volta"),
        pytest.param((6, 1), None, id="Pascal"),
    ],
)
def test_autocast_uses_what_the_gpu_computes_in(
    monkeypatch: pytest.MonkeyPatch, capability: tuple[int, int], expected: torch.dtype | None
) -> None:
    with_gpus(monkeypatch, 1).capability = capability
    assert autocast_dtype(PLAIN, torch.device("cuda", 0)) == expected


def test_autocast_is_never_used_on_a_cpu_or_against_the_config(monkeypatch: pytest.MonkeyPatch) -> None:
    with_gpus(monkeypatch, 1).capability = (9, 0)
    assert autocast_dtype(PLAIN, torch.device("cpu")) is None
    assert autocast_dtype(replace(PLAIN, amp="none"), torch.device("cuda")) is None


def test_all_schedules_on_disk_are_found() -> None:
    assert {f"{path.parent.name}/{path.stem}" for path in YAMLS} >= {
        *("train/short", "train/standard", "train/sgd_poly"),
        *("finetune/none", "finetune/short", "finetune/standard", "finetune/long"),
    }


@pytest.mark.parametrize("path", YAMLS, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_every_schedule_on_disk_has_every_key_and_a_valid_value(path: Path) -> None:
    config = OmegaConf.to_container(OmegaConf.load(path))
    assert isinstance(config, dict)
    assert config["_target_"] == "segprune.schedule.schedule.Schedule"
    assert set(config) == {"_target_", *Schedule.__dataclass_fields__}
    assert config["loss"] == "${loss}"
    schedule = component({**config, "loss": {"_target_": "segprune.loss.ce.CrossEntropy"}}, "train")()
    assert (schedule.epochs == 0) == (path.stem == "none")
    assert path.read_text().startswith("# ")


def test_a_compiled_network_is_not_computed_twice() -> None:
    with pytest.raises(ConfigError, match=r"compile and checkpointing are both true"):
        replace(PLAIN, compile=True, checkpointing=True)


def test_the_word_of_a_loss_in_the_place_of_one_is_refused_with_what_chooses_it() -> None:
    config = OmegaConf.to_container(OmegaConf.load(CONF / "finetune" / "short.yaml"))
    with pytest.raises(
        ConfigError, match=r"finetune\.loss is 'dice'.*loss=dice .*\+loss@finetune\.loss=dice"
    ):
        component({**config, "loss": "dice"}, "finetune")
