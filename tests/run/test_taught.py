from dataclasses import replace

import pytest

from segprune.errors import ConfigError
from segprune.run.naming import run_name
from segprune.run.taught import refuse_nobody_to_teach
from segprune.stage.fit import Fit
from segprune.stage.teaching import Taught
from tests.run.test_assemble import JOB, settings, stages

pytestmark = pytest.mark.usefixtures("composer")


def refuse(*overrides: str) -> None:
    options = dict(override.split("=", 1) for override in overrides)
    job = replace(JOB, choices={**JOB.choices, "distill": options.get("distill", "none")})
    refuse_nobody_to_teach(settings(*overrides), job)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["distill=kd", "distill.weight=-1"], r"^distill\.weight is -1"),
        (["distill=kd", "distill.weight=nan"], r"^distill\.weight is nan"),
        (["distill=kd", "distill.weight=inf"], r"^distill\.weight is inf"),
        (["distill=kd", "distill.weight=true"], r"^distill\.weight is true"),
        (["distill=kd", "distill.temperature=0"], r"^distill\.temperature is 0"),
        (["distill=cwd", "distill.temperature=-4"], r"^distill\.temperature is -4"),
        (["distill=kd", "distill.ignored=never"], r"^distill\.ignored is 'never'"),
        (["distill=kd", "+distill.places=[head]"], r"distill\.places"),
        (["distill=kd_feature", "distill.places=head"], r"^distill\.places is 'head'"),
        (["distill._target_=segprune.distill.pixels.mean_of"], r"distill\.(mask|values)"),
        (["distill=none", "distill._target_=segprune.training.cudnn.is_timed"], r"distill\.device"),
        (
            ["distill=kd", "stages=[train,prune,eval]"],
            r"distill=kd teaches finetune, but stages is .*Add finetune",
        ),
        (["distill=kd", "stages=[train,eval]"], r"'teacher\.teaches=\[train\]' and teacher\.checkpoint="),
        (
            ["distill=kd", "stage.finetune.step=null"],
            r"distill=kd .*stage\.finetune\.step is null.*distill=none",
        ),
        (
            ["distill=kd", "stage.finetune.step.loss=null"],
            r"step is segprune\.stage\.teaching\.taught, which does not have it",
        ),
        (["teacher.teaches=[prune]"], r"teacher\.teaches is \['prune'\].*Allowed are train, finetune"),
        (["teacher.teaches=[]"], r"^teacher\.teaches is \[\]"),
        (["teacher.who=me"], r"teacher\.who"),
    ],
)
def test_what_cannot_teach_is_refused_by_the_keys_that_were_typed(overrides: list[str], message: str) -> None:
    typed = [f"+{one}" if one.startswith("teacher.who") else one for one in overrides]
    with pytest.raises(ConfigError, match=message):
        refuse(*typed)


def no_loss(match: str) -> str:
    return "a text"


def test_what_makes_no_loss_is_refused() -> None:
    with pytest.raises(
        ConfigError, match=r"makes no distillation loss; name a class that inherits from segprune\.dis"
    ):
        refuse("distill._target_=tests.run.test_taught.no_loss", "extensions=[tests]")


@pytest.mark.slow
@pytest.mark.parametrize("option", ["none", "kd", "kd_feature", "cwd", "self"])
def test_what_teaches_is_let_through(option: str) -> None:
    refuse(f"distill={option}")
    refuse("distill=none", "stages=[train,eval]")


@pytest.mark.slow
def test_finetune_learns_by_default_and_train_if_asked() -> None:
    def learners(*overrides: str) -> list[str]:
        fits = [stage for stage in stages(*overrides) if isinstance(stage, Fit)]
        return [stage.word for stage in fits if isinstance(stage.step, Taught)]

    assert learners() == []
    assert learners("distill=kd") == ["finetune"]
    assert learners("distill=kd", "teacher.teaches=[train,finetune]") == ["train", "finetune"]


@pytest.mark.slow
def test_runs_are_named_after_their_teacher() -> None:
    job = replace(JOB, choices={**JOB.choices, "distill": "cwd"})
    assert run_name(settings("distill=cwd", "ratio=0.5"), job) == "taylor-r0.5-cwd-s0"
    assert run_name(settings("distill=cwd", "stages=[train,finetune,eval]"), job) == "dense-cwd-s0"
