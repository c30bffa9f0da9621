"""What two items hold that is not theirs, and how far that is believed."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from amorsize_async._common_cost import ALIKE, MOST_BELIEVED, PAIR, PAIR_EVERY, Pairs

MIB = 1 << 20
MAX_BYTES = 8 * MIB
SIZES = st.integers(1, 1 << 30)


def shown(size):
    """Pairs that have shown that all of this size is common."""
    pairs = Pairs(MAX_BYTES)
    pairs.learn(1, size, 0)
    assert pairs.learn(PAIR, size, 0) == size
    return pairs


@given(SIZES, st.integers(1, 8))
def test_what_two_hold_no_more_of_than_one_is_common(size, singles):
    """All of it, or what is left of it when each has a little of its own."""
    pairs = Pairs(MAX_BYTES)
    for _ in range(singles):
        assert pairs.learn(1, size, 0) is None

    more = size // 20
    assert pairs.learn(PAIR, size + more, 0) == size - more


@given(SIZES)
def test_what_two_hold_twice_of_is_their_own(size):
    """Nothing is common."""
    pairs = Pairs(MAX_BYTES)
    pairs.learn(1, size, 0)

    assert pairs.learn(PAIR, 2 * size, 0) is None


@given(st.lists(SIZES, max_size=6), SIZES)
def test_items_that_differ_say_nothing(singles, pair):
    """A pair as large as the last of them may be of two that are half as large."""
    pairs = Pairs(MAX_BYTES)
    for each in singles:
        pairs.learn(1, each, 0)
    alike = bool(singles) and max(*singles, pair) <= ALIKE * min(singles)

    assert (pairs.learn(PAIR, pair, 0) is not None) == alike


def test_a_pair_is_compared_with_the_single_items_before_it_only():
    """What was before the last pair is forgotten."""
    pairs = shown(1000)
    pairs.learn(1, 10, 0)

    assert pairs.learn(PAIR, 10, 0) == 10
    assert pairs.learn(PAIR, 10, 0) is None


def test_what_is_common_is_believed_of_twice_as_many_items_as_have_shown_it():
    """And of two, when a new pair has."""
    pairs, common = shown(5 * MIB), 5 * MIB
    believed = [pairs.most(common)]
    for items in (4, 8, 3):
        assert pairs.learn(items, common, common) is None
        believed.append(pairs.most(common))

    assert believed == [4, 8, 16, 16]


def test_it_is_believed_at_once_of_as_many_as_would_fit_anyway_and_never_of_too_many():
    """What is small does no harm; what is large would, if it were no longer common."""
    pairs = shown(MIB // 8)
    assert pairs.most(MIB // 8) == 64
    pairs.learn(1_000_000, MIB, MIB)

    assert pairs.most(MIB) == MOST_BELIEVED * 8


def test_a_chunk_that_is_much_too_large_refutes_it_for_good():
    """No more pairs are sent then."""
    pairs = shown(5 * MIB)
    assert {pairs.size_of(chunk) for chunk in range(PAIR_EVERY)} == {1, PAIR}

    assert pairs.learn(4, 20 * MIB, 5 * MIB) == 0
    assert {pairs.size_of(chunk) for chunk in range(PAIR_EVERY)} == {1}
