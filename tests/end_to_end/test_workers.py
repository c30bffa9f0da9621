"""Workers come and go: they are replaced when worn, started again when a start fails, and heard when they die."""

from __future__ import annotations

import asyncio
import importlib
import signal
import sys
import time

import pytest

import jobs
from amorsize_async import AsyncExecutor, HookEvent, HookManager
from amorsize_async._system import usable_cpus
from amorsize_async.backends.local import FREE_DEATHS, LONGEST_CRASH_DELAY, LONGEST_DELAY, start_delay
from amorsize_async.errors import WorkerCrashedError, WorkerStartError


async def test_a17_a_worker_is_replaced_after_its_items(start_method):
    """One worker, two items each; every item runs once."""
    async with AsyncExecutor(1, start_method=start_method, max_items_per_worker=2) as executor:
        pids, report = await executor.execute(jobs.pid_of, range(9), return_report=True)
        statistics = executor.statistics()

    assert [pids.count(pid) for pid in dict.fromkeys(pids)] == [2, 2, 2, 2, 1]
    assert (report.workers_lost, statistics.lost, statistics.recycled) == (0, 0, 4)


async def test_many_items_pass_through_short_lived_workers():
    """In order, none lost, in chunks that the limit cuts, two workers, classes among the results."""
    async with AsyncExecutor(2, max_items_per_worker=50) as executor:
        results = await executor.execute(jobs.as_path, range(1000))

    assert results == [jobs.as_path(n) for n in range(1000)]


async def test_a_worn_worker_is_told_as_recycled():
    """And the one that follows as started."""
    hooks, told = HookManager(), []
    hooks.register(HookEvent.ON_WORKER_END, lambda ctx: told.append(ctx.metadata["reason"]), mode="inline")
    async with AsyncExecutor(1, hooks=hooks, max_items_per_worker=3) as executor:
        await executor.execute(jobs.square, range(7))

    assert told == ["recycled", "recycled", "finished"]


async def test_a16_a_worker_that_grew_is_replaced():
    """Looked at after each chunk; the items that follow find an empty one."""
    async with AsyncExecutor(1, max_worker_rss=300 << 20) as executor:
        first, second = await executor.execute(jobs.hoard, [400, 1], chunksize=1)
        third, fourth = await executor.execute(jobs.hoard, [1, 1], chunksize=1)

    assert (first != second, second, third) == (True, third, fourth)


async def test_a7_a_worker_that_is_killed_while_it_starts_is_started_again(start_method, tmp_path):
    """It counts against no item, and ends no call."""
    path = str(tmp_path / "starts")
    async with AsyncExecutor(
        1, start_method=start_method, initializer=jobs.die_at_first, initargs=(path, 2)
    ) as executor:
        assert await executor.execute(jobs.square, [3]) == [9]
    assert jobs.tally_of(path) == 3


async def test_a7_a_worker_that_never_starts_is_an_error(start_method, tmp_path):
    """After three tries, with its exit code."""
    executor = AsyncExecutor(1, start_method=start_method, initializer=jobs.die_at_first, initargs=(None, 9))
    with pytest.raises(WorkerStartError, match="exit code 7") as caught:
        await executor.start()

    assert caught.value.transient


async def test_a8_an_initializer_that_raises_is_tried_once(start_method, tmp_path):
    """It would raise again; its exception is the cause, and says whose it is."""
    path = tmp_path / "starts"
    executor = AsyncExecutor(1, start_method=start_method, initializer=jobs.refuse_and_count, initargs=(str(path),))
    with pytest.raises(WorkerStartError, match="the initializer of a worker raised ConnectionError") as caught:
        await executor.start()

    assert jobs.tally_of(path) == 1
    assert "raised by the initializer" in caught.value.__cause__.__notes__[0]


def test_starts_that_fail_are_not_a_storm():
    """Each waits longer, up to a bound; deaths at work are free until there are many without a result between."""
    assert start_delay(0, FREE_DEATHS) == 0.0
    delays = [start_delay(failed, 0) for failed in range(1, 50)]
    assert delays == sorted(delays)
    assert (delays[0] > 0, delays[-1]) == (True, LONGEST_DELAY)
    assert 0 < start_delay(0, FREE_DEATHS + 1) < start_delay(0, 10**6) == LONGEST_CRASH_DELAY


