import json
from pathlib import Path

import pandas as pd
import pytest

from segprune.report.collect import JobData
from segprune.report.gallery import gallery, save
from tests.report.sweeps import job_data, store, sweep


def names_of(*jobs: JobData) -> list[str]:
    return [picture.name for picture in gallery(sweep(jobs))]


def test_every_figure_has_its_data_and_says_what_it_shows(tmp_path: Path) -> None:
    names = store(tmp_path, "ab12", [1])
    jobs = [
        job_data(0, "taylor", 40.0, root=tmp_path, names=names),
        job_data(1, "taylor", 41.0, seed=1, root=tmp_path, names=names),
    ]
    pictures = {picture.name: picture for picture in gallery(sweep(jobs))}
    # the second job differs from the first in the seed alone, so that its layers and scores are not shown again
    assert {name: picture.kind for name, picture in pictures.items()} == {
        "retention-1-channels": "method",
        "details-1-channels": "method",
        "classes-1-channels": "class",
        "cost-1": "method",
        "speed-1": "method",
        "curves-1": "method",
        "layers-0-taylor": "job",
        "scores-0-taylor": "job",
    }
    for picture in pictures.values():
        assert picture.png.startswith(b"\x89PNG")
        assert not picture.table.empty
        assert "streets, unet" in picture.caption
    assert "the 40 small objects" in pictures["details-1-channels"].caption
    assert "global ranking" in pictures["scores-0-taylor"].caption
    assert "job 0: taylor, 0.3 of channels, seed 0" in pictures["layers-0-taylor"].caption


def test_a_cut_that_is_trained_in_several_ways_is_shown_once(tmp_path: Path) -> None:
    names = store(tmp_path, "ab12", [1])
    other = store(tmp_path, "cd34", [1])
    jobs = [
        job_data(n, "taylor", 40.0, root=tmp_path, names=entries, setting=f"streets, unet; distill={distill}")
        for n, (distill, entries) in enumerate(
            [("none", names), ("kd", [names[1], *other[2:]]), ("cwd", [other[1]])]
        )
    ]
    assert [name for name in names_of(*jobs) if name.startswith("layers")] == [
        "layers-0-taylor",
        "layers-2-taylor",
    ]


def test_widths_that_are_no_multiples_are_named_under_the_layers(tmp_path: Path) -> None:
    names = store(tmp_path, "ab12", [1])
    plan = tmp_path / "prune" / "ab12" / "plan.json"
    cut = json.loads(plan.read_text())

    def caption(**more: object) -> str:
        plan.write_text(json.dumps({**cut, **more}))
        shown = gallery(sweep([job_data(0, "taylor", 40.0, root=tmp_path, names=names)]))
        return next(picture.caption for picture in shown if picture.name == "layers-0-taylor")

    assert caption(round_to=8, unaligned={"a": 12, "b": 2}).endswith(
        " No multiple of 8 is the width of a 12, b 2."
    )
    assert "multiple" not in caption(round_to=8, unaligned={})
    assert "multiple" not in caption()  # a cut of an earlier version
    part = {"layer": "attn.q", "channels": 4, "reason": "a LayerNorm over several of its channels"}
    assert caption(cuttable=0.59, whole=[part]).endswith(
        " 59% of all channels can be cut. Whole: attn.q (a LayerNorm over several of its channels)."
    )
    assert "can be cut" not in caption(cuttable=1.0, whole=[])
    vectors = {"layer": "excite", "channels": 4, "reason": "no maps"}
    assert caption(cuttable=1.0, whole=[], unscored=[vectors]).endswith(
        " Whole, since taylor cannot score it: excite (no maps)."
    )


def test_only_what_there_is_data_for_is_drawn() -> None:
    untimed = job_data(0, "taylor", 40.0, speedup=None, realisation_efficiency=None)
    assert set(names_of(job_data(0, "taylor", 40.0))) - set(names_of(untimed)) == {"speed-1"}
    assert names_of(untimed, job_data(1, "fgp", None)) == names_of(untimed)
    assert names_of(job_data(1, "fgp", None)) == []


def test_a_control_at_another_budget_has_no_figure_of_its_own() -> None:
    half = job_data(
        1, "l1", 30.0, ratio=0.5, protocol="half", method="half", setting="streets, unet; rounds=2"
    )
    job = job_data(0, "taylor", 40.0, budget="macs")
    assert "retention-1-macs" in names_of(job)
    assert names_of(job, half) == names_of(job)
    assert "retention-1-channels" in names_of(half)


def test_a_threshold_is_a_budget_like_others(tmp_path: Path) -> None:
    names = store(tmp_path, "ab12", [1])[1:]  # without curves of training
    job = job_data(0, "slimming", 40.0, ratio=None, budget="threshold", root=tmp_path, names=names)
    pictures = {picture.name: picture for picture in gallery(sweep([job]))}
    assert {"retention-1-threshold", "classes-1-threshold", "layers-0-slimming"} <= pictures.keys()
    assert "slimming, threshold, seed 0" in pictures["layers-0-slimming"].caption


def test_settings_and_jobs_of_any_name_get_files_of_their_own(tmp_path: Path) -> None:
    names = store(tmp_path, "ab12", [1])[1:2]  # the plan
    first = job_data(0, "../../up", 40.0, root=tmp_path, names=names)
    second = job_data(1, "../../up", 40.0, root=tmp_path, names=names, setting="other", budget="a/b")
    found = names_of(first, second)
    assert len(set(found)) == len(found) == len(names_of(first)) + len(names_of(second))
    assert not any("/" in name or "." in name for name in found)


def test_pictures_are_saved_with_their_data(tmp_path: Path) -> None:
    pictures = list(gallery(sweep([job_data(0, "taylor", 40.0)])))
    written = save(pictures, tmp_path / "figures")
    names = [picture.name for picture in pictures]
    assert [path.name for path in written] == [f"{name}{end}" for name in names for end in (".png", ".csv")]
    assert (tmp_path / "figures" / "cost-1.png").read_bytes() == pictures[names.index("cost-1")].png
    table = pd.read_csv(tmp_path / "figures" / "cost-1.csv").set_index("method")
    assert table.loc["taylor", "miou_percent"] == pytest.approx(40.0)


def test_what_a_teacher_does_has_curves_and_classes(tmp_path: Path) -> None:
    jobs = [
        job_data(
            n,
            "l1",
            40.0,
            distill=name,
            setting=f"streets, unet; distill={name}",
            root=tmp_path,
            names=store(tmp_path, name, [1]),
        )
        for n, name in enumerate(("none", "kd"))
    ]
    found = [picture for picture in gallery(sweep(jobs)) if picture.kind == "teaching"]
    assert [picture.name for picture in found] == ["teaching-curves-1", "teaching-classes-1-channels"]
    assert "with a teacher than without" in found[1].caption
    failed = [
        job_data(n, "l1", None, distill=name, setting=f"streets, unet; distill={name}")
        for n, name in enumerate(("none", "kd"))
    ]
    assert not [picture for picture in gallery(sweep(failed)) if picture.kind == "teaching"]
