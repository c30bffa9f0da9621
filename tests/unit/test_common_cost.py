"""What two items take to move that is not theirs."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from amorsize_async._common_cost import ALIKE, PAIR, Moved, Pairs

COSTS = st.builds(Moved, st.floats(0, 1e9), st.floats(1, 1e9), st.floats(0, 1))


@given(COSTS, st.integers(1, 8))
def test_what_two_take_no_more_of_than_one_is_common(moved, singles):
    """All of it."""
    pairs = Pairs()
    for _ in range(singles):
        assert pairs.learn(1, moved) is None

    assert pairs.learn(PAIR, moved) == moved


@given(COSTS)
def test_what_two_take_twice_of_is_their_own(moved):
    """Nothing is common."""
    pairs = Pairs()
    pairs.learn(1, moved)

    assert pairs.learn(PAIR, Moved(*(2 * each for each in moved))) is None


@given(st.lists(COSTS, max_size=6), COSTS)
def test_items_that_differ_say_nothing(singles, pair):
    """A pair as large as the last of them may be of two that are half as large."""
    pairs = Pairs()
    for each in singles:
        pairs.learn(1, each)
    sizes = [each.size for each in (*singles, pair)]
    alike = len(sizes) > 1 and max(sizes) <= ALIKE * min(sizes[:-1])

    assert (pairs.learn(PAIR, pair) is not None) == alike


def test_a_pair_is_compared_with_the_single_items_before_it_only():
    """What was before the last pair is forgotten."""
    pairs, heavy, light = Pairs(), Moved(0, 1000, 1e-3), Moved(0, 10, 1e-5)
    pairs.learn(1, heavy)
    pairs.learn(PAIR, heavy)
    pairs.learn(1, light)

    assert pairs.learn(PAIR, light) == light
    assert pairs.learn(PAIR, light) is None


def test_what_is_common_is_not_more_than_one_item_takes():
    """However quickly two were moved: times are not exact."""
    pairs, alone = Pairs(), Moved(100, 1000, 2e-3)
    pairs.learn(1, alone)

    assert pairs.learn(PAIR, Moved(101, 1020, 1e-3)) == Moved(99, 980, 2e-3)
