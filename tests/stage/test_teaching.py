from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from omegaconf import OmegaConf
from torch import Tensor, nn

from segprune.checkpoint import ancestry, checkpoint
from segprune.checkpoint.ancestry import Step
from segprune.config.component import component
from segprune.distill.contract import Loss, Seen, Shapes
from segprune.distill.itself import Itself
from segprune.distill.step import TaughtStep
from segprune.errors import CheckpointError, ConfigError
from segprune.measure.cost import cost
from segprune.run.ancestry import root
from segprune.stage.contract import Context
from segprune.stage.fit import Fit
from segprune.stage.identity import identity
from segprune.stage.state import NetState, Trail
from segprune.stage.teaching import LEARNED, Taught, taught
from segprune.training.step import Training
from tests.distill.test_kd import kd
from tests.distill.test_kd_feature import kd_feature
from tests.stage.test_fit import Kills, Recorder
from tests.stage.test_fit import stage as fit
from tests.stage.test_prune import sparse, with_norms
from tests.stage.test_prune import stage as prune
from tests.tiny import CPU, tiny_context, tiny_schedule
from tests.toys import CLASSES, Plain, toy

CONF = Path(__file__).parents[2] / "conf"
NOBODY = {"checkpoint": None, "model": None, "teaches": ["finetune"], "cache_logits": False}
LOSSES = sorted(path.stem for path in (CONF / "distill").glob("*.yaml") if path.stem != "none")


def loss_of(option: str) -> Loss:
    node = OmegaConf.to_container(OmegaConf.load(CONF / "distill" / f"{option}.yaml"))
    return component({**node, "match": "epochs"}, "distill")()


def finetune(loss: Loss | None, teacher: Mapping[str, Any] = NOBODY, **schedule: object) -> Fit:
    schedule = {"epochs": 2, **schedule}
    return replace(fit("finetune", "finetuned", **schedule), step=taught("finetune", loss, teacher))


def named(state: NetState, **changes: object) -> dict[str, Any]:
    return {**NOBODY, "checkpoint": state.folder, **changes}


@pytest.fixture
def ctx(tmp_path: Path) -> Context:
    return tiny_context(tmp_path, build=with_norms)


def known(trail: Trail) -> Trail:
    """With the ancestry that a chain gives."""
    return tuple(replace(state, ancestry=root(trail[0])) for state in trail)


def weights(state: NetState) -> list[Tensor]:
    return list(state.net.state_dict().values())


def test_without_a_loss_or_for_another_stage_there_is_no_step() -> None:
    assert taught("finetune", None, NOBODY) is None
    assert taught("train", kd(), NOBODY) is None
    assert taught("finetune", kd(), NOBODY) == Taught(loss=kd(), teachers=())


@pytest.mark.slow
def test_a_loss_its_weight_and_its_teacher_change_the_fingerprint_and_the_result(
    tmp_path: Path, ctx: Context
) -> None:
    trail = prune()(ctx, fit(epochs=1)(ctx, ()))
    (other,) = fit(epochs=2)(tiny_context(tmp_path, build=with_norms, seed=1), ())
    at = replace(ctx, teachers=lambda: (other,))
    states = [
        finetune(None)(ctx, trail)[-1],
        finetune(kd())(ctx, trail)[-1],
        finetune(kd(weight=2.0))(ctx, trail)[-1],
        finetune(kd(), named(other))(at, trail)[-1],
    ]
    assert len({state.fingerprint for state in states}) == 4
    assert len({tuple(state.net.head.bias.tolist()) for state in states}) == 4


def test_a_named_teacher_is_told_by_its_content_wherever_it_lies(tmp_path: Path, ctx: Context) -> None:
    (dense,) = fit(epochs=1)(ctx, ())
    assert dense.folder is not None
    moved = tmp_path / "moved"
    moved.mkdir()
    for path in dense.folder.iterdir():
        (moved / path.name).write_bytes(path.read_bytes())
    first, second = (
        taught("finetune", kd(), named(dense, checkpoint=folder)) for folder in (dense.folder, [moved])
    )
    assert identity(first) == identity(second)
    assert first is not None
    assert first.teachers[0]["weights_sha256"] == checkpoint.describe(moved)["weights_sha256"]
    assert first.teachers[0]["code"]


