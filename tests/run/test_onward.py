import shlex
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser

from segprune.checkpoint.ancestry import Ancestry, Step
from segprune.checkpoint.contract import DESCRIPTION
from segprune.config.compose import Job
from segprune.result.files import PLAN
from segprune.run.onward import onward
from segprune.stage.state import NetState
from segprune.transform.cut import Cut
from tests.tiny import FACTS, tiny_net

TYPED = [
    "baseline=dense-s0",
    "dataset=camvid",
    "dataset.root=/my data",
    "pruner=l1",
    "ratio=0.5",
    "stages=[a]",
    "checkpoint=last",
]
RUN = SimpleNamespace(job=Job(choices={}, folder=Path(), overrides=TYPED), facts=FACTS)


def state(name: str, folder: Path | None, *plans: dict[str, tuple[int, ...]]) -> NetState:
    if folder is not None:
        folder.mkdir(exist_ok=True)
        (folder / DESCRIPTION).touch()
    transforms = tuple(map(Cut, plans))
    return NetState(name=name, net=tiny_net(), transforms=transforms, fingerprint=name, folder=folder)


@pytest.mark.parametrize(
    ("name", "is_cut", "stages", "cut"),
    [
        ("dense", False, "[prune,finetune,eval]", " pruner=l1 ratio=0.5"),
        ("pruned", True, "[finetune,eval]", ""),
        ("finetuned", True, "[export,eval]", ""),
    ],
)
def test_the_end_of_a_run_names_its_checkpoint_and_what_usually_follows(
    name: str, is_cut: bool, stages: str, cut: str, tmp_path: Path
) -> None:
    folder = tmp_path / name
    last = state(name, folder, *([{"stem.0": (1,)}] if is_cut else []))
    trail = (last, state("file", None))
    assert onward(RUN, trail) == [  # type: ignore[arg-type]
        f"checkpoint: {folder}",
        f"go on from it: segprune run 'stages={stages}' checkpoint={folder} dataset=camvid "
        f"'dataset.root=/my data'{cut}",
    ]


def test_what_usually_follows_is_read_as_it_was_meant_whatever_the_folder_is_called(tmp_path: Path) -> None:
    for name in ("My Drive (1)", "R&D", "it's", "c#1", "[old]", "a=b", "a,b", "größe", "{x}", "100%", "~x"):
        folder = tmp_path / name
        line = onward(RUN, (state("dense", folder),))[1]  # type: ignore[arg-type]
        typed = shlex.split(line.partition(": ")[2])
        (parsed,) = OverridesParser.create().parse_overrides([one for one in typed if "checkpoint=" in one])
        assert (parsed.value(), parsed.is_sweep_override()) == (str(folder), False)


def test_what_usually_follows_finds_the_configurations_of_the_run(tmp_path: Path) -> None:
    job = Job(choices={}, folder=Path(), overrides=["pruner=mine"], places=["--config-dir=/my conf"])
    run = SimpleNamespace(job=job, facts=FACTS)
    assert onward(run, (state("dense", tmp_path / "dense"),))[1] == (  # type: ignore[arg-type]
        "go on from it: segprune run '--config-dir=/my conf' 'stages=[prune,finetune,eval]' "
        f"checkpoint={tmp_path}/dense pruner=mine"
    )


def test_a_compared_network_goes_on_as_what_it_is(tmp_path: Path) -> None:
    past = Ancestry(network="dense", fingerprint="a", weights_sha256=None, place=None)
    past = past.then(Step(network="finetuned", label="ft"))
    last = replace(state("candidate", tmp_path / "any", {"stem.0": (1,)}), ancestry=past)
    assert "stages=[export,eval]" in onward(RUN, (last,))[1]  # type: ignore[arg-type]


def test_a_run_without_a_checkpoint_of_its_own_names_none() -> None:
    assert onward(RUN, (state("start", None),)) == []  # type: ignore[arg-type]


def test_a_run_by_a_threshold_ends_with_thresholds_that_fit_its_scores(tmp_path: Path) -> None:
    facts = replace(FACTS, ratio=None, threshold=1e-9)
    job = Job(choices={}, folder=Path(), overrides=["pruner=slimming", "budget.threshold=1e-9", "seed=1"])
    settings = SimpleNamespace(stages=["train", "prune"])
    run = SimpleNamespace(job=job, facts=facts, settings=settings)
    pruned = state("pruned", tmp_path / "pruned", {"stem.0": (1,)})
    (tmp_path / "pruned" / PLAN).write_text('{"thresholds": {"20%": 0.2, "50%": 0.5}}')
    *_, last = onward(run, (pruned,))  # type: ignore[arg-type]
    assert last == (
        "thresholds that 20%, 50% of channels score below: segprune sweep pruner=slimming seed=1 "
        "budget.threshold=0.2,0.5"
    )
    settings.stages = ["finetune"]
    assert len(onward(run, (pruned,))) == 2  # type: ignore[arg-type]
