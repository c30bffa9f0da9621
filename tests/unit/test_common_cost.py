"""What two items take to move that is not theirs."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from amorsize_async._common_cost import ALIKE, PAIR, PAIR_EVERY, Moved, Pairs

MAX_BYTES, NOTHING = 1 << 23, Moved()
COSTS = st.builds(Moved, st.floats(0, 1e9), st.floats(1, 1e9), st.floats(0, 1))


@given(COSTS, st.integers(1, 8))
def test_what_two_take_no_more_of_than_one_is_common(moved, singles):
    """All of it."""
    pairs = Pairs(MAX_BYTES)
    for _ in range(singles):
        assert pairs.learn(1, moved, NOTHING) is None

    assert pairs.learn(PAIR, moved, NOTHING) == moved


@given(COSTS)
def test_what_two_take_twice_of_is_their_own(moved):
    """Nothing is common."""
    pairs = Pairs(MAX_BYTES)
    pairs.learn(1, moved, NOTHING)

    assert pairs.learn(PAIR, Moved(*(2 * each for each in moved)), NOTHING) is None


@given(st.lists(COSTS, max_size=6), COSTS)
def test_items_that_differ_say_nothing(singles, pair):
    """A pair as large as the last of them may be of two that are half as large."""
    pairs = Pairs(MAX_BYTES)
    for each in singles:
        pairs.learn(1, each, NOTHING)
    sizes = [each.size for each in (*singles, pair)]
    alike = len(sizes) > 1 and max(sizes) <= ALIKE * min(sizes[:-1])

    assert (pairs.learn(PAIR, pair, NOTHING) is not None) == alike


def test_a_pair_is_compared_with_the_single_items_before_it_only():
    """What was before the last pair is forgotten."""
    pairs, heavy, light = Pairs(MAX_BYTES), Moved(0, 1000, 1e-3), Moved(0, 10, 1e-5)
    pairs.learn(1, heavy, NOTHING)
    pairs.learn(PAIR, heavy, NOTHING)
    pairs.learn(1, light, NOTHING)

    assert pairs.learn(PAIR, light, NOTHING) == light
    assert pairs.learn(PAIR, light, NOTHING) is None


def test_what_is_common_is_not_more_than_one_item_takes():
    """However quickly two were moved: times are not exact."""
    pairs, alone = Pairs(MAX_BYTES), Moved(100, 1000, 2e-3)
    pairs.learn(1, alone, NOTHING)

    assert pairs.learn(PAIR, Moved(101, 1020, 1e-3), NOTHING) == Moved(99, 980, 2e-3)


def test_what_is_common_is_believed_of_twice_as_many_items_as_have_shown_it():
    """And of two, when a new pair has."""
    pairs, moved = Pairs(MAX_BYTES), Moved(0, 1000, 1e-3)
    pairs.learn(1, moved, NOTHING)
    common = pairs.learn(PAIR, moved, NOTHING)
    believed = [pairs.most]
    for items in (4, 8, 3):
        assert pairs.learn(items, moved, common) is None
        believed.append(pairs.most)

    assert believed == [4, 8, 16, 16]


def test_a_chunk_that_is_much_too_large_refutes_it_for_good():
    """No more pairs are sent then."""
    pairs, moved = Pairs(MAX_BYTES), Moved(0, 1000, 1e-3)
    pairs.learn(1, moved, NOTHING)
    common = pairs.learn(PAIR, moved, NOTHING)
    sizes = {pairs.size_of(chunk) for chunk in range(PAIR_EVERY)}

    assert pairs.learn(4, Moved(0, 2 * MAX_BYTES, 1e-3), common) == NOTHING
    assert sizes == {1, PAIR}
    assert {pairs.size_of(chunk) for chunk in range(PAIR_EVERY)} == {1}
