"""The streaming form: order, completion order, backpressure, and an early end that leaves nothing behind."""

from __future__ import annotations

import asyncio
import gc
import itertools
import random
import time

import pytest

import jobs
from amorsize_async import AsyncExecutor, stream_async
from amorsize_async.errors import InputError


async def collected(stream, into=None):
    """All values of a stream, in a list of one's own if it may break off."""
    values = [] if into is None else into
    async for value in stream:
        values.append(value)
    return values


async def test_an_ordered_stream_keeps_input_order_under_random_delays(each_executor):
    """Whatever ends first."""
    delays = random.Random(7)
    items = [(n, delays.random() * 0.005) for n in range(300)]

    assert await collected(each_executor.stream(jobs.nap_index, items, chunksize=1)) == list(range(300))


async def test_an_unordered_stream_gives_results_as_they_complete(executor):
    """A first item of much longer does not hold back the rest."""
    items = [(0, 0.7)] + [(n, 0.001) for n in range(1, 100)]
    began = time.perf_counter()
    seen = []
    async with executor.stream(jobs.nap_index, items, ordered=False) as results:
        async for index in results:
            seen.append(index)
            if len(seen) == 50:
                half = time.perf_counter() - began

    assert seen[-1] == 0
    assert half < 0.6
    assert sorted(seen) == list(range(100))


@pytest.mark.parametrize("ordered", [True, False], ids=["ordered", "unordered"])
async def test_enumerate_tells_which_item_a_value_belongs_to(executor, ordered):
    """The index in the input beside the value."""
    stream = executor.stream(jobs.square, range(2000), ordered=ordered)
    pairs = [pair async for pair in stream.enumerate()]

    assert sorted(pairs) == [(n, n * n) for n in range(2000)]
    assert not ordered or pairs == sorted(pairs)


@pytest.mark.parametrize("buffersize", [1, 3, 100])
async def test_a_stream_reads_no_further_ahead_than_its_buffer(executor, buffersize):
    """Dispatched and not consumed is bounded by buffersize, and one chunk is read ahead."""
    pulled = itertools.count()
    items = (next(pulled) for _ in itertools.count())
    async with executor.stream(jobs.identity, items, buffersize=buffersize) as results:
        for n in range(10):
            assert await anext(results) == n
        for _ in range(20):
            await asyncio.sleep(0.005)

    assert next(pulled) <= 10 + 2 * buffersize + 2


async def test_breaking_off_an_endless_input_stops_everything():
    """A bounded look-ahead was pulled; the leak check sees to the rest."""
    pulled = itertools.count()
    got = []
    async for value in stream_async(jobs.square, (next(pulled) for _ in itertools.count()), buffersize=50):
        got.append(value)
        if len(got) == 10:
            break

    assert got == [n * n for n in range(10)]
    assert next(pulled) <= 120


async def test_a_stream_that_is_forgotten_stops_its_work(each_executor):
    """Without `async with`, garbage collection ends it; the generator is closed."""
    closed = asyncio.Event()
    loop = asyncio.get_running_loop()

    def endless():
        try:
            yield from itertools.count()
        finally:
            loop.call_soon_threadsafe(closed.set)

    async for value in each_executor.stream(jobs.square, endless()):
        if value > 100:
            break
    gc.collect()

    async with asyncio.timeout(10):
        await closed.wait()


async def test_a_stream_that_is_never_used_starts_nothing(executor):
    """Nothing is read, nothing runs."""
    stream = executor.stream(jobs.square, iter(lambda: pytest.fail("read"), None))

    assert "open" in repr(stream)
    await stream.aclose()
    assert await collected(stream) == []


async def test_results_before_a_failure_are_delivered(executor):
    """In an ordered stream all of them, then the failure at its place."""
    got = []
    with pytest.raises(ZeroDivisionError):
        await collected(executor.stream(jobs.divide, [*range(1, 100), 0, *range(1, 50)]), got)

    assert got == [1 / n for n in range(1, 100)]


async def test_results_before_a_broken_input_are_delivered(executor):
    """Then InputError."""

    def broken():
        yield from range(50)
        raise OSError("gone")

    got = []
    with pytest.raises(InputError, match="after 50 items"):
        await collected(executor.stream(jobs.square, broken()), got)

    assert got == [n * n for n in range(50)]


async def test_the_report_is_there_at_the_end(executor):
    """And not before."""
    async with executor.stream(jobs.square, range(100)) as results:
        assert results.report is None
        await collected(results)

    assert (results.report.items, results.report.status) == (100, "ok")


async def test_two_consumers_of_one_stream_are_refused(executor):
    """Results would be torn apart between them."""
    async with executor.stream(jobs.nap, [0.2, 0.2], chunksize=1) as results:
        first = asyncio.ensure_future(anext(results))
        await asyncio.sleep(0)
        with pytest.raises(RuntimeError, match="two tasks iterate over one ResultStream"):
            await anext(results)
        assert await first == 0.2


async def test_an_exception_of_the_consumer_comes_out_as_itself(executor):
    """And stops the work."""

    async def consume():
        async with executor.stream(jobs.square, itertools.count()) as results:
            async for _ in results:
                raise LookupError("mine")

    with pytest.raises(LookupError, match="mine"):
        await consume()

    assert executor.statistics().chunks == 0


async def test_closing_a_stream_twice_is_fine(executor):
    """And iterating over a closed one ends at once."""
    stream = executor.stream(jobs.square, itertools.count())
    assert await anext(stream) == 0
    await stream.aclose()
    await stream.aclose()

    assert await collected(stream) == []


async def test_streams_share_an_executor():
    """Ten at once, each with its own order."""
    async with AsyncExecutor(2) as executor:
        streams = [executor.stream(jobs.square, range(n, n + 300)) for n in range(10)]
        results = await asyncio.gather(*map(collected, streams))

    assert results == [[i * i for i in range(n, n + 300)] for n in range(10)]


async def test_a_hundred_thousand_results_stream_through(executor):
    """More than any window."""
    total = 0
    async for value in executor.stream(jobs.identity, range(100_000)):
        total += value

    assert total == sum(range(100_000))


@pytest.mark.parametrize("turns", range(12))
def test_a_loop_that_ends_in_mid_stream_stops_the_input(turns):
    """Its end cancels even the clean-up; the thread that reads the input ends all the same."""

    async def leave():
        stream = stream_async(jobs.square, itertools.count(), executor="thread", buffersize=50)
        async for _ in stream:
            break
        asyncio.get_running_loop().call_soon(stream._task.cancel)
        for _ in range(turns):
            await asyncio.sleep(0)

    asyncio.run(leave())
