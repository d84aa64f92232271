"""Which results an edit of which file makes again; every file of src is listed, so that none is forgotten."""

import inspect
import json
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path
from types import FrameType
from typing import NamedTuple

import pytest
from omegaconf import OmegaConf

from segprune.loss.ce import CrossEntropy
from segprune.pruner.taylor import Taylor
from segprune.stage import identity
from segprune.stage.contract import Context, Stage
from segprune.stage.oracle import OracleSettings
from segprune.stage.state import Trail
from segprune.store import code
from segprune.store.code import Files, code_of, files_of, target_modules
from segprune.store.store import Store
from tests.stage.test_eval import stage as evaluate
from tests.stage.test_fit import stage as fit
from tests.stage.test_prune import sparse, with_norms
from tests.stage.test_prune import stage as prune
from tests.test_conf import CONF
from tests.tiny import tiny_context

Work = tuple[Sequence[str], Sequence[str]]
"""The modules that do a work, and what of those behind them does not count."""
SOURCE = Path(code.__file__).parents[1]
SOURCES = frozenset({"segprune.model.initial", "segprune.model.unet", "segprune.dataset.streets"})
ORACLE = OracleSettings(samples=2, images=4, batch_size=2, copies=1, loss=CrossEntropy())

TABLE = {
    "prune rounds": """
        budget/__init__.py budget/allocate.py budget/contract.py budget/dependence.py budget/fraction.py
        budget/reached.py budget/simulate.py stage/cut_record.py stage/prune.py stage/reach.py stage/rounds.py
    """,
    "train prepare score prune rounds quality oracle eval eval+": """
        dataset/__init__.py dataset/augment.py dataset/cache.py dataset/contract.py dataset/identity.py
        dataset/items.py dataset/labels.py dataset/loading.py dataset/made_by.py dataset/streets.py
        dataset/streets_canvas.py
        dataset/streets_objects.py dataset/streets_road.py dataset/streets_scene.py measure/__init__.py
        model/__init__.py model/block.py model/contract.py model/copies.py model/initial.py model/resize.py
        model/unet.py
        result/__init__.py seed.py stage/__init__.py stage/shown.py
    """,
    "train prepare rounds": """
        dataset/weights.py measure/evaluate.py stage/fit.py training/cudnn.py training/loop.py
        training/apart.py training/rank.py training/recompute.py training/shared_norm.py training/step.py
        training/waiting.py
    """,
    "prepare score prune rounds oracle eval eval+": """
        graph/__init__.py graph/group.py graph/layers.py graph/units.py
    """,
    "prune rounds eval eval+": """
        measure/cost.py measure/itemise.py transform/__init__.py transform/contract.py transform/cut.py
        transform/registry.py
    """,
    "prepare prune rounds oracle eval eval+": """
        graph/build.py graph/by_layer.py graph/closing.py graph/cut.py graph/dependency.py graph/engine.py
        graph/grouping.py graph/heads.py graph/kept.py graph/parts.py graph/program.py graph/proof.py
        graph/silence.py graph/trace.py graph/undo.py
    """,
    "train prepare prune rounds eval eval+": """
        stage/dense.py
    """,
    "prune rounds oracle eval+": """
        result/removed.py
    """,
    "eval+": """
        measure/agreement.py
    """,
    "quality eval eval+": """
        measure/answers.py measure/boundary.py measure/hausdorff.py measure/quality.py measure/reconstruction.py
        measure/small_objects.py stage/side_by_side.py
    """,
    "train prepare rounds quality oracle eval eval+": """
        measure/eval_mode.py
    """,
    "train prepare rounds quality eval eval+": """
        measure/inference.py measure/miou.py measure/passes.py
    """,
    "eval eval+": """
        deploy/__init__.py deploy/form.py deploy/onnx_file.py deploy/ready.py deploy/runtime.py
        deploy/time_limit.py
        measure/contract.py measure/latency.py measure/runners.py result/caution.py result/confusion.py
        result/contract.py result/difference.py result/evaluation_report.py result/headline.py result/label.py
        result/metrics.py result/overlay.py result/parts.py result/png.py result/row.py result/slower.py
        result/table.py stage/eval.py stage/facts.py stage/rows.py stage/times.py
    """,
    "oracle eval+": """
        measure/loss_change.py stage/oracle.py
    """,
    "score prune rounds eval eval+": """
        allocator.py measure/memory.py
    """,
    "prepare score prune rounds": """
        pruner/__init__.py pruner/contract.py pruner/gather.py
    """,
    "prepare": """
        pruner/bn_scale.py pruner/sparse.py
    """,
    "prepare prune rounds": """
        pruner/partial.py
    """,
    "score prune": """
        pruner/gates.py pruner/scoring_mode.py pruner/taylor.py
    """,
    "rounds": """
        pruner/l1.py
    """,
    "train prepare prune rounds": """
        stage/idle.py
        schedule/__init__.py schedule/schedule.py
    """,
    "score prune rounds": """
        stage/calibration.py stage/scoring.py
    """,
    "prepare rounds": """
        stage/prepare.py
    """,
    "train prepare score prune rounds oracle eval+": """
        loss/__init__.py loss/ce.py training/__init__.py training/loss.py
    """,
}
"""Results -> the files that they are made by, on the data ``streets`` with the network ``unet`` and the criterion
``taylor`` (``prepare``: ``slimming``; ``rounds``, a cut in several: ``l1``). ``eval+`` has an oracle."""
KINDS = ("train", "prepare", "score", "prune", "rounds", "quality", "oracle", "eval", "eval+")
CHOSEN = """
distill/__init__.py distill/affinity.py distill/clock.py distill/coder.py distill/contract.py distill/cwd.py
distill/dist.py distill/holistic.py distill/itself.py distill/ka.py distill/kd.py distill/kd_feature.py
distill/kept.py distill/kept_logits.py distill/look.py distill/nfd.py distill/none.py distill/normalised.py
distill/ofd.py
distill/pairs.py distill/pixels.py distill/places.py distill/skd.py distill/step.py distill/teacher.py
stage/teaching.py stage/teacher_logits.py
model/existing_weights.py model/module.py model/smp.py model/torchvision_named.py model/transformers_named.py
model/wrapped.py model/unreadable.py
loss/ce_dice.py loss/dice.py loss/focal.py loss/ohem.py loss/pixels.py
budget/threshold.py dataset/camvid.py dataset/cityscapes.py dataset/decode.py dataset/facts.py
dataset/file_source.py dataset/folder.py dataset/frames.py dataset/mask_code.py dataset/mask_options.py
dataset/pair_file.py dataset/cells.py dataset/band_files.py dataset/band_statistics.py
dataset/pair_set.py dataset/pairing.py dataset/pairs.py dataset/roles.py dataset/split.py
dataset/torchvision_named.py dataset/shared_memory.py dataset/mask_pixels.py
budget/latency.py budget/search.py budget/stopwatch.py
model/backbone_weights.py model/lite0_fpn.py model/resnet_seg.py model/simple_segnet.py
model/torchvision_seg.py pruner/apoz.py pruner/cap.py pruner/clique.py pruner/dmcp.py pruner/fgp.py
pruner/fisher.py pruner/fpgm.py pruner/group_l2.py pruner/l2.py pruner/lamp.py pruner/mapped.py pruner/maps.py
pruner/markov.py pruner/random.py pruner/sirfp.py pruner/slimming.py
deploy/about.py deploy/opened.py deploy/parity.py deploy/pt2_file.py deploy/quantised.py graph/pad.py
stage/export.py stage/quantise.py
stage/deploy_json.py deploy/mlmodel.py
"""
"""Files that only another option of a group or another stage uses."""
SILENT = """
config/synonyms.py run/advice.py run/compared.py run/onward.py run/place.py run/reading.py
run/elsewhere.py loss/contract.py model/bands.py model/unlike.py checkpoint/ancestry.py run/ancestry.py
config/comments.py config/control.py config/dataset_node.py config/spelled.py doctor/__init__.py doctor/__main__.py
doctor/case.py doctor/contents.py
doctor/contract.py doctor/exam.py doctor/folders.py doctor/layout.py doctor/pace.py doctor/meaning.py
doctor/lists.py doctor/pairs.py doctor/unused.py
run/hardware.py run/naming.py run/taught.py run/teachers.py
gpu.py
gpu_check/__init__.py gpu_check/__main__.py gpu_check/commands.py gpu_check/contract.py
gpu_check/numbers.py gpu_check/parts.py gpu_check/several.py gpu_check/speed.py gpu_check/trainings.py
__init__.py __main__.py app.py bench/__init__.py bench/__main__.py bench/bare.py bench/chain.py bench/commands.py
bench/contract.py bench/cuts.py bench/epochs.py bench/growth.py bench/job.py bench/loading.py bench/machine.py
bench/scoring.py bench/spent.py bench/startup.py checkpoint/__init__.py checkpoint/admission.py
checkpoint/checkpoint.py checkpoint/contract.py cli.py dataset/workers.py config/__init__.py config/component.py
config/compose.py config/explain.py config/protocol.py config/refusal.py config/renamed.py console.py durable.py
errors.py importing.py predict/__init__.py predict/__main__.py predict/predictor.py predict/served.py
predict/trust.py
config/places.py dataset/summary.py
report/__init__.py report/__main__.py report/job_figures.py report/class_figure.py report/collect.py
report/command.py report/contest.py report/entries.py report/figures.py report/frames.py report/gallery.py
report/html.py report/lacking.py report/metric_table.py report/note.py report/paired.py report/progress.py
report/references.py
report/retention_figure.py report/statistics.py report/style.py report/summary.py report/table.py
report/contest_notes.py report/teaching.py report/timing.py report/tracked.py report/verdict.py report/write.py
reproduce/__init__.py
reproduce/__main__.py reproduce/differences.py reproduce/origin.py reproduce/recorded.py result/__main__.py
result/files.py run/__init__.py run/assemble.py run/chain.py run/describe.py run/start.py shortage.py
stage/contract.py stage/identity.py stage/kept.py stage/planned.py stage/state.py
stage/trial.py status.py stop.py store/__init__.py store/__main__.py
store/code.py
store/fingerprint.py store/inventory.py store/kin.py store/libraries.py store/manifest.py store/store.py
sweep/__init__.py sweep/composer.py
sweep/board.py sweep/callback.py sweep/controls.py sweep/dry_run.py sweep/ending.py sweep/estimate.py
sweep/grid.py
sweep/forks.py sweep/handover.py sweep/launcher.py sweep/plugin.py sweep/pool.py sweep/step_time.py sweep/work.py
sweep/slurm.py sweep/slurm_queue.py tracking/__init__.py tracking/color.py
tracking/contract.py tracking/creation.py tracking/deliver.py tracking/experiment.py tracking/failure.py
tracking/hint.py tracking/journal.py tracking/mlflow_run.py tracking/mlflow_tracker.py
tracking/provenance.py tracking/record.py tracking/replay.py tracking/search.py tracking/secrets.py
tracking/sender.py tracking/silent.py tracking/store.py tracking/ui.py tracking/views.py
stage/several_gpus.py training/together.py sweep/kubernetes.py sweep/later.py sweep/slurm_lost.py
"""
"""Files of which no result depends, or none of RGB images of 8 bits: they configure, refuse, keep, show or tell."""
KEEP = {
    "checkpoint/admission.py": """
        _heads refuse_absent refuse_misfit refuse_not_finite refuse_other_plans refuse_other_tensors widths
    """,
    "checkpoint/checkpoint.py": """
        _bytes _last_cuts _read_weights _transforms describe load_strictly prediction read write
    """,
    "durable.py": "Checked.__init__ Checked.write Lock.__init__ Lock.acquire replacing sha256 sync",
    "gpu.py": "_has_tf32 inputs_of name_of precision_of",
    "graph/cut.py": "_set_widths fit_shapes",  # of weights that are read, which are loaded strictly
    "graph/layers.py": "is_depthwise",
    "importing.py": "importing",
    "measure/eval_mode.py": "eval_mode",  # while weights that were read are checked
    "measure/passes.py": "Passes.is_single Passes.size_hw",  # fingerprints have the size, or the passes
    "stage/contract.py": "Context.key_of",
    "stage/identity.py": "_plain fingerprint_of identity",
    "stage/kept.py": "note_source origin_of read_state write_state",
    "stage/oracle.py": "oracle_of_trail",  # of an evaluation without an oracle
    "stage/state.py": "NetState.module",
    "stop.py": "if_asked",
}
"""Files that do not count for a result -> their functions that run in its stage all the same: they keep what others
computed bit for bit, check it, tell of it, or give values that are among the inputs of fingerprints."""
CRITERIA = {
    "pruner/apoz.py": "apoz",
    "pruner/bn_scale.py": "bn_scale cap dmcp slimming",
    "pruner/cap.py": "cap",
    "pruner/clique.py": "sirfp",
    "pruner/contract.py": "cap dmcp slimming",
    "pruner/dmcp.py": "dmcp",
    "pruner/fgp.py": "fgp",
    "pruner/fisher.py": "fisher",
    "pruner/fpgm.py": "fpgm",
    "pruner/gates.py": "dmcp taylor",
    "pruner/gather.py": "apoz bn_scale cap dmcp fgp fisher fpgm group_l2 l1 l2 lamp sirfp slimming taylor",
    "pruner/group_l2.py": "group_l2",
    "pruner/l1.py": "l1",
    "pruner/l2.py": "l2",
    "pruner/lamp.py": "lamp",
    "pruner/mapped.py": "apoz cap fgp sirfp",
    "pruner/maps.py": "sirfp",
    "pruner/markov.py": "dmcp",
    "pruner/partial.py": "",
    "pruner/random.py": "random",
    "pruner/scoring_mode.py": "apoz cap dmcp fgp fisher sirfp taylor",
    "pruner/sirfp.py": "sirfp",
    "pruner/slimming.py": "slimming",
    "pruner/sparse.py": "cap dmcp slimming",
    "pruner/taylor.py": "dmcp taylor",
}
"""Files of the criteria -> those whose results an edit makes again."""


