"""Cancelling a call stops its work within the grace, wherever it stands, and harms nobody else."""

from __future__ import annotations

import asyncio
import itertools
import threading
import time

import anyio
import psutil
import pytest

import jobs
from amorsize_async import AsyncExecutor, HookEvent, HookManager, RetryPolicy
from amorsize_async.errors import ExecutorClosedError


async def running(executor, count=1):
    """Wait until so many chunks are in workers."""
    async with asyncio.timeout(10):
        while executor.statistics().chunks < count:  # noqa: ASYNC110 - statistics have no event, and need none
            await asyncio.sleep(0.001)


async def test_a_time_limit_stops_items_that_run(each_executor):
    """An hour's nap is killed; the limit is asyncio's."""
    began = time.perf_counter()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.3):
            await each_executor.execute(jobs.nap, [3600.0, 3600.0])

    assert time.perf_counter() - began < 2.0
    assert each_executor.statistics().chunks == 0


async def test_an_anyio_scope_cancels_too(executor):
    """Clean-up is not cancelled again at every turn of the loop."""
    with anyio.move_on_after(0.2) as scope:
        await executor.execute(jobs.nap, [3600.0])

    assert scope.cancelled_caught
    assert executor.statistics().chunks == 0


async def test_short_items_end_in_the_grace_and_their_workers_live(each_executor):
    """Only what outlives the grace is killed."""
    workers = set(each_executor.statistics().workers)
    task = asyncio.ensure_future(each_executor.execute(jobs.nap, [0.01] * 1000))
    await running(each_executor)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    assert set(each_executor.statistics().workers) == workers
    assert await each_executor.execute(jobs.square, [3]) == [9]


async def chunk_tasks(call):
    """Wait until the call has tasks of its own, and give them."""
    while not (tasks := [task for task in asyncio.all_tasks() if task.get_name() == "amorsize-chunk"]):
        assert not call.done()
        await asyncio.sleep(0)
    return tasks


@pytest.mark.parametrize(
    ("fn", "item"), [(jobs.nap, 0.05), (jobs.divide, 0), (len, list(range(200_000)))], ids=["there", "waits", "packed"]
)
@pytest.mark.parametrize("turns", [0, 1, 5, 20])
async def test_that_a_task_of_a_run_is_cancelled_alone_cancels_the_run(executor, fn, item, turns):
    """Before it has begun, while it packs, while its chunk is out, between two attempts: no result is left out."""
    retry = RetryPolicy(attempts=2, wait_initial=0.2, wait_jitter=0)
    call = asyncio.ensure_future(executor.execute(fn, [item] * 8, chunksize=8, retry=retry, return_exceptions=True))
    await chunk_tasks(call)
    for _ in range(turns):
        await asyncio.sleep(0)
    for task in await chunk_tasks(call):
        task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call

    assert await executor.execute(abs, [-1]) == [1]


async def test_a_cancelled_call_harms_no_other(executor):
    """Its worker is killed, the other call's is not."""
    patient = asyncio.ensure_future(executor.execute(jobs.nap, [0.5], n_jobs=1))
    await running(executor)
    doomed = asyncio.ensure_future(executor.execute(jobs.nap, [3600.0], n_jobs=1))
    await running(executor, 2)
    doomed.cancel()

    assert await patient == [0.5]
    assert executor.statistics().lost == 0


async def test_cancelling_twice_still_cleans_up(executor):
    """The second cancellation comes while the first is being obeyed."""
    task = asyncio.ensure_future(executor.execute(jobs.nap, [3600.0]))
    await running(executor)
    task.cancel()
    await asyncio.sleep(0.02)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    assert executor.statistics().chunks == 0


async def test_cancelling_balances_the_tasks_count(executor):
    """A scope around the call can tell its own cancellation from others."""
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.1):
            await executor.execute(jobs.nap, [3600.0])

    assert asyncio.current_task().cancelling() == 0


@pytest.mark.parametrize("turns", range(0, 60, 3))
async def test_a_call_can_be_cancelled_at_any_turn_of_the_loop(turns):
    """While the pool starts, while hooks run, while chunks are out, while it ends."""
    hooks = HookManager()
    hooks.register(HookEvent.PRE_EXECUTE, lambda _: None)
    async with AsyncExecutor(2) as executor:
        task = asyncio.ensure_future(executor.execute(jobs.identity, iter(range(200)), hooks=hooks))
        for _ in range(turns):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])

        assert executor.statistics().chunks == executor.statistics().queued == 0
        assert await executor.execute(jobs.square, [3]) == [9]


async def test_a_call_can_be_cancelled_while_workers_start():
    """The start is given up with the executor."""
    executor = AsyncExecutor(2, start_method="spawn", initializer=jobs.nap, initargs=(3600,))
    task = asyncio.ensure_future(executor.start())
    await asyncio.sleep(0.2)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    assert executor.statistics().closed


async def test_closing_lets_calls_end_within_the_drain(executor):
    """And refuses new ones."""
    call = asyncio.ensure_future(executor.execute(jobs.nap, [0.3] * 2))
    await running(executor)
    await executor.aclose(drain=10.0)

    assert await call == [0.3] * 2


async def test_closing_may_take_any_time(executor):
    """With None, as wherever seconds are asked for."""
    call = asyncio.ensure_future(executor.execute(jobs.nap, [0.3] * 2))
    job = executor.start(jobs.nap, [0.3])
    await running(executor)
    await executor.aclose(drain=None)

    assert (await call, await job) == ([0.3] * 2, [0.3])


