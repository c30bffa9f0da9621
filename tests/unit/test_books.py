"""What is entered of a chunk that came back, and what the consumer gets of it; over a list for a consumer."""

from __future__ import annotations

import pytest

from amorsize_async._books import Books
from amorsize_async._chunking import ChunkSizer
from amorsize_async._wire import Batch, FailedItem
from amorsize_async.report import Tally


class Sink:
    """Keeps the pieces that are put."""

    def __init__(self):
        self.pieces = []

    def put(self, start, values, size=0):
        self.pieces.append((start, values))

    def dispatched(self, items):
        pass

    def delivered_up_to(self, index):
        return True


@pytest.fixture
def books():
    """Of a run that ends with the first failure."""
    return Books(Tally(n_jobs=1, total=9, tolerant=False), Sink(), ChunkSizer(1), tolerant=False)


def pieces_of(books):
    """What the consumer got."""
    return books._sink.pieces


def test_values_of_a_whole_chunk_are_passed_on_as_they_are(books):
    """A copy of a million takes milliseconds of the loop."""
    values = [1, 2, 3]

    books.deliver(Batch(5, range(3)), values, [], ())

    assert pieces_of(books) == [(5, values)]
    assert pieces_of(books)[0][1] is values


def test_values_before_a_failure_are_delivered_and_it_ends_the_run(books):
    """What came behind it is not asked for."""
    error = ValueError()

    books.deliver(Batch(5, range(3)), [1, 2, None], [FailedItem(7, error, "")], ())

    assert pieces_of(books) == [(5, [1, 2])]
    assert (books.failed_at, books.outcome, books.over) == (7, error, True)


def test_items_that_are_tried_again_leave_a_gap(books):
    """Their values come later, in pieces of their own."""
    again = Batch(6, range(1), attempt=2)

    books.deliver(Batch(5, range(3)), [1, None, 3], [], [again])

    assert pieces_of(books) == [(5, [1]), (7, [3])]
