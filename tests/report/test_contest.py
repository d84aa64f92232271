from dataclasses import replace

from segprune.report.contest import Contest, Standing, announcements, gap, spread
from segprune.report.statistics import Difference

BEHIND = Difference(
    points=1.25,
    low=0.5,
    high=2.0,
    level=0.975,
    over="images",
    n=100,
    per_seed=(1.0, 1.5),
    seeds_low=-5.11,
    seeds_high=7.61,
    share_positive=1.0,
)
FIRST = Standing(method="taylor", seeds=(0, 1), values={"mean": 50.0, "sd": 0.5}, is_equal=True, behind=None)
SECOND = replace(FIRST, method="l1", behind=BEHIND)
CONTEST = Contest(
    setting="streets, unet",
    budget="macs",
    ratio=0.3,
    dense_percent=51.0,
    standings=(FIRST, SECOND, replace(SECOND, method="fgp", is_equal=False)),
    references=(),
    winner="taylor",
    reasons=(),
    notes=(),
    remedy=None,
)


def test_a_winner_is_named_with_its_lead_and_uncertainty() -> None:
    assert CONTEST.headline == (
        "At 30 % of MACs removed, streets, unet, taylor keeps the most mIoU of the 2 methods that finished: "
        "50.00 ± 0.50 % (sd of 2 seeds), 1.25 points (97.5 % interval 0.50 to 2.00 over 100 report images, "
        "-5.11 to 7.61 over 2 seeds) ahead of l1."
    )


def test_no_winner_is_named_with_the_reasons() -> None:
    refused = replace(CONTEST, winner=None, reasons=("no control l1", "one seed"))
    assert refused.headline == ("No winner at 30 % of MACs removed, streets, unet: no control l1; one seed.")


def test_contests_without_a_winner_for_the_same_reasons_are_told_together_behind_those_with_one() -> None:
    none = replace(CONTEST, winner=None, reasons=("no control l1",))
    other = replace(none, ratio=0.5, notes=("2 seeds",))
    close = replace(none, ratio=0.6, reasons=("taylor cannot be told from l1",))
    won, both, alone = announcements([none, other, close, CONTEST])
    assert (won.text, won.is_won, won.details) == (CONTEST.headline, True, ())
    assert (both.text, both.is_won) == (
        f"No winner at 30 % of MACs removed, streets, unet, nor at {other.title}: no control l1.",
        False,
    )
    assert both.details == ("50 % of MACs removed, streets, unet. 2 seeds",)
    assert alone.text == close.headline
    both_noted = [replace(one, notes=("no scratch", *one.notes)) for one in (none, other)]
    (told,) = announcements(both_noted)
    assert told.details == ("no scratch", "50 % of MACs removed, streets, unet. 2 seeds")
    (many,) = announcements([none, other, replace(none, ratio=0.7), replace(none, ratio=0.8)])
    assert many.text == "No winner in 4 comparisons: no control l1."
    assert many.details == (
        none.title,
        f"{other.title}. 2 seeds",
        "70 % of MACs removed, streets, unet",
        "80 % of MACs removed, streets, unet",
    )


def test_a_threshold_has_no_ratio() -> None:
    assert replace(CONTEST, ratio=None, budget="threshold").title == "budget=threshold, streets, unet"


def test_one_seed_has_no_spread() -> None:
    assert spread(replace(FIRST, seeds=(4,))) == "50.00 % (one seed)"


def test_an_interval_over_seeds_says_so_and_none_is_unknown() -> None:
    assert gap(replace(SECOND, behind=replace(BEHIND, over="seeds", n=2))) == (
        "1.25 points (97.5 % interval -5.11 to 7.61 over 2 seeds)"
    )
    one = replace(BEHIND, per_seed=(1.25,), seeds_low=None, seeds_high=None)
    assert gap(replace(SECOND, behind=one)) == (
        "1.25 points (97.5 % interval 0.50 to 2.00 over 100 report images)"
    )
    assert gap(FIRST) == "unknown"
