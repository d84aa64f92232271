"""Mistakes in a command: each ends in one paragraph before anything is trained, never in a traceback."""

import shlex
from pathlib import Path
from typing import Any

import pytest
from hydra.errors import HydraException
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from segprune.checkpoint import checkpoint, contract
from segprune.cli import with_stages
from segprune.config.places import quoted
from segprune.config.refusal import refusal
from segprune.errors import SegpruneError
from segprune.model.unet import unet
from segprune.run.assemble import checked
from tests import mistakes
from tests.run_here import ROOT, assert_is_one_paragraph, refused, run_here, tracked
from tests.test_cli import run
from tests.test_conf import composed

TINY = [
    *("dataset.counts={fit: 4, select: 1, report: 1}", "dataset.size_hw=[32,32]"),
    *("model.width=4", "model.max_width=8", "model.depth=3"),
]
QUICK = [
    *("train.epochs=1", "train.warmup_epochs=0", "finetune=none", "calibration={images: 4, batch_size: 4}"),
    *("eval.latency_rounds=1", "eval.latency_warmup=0"),
]


def rows(table: str) -> list[Any]:
    lines = [line.replace("ROOT", str(ROOT)) for line in table.splitlines() if " | " in line]
    parts = [line.partition(" | ") for line in lines]
    return [
        pytest.param(shlex.split(command), told.replace(r"\n", "\n"), id=command)
        for command, _, told in parts
    ]


@pytest.mark.parametrize(("arguments", "told"), rows(mistakes.UNREADABLE))
def test_a_command_that_cannot_be_read_is_refused(tmp_path: Path, arguments: list[str], told: str) -> None:
    place = [] if "tracking" in str(arguments) else ["tracking=silent"]
    assert told in refused(tmp_path, *place, *arguments)


def test_a_folder_whose_name_no_file_system_takes_is_refused(tmp_path: Path) -> None:
    told = refused(tmp_path, "tracking=silent", f"hydra.run.dir={tmp_path}/{'a' * 256}")
    assert "cannot be created: a name in it is too long for a file system. Leave out hydra.run.dir" in told


def check(arguments: list[str]) -> None:
    cfg = composed("hydra.runtime.output_dir=here", *with_stages(list(map(quoted, arguments))))
    checked(OmegaConf.masked_copy(cfg, [key for key in cfg if key != "hydra"]))


@pytest.mark.usefixtures("composer")
@pytest.mark.parametrize(("arguments", "told"), rows(mistakes.WRONG))
def test_a_wrong_value_is_refused_where_the_configuration_is_checked(arguments: list[str], told: str) -> None:
    """What a command says then, and that it has done nothing yet, show those that it is told by below."""
    with pytest.raises((SegpruneError, HydraException, OmegaConfBaseException)) as refused_by:
        check(arguments)
    error = refused_by.value
    said = str(error) if isinstance(error, SegpruneError) else str(refusal(error))
    assert told in said
    assert_is_one_paragraph(said)


@pytest.mark.parametrize(("arguments", "told"), [*rows(mistakes.WRONG)[::8], *rows(mistakes.NOT_THERE)])
def test_a_command_with_a_wrong_value_says_so_and_does_nothing(
    tmp_path: Path, arguments: list[str], told: str
) -> None:
    assert told in refused(
        tmp_path, *([] if "tracking" in str(arguments) else ["tracking=silent"]), *arguments
    )


@pytest.mark.parametrize(("arguments", "told"), rows(mistakes.SWEEPS))
def test_a_sweep_with_one_wrong_job_does_not_start(tmp_path: Path, arguments: list[str], told: str) -> None:
    assert told in refused(tmp_path, "-m", "tracking=silent", *arguments)
    assert not list(tmp_path.glob("sweeps/*/*/*/status.json"))


