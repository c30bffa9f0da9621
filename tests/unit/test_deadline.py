"""When an item has taken too long: judged from the words that its worker left in the cell."""

from __future__ import annotations

import asyncio

import pytest

from amorsize_async._chunk import CELL_WORDS, CURRENT, STARTED, TICKET
from amorsize_async._deadline import Deadline, overdue, seconds_left

LIMIT = 0.5


def cell(*, ticket=1, started=10.0, current=4):
    """A cell as a worker would leave it."""
    words = [0] * CELL_WORDS
    words[TICKET], words[STARTED], words[CURRENT] = ticket, int(started * 1e9), current
    return words


@pytest.mark.parametrize(
    ("words", "now", "left"),
    [
        (cell(), 10.1, 0.4),
        (cell(), 10.7, -0.2),
        (cell(ticket=2), 99.0, LIMIT),  # it is on another chunk still: time in a queue does not count
    ],
)
def test_an_items_time_runs_from_its_own_start(words, now, left):
    """Not from when its chunk was sent."""
    assert seconds_left(words, 1, LIMIT, now) == pytest.approx(left)


def test_an_item_that_begins_while_we_look_has_all_its_time():
    """The two words are not read at once."""

    class Moving(list):
        def __getitem__(self, word):
            value = super().__getitem__(word)
            if word == STARTED:
                self[CURRENT] += 1
            return value

    assert seconds_left(Moving(cell()), 1, LIMIT, 99.0) == LIMIT


def test_a_worker_that_went_on_before_the_blow_was_not_late():
    """What it was on when it died counts, not what it was on when we looked."""
    assert overdue(cell(), 1, LIMIT, 10.6)
    assert not overdue(cell(started=10.59), 1, LIMIT, 10.6)
    assert not overdue(cell(ticket=2), 1, LIMIT, 10.6)


class Blows:
    """Counts what a deadline does."""

    def __init__(self):
        self.fell = asyncio.Event()

    def deadline(self, words, *, stuck=False, done=False):
        return Deadline(words, 1, 0.01, is_async=False, done=lambda: done, end=self.fell.set, stuck=lambda: stuck)


async def test_the_worker_is_ended_when_the_time_is_over():
    """And the blow was right."""
    blows = Blows()
    deadline = blows.deadline(cell(started=0.0))
    async with asyncio.timeout(5):
        await blows.fell.wait()

    assert (deadline.ended_it, deadline.was_right) == (True, True)


async def test_a_stopped_worker_is_ended_and_its_item_not_blamed():
    """It never took the chunk."""
    blows = Blows()
    deadline = blows.deadline(cell(ticket=0), stuck=True)
    async with asyncio.timeout(5):
        await blows.fell.wait()

    assert (deadline.ended_it, deadline.was_right) == (False, False)


async def test_a_chunk_that_has_ended_is_watched_no_more():
    """However late it was."""
    blows = Blows()
    blows.deadline(cell(started=0.0)).cancel()
    await asyncio.sleep(0.05)

    assert not blows.fell.is_set()


async def test_a_reply_that_is_here_ends_the_watch():
    """A loop that was blocked finds the timer and the reply at once."""
    blows = Blows()
    blows.deadline(cell(started=0.0), done=True)
    await asyncio.sleep(0.05)

    assert not blows.fell.is_set()
