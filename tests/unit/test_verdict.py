"""The verdict on a dead worker's batch: pure, from the cell that it left."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from amorsize_async._verdict import verdict
from amorsize_async._wire import Batch

TICKET = 7


def judged(count, current, *, ticket=TICKET, stride=1, is_async=False, exact=False):
    """The verdict on a batch of items 100, 101, ... whose worker was on the item with index `current`."""
    batch = Batch(100, list(range(100, 100 + count)), exact=exact)
    cell = [0 if current is None else current + 1, 0, ticket]
    return verdict(batch, cell, TICKET, stride=stride, is_async=is_async)


def starts(batches):
    """Where batches begin and how long they are."""
    return [(batch.start, len(batch.items)) for batch in batches]


def test_a_worker_that_was_on_another_chunk_clears_this_one():
    """An index in the cell means nothing then."""
    found = judged(5, 102, ticket=6)

    assert (starts(found.again), found.killed) == ([(100, 5)], None)


def test_the_item_in_the_cell_is_blamed_and_its_neighbours_run_again():
    """Exactly that one."""
    found = judged(5, 102)

    assert starts(found.again) == [(100, 2), (103, 2)]
    assert (found.killed.start, found.killed.items, len(found.again)) == (102, [102], 2)


def test_of_a_stride_each_item_is_run_alone_with_care():
    """The cell only tells where the stride began."""
    found = judged(6, 101, stride=3)

    assert starts(found.again) == [(100, 1), (104, 2), (101, 1), (102, 1), (103, 1)]
    assert [batch.exact for batch in found.again] == [False, False, True, True, True]
    assert found.killed is None


def test_coroutines_are_all_suspects():
    """They ran at once."""
    assert starts(judged(3, 100, is_async=True).again) == [(100, 1), (101, 1), (102, 1)]


def test_a_death_outside_the_function_halves_the_batch():
    """While the items were unpickled, or the results pickled; the halves are sent item by item."""
    found = judged(5, None)

    assert starts(found.again) == [(100, 3), (103, 2)]
    assert all(batch.singly and batch.exact for batch in found.again)


def test_a_single_item_is_to_blame_wherever_the_worker_was():
    """There was nothing else."""
    assert judged(1, None).killed.start == 100


@given(st.integers(1, 60), st.one_of(st.none(), st.integers(90, 170)), st.integers(1, 9), st.booleans(), st.booleans())
def test_every_item_is_run_again_or_blamed_exactly_once(count, current, stride, is_async, exact):
    """Nothing is lost and nothing is doubled, whatever the cell holds."""
    found = judged(count, current, stride=stride, is_async=is_async, exact=exact)
    items = [item for batch in found.again for item in batch.items]
    items += found.killed.items if found.killed else []

    assert sorted(items) == list(range(100, 100 + count))
    assert all(batch.items[0] == batch.start for batch in found.again)
