from pathlib import Path

from segprune.bench.contract import Bench
from segprune.bench.job import grid, read, single


def bench(*, is_quick: bool, folder: Path = Path()) -> Bench:
    return Bench(folder=folder, is_quick=is_quick)


def test_a_job_survives_being_spelled() -> None:
    for job in (single(bench(is_quick=True)), grid(bench(is_quick=False))):
        assert read(job.text()) == job


def test_the_usual_sizes_are_those_of_the_default_configuration(composer: None) -> None:
    from tests.test_conf import composed

    job, cfg = single(bench(is_quick=False)), composed()
    assert list(cfg.dataset.size_hw) == [job.height, job.width]
    assert dict(cfg.dataset.counts) == {"fit": job.fit, "select": job.select, "report": job.report}
    assert (cfg.train.epochs, cfg.finetune.epochs, cfg.ratio) == (job.epochs, job.finetune, job.ratios[0])
    again = composed(*job.overrides())
    assert all(again[key] == cfg[key] for key in cfg if key != "hydra")
    augment = job.data.__code__.co_consts
    assert dict(cfg.dataset.augment) == {"crop_area": [0.4, 1.0], "flip": 0.5, "jitter": 0.2}
    assert (0.4, 1.0) in augment


def test_the_grid_has_nine_cells_and_says_so() -> None:
    job = grid(bench(is_quick=False))
    assert job.sizes() == "unet, 96x128 px, 300+60+100 images, 8+2 epochs, 9 jobs"
    assert job.overrides()[-2:] == ["pruner=taylor,fpgm,sirfp", "ratio=0.2,0.3,0.5"]


def test_the_images_are_of_the_sizes_that_were_asked_for(tmp_path: Path) -> None:
    job = read('{"height": 32, "width": 48, "fit": 3, "select": 1, "report": 2, "epochs": 1, "finetune": 1, '
               '"methods": ["l1"], "ratios": [0.5]}')  # fmt: skip
    data = job.data(tmp_path)
    assert (len(data.fit), len(data.select), len(data.report)) == (3, 1, 2)
    assert data.fit[0].image.shape == (3, 32, 48)
