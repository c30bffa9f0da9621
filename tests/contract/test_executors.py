"""One suite over everything that can be `executor=`: our workers, our threads, anybody's executor."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import sys
import threading
import time
from concurrent import futures
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor

import pytest

import jobs
from amorsize_async import AsyncExecutor, HookEvent, HookManager, execute, execute_async, stream_async
from amorsize_async._system import usable_cpus
from amorsize_async.errors import AmorsizeError, ExecutorClosedError, WorkerCrashedError

KINDS = ["shared", "own", "thread", "thread pool", "process pool"]
THREADS = ["thread", "thread pool"]
if sys.version_info >= (3, 14):
    KINDS.append("interpreters")
    THREADS.append("interpreters")
PROCESSES = ["shared", "own", "process pool"]


@pytest.fixture
async def where(request):
    """Something that `executor=` takes."""
    kind = request.param
    if kind == "own":
        async with AsyncExecutor(2) as executor:
            yield executor
    elif kind == "thread pool":
        with ThreadPoolExecutor(2) as pool:
            yield pool
    elif kind == "process pool":
        pool = ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("forkserver"))
        yield pool
        await asyncio.to_thread(pool.shutdown)
    elif kind == "interpreters":
        with futures.InterpreterPoolExecutor(
            2, initializer=exec, initargs=(f"import sys; sys.path = {sys.path}",)
        ) as pool:
            yield pool
    else:
        yield None if kind == "shared" else kind


everywhere = pytest.mark.parametrize("where", KINDS, indirect=True)
in_processes = pytest.mark.parametrize("where", PROCESSES, indirect=True)


@everywhere
async def test_results_are_right(where):
    """In input order."""
    assert await execute_async(jobs.square, range(1000), executor=where) == [n * n for n in range(1000)]
    assert await execute_async(jobs.square, [], executor=where) == []


@everywhere
async def test_streams_are_right(where):
    """From an iterator, with a window."""
    values = [v async for v in stream_async(jobs.square, iter(range(500)), executor=where, buffersize=20, n_jobs=2)]

    assert values == [n * n for n in range(500)]


@everywhere
async def test_failures_have_their_index(where):
    """And the exception its type."""
    with pytest.raises(ZeroDivisionError) as caught:
        await execute_async(jobs.divide, [1, 2, 0], executor=where)

    assert caught.value.__notes__ == ["amorsize_async: raised for item 2"]


@everywhere
async def test_coroutine_functions_run(where):
    """On a loop where they are."""
    assert await execute_async(jobs.square_soon, range(50), executor=where) == [n * n for n in range(50)]


@everywhere
async def test_all_seven_events_tell_the_same_story(where):
    """PRE first, POST last, a start before a worker's first chunk, sizes that add up."""
    hooks, seen = HookManager(), []
    for event in HookEvent:
        hooks.register(event, seen.append, mode="inline")
    await execute_async(jobs.divide, [1, 2, 0] * 20, executor=where, hooks=hooks, return_exceptions=True, n_jobs=2)
    names = [ctx.event.name for ctx in seen]

    assert (names[0], names[-1]) == ("PRE_EXECUTE", "POST_EXECUTE")
    assert names.count("ON_ERROR") == 20
    assert names.count("ON_WORKER_START") == names.count("ON_WORKER_END") >= 1
    assert sum(ctx.chunk_size for ctx in seen if ctx.event is HookEvent.ON_CHUNK_COMPLETE) == 60
    assert [ctx.sequence for ctx in seen] == list(range(len(seen)))
    assert [ctx.percent_complete for ctx in seen if ctx.event is HookEvent.ON_PROGRESS].count(100.0) == 1


@in_processes
async def test_work_is_never_done_in_this_process(where):
    """Unless threads were asked for."""
    assert os.getpid() not in await execute_async(jobs.pid_of, range(20), executor=where)


@pytest.mark.parametrize("where", THREADS, indirect=True)
async def test_workers_in_one_process_are_told_apart(where):
    """So that the report counts as many as there were, and efficiency is 1.0 at best."""
    _, report = await execute_async(time.sleep, [0.02] * 20, executor=where, return_report=True, n_jobs=2, chunksize=1)

    assert len(report.workers) == 2
    assert report.efficiency <= 1.0


@pytest.mark.parametrize("where", ["thread", "thread pool"], indirect=True)
async def test_threads_share_our_memory(where):
    """Nothing is pickled: the item itself comes back."""
    marker = object()

    assert await execute_async(lambda item: item, [marker], executor=where) == [marker]


@everywhere
async def test_the_report_names_what_it_ran_on(where):
    """And what it measured there."""
    _, report = await execute_async(jobs.spin, [0.002] * 30, executor=where, return_report=True, n_jobs=2)

    assert report.items == 30
    assert report.work_seconds >= 0.05


@pytest.mark.parametrize("where", ["process pool"], indirect=True)
async def test_somebody_elses_broken_pool_is_reported(where):
    """It is theirs to replace: each call says so, not only the one that broke it."""
    for _ in range(2):
        with pytest.raises(WorkerCrashedError, match="died"):
            await execute_async(jobs.die, [1], executor=where)