def told(root: Path) -> dict[str, Work]:
    """Kind of result -> the work that it is of, in a store whose results all have the work for their code."""
    found = {}
    for path in root.glob("*/*/manifest.json"):
        inputs = json.loads(path.read_text(encoding="utf-8"))["inputs"]
        found[path.parent.parent.name] = (inputs["code"]["modules"], inputs["code"]["without"])
    return found


class Toy(NamedTuple):
    """What stages told when they ran on a toy.

    Attributes:
        works: Kind of result -> the work that makes it.
        calls: Of each stage the works of its results, and the functions that ran: path and name.
    """

    works: Mapping[str, Work]
    calls: Sequence[tuple[Sequence[Work], set[tuple[str, str]]]]


@contextmanager
def running() -> Iterator[set[tuple[str, str]]]:
    """The functions of segprune that run meanwhile: path and name, without those that stand inside others."""
    found, home = set[tuple[str, str]](), f"{SOURCE}{os.sep}"

    def look(frame: FrameType, event: str, _: object) -> None:
        made = frame.f_code
        if event == "call" and made.co_filename.startswith(home) and made.co_flags & inspect.CO_OPTIMIZED:
            found.add((made.co_filename.removeprefix(home), made.co_qualname.partition(".<locals>")[0]))

    before = sys.getprofile()
    sys.setprofile(look)
    try:
        yield found
    finally:
        sys.setprofile(before)


