"""Faults that were found once: each held by the smallest program that showed it."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import anyio.to_thread
import psutil
import pytest

import jobs
from amorsize_async import AsyncExecutor, execute, execute_async
from amorsize_async.errors import ExecutorClosedError, ItemTimeoutError, WorkerCrashedError


async def test_a_function_never_runs_here_however_many_workers_die(each_executor):
    """Every second item kills its worker; the others run once, elsewhere."""
    results = await each_executor.execute(jobs.die_on_odd, range(24), chunksize=1, return_exceptions=True)

    assert all(isinstance(result, WorkerCrashedError) for result in results[1::2])
    assert os.getpid() not in results[::2]
    assert all(isinstance(pid, int) for pid in results[::2])


async def test_a_death_is_never_blamed_on_another_calls_item(executor):
    """Indices are a call's own: an index in the cell means nothing to another call."""
    poison = [("exit", 3) if n == 7 else ("ok", n) for n in range(12)]
    calls = [executor.execute(jobs.exit_on, poison, return_exceptions=True)]
    calls += [executor.execute(jobs.identity, range(12), return_exceptions=True) for _ in range(8)]

    first, *others = await asyncio.gather(*calls)
    assert [n for n, result in enumerate(first) if result != n] == [7]
    assert others == [list(range(12))] * 8


async def test_one_death_from_outside_fails_no_item(each_executor):
    """An item is given up after its second death; the first may have been anybody's."""
    call = asyncio.ensure_future(each_executor.execute(jobs.nap, [0.3] * 4, chunksize=1))
    async with asyncio.timeout(10):
        while each_executor.statistics().chunks < 2:  # noqa: ASYNC110 - statistics have no event, and need none
            await asyncio.sleep(0.001)
    os.kill(each_executor.statistics().workers[0], signal.SIGKILL)

    assert await call == [0.3] * 4


@pytest.mark.parametrize(
    "fn",
    [jobs.kill_by_result, jobs.close_everything, jobs.die_in_the_reply],
    ids=["pickling", "descriptors", "sending"],
)
async def test_an_item_that_kills_outside_the_function_fails_alone(each_executor, fn):
    """While its result is pickled or sent: found by halving."""
    async with asyncio.timeout(60):
        results = await each_executor.execute(fn, range(6), chunksize=6, return_exceptions=True)

    assert [n for n, result in enumerate(results) if result != n] == [3]
    assert results[3].index == 3


@pytest.mark.parametrize("fn", [jobs.falsy_failure, jobs.frozen_failure], ids=["falsy", "frozen"])
@pytest.mark.parametrize("where", [None, "thread"])
async def test_odd_exceptions_are_failures_like_any_other(fn, where):
    """One that is false, one that cannot be changed."""
    names = {"EmptyError", "FrozenError"}
    (raised,) = await asyncio.gather(execute_async(fn, range(4), executor=where), return_exceptions=True)
    results = await execute_async(fn, range(4), executor=where, return_exceptions=True)

    assert type(raised).__name__ in names
    assert [type(result).__name__ for result in results] == [type(raised).__name__] * 4


async def test_small_calls_run_side_by_side():
    """Each gets a worker of its own while there are more to be had."""
    began = time.perf_counter()
    await asyncio.gather(*(execute_async(jobs.nap, [0.5], n_jobs=4) for _ in range(4)))

    assert time.perf_counter() - began < 1.6


async def test_callers_that_block_every_thread_of_the_application_do_not_starve_us():
    """Sync endpoints wait in anyio's forty threads for calls that need a thread themselves."""
    async with AsyncExecutor(2) as executor:

        def endpoint():
            return execute(lambda x: x + 1, range(3), executor=executor)

        async with asyncio.timeout(30):
            async with anyio.create_task_group() as group:
                for _ in range(45):
                    group.start_soon(anyio.to_thread.run_sync, endpoint)


async def test_a_cancelled_thread_call_returns_although_its_thread_does_not():
    """Nobody can end a thread; it is left, and ends when its function returns."""
    began = time.perf_counter()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.1):
            await execute_async(jobs.nap, [0.7], executor="thread")

    assert time.perf_counter() - began < 0.6


@pytest.mark.parametrize("own", [True, False])
async def test_what_is_left_of_a_cancelled_thread_call_stops_behind_the_item_that_runs(own):
    """Its chunk has more of them, which nobody wants any more."""
    begun, ends = threading.Semaphore(0), threading.Event()
    ran = []

    def work(item):
        ran.append(item)
        begun.release()
        ends.wait(30)

    pool = ThreadPoolExecutor(1)
    where = "thread" if own else pool
    call = asyncio.ensure_future(execute_async(work, range(50), executor=where, n_jobs=1, chunksize=50))
    await asyncio.to_thread(begun.acquire)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    ends.set()
    await asyncio.to_thread(pool.shutdown)
    threads = [thread for thread in threading.enumerate() if thread.name.startswith("amorsize-thread")]
    await asyncio.to_thread(lambda: [thread.join(30) for thread in threads])

    assert ran == [0]


async def test_closing_ends_a_call_that_waits_for_its_input(executor):
    """Nothing of it is in a worker."""

    async def silent():
        await asyncio.Event().wait()
        yield 1

    call = asyncio.ensure_future(executor.execute(jobs.square, silent()))
    await asyncio.sleep(0.05)
    await executor.aclose(drain=0.0)

    async with asyncio.timeout(5):
        with pytest.raises(ExecutorClosedError):
            await call


