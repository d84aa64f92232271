from segprune.report.command import command, more_seeds


def test_a_key_gets_its_new_values_and_the_rest_stays() -> None:
    typed = ["pruner=l1,taylor", "ratio=0.3", "+seed=0", "pruner.images=8"]
    assert command(typed, pruner=["random", "l1", "l1"], seed=[0, 1]) == (
        "python run.py -m ratio=0.3 pruner.images=8 pruner=random,l1 seed=0,1"
    )


def test_the_shell_reads_every_override_as_one_word() -> None:
    assert command(["stages=[train, eval]", "note=$(rm x);'"]) == (
        "python run.py -m 'stages=[train, eval]' 'note=$(rm x);'\"'\"''"
    )


def test_the_smallest_free_seeds_are_added() -> None:
    assert more_seeds([1, 7], 4) == [1, 7, 0, 2]
    assert more_seeds([0, 1, 2], 3) == [0, 1, 2]
    assert more_seeds([0, 1, 2, 5], 3) == [0, 1, 2, 5]
