import importlib
import sys
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from segprune import status
from segprune.checkpoint import checkpoint
from segprune.config.compose import Job, Settings, origins, settings_of
from segprune.errors import CheckpointError, ConfigError
from segprune.run.assemble import Run, checked, facts_of, stages_of
from segprune.stage.contract import Stage
from segprune.stage.eval import Eval
from segprune.stage.facts import RowFacts
from segprune.stage.fit import Fit
from segprune.stage.prune import Prune
from segprune.store import code
from segprune.store.code import code_of, files_of, modules_of
from segprune.transform import registry
from segprune.transform.cut import Cut
from tests.test_conf import composed
from tests.tiny import tiny_net

pytestmark = pytest.mark.usefixtures("composer")
JOB = Job(
    choices={"model": "unet", "pruner": "taylor", "budget": "macs", "protocol": "standard"},
    folder=Path(),
    overrides=[],
)


def settings(*overrides: str) -> Settings:
    cfg = composed(*overrides)
    keys = [key for key in cfg if key != "hydra"]
    return settings_of(OmegaConf.masked_copy(cfg, keys))[0]


def stages(*overrides: str) -> list[Stage]:
    cfg = composed(*overrides)
    return stages_of(settings(*overrides), origins(cfg))


def facts(*overrides: str) -> RowFacts:
    return facts_of(settings(*overrides), JOB, "x")


@pytest.mark.slow
def test_a_record_names_the_folder_that_was_meant(tmp_path: Path) -> None:
    model = OmegaConf.to_container(composed().model)
    entry = tmp_path / "store" / "train" / "1"
    entry.mkdir(parents=True)
    checkpoint.write(entry, tiny_net(), transforms=(), about={"model": model})
    run = tmp_path / "runs" / "day" / "time"
    run.mkdir(parents=True)
    said = {"status": "done", "name": "dense-s0", "store": str(tmp_path / "store"), "entries": ["train/1"]}
    status.write(run, said)
    typed = [f"paths.outputs={tmp_path}", "tracking=silent", "stages=[eval]", "checkpoint=last"]
    cfg = composed(f"hydra.runtime.output_dir={tmp_path}", *typed)
    made = checked(OmegaConf.masked_copy(cfg, [key for key in cfg if key != "hydra"]))
    assert (made.settings.checkpoint, made.values["checkpoint"]) == (entry, str(entry))
    assert f'checkpoint="{entry}"' in made.job.overrides
    assert "checkpoint=last" not in made.job.overrides


@pytest.mark.slow
def test_code_is_read_once_and_before_work_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    for cache in (files_of, code._behind):
        cache.cache_clear()
    cfg = composed("hydra.runtime.output_dir=somewhere", "tracking=silent")
    run = checked(OmegaConf.masked_copy(cfg, [key for key in cfg if key != "hydra"]))
    assert run.sources == {"segprune.model.initial", "segprune.model.unet", "segprune.dataset.streets"}

    def edited(path: Path) -> bytes:
        raise AssertionError(f"{path} is read again")

    monkeypatch.setattr(Path, "read_bytes", edited)
    for stage in run.stages:
        assert {"stage", "model", "dataset"} <= set(code_of(run.sources | modules_of(stage))["code"])


def test_a_protocol_for_sweeps_is_refused_in_a_single_run() -> None:
    with pytest.raises(ConfigError, match="protocol=fair adds control jobs to a whole sweep: use it with -m"):
        checked(composed("protocol=fair", "hydra.runtime.output_dir=somewhere"))