def test_a_teacher_that_is_no_checkpoint_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="is not a checkpoint"):
        taught("finetune", kd(), {**NOBODY, "checkpoint": tmp_path})


@pytest.fixture(scope="module")
def trail(tmp_path_factory: pytest.TempPathFactory) -> Trail:
    """A dense network and what was cut of it, for all losses; nothing changes them."""
    ctx = tiny_context(tmp_path_factory.mktemp("trail"), build=with_norms)
    return prune()(ctx, fit(epochs=1)(ctx, ()))


@pytest.mark.slow
@pytest.mark.parametrize("option", LOSSES)
def test_every_loss_ends_in_the_same_bits_after_a_kill_and_leaves_nothing_behind(
    tmp_path: Path, trail: Trail, option: str
) -> None:
    def after(folder: Path, *, killed_at: int | None) -> NetState:
        ctx = tiny_context(folder, build=with_norms)
        stage = finetune(loss_of(option), epochs=3)
        if killed_at is not None:
            object.__setattr__(ctx, "tracker", Kills(killed_at))
            with pytest.raises(KeyboardInterrupt):
                stage(ctx, trail)
            object.__setattr__(ctx, "tracker", Recorder())
        (*_, cut, found) = stage(ctx, trail)
        assert [tensor.shape for tensor in weights(found)] == [tensor.shape for tensor in weights(cut)]
        assert cost(found.module, (16, 16)) == cost(cut.module, (16, 16))
        return found

    whole = after(tmp_path / "whole", killed_at=None)
    resumed = after(tmp_path / "killed", killed_at=2)
    assert resumed.fingerprint == whole.fingerprint
    assert all(torch.equal(a, b) for a, b in zip(weights(resumed), weights(whole), strict=True))


class Noted(Recorder):
    def __init__(self) -> None:
        super().__init__()
        self.values: dict[str, float] = {}

    def metrics(self, values, /, *, step=None) -> None:
        self.values |= values


@pytest.mark.slow
def test_what_the_teacher_costs_is_logged(ctx: Context) -> None:
    trail = prune()(ctx, fit(epochs=1)(ctx, ()))
    object.__setattr__(ctx, "tracker", Noted())
    finetune(kd())(ctx, trail)
    found = ctx.tracker.values
    assert found["finetune/distill_loss"] > 0
    assert 0 < found["finetune/teacher_share_percent"] < 100
    assert found["finetune/teacher_s_per_step"] > 0


@pytest.mark.slow
@pytest.mark.parametrize(
    "changes",
    [{}, {"rounds": 2}, {"pruner": sparse(epochs=1)}, {"init": "scratch"}, {"ratio": 0.0}],
    ids=["once", "rounds", "phase", "scratch", "nothing"],
)
def test_however_a_network_was_cut_its_channels_meet_the_teachers_own(
    ctx: Context, changes: dict[str, object]
) -> None:
    trail = prune(**changes)(ctx, fit(epochs=1)(ctx, ()))
    step = taught("finetune", kd_feature(), NOBODY)
    assert step is not None
    made = step(ctx, trail)(trail[-1].module, training(ctx), 2)
    assert isinstance(made, TaughtStep)
    assert made.teaching.pairs
    assert [*made.parts.parameters()] == []
    finetune(kd_feature(), epochs=1)(ctx, trail)