@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
async def test_a2_a_segfault_is_named_with_its_signal_its_item_and_its_stack(each_executor):
    """As faulthandler saw it in the worker; nothing of it on stderr."""
    results = await each_executor.execute(jobs.segfault, range(5), return_exceptions=True)

    error = results.pop(3)
    assert results == [0, 1, 2, 4]
    assert isinstance(error, WorkerCrashedError)
    assert (error.index, error.exitcode) == (3, -signal.SIGSEGV)
    assert "SIGSEGV" in str(error)
    assert "in segfault" in error.output
    assert error.output in error.__notes__[0]


async def test_g8_nested_calls_do_not_multiply_workers():
    """A worker's own executor has the worker's part of the CPUs: one, if the outer one has them all."""
    async with AsyncExecutor(2) as executor:
        inner = await executor.execute(jobs.nested_n_jobs, range(2))

    assert inner == [max(1, usable_cpus() // 2)] * 2


async def test_coroutines_that_call_the_library_end_with_their_worker(start_method):
    """What they opened on the worker's own loop is closed with it, in no time; before, it was killed after 2 s."""
    executor = await AsyncExecutor(2, start_method=start_method).start()
    assert await executor.execute(jobs.nested_soon, [1, 2]) == [[1, 4], [4, 9]]

    began = time.perf_counter()
    await executor.aclose()
    assert time.perf_counter() - began < 1


async def test_a_worker_that_is_forked_from_a_worker_answers_its_own_parent():
    """It has all that the other had when it was forked: its line, and its first word."""
    async with AsyncExecutor(1) as executor, asyncio.timeout(20):
        [(outer, (workers, results))] = await executor.execute(jobs.nested_fork, [3])

    assert [square for _, square in results] == [0, 1, 4]
    assert {pid for pid, _ in results} == set(workers)
    assert outer not in workers


async def test_g8_calls_without_end_inside_each_other_are_refused():
    """Before they fill the machine; each depth has one worker."""
    async with AsyncExecutor(1) as executor:
        assert await executor.execute(jobs.depth_reached, [0]) == [5]


async def test_the_callers_task_is_as_uncancelled_as_before(executor):
    """A failing call cancels its own tasks, never its caller (E9)."""
    with pytest.raises(ZeroDivisionError):
        await executor.execute(jobs.divide, [0])

    assert asyncio.current_task().cancelling() == 0


async def test_globals_of_main_are_one_for_all_its_functions():
    """What an initializer sets, functions see; what changes in the parent, follows; what a function sets, stays."""
    space = sys.modules["__main__"].__dict__
    code = """
model, factor, cache = None, 2, {}
def load(): global model; model = 10; cache["loaded"] = True
def work(x): return x * model * factor
def probe(x): return model, cache
"""
    names = ("load", "work", "probe", "model", "factor", "cache")
    before = {name: space[name] for name in names if name in space}
    exec(code, space)
    try:
        async with AsyncExecutor(1, initializer=space["load"]) as executor:
            assert await executor.execute(space["work"], [1]) == [20]
            space["factor"] = 3
            assert await executor.execute(space["work"], [1]) == [30]
            assert await executor.execute(space["probe"], [1]) == [(10, {"loaded": True})]
    finally:
        for name in names:
            del space[name]
        space.update(before)


@pytest.mark.skipif(sys.platform == "win32", reason="there is no fork here")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
async def test_i8_libraries_that_were_loaded_before_a_fork_are_limited_too():
    """They no longer read their variables: threadpoolctl tells them."""
    pytest.importorskip("threadpoolctl")
    importlib.import_module("numpy")
    async with AsyncExecutor(1, start_method="fork", inner_threads=1) as executor:
        assert set(await executor.execute(jobs.inner_threads, [0])) <= {(), (1,)}


async def test_a_start_that_is_cancelled_alone_is_made_up_for():
    """A call that waits for that worker would wait for ever."""
    async with AsyncExecutor(1, max_items_per_worker=1) as executor:
        await executor.execute(jobs.square, [2])
        call = asyncio.ensure_future(executor.execute(jobs.square, [3]))
        while not (starts := [task for task in asyncio.all_tasks() if task.get_name() == "amorsize-start"]):
            assert not call.done()
            await asyncio.sleep(0)
        starts[0].cancel()
        async with asyncio.timeout(30):
            assert await call == [9]
