"""The comparison of the methods at one budget, and its text."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from segprune.report.references import Reference
from segprune.report.statistics import Difference

MOST_NAMED = 3
"""More comparisons without a winner, for the same reasons, are counted in the sentence and named below it."""
EQUAL = 0.01
"""How far a reached fraction may be from the asked one where the cut does not say that it met the budget."""
UNITS = {"macs": "MACs", "params": "parameters"}


@dataclass(frozen=True, kw_only=True)
class Standing:
    """One method at one budget.

    Attributes:
        method: Its name.
        seeds: Those that finished.
        values: ``mean``, ``sd``, ``low``, ``high`` of mIoU in percent over the seeds, and the mean of each
            metric, of a retention the mean by that of the dense networks; nan where there is none.
        is_equal: Whether it reached the asked budget.
        threshold: Channels with a lower score were to go; None where a ratio decided.
        behind: How much higher the best method's mIoU is; None for the best, and if there are neither images nor
            seeds for an interval.
    """

    method: str
    seeds: tuple[int, ...]
    values: Mapping[str, float]
    is_equal: bool
    behind: Difference | None
    threshold: float | None = None


@dataclass(frozen=True, kw_only=True)
class Contest:
    """The methods of one setting at one budget.

    Attributes:
        setting: What they share.
        budget: The chosen budget.
        ratio: Fraction asked to be removed; None where a threshold decided.
        dense_percent: mIoU of the network before the cut, mean over the seeds; None if no job finished.
        standings: Highest mean mIoU first; those that missed the budget last.
        references: The controls.
        winner: The method that is clearly better than all others; None if there is none.
        reasons: Why there is no winner.
        notes: Limits of the comparison.
        remedy: Command that may lead to a winner; None if there is one, where jobs only evaluated, and
            where report images are lacking.
    """

    setting: str
    budget: str
    ratio: float | None
    dense_percent: float | None
    standings: tuple[Standing, ...]
    references: tuple[Reference, ...]
    winner: str | None
    reasons: tuple[str, ...]
    notes: tuple[str, ...]
    remedy: str | None

    @property
    def title(self) -> str:
        """Budget and setting in words."""
        if self.ratio is None:
            return f"budget={self.budget}, {self.setting}"
        return f"{100 * self.ratio:g} % of {UNITS.get(self.budget, self.budget)} removed, {self.setting}"

    @property
    def headline(self) -> str:
        """The verdict in words."""
        if self.winner is None:
            return f"No winner at {self.title}: {'; '.join(self.reasons)}."
        best, second = self.standings[:2]
        count = sum(standing.is_equal for standing in self.standings)
        return (
            f"At {self.title}, {self.winner} keeps the most mIoU of the {count} methods that finished: "
            f"{spread(best)}, {gap(second)} ahead of {second.method}."
        )


@dataclass(frozen=True, kw_only=True)
class Announcement:
    """What is said of one contest, or of several that are undecided for the same reasons.

    Attributes:
        text: The verdict in words.
        is_won: Whether it names a winner.
        details: The notes; where several are undecided, those of all first, and then each with its own.
    """

    text: str
    is_won: bool
    details: tuple[str, ...]


def announcements(contests: Sequence[Contest]) -> list[Announcement]:
    """The verdicts: contests with a winner first, those that nothing but the place tells apart together."""
    alike: dict[object, list[Contest]] = {}
    for contest in sorted(contests, key=lambda contest: contest.winner is None):
        alike.setdefault(contest.title if contest.winner is not None else contest.reasons, []).append(contest)
    return [_announced(found) for found in alike.values()]


def _announced(alike: Sequence[Contest]) -> Announcement:
    first = alike[0]
    if len(alike) == 1:
        return Announcement(text=first.headline, is_won=first.winner is not None, details=first.notes)
    common = [note for note in first.notes if all(note in contest.notes for contest in alike)]
    notes = [[note for note in contest.notes if note not in common] for contest in alike]
    titles = [contest.title for contest in alike]
    where = f"at {', nor at '.join(titles)}" if len(alike) <= MOST_NAMED else f"in {len(alike)} comparisons"
    return Announcement(
        text=f"No winner {where}: {'; '.join(first.reasons)}.",
        is_won=False,
        details=(
            *common,
            *(
                ". ".join([contest.title, *own])
                for contest, own in zip(alike, notes, strict=True)
                if own or len(alike) > MOST_NAMED
            ),
        ),
    )


def spread(standing: Standing) -> str:
    """Mean and standard deviation of mIoU over the seeds."""
    mean, sd, count = standing.values["mean"], standing.values["sd"], len(standing.seeds)
    return f"{mean:.2f} % (one seed)" if count < 2 else f"{mean:.2f} ± {sd:.2f} % (sd of {count} seeds)"


def gap(standing: Standing) -> str:
    """How far a method is behind the best one, with its intervals."""
    return "unknown" if standing.behind is None else interval_text(standing.behind)


def interval_text(behind: Difference) -> str:
    """A difference with its intervals."""
    intervals = []
    if behind.over == "images":
        ends = (
            f"{behind.low:.2f} to {behind.high:.2f}"
            if behind.low is not None
            else "none, for lack of images,"
        )
        intervals.append(f"{ends} over {behind.n} report images")
    if behind.seeds_low is not None:
        intervals.append(
            f"{behind.seeds_low:.2f} to {behind.seeds_high:.2f} over {len(behind.per_seed)} seeds"
        )
    return f"{behind.points:.2f} points ({100 * behind.level:.4g} % interval {', '.join(intervals)})"
