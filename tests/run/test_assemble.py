import importlib
import sys
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from omegaconf import OmegaConf

from segprune import status
from segprune.checkpoint import checkpoint
from segprune.checkpoint.ancestry import Ancestry, Step
from segprune.config.compose import Job, Settings, origins, settings_of
from segprune.errors import CheckpointError, ConfigError
from segprune.run.assemble import Run, checked, facts_of, hardware_of, run_name, stages_of
from segprune.stage.contract import RowFacts, Stage
from segprune.stage.eval import Eval
from segprune.stage.fit import Fit
from segprune.stage.prune import Prune
from segprune.store import code
from segprune.store.code import code_of, files_of, modules_of
from segprune.transform import registry
from segprune.transform.cut import Cut
from tests.gpus import with_gpus, without_memory
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
def test_runs_are_named_after_what_makes_them_differ() -> None:
    assert run_name(settings("ratio=0.30000000000000004", "seed=2"), JOB) == "taylor-r0.3-s2"
    assert run_name(settings("stages=[train,eval]"), JOB) == "dense-s0"


DENSE = Ancestry(network="dense", fingerprint="a", weights_sha256=None, place=None)
CUT = DENSE.then(Step(network="pruned", label="l1-r0.1"))
TUNED = CUT.then(Step(network="finetuned", label="ft"))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("stages", "past", "name"),
    [
        ("finetune,eval", CUT, "l1-r0.1-ft-s0"),
        ("eval", TUNED, "l1-r0.1-ft-s0"),
        ("prune,finetune,eval", TUNED, "l1-r0.1-ft-taylor-r0.3-s0"),
        ("prune,eval", DENSE, "taylor-r0.3-s0"),
        ("eval", DENSE, "dense-s0"),
        ("finetune,eval", DENSE, "dense-ft-s0"),
        ("eval", None, "start-s0"),
        ("finetune,eval", None, "start-ft-s0"),
        ("prune,eval", None, "start-taylor-r0.3-s0"),
    ],
)
def test_a_run_that_goes_on_is_named_after_all_that_was_done(
    stages: str, past: Ancestry | None, name: str
) -> None:
    assert run_name(settings(f"stages=[{stages}]", "checkpoint=here"), JOB, past) == name


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
def test_weights_from_elsewhere_are_not_called_dense() -> None:
    given = ("model=module", "model.factory=tests.x:y", "model.checkpoint=best.pth")
    assert run_name(settings(*given, "stages=[eval]"), JOB) == "start-s0"
    assert run_name(settings(*given, "stages=[prune,eval]"), JOB) == "taylor-r0.3-s0"
    assert run_name(settings(*given, "stages=[train,eval]"), JOB) == "dense-s0"


@pytest.mark.slow
def test_a_control_is_named_after_its_protocol() -> None:
    job = replace(JOB, choices={**JOB.choices, "protocol": "scratch_e"})
    assert run_name(settings("protocol=scratch_e"), job) == "taylor-r0.3-scratch_e-s0"


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


@pytest.mark.parametrize("device", ["cuda:99", "gpu", "tpu0"])
def test_a_device_that_is_not_there_is_refused(device: str) -> None:
    with pytest.raises(
        ConfigError, match=rf"device is '{device}', which cannot be used here.*Allowed are auto, cpu"
    ):
        hardware_of(settings(f"device={device}"))


def test_auto_finds_a_device() -> None:
    assert hardware_of(settings()).device.type in ("cpu", "cuda")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("asked", "current", "expected"),
    [("auto", 0, 0), ("cuda", 0, 0), ("cuda", 1, 1), ("cuda:0", 1, 0), ("cuda:1", 0, 1)],
)
def test_the_chosen_gpu_has_a_number_and_is_the_current_one(
    asked: str, current: int, expected: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    driver = with_gpus(monkeypatch, 2)
    driver.current = current
    with without_memory():
        found = hardware_of(settings(f"device={asked}")).device
    assert found == torch.device("cuda", expected)
    assert driver.made_current == [expected]


@pytest.mark.slow
def test_a_gpu_that_is_not_there_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with_gpus(monkeypatch, 2)
    with pytest.raises(ConfigError, match=r"device is 'cuda:2'.*invalid device ordinal"):
        hardware_of(settings("device=cuda:2"))


@pytest.mark.slow
def test_a_gpu_without_code_in_this_build_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with_gpus(monkeypatch, 1).capability = (7, 0)
    with pytest.raises(
        ConfigError, match=r"^device is 'auto', but Stub A100 has .* 7\.0.* CUDA 12\.6.*device=cpu\.$"
    ):
        hardware_of(settings("device=auto"))


@pytest.mark.slow
def test_a_driver_that_is_too_old_leaves_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    with_gpus(monkeypatch, 1, is_too_old=True)
    assert hardware_of(settings("device=auto")).device == torch.device("cpu")
    with pytest.raises(ConfigError, match=r"device is 'cuda', which cannot be used here.*too old"):
        hardware_of(settings("device=cuda"))


@pytest.mark.slow
def test_a_budget_without_a_ratio_is_named_after_its_threshold() -> None:
    assert run_name(settings("budget=threshold", "budget.threshold=0.05"), JOB) == "taylor-t0.05-s0"
    assert run_name(settings("ratio=null"), JOB) == "taylor-macs-s0"


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


@pytest.mark.slow
@pytest.mark.parametrize(
    ("asked", "there", "said"),
    [
        (["gpus=2"], 0, r"gpus is 2, but there is no GPU here that torch can use\. Give gpus=1; device=cpu"),
        (["gpus=4"], 2, r"gpus is 4, but this process can use 2 GPUs\. Give gpus=2"),
        (
            ["gpus=2", "device=cuda:0"],
            2,
            r"gpus is 2, but device is 'cuda:0', which is one GPU\. Give device=cuda",
        ),
    ],
)
def test_more_gpus_than_there_are_are_refused(
    asked: list[str], there: int, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if there:
        with_gpus(monkeypatch, there)
    elif torch.cuda.is_available():
        pytest.skip("there is a GPU")
    with without_memory() if there else nullcontext(), pytest.raises(ConfigError, match=said):
        hardware_of(settings(*asked))


@pytest.mark.slow
def test_gpus_that_are_there_and_processes_on_a_cpu_are_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    assert hardware_of(settings("gpus=2", "device=cpu")).gpus == 2
    with_gpus(monkeypatch, 2)
    with without_memory():
        assert hardware_of(settings("gpus=2")).gpus == 2