@pytest.mark.slow
def test_only_a_teacher_of_the_same_dense_network_is_compared_channel_by_channel(
    tmp_path: Path, ctx: Context
) -> None:
    trail = prune()(ctx, fit(epochs=1)(ctx, ()))
    tuned = finetune(None)(ctx, trail)[-1]
    assert tuned.folder is not None
    ancestry.write(tuned.folder, root(trail[0]).then(Step(network="finetuned", label="ft")))
    (other,) = fit(epochs=1)(tiny_context(tmp_path, build=with_norms, seed=1), ())
    cut = trail[-1]  # beside which nothing is written, so that nobody knows what it was cut from
    by = {"dense": trail[0], "tuned": tuned, "other": other, "cut": cut}

    def learnt(teacher: NetState, students: Trail) -> int:
        step = taught("finetune", kd_feature(), named(teacher))
        assert step is not None
        made = step(replace(ctx, teachers=lambda: (teacher,)), students)(
            students[-1].module, training(ctx), 2
        )
        return len([*made.parts.parameters()])  # type: ignore[attr-defined]

    places = learnt(other, known(trail))
    assert places > 0
    found = {name: learnt(teacher, known(trail)) for name, teacher in by.items()}
    assert found == {"dense": 0, "tuned": 0, "other": places, "cut": places}
    assert learnt(trail[0], trail) == places  # nobody knows what the student was made of
    keys = {finetune(kd_feature())(ctx, one)[-1].fingerprint for one in (trail, known(trail))}
    assert len(keys) == 2


def training(ctx: Context, **schedule: object) -> Training:
    return Training(
        data=ctx.data,
        schedule=tiny_schedule(**schedule),
        seed=0,
        hardware=CPU,
        folder=ctx.store.root,
        on_epoch=lambda _: None,
    )


@pytest.mark.slow
def test_a_network_that_is_taught_by_itself_is_taught_by_what_it_was_before(ctx: Context) -> None:
    trail = prune()(ctx, fit(epochs=1)(ctx, ()))
    step = taught("finetune", Itself(weight=1.0, temperature=4.0, ignored="taught"), NOBODY)
    assert step is not None
    made = step(ctx, trail)(trail[-1].module, training(ctx), 2)
    assert isinstance(made, TaughtStep)
    assert [*made.teaching.teachers] == [trail[-1].module]
    kept = taught("finetune", kd(), NOBODY)
    assert kept is not None
    made = kept(ctx, trail)(trail[-1].module, training(ctx), 2)
    assert isinstance(made, TaughtStep)
    assert [*made.teaching.teachers] == [trail[0].module]


def test_a_training_from_scratch_has_a_named_teacher(ctx: Context) -> None:
    (wise,) = fit(epochs=2)(ctx, ())
    at = replace(ctx, teachers=lambda: (wise,))
    stage = replace(
        fit(epochs=1), starts=True, step=taught("train", kd_feature(), named(wise, teaches=["train"]))
    )
    stage.refuse(at, ())
    (student,) = stage(at, ())
    (plain,) = fit(epochs=1)(ctx, ())
    assert not torch.equal(student.net.head.bias, plain.net.head.bias)


@dataclass(frozen=True, kw_only=True)
class Prepared(Loss):
    """Learns how high the teacher's logits are."""

    prepares: ClassVar[bool] = True
    factor: float

    def prepare(self, look, training: Training) -> Mapping[str, Tensor]:
        torch.rand(7)  # what it draws moves no other draw
        batch = training.data.calibration[0]
        found = look(type(batch)(batch.image[None], batch.label[None]))
        return {"height": found.logits.abs().mean()[None] * self.factor}

    def parts(self, shapes: Shapes) -> nn.Module:
        made.append(shapes.learned["height"])
        return nn.Linear(1, 1)

    def __call__(
        self, student: Seen, teacher: Seen, label: Tensor, *, ignore_index: int, parts: nn.Module
    ) -> Tensor:
        return (student.logits - teacher.logits).square().mean() + 0 * sum(
            one.sum() for one in parts.parameters()
        )


made: list[Tensor] = []


@pytest.mark.slow
def test_what_a_loss_prepares_is_made_once_for_all_students(ctx: Context) -> None:
    made.clear()
    trail = fit(epochs=1)(ctx, ())
    for ratio in (0.3, 0.5):
        finetune(Prepared(factor=2.0), epochs=1)(ctx, prune(ratio=ratio)(ctx, trail))
    assert len([*ctx.store.root.glob(f"teach/*/{LEARNED}")]) == 1
    assert len(made) == 2
    assert torch.equal(*made)
    finetune(Prepared(factor=3.0), epochs=1)(ctx, trail)
    assert len([*ctx.store.root.glob(f"teach/*/{LEARNED}")]) == 2
    assert float(made[2]) == pytest.approx(1.5 * float(made[0]), rel=1e-6)


