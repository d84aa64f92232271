from segprune.graph.trace import trace
from segprune.graph.units import by_unit
from segprune.pruner.l1 import L1
from segprune.pruner.partial import scorable, unscored
from tests.toys import InGroups, toy


class Picky(L1):
    """Cannot score groups of four units."""

    def unscored(self, net, groups, image) -> dict[str, str]:
        assert image.shape == (1, 3, 16, 24)
        return {group.name: "four" for group in groups if group.size == 4}


def test_a_criterion_is_asked_for_units_and_all_whom_are_asked_may_leave_groups_whole() -> None:
    net = toy(InGroups)
    groups = trace(net)
    (four,) = (group for group in groups if by_unit(group).size == 4)
    picky, other = Picky(normalize="none"), L1(normalize="none")
    for asked in ((picky,), (other, picky), (picky, other)):
        assert unscored(asked, net, groups, (16, 24)) == {four.name: "four"}
    assert unscored((other,), net, groups, (16, 24)) == {}
    assert scorable(groups, {four.name: "four"}) == tuple(group for group in groups if group is not four)