@pytest.fixture(scope="module")
def works(toy: Toy) -> Mapping[str, Work]:
    """Kind of result -> the work that makes it."""
    return toy.works


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Toy:
    """Stages on a toy, in a process of its own: to watch one that has run most other tests did not end."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as process:
        return process.submit(told_by_stages, tmp_path_factory.mktemp("toy")).result()


def told_by_stages(root: Path) -> Toy:
    """What stages tell when they run on a toy, with their stores below a folder."""

    def tell(modules: frozenset[str], without: Sequence[str] = ()) -> dict[str, object]:
        return {"code": {"modules": sorted(modules), "without": sorted(without)}, "libraries": {}}

    def context(name: str, **changes: object) -> Context:
        (root / name).mkdir()
        return replace(tiny_context(root / name, **changes), sources=SOURCES)

    calls = []

    def run(ctx: Context, stage: Stage, trail: Trail) -> Trail:
        before = set(told(ctx.store.root))
        with running() as functions:
            longer = stage(ctx, trail)
        calls.append(([work for kind, work in told(ctx.store.root).items() if kind not in before], functions))
        return longer

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(identity, "code_of", tell)
        ctx = context("oracle")
        trail = run(ctx, prune(pruner=Taylor(variant="gate")), run(ctx, fit(epochs=1), ()))
        run(ctx, evaluate(oracle=ORACLE), trail)
        found = told(ctx.store.root)
        found["eval+"] = found["eval"]
        ctx = context("phase", build=with_norms)
        trail = run(ctx, fit(epochs=1), ())
        run(ctx, evaluate(), run(ctx, prune(pruner=sparse(epochs=1)), trail)[:2])
        found |= {kind: told(ctx.store.root)[kind] for kind in ("prepare", "eval")}
        ctx = context("rounds")
        trail = run(ctx, fit("finetune", "finetuned", epochs=1), run(ctx, fit(epochs=1), ()))
        run(ctx, prune(rounds=2), trail)
        rounds = told(ctx.store.root)
    assert rounds["train"] == rounds["finetune"] == rounds["between_1"] == found["train"]
    return Toy({**found, "rounds": rounds["prune"]}, calls)


def edited(*paths: str) -> dict[str, bytes]:
    """The files of segprune, some of them with a line more."""
    return {path: text + b"\nEDITED = 1" * (path in paths) for path, text in files_of("segprune").items()}


def digests(work: Work, files: Files) -> object:
    modules, without = work
    return code_of(modules, without=without, read=lambda name: files if name == "segprune" else {})["code"]


def test_every_file_is_listed_once() -> None:
    listed = [path for paths in (*TABLE.values(), CHOSEN, SILENT) for path in paths.split()]
    here = files_of("segprune")
    remedy = "put each into TABLE, below the results that it makes, or into CHOSEN or SILENT"
    assert sorted(set(here) - set(listed)) == [], f"files that this list does not know: {remedy}"
    assert sorted(set(listed) - set(here)) == [], "files that are no more"
    assert len(listed) == len(here), "a file stands twice"


@pytest.mark.parametrize(
    "kind", ["train", "prepare", "score", "prune", "rounds", "quality", "oracle", "eval", "eval+"]
)
def test_an_edit_makes_again_what_the_table_says_and_nothing_else(
    works: Mapping[str, Work], kind: str
) -> None:
    mine = {path for kinds, paths in TABLE.items() if kind in kinds.split() for path in paths.split()}
    before = digests(works[kind], edited())
    unseen = {path for path in mine if digests(works[kind], edited(path)) == before}
    assert unseen == set()
    others = set(files_of("segprune")) - mine
    assert digests(works[kind], edited(*others)) == before


def test_what_runs_in_a_stage_counts_for_its_results_or_only_keeps_checks_and_tells(toy: Toy) -> None:
    silent = set[tuple[str, str]]()
    for mine, functions in toy.calls:
        whole = [digests(work, edited()) for work in mine]
        paths = {path for path, _ in functions}
        not_seen = {path for path in paths if [digests(work, edited(path)) for work in mine] == whole}
        silent |= {(path, name) for path, name in functions if path in not_seen}
    new = {(path, name) for path, name in silent if name not in KEEP.get(path, "").split()}
    outside = sorted(
        (path, name) for path, name in new if path.partition("/")[0] not in ("store", "tracking")
    )
    assert outside == [], (
        "move what can change a number out of KEEPERS; list in KEEP what only keeps, checks or tells"
    )


def options(group: str) -> Iterator[tuple[str, set[str]]]:
    """Each option of a config group, and the modules that it names."""
    for path in sorted((CONF / group).glob("*.yaml")):
        node = OmegaConf.to_container(OmegaConf.load(path), resolve=False)
        if modules := set(target_modules(node)):
            yield path.stem, modules


def users(path: str, group: str) -> list[str]:
    """The options whose results an edit of a file makes again."""
    return [
        name
        for name, modules in options(group)
        if digests(([*modules], ()), edited(path)) != digests(([*modules], ()), edited())
    ]


def test_what_no_default_uses_is_used_by_another_option() -> None:
    others = [path for path in CHOSEN.split() if not path.startswith("pruner/")]
    groups = {path: {path.partition("/")[0], "stage"} for path in others}
    assert [path for path in others if not any(users(path, group) for group in groups[path])] == []


def test_an_edit_of_a_criterion_makes_no_result_of_another_again() -> None:
    files = [path for path in files_of("segprune") if path.startswith("pruner/") and "__init__" not in path]
    assert {path: " ".join(users(path, "pruner")) for path in files} == CRITERIA


def chain(folder: Path, *accept: str, edit: Sequence[str] = ()) -> Context:
    """Train, cut and evaluate a toy, with files of segprune edited."""
    files = edited(*edit)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(code, "files_of", lambda package: files if package == "segprune" else {})
        ctx = tiny_context(folder)
        ctx = replace(ctx, store=Store(root=ctx.store.root, reuse=True, accept=accept))
        evaluate()(ctx, prune()(ctx, fit(epochs=1)(ctx, ())))
    return ctx


def kinds(names: Sequence[str]) -> set[str]:
    return {name.partition("/")[0] for name in names}


def test_a_training_by_other_code_is_made_again_and_why_is_said_or_taken_and_rows_say_so(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    first = chain(tmp_path)
    assert [row.accepted for row in first.rows] == [None] * 3
    caplog.clear()
    other = ["training/step.py"]
    taken = chain(tmp_path, "train", edit=other)
    assert {*taken.store.used} < {*first.store.used}
    assert (taken.store.computed, taken.store.accepted) == ([], ("train",))
    assert [row.accepted for row in taken.rows] == ["train"] * 3
    assert [replace(row, accepted=None) for row in taken.rows] == first.rows
    assert "although code of training/ changed" in caplog.text
    caplog.clear()
    again = chain(tmp_path, edit=other)
    assert kinds(again.store.computed) == {"train", "score", "prune", "quality", "eval"}
    assert [row.accepted for row in again.rows] == [None] * 3
    assert [record.message for record in caplog.records if "computed again" in record.message] == [
        "train: computed again, because code of training/ changed. The old result is kept; store.accept=[train] "
        "takes it."
    ]
    assert {*chain(tmp_path, "train", edit=other).store.used} < {*again.store.used}


def test_what_is_made_of_an_accepted_result_is_never_found_by_who_does_not_accept_it(tmp_path: Path) -> None:
    chain(tmp_path)
    other = ["pruner/l1.py"]
    taken = chain(tmp_path, "score", edit=other)
    assert kinds(taken.store.computed) == {"prune", "quality", "eval"}
    assert [row.accepted for row in taken.rows] == [None, "score", "score"]
    own = chain(tmp_path, edit=other)
    assert kinds(own.store.computed) == {"score", "prune", "quality", "eval"}
    assert not {*own.store.computed} & {*taken.store.computed}
    measured = chain(tmp_path, "quality", "eval", edit=["measure/boundary.py"])
    assert measured.store.computed == []
    assert [row.accepted for row in measured.rows] == ["eval,quality"] * 3


def test_an_edit_in_a_sub_package_of_the_network_changes_every_result(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "usernet" / "blocks").mkdir(parents=True)
    act, keys = tmp_path / "usernet" / "blocks" / "act.py", []
    ctx = replace(tiny_context(tmp_path), sources=frozenset({"usernet.net"}))
    for text in ("f = 'relu'", "f = 'tanh'", "f = 'tanh'  # as in the paper"):
        act.write_text(text)
        files_of.cache_clear()
        code._behind.cache_clear()
        keys.append([identity.fingerprint_of(ctx, word, {}, fit(), prune()) for word in ("train", "prune")])
    assert keys[1] == keys[2]
    assert not {*keys[0]} & {*keys[1]}
