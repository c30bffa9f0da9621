"""Who gets the next free place: pure accounts, no pool."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from amorsize_async._sharing import Share, level, most_deserving


def test_the_least_charged_share_goes_first():
    """Who has had less worker time is served first."""
    small, large = Share(1, seconds=0.1), Share(1, seconds=5.0)

    assert most_deserving([large, small]) == [small, large]


def test_equal_shares_are_served_in_order_of_arrival():
    """Of equals, who came first."""
    first, second = Share(1), Share(1)

    assert most_deserving([second, first]) == [first, second]


def test_a_newcomer_starts_level_with_the_least_charged():
    """Nobody saves up by being idle, and nobody has to catch up with an old run."""
    assert level([Share(1, seconds=3.0), Share(1, seconds=7.0)]) == 3.0
    assert level([]) == 0.0


def test_a_share_stays_within_its_limit_of_places():
    """n_jobs of a call counts places, not chunks."""
    share = Share(1)
    share.take("a")

    assert share.may_use("a")
    assert not share.may_use("b")
    share.give_back("a", 1.5)
    assert share.may_use("b")
    assert share.seconds == 1.5


@given(st.lists(st.floats(0.001, 1.0), min_size=2, max_size=5), st.integers(20, 200))
def test_shares_that_always_want_work_get_equal_time(chunk_seconds, rounds):
    """Whatever the length of their chunks, no share falls behind by more than one longest chunk."""
    shares = [Share(1) for _ in chunk_seconds]
    costs = dict(zip(map(id, shares), chunk_seconds, strict=True))
    for _ in range(rounds):
        chosen = most_deserving(shares)[0]
        chosen.take("place")
        chosen.give_back("place", costs[id(chosen)])

    seconds = [share.seconds for share in shares]
    assert max(seconds) - min(seconds) <= max(chunk_seconds) + 1e-9