@pytest.mark.parametrize("kind", [ThreadPoolExecutor, ProcessPoolExecutor])
async def test_somebody_elses_closed_pool_is_reported(kind):
    """As one of ours would be."""
    pool = kind(1)
    pool.shutdown()
    with pytest.raises(ExecutorClosedError, match="refused the work"):
        await execute_async(jobs.square, [1], executor=pool)


async def test_a_time_limit_that_a_pool_cannot_keep_is_refused_before_it_starts_a_worker():
    """A process pool starts its workers when it is first used."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        with pytest.raises(ValueError, match="nobody can end an item that runs in a ProcessPoolExecutor"):
            await execute_async(jobs.square, [1], executor=pool, item_timeout=1)
        assert not multiprocessing.active_children()


async def test_somebody_elses_executor_is_used_as_wide_as_it_is():
    """However few CPUs there are; `n_jobs` says less, and one that does not say how wide it is has one for each CPU."""
    together = threading.Barrier(usable_cpus() + 3)
    with ThreadPoolExecutor(together.parties) as pool:
        waits = await execute_async(lambda _: together.wait(timeout=30), range(together.parties), executor=pool)
        _, report = await execute_async(jobs.square, range(9), executor=pool, n_jobs=1, return_report=True)
        del pool._max_workers
        _, unknown = await execute_async(jobs.square, range(9), executor=pool, return_report=True)

    assert sorted(waits) == list(range(together.parties))
    assert (report.n_jobs, unknown.n_jobs) == (1, usable_cpus())


@pytest.mark.parametrize("where", [None, "thread"])
async def test_a_call_inside_a_worker_has_that_workers_part_of_the_cpus(where):
    """Wherever it runs: nested calls do not multiply."""
    async with AsyncExecutor(usable_cpus()) as executor:
        [n_jobs] = await executor.execute(jobs.workers_of_a_call, [where])

    assert n_jobs == 1


@pytest.mark.parametrize("where", ["shared", "thread", "thread pool", "process pool"], indirect=True)
@pytest.mark.parametrize("turns", range(1, 7))
async def test_the_hooks_of_a_call_that_is_cancelled_while_it_begins_are_told(where, turns):
    """Of its end, once and last, whatever was being opened."""
    hooks, seen = HookManager(), []
    hooks.register(HookEvent, seen.append, mode="inline")
    call = asyncio.ensure_future(execute_async(jobs.square, range(10), executor=where, hooks=hooks))
    for _ in range(turns):
        await asyncio.sleep(0)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call

    assert [ctx.status for ctx in seen if ctx.event is HookEvent.POST_EXECUTE] == ["cancelled"]
    assert seen[-1].event is HookEvent.POST_EXECUTE
    assert seen[-1].n_jobs >= 1


def test_execute_works_without_a_loop():
    """For scripts."""
    assert execute(jobs.square, range(10)) == [n * n for n in range(10)]
    values, report = execute(jobs.square, [2], return_report=True)
    assert (values, report.items) == ([4], 1)


async def test_execute_works_inside_a_running_loop():
    """For notebooks: on another loop in another thread."""
    assert execute(jobs.square, range(10)) == [n * n for n in range(10)]
    with pytest.raises(ZeroDivisionError):
        execute(jobs.divide, [0])


async def test_execute_uses_an_executor_on_its_own_loop():
    """From another thread; on its own thread it would block it for ever, and says so."""
    async with AsyncExecutor(1) as executor:
        assert await asyncio.to_thread(execute, jobs.square, [3], executor=executor) == [9]
        with pytest.raises(RuntimeError, match="would block the loop"):
            execute(jobs.square, [3], executor=executor)


class Lacking(futures.Executor):
    """An executor whose workers have nothing of ours."""

    def submit(self, *_call):
        """Refuse, as an interpreter does that cannot import what it is sent."""
        refused = ValueError("not shareable")
        refused.__cause__ = ModuleNotFoundError("No module named 'amorsize_async'")
        future = futures.Future()
        future.set_exception(refused)
        return future


class Refusing(ThreadPoolExecutor):
    """Takes some calls, and then raises what it likes."""

    def __init__(self, left, error):
        super().__init__(2)
        self.left, self.error = left, error

    def submit(self, *call):
        """Refuse what is one too many."""
        self.left -= 1
        if self.left < 0:
            raise self.error
        return super().submit(*call)


@pytest.mark.parametrize("left", [0, 3])
@pytest.mark.parametrize("error", [ValueError("no"), TypeError("no"), MemoryError("no"), RuntimeError("no")], ids=repr)
async def test_an_executor_that_refuses_a_call_is_told_of_whatever_it_raises(left, error):
    """It is the executor's, and no bare error out of the middle of ours."""
    hooks, told = HookManager(), []
    hooks.register(HookEvent.POST_EXECUTE, told.append, mode="inline")
    with Refusing(left, error) as executor, pytest.raises(AmorsizeError) as caught:
        await execute_async(jobs.square, range(50), executor=executor, n_jobs=2, hooks=hooks)

    assert [context.status for context in told] == ["error"]
    assert error in (caught.value.__cause__, caught.value.__context__)


async def test_an_executor_that_cannot_import_us_is_told_of_with_what_it_lacks():
    """It is neither closed nor broken."""
    with pytest.raises(
        AmorsizeError, match=r"Lacking cannot run .* No module named 'amorsize_async'.*importable there"
    ):
        await execute_async(abs, [1], executor=Lacking(), n_jobs=1)