@pytest.fixture(scope="module")
def outputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One for all: MLflow makes a new database in seconds. What is refused leaves nothing in it."""
    return tmp_path_factory.mktemp("outputs")


@pytest.mark.parametrize(("arguments", "told"), rows(mistakes.IMPOSSIBLE))
def test_what_cannot_be_done_is_refused_before_it_is_begun(
    outputs: Path, arguments: list[str], told: str
) -> None:
    before = tracked(outputs)
    assert told in refused(outputs, *TINY, *arguments)
    assert tracked(outputs) == [*before, "FAILED"]


def test_an_unknown_flag_is_told_and_ends_in_exit_code_one(tmp_path: Path) -> None:
    ended = run_here(tmp_path, "--ratio=1")
    assert ended.code == 1
    assert ended.error.endswith("unrecognized arguments: --ratio=1\n")  # behind the list of all flags


def dense(folder: Path, classes: list[str], **model: object) -> Path:
    """A checkpoint of the network that ``TINY`` configures."""
    arguments = {"width": 4, "max_width": 8, "depth": 3, "convs_per_level": 1, "upsample": "bilinear"}
    about = {"_target_": "segprune.model.unet.unet", **arguments, **model}
    folder.mkdir(exist_ok=True)
    net = unet(**arguments, num_classes=len(classes))  # type: ignore[arg-type]
    checkpoint.write(folder, net, transforms=(), about={"model": about, "classes": classes})
    return folder


def streets() -> list[str]:
    from segprune.dataset.labels import CAMVID

    return list(CAMVID.classes)


def test_a_checkpoint_that_does_not_fit_is_refused(tmp_path: Path, outputs: Path) -> None:
    def told(classes: list[str], *arguments: str, **model: object) -> str:
        made = dense(tmp_path / "made", classes, **model)
        start = ["stages=[prune,finetune,eval]", f"checkpoint={made}"]
        return refused(outputs, *TINY, *start, *arguments)

    assert "was made for the classes ['cat', 'dog'], the dataset has ['sky'" in told(["cat", "dog"])
    assert "model.width is 4, the checkpoint was made with 6" in told(streets(), width=6)
    assert "cannot be removed: with budget.floor=0.1" in told(streets(), "ratio=0.99", "pruner=slimming")
    weights = tmp_path / "made" / contract.WEIGHTS
    (tmp_path / "made" / contract.DESCRIPTION).write_text("{}")
    start = ["stages=[eval]", f"checkpoint={tmp_path}/made"]
    assert "has format None; this version reads the formats 1 and 2" in refused(outputs, *TINY, *start)
    dense(tmp_path / "made", streets())
    weights.write_bytes(weights.read_bytes()[:-8])
    assert "does not have the checksum that net.json records" in refused(outputs, *TINY, *start)


def test_a_threshold_above_or_below_all_scores_is_an_answer(tmp_path: Path) -> None:
    kept = {}
    for threshold in (1e-30, 1e30):
        asked = [
            "budget=threshold",
            "budget.round_to=1",
            f"budget.threshold={threshold}",
            "pruner=l1",
            "tracking=silent",
        ]
        place = tmp_path / str(threshold)
        ended = run_here(place, f"store.root={tmp_path}/store", *TINY, *QUICK, *asked)
        assert ended.code == 0, ended.error
        (plan,) = (path for path in tmp_path.glob("store/prune/*/plan.json") if path not in kept.values())
        kept[threshold] = plan
    below, above = (OmegaConf.load(path).layers for path in kept.values())
    assert all(layer.kept == layer.channels for layer in below)
    # the floor keeps a tenth of 4 or 8 channels, rounded up
    assert [layer.kept for layer in above] == [1] * len(above)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (
            ["dataset=folder", "dataset.root=/nö where", "dataset.classes=[a,b]"],
            "dataset.root=/nö where is not a",
        ),
        (["-m", "pruner=tayler,l1"], "Did you mean pruner=taylor?"),
    ],
)
def test_a_process_of_its_own_says_the_same(tmp_path: Path, arguments: list[str], told: str) -> None:
    done = run(tmp_path, *arguments)
    assert done.returncode == 1
    assert told in done.stderr
    assert "Traceback" not in done.stderr + done.stdout
    assert not list((tmp_path / "store").glob("train/*"))