@pytest.mark.parametrize("drain", [-1, float("nan"), "1"], ids=repr)
async def test_a_drain_that_makes_no_sense_is_refused(executor, drain):
    """Before anything is stopped."""
    with pytest.raises((TypeError, ValueError), match="drain"):
        await executor.aclose(drain=drain)

    assert await executor.execute(jobs.square, [3]) == [9]


async def test_closing_during_the_start_is_not_lost():
    """Nor before it: an executor that is closed stays so, and has no workers."""
    executor = AsyncExecutor(1)
    start = asyncio.ensure_future(executor.start())
    await asyncio.sleep(0)
    await executor.aclose()
    with pytest.raises(ExecutorClosedError):
        await start
    assert executor.statistics().closed

    never_started = AsyncExecutor(1)
    await never_started.aclose()
    with pytest.raises(ExecutorClosedError, match="is closed; open a new one"):
        await never_started.start()


def test_a_closed_executor_may_be_closed_again_anywhere():
    """On a later loop, too: there is nothing left to do."""

    async def used():
        async with AsyncExecutor(1) as executor:
            assert await executor.execute(jobs.square, [3]) == [9]
        return executor

    asyncio.run(asyncio.run(used()).aclose())


async def test_a_close_from_elsewhere_is_refused_and_closes_nothing(executor):
    """It is the loop's own that the workers end on."""
    with pytest.raises(ExecutorClosedError, match="belongs to another event loop"):
        await asyncio.to_thread(asyncio.run, executor.aclose())

    assert await executor.execute(jobs.square, [3]) == [9]


@pytest.mark.parametrize("when", ["idle", "busy"])
async def test_closing_ends_the_workers_where_no_thread_is_to_be_had(monkeypatch, when):
    """They are ended on the loop then, those that are busy at once."""
    executor = await AsyncExecutor(2).start()
    workers = executor.statistics().workers
    if when == "busy":
        call = asyncio.ensure_future(executor.execute(jobs.nap, [3600.0] * 2))
        await running(executor, 2)
    monkeypatch.setattr(threading.Thread, "start", no_thread)
    await executor.aclose(drain=0.0)

    assert not [pid for pid in workers if psutil.pid_exists(pid)]
    if when == "busy":
        with pytest.raises(ExecutorClosedError):
            await call


async def test_a_run_ends_well_where_no_thread_is_to_be_had(executor, monkeypatch):
    """Its results are there, and its memory is given back on the loop."""
    hooks, told = HookManager(), []
    hooks.register(HookEvent.ON_CHUNK_COMPLETE, lambda _: threads_end(), mode="inline")
    hooks.register(HookEvent.POST_EXECUTE, told.append, mode="inline")

    def threads_end():
        monkeypatch.setattr(threading.Thread, "start", no_thread)

    assert list(map(len, await executor.execute(bytes, [2 << 20] * 12, hooks=hooks))) == [2 << 20] * 12
    assert [context.status for context in told] == ["ok"]
    monkeypatch.undo()


def no_thread(_thread):
    """What a system says that has no more of them."""
    raise RuntimeError("can't start new thread")


async def test_closing_stops_calls_that_outlive_the_drain(each_executor):
    """They raise ExecutorClosedError."""
    call = asyncio.ensure_future(each_executor.execute(jobs.nap, [3600.0] * 4))
    await running(each_executor)
    began = time.perf_counter()
    await each_executor.aclose(drain=0.1)
    results = await asyncio.gather(call, return_exceptions=True)

    assert type(results[0]).__name__ == "ExecutorClosedError"
    assert time.perf_counter() - began < 5.0


async def test_a_generator_that_hangs_does_not_hold_a_cancelled_call(executor):
    """Its thread is left behind until the generator returns, which it does here."""
    began = time.perf_counter()

    def hanging():
        yield 1
        time.sleep(0.7)

    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.1):
            await executor.execute(jobs.square, hanging())

    assert time.perf_counter() - began < 0.6


async def test_an_async_generator_is_closed_when_the_call_is_cancelled(executor):
    """In the task that reads it."""
    closed = []

    async def endless():
        try:
            for n in itertools.count():
                await asyncio.sleep(0.001)
                yield n
        finally:
            closed.append(True)

    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.2):
            await executor.execute(jobs.square, endless())

    assert closed == [True]


@pytest.mark.parametrize("turns", [1, 2, 3, 5])
async def test_whoever_cancels_every_task_twice_leaves_nothing_behind(turns):
    """The second time it hits the task that clears away: workers end, hooks are told, and nobody waits for the call."""
    hooks, told = HookManager(), []
    hooks.register(HookEvent.POST_EXECUTE, lambda ctx: told.append(ctx.status), mode="inline")
    async with AsyncExecutor(2, cancel_grace=2.0) as executor:
        call = asyncio.ensure_future(executor.execute(jobs.nap, [60.0] * 4, hooks=hooks))
        await running(executor, 2)
        began = time.perf_counter()
        call.cancel()
        for _ in range(turns):
            await asyncio.sleep(0)
        for task in asyncio.all_tasks() - {asyncio.current_task()}:
            task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call

        assert await executor.execute(jobs.square, [3]) == [9]
    assert (told, time.perf_counter() - began < 8.0) == (["cancelled"], True)