@pytest.mark.slow
def test_training_from_the_start_follows_the_schedule_of_the_dense_network() -> None:
    for protocol, is_stretched in (("scratch_e", False), ("scratch_b", True), ("half", False)):
        train, prune, finetune, _ = stages(f"protocol={protocol}", "train.lr=0.07")
        assert isinstance(train, Fit)
        assert isinstance(prune, Prune)
        assert isinstance(finetune, Fit)
        assert finetune.schedule == train.schedule
        assert finetune.schedule.lr == 0.07
        assert (prune.init, finetune.is_stretched) == ("scratch", is_stretched)
    assert (prune.ratio, prune.budget.of, prune.budget.scope, prune.pruner.name) == (
        0.5,
        "channels",
        "local",
        "l1",
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["stages=[prune,eval]"], r"without train.*give checkpoint=<folder of a checkpoint>"),
        (["stages=[finetune,eval]"], r"without train.*give checkpoint=<folder of a checkpoint>"),
        (["checkpoint=dense"], r"checkpoint is dense, but stages is .* Leave train out of stages"),
        (
            ["stage.finetune.starts=true"],
            r"finetune makes the network that the chain begins with\. Put it first",
        ),
        (["stage.eval._target_=segprune.stage.eval.EvalSettings"], r"stage\.eval\._target_ .* is no stage"),
        (["pruner=fpgm", "pruner.norm_mix=2"], r"^pruner\.norm_mix is 2"),
        (["train.epochs=-1"], r"^train\.epochs is -1"),
    ],
)
def test_a_chain_that_cannot_be_is_refused_by_the_keys_that_were_typed(
    overrides: list[str], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        stages(*overrides)


@pytest.mark.slow
def test_what_is_no_stage_is_refused() -> None:
    wanted = settings()
    wanted.stage["mine"] = {
        "_target_": "segprune.stage.calibration.CalibrationSet",
        "images": 2,
        "batch_size": 2,
    }
    with pytest.raises(
        ConfigError, match=r"stage\.mine\._target_ is .*, which is no stage; name a class that"
    ):
        stages_of(wanted, {})


@pytest.mark.slow
def test_the_dense_control_is_never_cut() -> None:
    made = stages("protocol=dense", "pruner=l1", "ratio=0.5")
    assert [stage.word for stage in made] == ["train", "finetune", "eval"]


def test_a_control_has_the_typed_stages_but_those_that_it_is_without(tmp_path: Path) -> None:
    factory = ["model=module", "model.factory=tests.model.test_module:build", "extensions=[tests]"]
    network = [*factory, "model.classes_as=classes", f"model.checkpoint={tmp_path}/best.pth"]
    asked = [f"hydra.runtime.output_dir={tmp_path}", "tracking=silent", "stages=[prune,finetune,eval]"]

    def run(*overrides: str) -> Run:
        cfg = composed(*network, *asked, *overrides)
        return checked(OmegaConf.masked_copy(cfg, [key for key in cfg if key != "hydra"]))

    made = run("protocol=dense")
    assert [stage.word for stage in made.stages] == ["finetune", "eval"]
    assert made.settings.stages == made.values["stages"] == ["finetune", "eval"]
    with pytest.raises(
        ConfigError, match=r"protocol=half would not .* the trained weights of model\.checkpoint"
    ):
        run("protocol=half")
    with pytest.raises(
        ConfigError, match=r"stages is \['prune', 'eval'\], .*protocol=dense .* needs finetune"
    ):
        run("protocol=dense", "stages=[prune,eval]")


@pytest.mark.slow
def test_stages_come_in_the_configured_order_with_the_configured_parts() -> None:
    asked = ("pruner=fpgm", "budget=macs", "ratio=0.4")
    train, prune, finetune, evaluate = stages(*asked)
    assert isinstance(train, Fit)
    assert isinstance(finetune, Fit)
    assert isinstance(prune, Prune)
    assert isinstance(evaluate, Eval)
    assert (train.word, train.makes, finetune.word, finetune.makes) == (
        "train",
        "dense",
        "finetune",
        "finetuned",
    )
    assert (prune.pruner.name, prune.budget.of, prune.ratio) == ("fpgm", "macs", 0.4)
    assert (facts(*asked).budget, facts(*asked).scope) == (
        "macs",
        "local",
    )  # fpgm's paper ranks within layers
    assert [stage.word for stage in stages("stages=[train,eval]")] == ["train", "eval"]


def test_a_scope_that_was_asked_for_is_the_one_reported() -> None:
    assert facts("pruner=fpgm", "budget.scope=global").scope == "global"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["ratio=null"], r"ratio is null, but a budget of channels needs it: give ratio="),
        (["budget=threshold", "ratio=0.5"], r"ratio is 0\.5, but budget=threshold.*Leave ratio out"),
        (["budget=threshold", "budget.threshold=low"], r"budget\.threshold is 'low'"),
    ],
)
def test_a_ratio_that_does_not_go_with_the_budget_is_refused(overrides: list[str], message: str) -> None:
    wanted = settings(*overrides)
    with pytest.raises(ConfigError, match=message):
        stages_of(wanted, origins(composed(*overrides)))


TRANSFORM = """
import copy
from typing import ClassVar

from segprune.transform.registry import register


@register
class Copied:
    kind: ClassVar[str] = "copied"

    def to_json(self):
        return {}

    @classmethod
    def from_json(cls, values):
        return cls()

    def replay(self, net):
        return copy.deepcopy(net)

    def describe(self):
        return "copied"
"""


@pytest.mark.slow
def test_a_checkpoint_with_a_transform_of_ones_own_needs_its_extension(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "copying.py").write_text(TRANSFORM)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(registry, "_KINDS", dict(registry._kinds()))
    model = OmegaConf.to_container(composed("model.width=4").model)
    transforms = [importlib.import_module("copying").Copied()]
    (tmp_path / "made").mkdir()
    checkpoint.write(tmp_path / "made", tiny_net(), transforms=transforms, about={"model": model})
    monkeypatch.setattr(registry, "_KINDS", {"cut": Cut})
    monkeypatch.delitem(sys.modules, "copying")  # as in a new process

    def start(*overrides: str) -> Run:
        usual = ["hydra.runtime.output_dir=somewhere", "tracking=silent", "model.width=4", "stages=[eval]"]
        cfg = composed(*usual, f"checkpoint={tmp_path / 'made'}", *overrides)
        return checked(OmegaConf.masked_copy(cfg, [key for key in cfg if key != "hydra"]))

    with pytest.raises(CheckpointError, match=r"of the package 'copying', .* give extensions=\[copying\]"):
        start()
    assert start("extensions=[copying]").settings.extensions == ["copying"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (
            ["store.accept=[trian]"],
            r"store\.accept is \['trian'\], but no stage keeps results named trian\. Allowed are eval, finetune, "
            r"oracle, prepare, prune, quality, reach, score, train\.",
        ),
        (
            ["store.accept=[train]", "store.reuse=false"],
            r"store\.reuse is false, which computes everything again",
        ),
    ],
)
def test_results_can_be_accepted_of_what_is_kept_alone(overrides: list[str], message: str) -> None:
    assert stages_of(settings("store.accept=[train,prepare,oracle]", "stages=[train,eval]"), {})
    with pytest.raises(ConfigError, match=message):
        stages_of(settings(*overrides), {})
