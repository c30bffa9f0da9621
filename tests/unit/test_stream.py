"""What a consumer reads: each value its own, others at their turn, and an end that is heard everywhere."""

from __future__ import annotations

import asyncio
import time
import weakref
from contextvars import copy_context

import pytest
from hypothesis import given
from hypothesis import strategies as st

from amorsize_async._results import Outlet
from amorsize_async._stream import BREATH, GROWTH, HANDFUL_SECONDS, MOST_AT_ONCE, Pace, ResultStream
from lag import turns_of_the_loop


class Thing:
    """Something that a weak reference can point to."""


def stream_of(*pieces, error=None):
    """A stream whose run has ended, with this error, and left these pieces."""
    outlet = Outlet(ordered=True, buffersize=None)
    outlet.allow(len(pieces))
    start = 0
    for piece in pieces:
        outlet.dispatched(len(piece))
        outlet.put(start, piece)
        start += len(piece)

    async def drive():
        if error is not None:
            raise error

    return ResultStream(outlet, drive, copy_context())


def burn(seconds):
    """Hold the loop."""
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        pass


async def test_values_come_in_order_whatever_the_pieces():
    """One after the other, each with its index."""
    stream = stream_of([0], list(range(1, 3000)), [3000, 3001])
    pairs = [pair async for pair in stream.enumerate()]

    assert pairs == [(n, n) for n in range(3002)]


async def test_a_run_that_raises_what_ends_a_loop_is_not_taken_for_its_end():
    """A critical hook, or the function of a retry policy, may raise StopAsyncIteration: results would be missing."""
    stream = stream_of([1, 2], error=StopAsyncIteration())

    assert [await anext(stream), await anext(stream)] == [1, 2]
    with pytest.raises(RuntimeError, match="StopAsyncIteration"):
        await anext(stream)


async def test_two_loops_over_one_stream_go_on_where_the_first_stopped():
    """A `break` loses nothing."""
    stream = stream_of(list(range(100)), list(range(100, 200)))
    first = []
    async for value in stream:
        first.append(value)
        if value == 42:
            break

    assert first + [value async for value in stream] == list(range(200))


async def test_a_consumer_that_never_waits_lets_others_have_the_loop():
    """Fifty thousand values are there already, and it takes half a second over them."""
    stream = stream_of(list(range(50_000)))
    async with turns_of_the_loop() as turns:
        async for _ in stream:
            burn(10e-6)

    assert turns[0] >= 0.5 / BREATH / 10


async def test_a_consumer_that_turns_slow_is_noticed_soon():
    """It skipped thousands in no time, and now it takes its time over each: others wait for one handful of them."""
    stream, seen, waited = stream_of(list(range(12_000))), 0, []

    async def other():
        while True:
            before = seen
            await asyncio.sleep(0)
            waited.append(seen - max(before, 10_000))

    task = asyncio.ensure_future(other())
    async for value in stream:
        seen = value
        if value > 10_000:
            burn(BREATH / 8)
    task.cancel()

    assert max(waited) <= MOST_AT_ONCE


async def test_a_value_is_the_consumers_alone_when_it_has_it():
    """It may be large, and many more of its piece may follow."""
    piece = [Thing() for _ in range(100)]
    references = [weakref.ref(each) for each in piece]
    stream = stream_of(piece)
    alive = []
    for _ in range(50):
        await anext(stream)
        alive.append(sum(reference() is not None for reference in references))

    assert alive == list(range(99, 49, -1))


async def test_a_stream_that_is_closed_while_its_consumer_breathes_ends():
    """What was left of the piece is not delivered."""
    stream, got, some = stream_of(list(range(1000))), [], asyncio.Event()

    async def consume():
        async for value in stream:
            got.append(value)
            some.set()
            burn(2 * BREATH)

    consumer = asyncio.ensure_future(consume())
    await some.wait()
    await stream.aclose()
    await consumer

    assert got == list(range(len(got)))
    assert len(got) < 1000


async def test_a_consumer_that_is_cancelled_while_it_breathes_loses_nothing():
    """As with any `await anext(...)` under a timeout."""
    stream = stream_of(list(range(5)))
    assert await anext(stream) == 0
    burn(2 * BREATH)
    waiting = asyncio.ensure_future(anext(stream))
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting

    assert [value async for value in stream] == [1, 2, 3, 4]


@given(st.floats(1e-8, 10.0), st.integers(1, 5000))
def test_a_handful_takes_about_as_long_as_it_is_to(seconds, total):
    """Whatever a consumer takes for a value, and however few there are."""
    pace, now, left = Pace(), 0.0, total
    while left:
        pace.others_had_the_loop(now)
        values = pace.give(now, left)
        now, left = now + values * seconds, left - values

        assert 1 <= values <= MOST_AT_ONCE
        assert values == 1 or values * seconds <= 1.001 * HANDFUL_SECONDS


@given(st.lists(st.floats(0.0, 3 * BREATH), min_size=1, max_size=50))
def test_others_have_the_loop_when_they_have_waited_for_a_breath(pauses):
    """And not before."""
    pace, now, turn = Pace(), 0.0, None
    for pause in pauses:
        now += pause
        late = turn is None or now - turn > BREATH
        assert (pace.give(now, 1000) == 0) == late
        if late:
            pace.others_had_the_loop(now)
            turn = now
            assert pace.give(now, 1000) > 0


def test_a_consumer_that_becomes_quick_gets_more_again():
    """One slow value is forgotten after a few."""
    pace = Pace()
    pace.others_had_the_loop(0.0)
    pace.give(0.0, 1)
    pace.others_had_the_loop(10.0)
    sizes = [pace.give(10.0, 1000) for _ in range(5)]

    assert sizes == [min(GROWTH**n, MOST_AT_ONCE) for n in range(5)]
