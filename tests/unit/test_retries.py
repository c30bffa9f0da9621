"""Which failed items are tried again, and what of their chunk is delivered meanwhile."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from amorsize_async._retries import second_chances, settled
from amorsize_async._wire import Batch, FailedItem
from amorsize_async.errors import UnpicklableError, WorkerCrashedError
from amorsize_async.policies import RetryPolicy

THREE = RetryPolicy(attempts=3)


def failed(*indices, exc=ValueError):
    """Failures of these items."""
    return [FailedItem(index, exc("no"), "") for index in indices]


def test_neighbours_are_tried_again_together():
    """As one batch of the next attempt."""
    batch = Batch(10, list("abcdefg"))
    again = second_chances(THREE, batch, failed(11, 12, 14))

    assert [(part.start, part.items, part.attempt) for part in again] == [(11, ["b", "c"], 2), (14, ["e"], 2)]
    assert settled(batch, 6, again) == [(0, 1), (3, 4), (5, 6)]


def test_the_last_attempt_is_the_last():
    """Attempts count from 1."""
    assert second_chances(THREE, Batch(0, "a", attempt=3), failed(0)) == []
    assert second_chances(None, Batch(0, "a"), failed(0)) == []


def test_what_will_not_go_better_is_not_tried_again():
    """A crash has its own count, and what cannot be pickled stays so."""
    assert second_chances(THREE, Batch(0, "ab"), failed(0, exc=UnpicklableError)) == []
    assert second_chances(THREE, Batch(0, "ab"), failed(1, exc=WorkerCrashedError)) == []


@given(st.integers(1, 30), st.data())
def test_each_item_is_either_settled_or_tried_again(size, data):
    """Once, and in order."""
    done = data.draw(st.integers(0, size))
    offsets = sorted(data.draw(st.sets(st.integers(0, done - 1)))) if done else []
    batch = Batch(100, list(range(size)))
    again = second_chances(THREE, batch, failed(*(100 + offset for offset in offsets)))
    pieces = settled(batch, done, again)

    seen = [offset for first, end in pieces for offset in range(first, end)]
    retried = [item for part in again for item in part.items]
    assert sorted(seen + retried) == list(range(done))
    assert retried == offsets