def start(ctx: Context, *, cut: bool = False) -> Trail:
    trail = prune()(ctx, fit(epochs=1)(ctx, ())) if cut else fit(epochs=1)(ctx, ())
    return (replace(trail[-1], name="start"),)


def refusals(ctx: Context) -> Iterator[tuple[str, Fit, Trail, Context]]:
    (dense,) = fit(epochs=1)(ctx, ())
    two = named(dense, checkpoint=[dense.folder, dense.folder])
    mine = Itself(weight=1.0, temperature=4.0, ignored="taught")
    first = replace(fit(), starts=True)
    yield r"epochs is 0.*distill=none", finetune(kd(), epochs=0), (), ctx
    yield r"compile is true.*compile=false.*distill=kd", finetune(kd_feature(), compile=True), (), ctx
    yield r"checkpointing is true.*checkpointing=false", finetune(kd_feature(), checkpointing=True), (), ctx
    yield r"2 networks.*cannot be. Name one", finetune(kd_feature(), two), (), ctx
    kept = {**NOBODY, "cache_logits": True}
    yield r"maps too.*cache_logits=false.*distill=kd", finetune(kd_feature(), kept), (), ctx
    yield r"distill=self is the control", finetune(mine, named(dense)), (), ctx
    yield (
        r"none before it.*teaches",
        replace(first, step=taught("train", mine, {**NOBODY, "teaches": ["train"]})),
        (),
        ctx,
    )
    alone = taught("train", kd(), {**NOBODY, "teaches": ["train"]})
    yield r"none before it that.*teacher\.checkpoint=<folder", replace(first, step=alone), (), ctx
    yield r"cut already.*teacher\.checkpoint=<folder", finetune(kd()), start(ctx, cut=True), ctx
    yield r"distill\.places holds 'nowhere'", finetune(kd_feature(places=["nowhere"])), (), ctx
    wide = NetState(name="teacher", net=toy(Plain), transforms=(), fingerprint="t")
    wide.module.head = nn.Conv2d(4, CLASSES + 1, 1)
    yield r"must give 4 classes", finetune(kd(), named(dense)), (), replace(ctx, teachers=lambda: (wide,))


@pytest.mark.slow
@pytest.mark.parametrize("number", range(11))
def test_what_cannot_be_taught_is_refused_before_work(ctx: Context, number: int) -> None:
    reason, stage, trail, at = [*refusals(ctx)][number]
    with pytest.raises(ConfigError, match=f"(?s){reason}"):
        stage.refuse(at, trail)


@pytest.mark.slow
def test_what_can_be_taught_is_let_through(ctx: Context) -> None:
    (dense,) = start(ctx)
    at = replace(ctx, teachers=lambda: (dense,))
    for loss in (kd(), kd_feature()):
        finetune(loss).refuse(ctx, ())
        finetune(loss).refuse(ctx, (dense,))
        finetune(loss, named(dense)).refuse(at, start(ctx, cut=True))


@pytest.mark.slow
def test_the_same_network_teaches_by_any_way_to_name_it(ctx: Context) -> None:
    trail = known(prune()(ctx, fit(epochs=1)(ctx, ())))
    at = replace(ctx, teachers=lambda: trail[:1])
    one = finetune(kd_feature())(ctx, trail)[-1]
    other = finetune(kd_feature(), named(trail[0]))(at, trail)[-1]
    assert all(torch.equal(a, b) for a, b in zip(weights(one), weights(other), strict=True))


class Curves(Recorder):
    """Counts the epochs of each training."""

    def __init__(self) -> None:
        super().__init__()
        self.epochs: dict[str, int] = {}

    def metrics(self, values, /, *, step=None) -> None:
        self.epochs |= {name: step for name in values if name.endswith("/loss")}


