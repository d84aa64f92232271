from pathlib import Path

from segprune.report.command import command, finishing, more_seeds


def test_a_key_gets_its_new_values_and_the_rest_stays() -> None:
    typed = ["pruner=l1,taylor", "ratio=0.3", "+seed=0", "pruner.images=8"]
    assert command(typed, pruner=["random", "l1", "l1"], seed=[0, 1]) == (
        "python run.py -m ratio=0.3 pruner.images=8 pruner=random,l1 seed=0,1"
    )


def test_the_shell_reads_every_override_as_one_word() -> None:
    assert command(["stages=[train, eval]", "note=$(rm x);'"]) == (
        "python run.py -m 'stages=[train, eval]' 'note=$(rm x);'\"'\"''"
    )


def test_a_sweep_is_finished_in_its_own_folder() -> None:
    of_hydra = ["hydra.mode=MULTIRUN", "hydra/launcher=slurm", "hydra.sweep.dir=x", "hydra.searchpath=[mine]"]
    typed = ["hydra.searchpath=[file:///mine]", "ratio=0.3,0.5"]
    assert finishing(Path("/out/12-00"), typed, of_hydra) == (
        "python run.py -m 'hydra.searchpath=[file:///mine]' ratio=0.3,0.5 hydra/launcher=slurm "
        "hydra.sweep.dir=/out/12-00"
    )


def test_the_smallest_free_seeds_are_added() -> None:
    assert more_seeds([1, 7], 4) == [1, 7, 0, 2]
    assert more_seeds([0, 1, 2], 3) == [0, 1, 2]
    assert more_seeds([0, 1, 2, 5], 3) == [0, 1, 2, 5]