async def test_an_executor_that_drains_takes_no_new_calls(executor):
    """And lets the old ones end."""
    call = asyncio.ensure_future(executor.execute(jobs.nap, [0.3]))
    await asyncio.sleep(0.05)
    closing = asyncio.ensure_future(executor.aclose())
    await asyncio.sleep(0)
    assert executor.statistics().closed
    with pytest.raises(ExecutorClosedError):
        await executor.execute(jobs.square, [1])

    assert await call == [0.3]
    await closing


async def test_an_executor_whose_jobs_drain_says_that_it_takes_no_calls(executor):
    """A service's health check asks for that; the pool itself hears of it when the jobs are done."""
    job = executor.start(jobs.nap, [0.3])
    closing = asyncio.ensure_future(executor.aclose())
    await asyncio.sleep(0)
    assert executor.statistics().closed

    assert await job == [0.3]
    await closing


async def test_a_worker_that_used_the_library_itself_ends_by_itself(each_executor):
    """Its own workers are closed before it is joined."""
    assert await each_executor.execute(jobs.nested, [10], n_jobs=1) == [285]
    began = time.perf_counter()
    await each_executor.aclose()

    assert time.perf_counter() - began < 1.5


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
@pytest.mark.skipif(sys.version_info >= (3, 12), reason="a fork beside threads warns in the worker from 3.12 on")
async def test_a_function_that_forks_leaves_one_worker(each_executor):
    """The child goes when the function has returned in it."""
    assert await each_executor.execute(jobs.fork_and_return, range(4), chunksize=4) == [0, 1, 2, 3]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
@pytest.mark.skipif(sys.version_info >= (3, 12), reason="a fork beside threads warns in the worker from 3.12 on")
@pytest.mark.parametrize("how", ["exit", "raise", "return"])
@pytest.mark.parametrize("fn", [jobs.fork_and, jobs.fork_and_soon], ids=["plain", "async"])
async def test_a_child_that_a_function_forks_runs_no_item_of_its_chunk(executor, fn, how, tmp_path):
    """However it ends: each item runs once, and not in twice as many processes as the one before it."""
    log = tmp_path / "log"
    results = await executor.execute(partial(fn, how, log), range(5), chunksize=5, return_exceptions=True)

    assert results == list(range(5))
    assert sorted(log.read_text().split()) == list("01234")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
@pytest.mark.skipif(sys.version_info >= (3, 12), reason="a fork beside threads warns in the worker from 3.12 on")
async def test_a_child_that_a_function_forks_does_not_end_its_time_limit():
    """The two share the memory that tells when the item began."""
    async with AsyncExecutor(1) as executor, asyncio.timeout(20):
        (error,) = await executor.execute(jobs.fork_and_sleep, [60], item_timeout=0.5, return_exceptions=True)

    assert isinstance(error, ItemTimeoutError)


@pytest.mark.skipif(sys.platform != "linux", reason="RLIMIT_AS holds on Linux")
async def test_an_item_that_is_too_large_for_a_workers_memory_fails_alone():
    """Its worker lives, and no other item runs less for it."""
    items = [b"a"] * 10 + [bytes(150 << 20)] + [b"a"] * 10
    async with AsyncExecutor(2, initializer=jobs.limit_memory, initargs=(100 << 20,)) as executor:
        results = await executor.execute(len, items, return_exceptions=True)
        assert executor.statistics().lost == 0

    assert isinstance(results.pop(10), MemoryError)
    assert results == [1] * 20


async def test_a_task_that_a_coroutine_began_may_ask_the_worker_to_exit(each_executor):
    """It ends its own item, as any failure does; a loop passes on what such a task raises, through all others."""
    results = await each_executor.execute(jobs.exit_in_a_task, range(6), return_exceptions=True)

    assert [type(results.pop(3)), results] == [RuntimeError, [0, 1, 2, 4, 5]]
    assert each_executor.statistics().lost == 0


async def test_classes_made_alike_are_not_mistaken_for_each_other(each_executor):
    """What goes home goes by number: a name may be another class's."""
    space = {"__name__": "__main__"}
    exec("class Same:\n    def __init__(self, x): self.x = x\n", space)
    same = space["Same"]

    def other(item):
        return type("Same", (), {"__module__": "__main__", "y": item.x})()

    mine, its = (
        (await each_executor.execute(lambda item: item, [same(1)]))[0],
        (await each_executor.execute(other, [same(2)]))[0],
    )
    assert (type(mine) is same, type(its) is same, its.y) == (True, False, 2)


async def test_an_executor_that_is_forgotten_is_closed_by_its_loop():
    """Nobody refers to it any more: its workers end while the loop goes on."""

    async def forget():
        executor = await AsyncExecutor(1).start()
        return await executor.execute(jobs.pid_of, [0])

    (pid,) = await forget()
    gc.collect()
    worker = psutil.Process(pid) if psutil.pid_exists(pid) else None
    async with asyncio.timeout(10):
        while worker is not None and worker.is_running():  # noqa: ASYNC110 - nobody tells when it is reaped
            await asyncio.sleep(0.01)