@pytest.mark.slow
@pytest.mark.parametrize("ratio", [0.0, 0.5])
def test_at_equal_compute_the_passes_of_the_teacher_are_paid_with_epochs(ctx: Context, ratio: float) -> None:
    """Without a cut, 3 passes of a step and 1 of the teacher: 3 / 4 of 8 epochs. A smaller student gets fewer."""
    trail = prune(ratio=ratio)(ctx, fit(epochs=1)(ctx, ()))
    dense, cut = (cost(trail[place].module, ctx.data.size_hw).macs for place in (0, -1))
    object.__setattr__(ctx, "tracker", Curves())
    even = finetune(kd(match="compute"), epochs=8)(ctx, trail)[-1]
    expected = int(8 * 3 * cut / (3 * cut + dense))
    assert expected == (6 if ratio == 0 else expected) < 8
    assert ctx.tracker.epochs["finetune/loss"] == expected
    assert even.fingerprint != finetune(kd(), epochs=8)(ctx, trail)[-1].fingerprint
    assert ctx.tracker.epochs["finetune/loss"] == 8


def test_the_warm_up_is_shortened_with_the_epochs(ctx: Context) -> None:
    trail = fit(epochs=1)(ctx, ())
    schedule = tiny_schedule(epochs=4, warmup_epochs=2.0)
    step = taught("finetune", kd(match="compute"), NOBODY)
    assert step is not None
    short = step.shortened(ctx, trail, schedule)
    assert (short.epochs, short.warmup_epochs) == (3, 1.5)
    same = taught("finetune", kd(), NOBODY)
    assert same is not None
    assert same.shortened(ctx, trail, schedule) == schedule


def test_a_teacher_whose_logits_are_kept_passes_once(ctx: Context) -> None:
    """Of 8 epochs of 3 passes, 1 pass is paid for the teacher, so 7 epochs are left."""
    trail = fit(epochs=1)(ctx, ())
    step = Taught(loss=kd(match="compute"), teachers=(), cache_logits=True)
    assert step.shortened(ctx, trail, tiny_schedule(epochs=8)).epochs == 7
    plain = Taught(loss=kd(), teachers=())
    assert (plain.effort(ctx), replace(plain, cache_logits=True).effort(ctx)) == (4 / 3, 1.0)


def test_several_teachers_are_several_passes(ctx: Context) -> None:
    trail = fit(epochs=1)(ctx, ())
    step = Taught(loss=kd(match="compute"), teachers=({}, {}, {}))
    found = step.shortened(replace(ctx, teachers=lambda: trail * 3), trail, tiny_schedule(epochs=8))
    assert found.epochs == 4  # 3 of 3 + 3 passes


def test_one_epoch_cannot_be_shortened(ctx: Context) -> None:
    with pytest.raises(
        ConfigError, match=r"epochs is 1\. Give finetune\.epochs=2 or more, or distill\.match=epochs"
    ):
        finetune(kd(match="compute"), epochs=1).refuse(
            replace(ctx, keys={"stage.finetune.schedule": "finetune"}), ()
        )


def test_a_teacher_costs_one_pass_of_three_more_unless_there_are_fewer_epochs(ctx: Context) -> None:
    (plain,) = finetune(None).trainings(ctx)
    (taught_by_dense,) = finetune(kd()).trainings(ctx)
    (matched,) = finetune(replace(kd(), match="compute")).trainings(ctx)
    assert (plain.effort, taught_by_dense.effort, matched.effort) == (1, 4 / 3, 1)
    two = replace(ctx, teachers=lambda: tuple(prune_free(ctx) for _ in range(2)))
    (by_two,) = replace(finetune(kd()), step=Taught(loss=kd(), teachers=({}, {}))).trainings(two)
    assert by_two.effort == pytest.approx(5 / 3)


def prune_free(ctx: Context) -> NetState:
    return NetState(name="dense", net=ctx.build(), transforms=(), fingerprint="dense")
