"""`retry`: failed items are sent again, after a wait, until they succeed or have had their attempts."""

from __future__ import annotations

import asyncio
import time

import pytest

import jobs
from amorsize_async import AsyncExecutor, HookEvent, HookManager, RetryPolicy, execute_async, stream_async
from amorsize_async.errors import WorkerCrashedError

QUICK = RetryPolicy(attempts=3, wait_initial=0.01, wait_jitter=0.0)


def failing(tmp_path, *times):
    """Items that fail so many times each."""
    return [(str(tmp_path / str(n)), count) for n, count in enumerate(times)]


@pytest.mark.parametrize("fn", [jobs.fail_until, jobs.fail_until_soon], ids=lambda fn: fn.__name__)
@pytest.mark.parametrize("where", ["process", "thread"])
@pytest.mark.parametrize("chunksize", [1, 4])
async def test_an_item_that_fails_at_first_succeeds_later(executor, tmp_path, fn, where, chunksize):
    """At its place, among items that did not fail."""
    target = executor if where == "process" else "thread"
    results, report = await execute_async(
        fn,
        failing(tmp_path, 0, 2, 0, 1, 1, 0),
        executor=target,
        retry=QUICK,
        chunksize=chunksize,
        return_report=True,
    )

    assert results == [1, 3, 1, 2, 2, 1]
    assert (report.items, report.failed, report.retried) == (6, 0, 4)


async def test_after_its_attempts_an_item_has_failed(executor, tmp_path):
    """With its last exception; told once, and only then."""
    hooks, errors, done = HookManager(), [], []
    hooks.register(HookEvent.ON_ERROR, lambda ctx: errors.append(str(ctx.error)), mode="inline")
    hooks.register(HookEvent.ON_PROGRESS, lambda ctx: done.append(ctx.items_completed), mode="inline")
    results = await executor.execute(
        jobs.fail_until, failing(tmp_path, 0, 9, 0), retry=QUICK, hooks=hooks, return_exceptions=True
    )

    assert [results[0], str(results[1]), results[2]] == [1, "attempt 3", 1]
    assert errors == ["attempt 3"]
    assert (done[-1], done) == (3, sorted(done))


async def test_by_default_the_last_attempt_ends_the_call(executor, tmp_path):
    """As a first failure does without retries."""
    with pytest.raises(ConnectionError, match="attempt 2"):
        await executor.execute(jobs.fail_until, failing(tmp_path, 0, 9, 0), retry=2)


async def test_a_waiting_item_holds_no_worker(executor, tmp_path):
    """Others run meanwhile."""
    slow = RetryPolicy(attempts=2, wait_initial=0.7, wait_jitter=0.0)
    waiting = asyncio.ensure_future(executor.execute(jobs.fail_until, failing(tmp_path, 1, 1, 1), retry=slow))
    async with asyncio.timeout(10):
        while jobs.tally_of(tmp_path / "2") == 0:  # noqa: ASYNC110 - another process writes it
            await asyncio.sleep(0.01)
    began = time.perf_counter()
    assert await executor.execute(jobs.square, [1, 2]) == [1, 4]

    assert time.perf_counter() - began < 0.55
    assert await waiting == [2, 2, 2]


async def test_only_what_the_policy_names_is_tried_again(executor, tmp_path):
    """By class, or by a function of the exception."""
    for on in (ValueError, lambda exc: "2" in str(exc)):
        path = tmp_path / str(id(on))
        with pytest.raises(ConnectionError, match="attempt 1"):
            await executor.execute(jobs.fail_until, [(str(path), 9)], retry=RetryPolicy(on=on))


async def test_a_crash_is_not_tried_again(executor):
    """Its own count is `max_item_deaths`."""
    began = time.perf_counter()
    (result,) = await executor.execute(jobs.die_on_odd, [1], retry=50, return_exceptions=True)

    assert isinstance(result, WorkerCrashedError)
    assert time.perf_counter() - began < 5.0


async def test_a_stream_keeps_its_order_and_its_window(executor, tmp_path):
    """What is tried again still counts as dispatched."""
    items = failing(tmp_path, *[0, 1] * 10)
    async with executor.stream(jobs.fail_until, items, retry=QUICK, buffersize=4) as results:
        assert [value async for value in results] == [1, 2] * 10


async def test_an_unordered_stream_does_not_wait_for_those_tried_again(executor, tmp_path):
    """They come last, and their index tells who they are."""
    items = failing(tmp_path, 1, 0, 0, 0)
    slow = RetryPolicy(attempts=2, wait_initial=0.3, wait_jitter=0.0)
    stream = stream_async(jobs.fail_until, items, executor=executor, retry=slow, ordered=False, chunksize=4)
    async with stream as results:
        pairs = [pair async for pair in results.enumerate()]

    assert pairs == [(1, 1), (2, 1), (3, 1), (0, 2)]


async def test_cancelling_ends_the_waits(executor, tmp_path):
    """At once."""
    began = time.perf_counter()
    forever = RetryPolicy(attempts=2, wait_initial=60.0, wait_max=60.0)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.3):
            await executor.execute(jobs.fail_until, failing(tmp_path, 9), retry=forever)

    assert time.perf_counter() - began < 2.0


@pytest.mark.parametrize("retry", [0, "3", 1.5, True])
async def test_attempts_are_a_whole_number(retry):
    """Checked before any worker starts."""
    with pytest.raises((TypeError, ValueError), match="attempts"):
        await execute_async(jobs.square, [1], retry=retry)


async def test_a_policy_that_raises_ends_the_call(executor, tmp_path):
    """It is the caller's code, and its error the caller's."""

    def broken(exc):
        raise LookupError("no such rule")

    with pytest.raises(LookupError, match="no such rule"):
        await executor.execute(jobs.fail_until, failing(tmp_path, 1), retry=RetryPolicy(on=broken))


async def test_retries_and_short_lived_workers_lose_nothing(tmp_path):
    """Who feeds and who tries again share the items that a worker has left."""
    items = failing(tmp_path, *[1, 0, 0] * 50)
    async with AsyncExecutor(2, max_items_per_worker=10) as executor:
        results = await executor.execute(jobs.fail_until, items, retry=QUICK)
        async with executor.stream(jobs.identity, range(150), ordered=False, buffersize=25) as stream:
            streamed = [value async for value in stream]

    assert results == [2, 1, 1] * 50
    assert sorted(streamed) == list(range(150))


async def test_many_items_that_fail_apart_do_not_hold_the_loop(executor):
    """Each is a chunk of its own the second time."""
    lag, stop = 0.0, asyncio.Event()

    async def tick():
        nonlocal lag
        while not stop.is_set():
            began = time.perf_counter()
            await asyncio.sleep(0.001)
            lag = max(lag, time.perf_counter() - began)

    ticker = asyncio.ensure_future(tick())
    policy = RetryPolicy(attempts=2, wait_initial=0.0, wait_jitter=0.0)
    await executor.execute(jobs.raise_for_odd, range(2000), chunksize=2000, retry=policy, return_exceptions=True)
    stop.set()
    await ticker

    assert lag < 0.5
