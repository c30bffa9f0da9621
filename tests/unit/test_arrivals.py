"""What failed comes home a few at a turn of the loop, and beside it where it is large."""

from __future__ import annotations

import asyncio
import threading

import pytest

from amorsize_async._arrivals import FAILURES_SECONDS, UNPICKLED_ON_LOOP, Arrivals
from amorsize_async._chunk import ChunkReply
from amorsize_async._failures import failure_of, travelling
from amorsize_async._stopwatch import Stopwatch, busy
from amorsize_async._wire import Batch, Job
from lag import turns_of_the_loop

made_in: list[str] = []
# The thread in which each exception was made again.


class NotedError(Exception):
    """Notes where it is made again."""

    def __setstate__(self, state):
        made_in.append(threading.current_thread().name)


def noted(number, size=1):
    """What a worker sends of a failed item."""
    exc = NotedError(number, b"x" * size)
    exc.note = "a state"
    failure = travelling(failure_of(number, exc))
    made_in.clear()
    return failure


class SlowError(Exception):
    """Takes a turn's time and more to be made again."""

    def __setstate__(self, state):
        end = busy() + 2 * FAILURES_SECONDS
        while busy() < end:
            pass


def slow(number):
    """What a worker sends of an item that failed with that."""
    exc = SlowError(number)
    exc.note = "a state"
    return travelling(failure_of(number, exc))


async def failed(failures, unsendable=()):
    """What becomes of them, and how many iterations of the loop it took."""
    arrivals = Arrivals(asyncio.Lock(), 2)
    job = Job(1, print, (), dict.fromkeys(unsendable, TypeError("mine")))
    batch = Batch(1000, [threading.Lock()] * len(failures))
    async with turns_of_the_loop() as turns:
        items = await arrivals.failed(ChunkReply([], 0, tuple(failures)), batch, job, Stopwatch())
    return items, turns[0]


@pytest.mark.parametrize("count", [0, 1])
async def test_a_few_failures_need_no_turn_of_their_own(count):
    """As most chunks have none, or one."""
    items, iterations = await failed([noted(number) for number in range(count)])

    assert [(each.index, each.exception.args[0]) for each in items] == [(1000 + n, n) for n in range(count)]
    assert iterations == 0


async def test_many_failures_are_made_a_few_at_a_turn_of_the_loop():
    """In order, none lost."""
    failures = [noted(number) for number in range(2000)]
    began = busy()
    items, iterations = await failed(failures)
    turns = (busy() - began) / FAILURES_SECONDS

    assert [each.exception.args[0] for each in items] == list(range(len(failures)))
    assert iterations >= turns / 4
    assert set(made_in) == {threading.current_thread().name}


async def test_exceptions_that_take_their_time_have_a_turn_each():
    """What somebody's `__setstate__` does, nobody knows before."""
    _, iterations = await failed([slow(number) for number in range(20)])

    assert iterations >= 2 * 19


async def test_a_large_exception_is_made_beside_the_loop():
    """Its neighbours are not."""
    here = threading.current_thread().name
    items, _ = await failed([noted(0), noted(1, 2 * UNPICKLED_ON_LOOP), noted(2)])

    assert [each.exception.args[0] for each in items] == [0, 1, 2]
    assert [name == here for name in made_in] == [True, False, True]


async def test_why_an_item_was_not_sent_is_found_out_beside_the_loop():
    """Somebody's `__reduce__` is tried again for that, part by part."""
    items, iterations = await failed([noted(0)], unsendable=[0])

    assert items[0].index == 1000
    assert "item 1000" in str(items[0].exception)
    assert isinstance(items[0].exception.__cause__, TypeError)
    assert iterations > 0
