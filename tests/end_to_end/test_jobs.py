"""Runs as objects: awaited, watched and cancelled by anybody, drained with their executor; and how many are taken."""

from __future__ import annotations

import asyncio
import gc
import operator
import threading
from functools import partial

import pytest

import jobs
from amorsize_async import AsyncExecutor, HookEvent, HookManager, _engine
from amorsize_async._threads import in_thread
from amorsize_async.errors import ExecutorClosedError, ExecutorSaturatedError, UnpicklableError


async def kinds_of(job, after=-1):
    """All events of a job that a reader gets."""
    return [context.event async for context in job.events(after)]


async def until_running(job):
    """Wait until a job has begun."""
    async for _ in job.events():
        return


# ── results and status ───────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_job_goes_from_pending_to_ok(each_executor):
    """It is there at once, and has its results and its report at the end."""
    job = each_executor.start(jobs.square, range(100))
    assert (job.status, job.report, job.progress.completed) == ("pending", None, 0)

    assert await job == [n * n for n in range(100)]

    assert (job.status, job.report.items, job.error) == ("ok", 100, None)
    assert (job.progress.completed, job.progress.total, job.progress.percent) == (100, 100, 100.0)
    assert repr(job) == f"<Job {job.id} ok, 100 of 100 items>"


async def test_a_notebook_shows_a_job(executor):
    """As far as it is, and when it has ended, as its report."""
    job = executor.start(jobs.square, range(10))
    assert "pending" in job._repr_html_()
    await job

    assert job._repr_html_() == job.report._repr_html_()


async def test_many_tasks_may_wait_for_a_job(executor):
    """And each again, when it has ended."""
    job = executor.start(jobs.square, [3])

    assert await asyncio.gather(*(asyncio.ensure_future(wait_for(job)) for _ in range(5))) == [[9]] * 5
    assert await job == [9]


async def wait_for(job):
    """Await a job in a task."""
    return await job


async def test_one_who_waits_no_more_leaves_the_job_alone(executor):
    """A cancelled awaiter is not the job."""
    job = executor.start(jobs.nap, [0.3])
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await job

    assert await job == [0.3]


async def test_a_job_raises_what_its_run_raised(executor):
    """Each time that it is awaited."""
    job = executor.start(jobs.divide, [1, 0])
    for _ in range(2):
        with pytest.raises(ZeroDivisionError):
            await job

    assert job.status == "error"
    assert isinstance(job.error, ZeroDivisionError)
    assert job.progress.failed == 1


async def test_exceptions_may_be_results(executor):
    """The options are those of `execute`."""
    job = executor.start(jobs.divide, [1, 0], return_exceptions=True, chunksize=1)

    assert [type(value) for value in await job] == [float, ZeroDivisionError]
    assert (job.status, job.progress.failed) == ("ok", 1)


async def test_a_job_that_nobody_keeps_runs_on(executor, tmp_path):
    """The executor keeps it."""
    log = tmp_path / "log"
    executor.start(jobs.tally, [(log, n) for n in range(20)])
    gc.collect()
    (job,) = executor.jobs
    await job

    assert len(log.read_text().splitlines()) == 20
    assert executor.jobs == ()


async def test_start_checks_at_once(executor):
    """Before anything runs."""
    with pytest.raises(TypeError, match="fn is a int"):
        executor.start(3, [])
    with pytest.raises(TypeError, match="data is a int, not iterable"):
        executor.start(jobs.square, 3)
    with pytest.raises(ValueError, match="n_jobs=0"):
        executor.start(jobs.square, [], n_jobs=0)
    assert executor.statistics().pending == 0


# ── an error that nobody asks for ────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.leaks_log
async def test_an_error_that_nobody_asks_for_is_logged(executor, caplog):
    """As that of a task, when the job is forgotten."""
    job = executor.start(jobs.divide, [0])
    await job.wait()
    del job
    gc.collect()

    assert "Task exception was never retrieved" in caplog.text


@pytest.mark.parametrize("how", ["error", "events"])
async def test_an_error_that_somebody_has_seen_is_not_logged(executor, caplog, how):
    """The last event tells it, too."""
    job = executor.start(jobs.divide, [0])
    if how == "events":
        await kinds_of(job)
    await job.wait()
    if how == "error":
        assert job.error is not None
    del job
    gc.collect()

    assert caplog.text == ""


# ── cancelling ───────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_cancelling_stops_the_work(each_executor):
    """At once; what waits for the job is told, and only the first call has done it."""
    job = each_executor.start(jobs.nap, [60.0] * 4)
    await until_running(job)

    async with asyncio.timeout(5):
        assert job.cancel()
        assert not job.cancel()
        with pytest.raises(asyncio.CancelledError):
            await job

    assert (job.status, job.cancel(), job.error) == ("cancelled", False, None)
    assert job.report.status == "cancelled"


async def test_a_job_that_has_ended_cannot_be_cancelled(executor):
    """Nor changed."""
    job = executor.start(jobs.square, [2])
    await job

    assert not job.cancel()
    assert job.status == "ok"


async def test_a_job_that_is_cancelled_before_it_begins_ends_as_any_other(executor):
    """With a last event, and without its place among the pending calls."""
    job = executor.start(jobs.square, [2])
    assert job.cancel()
    await job.wait()

    assert (job.status, await kinds_of(job)) == ("cancelled", [HookEvent.POST_EXECUTE])
    assert executor.statistics().pending == 0


async def test_hooks_hear_of_a_job_that_is_cancelled_before_it_begins(executor):
    """Those that clean up after it count on that; the end is all they hear."""
    heard, hooks = [], HookManager()
    hooks.register(HookEvent, heard.append, mode="inline")
    job = executor.start(jobs.square, [2], hooks=hooks)
    assert job.cancel()
    assert not job.cancel()
    await job.wait()

    (last,) = heard
    assert (last.event, last.status, last.metadata["function"]) == (HookEvent.POST_EXECUTE, "cancelled", "square")
    assert (job.report, job.report.status) == (last.metadata["report"], "cancelled")


async def test_hooks_hear_of_a_job_that_is_cancelled_while_its_function_is_pickled(executor):
    """Which may take long, in a thread; it has not begun then."""
    slow = SlowToPickle()
    heard, hooks = [], HookManager()
    hooks.register(HookEvent, heard.append)
    job = executor.start(slow, [2], hooks=hooks)
    await asyncio.to_thread(slow.begun.wait, 30)
    job.cancel()
    await job.wait()
    slow.go_on.set()

    assert [(context.event, context.status) for context in heard] == [(HookEvent.POST_EXECUTE, "cancelled")]
    assert await kinds_of(job) == [HookEvent.POST_EXECUTE]


class SlowToPickle:
    """A function that waits while it is pickled."""

    def __init__(self):
        self.begun, self.go_on = threading.Event(), threading.Event()

    def __call__(self, item):
        return item

    def __reduce__(self):
        self.begun.set()
        self.go_on.wait(30)
        return SlowToPickle, ()


# ── events ───────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_every_reader_sees_the_first_and_the_last_event(executor):
    """Whenever it comes, and however fast it reads."""
    job = executor.start(jobs.square, range(1000), chunksize=1)
    early = asyncio.ensure_future(kinds_of(job))
    await job
    late = await kinds_of(job)

    for events in (await early, late):
        assert (events[0], events[-1]) == (HookEvent.PRE_EXECUTE, HookEvent.POST_EXECUTE)
    assert len(late) <= 256


async def test_a_reader_goes_on_where_it_was(executor):
    """With the sequence of the last event it has seen."""
    job = executor.start(jobs.square, range(10))
    await job
    seen = [context.sequence async for context in job.events()]

    assert [context.sequence async for context in job.events(after=seen[2])] == seen[3:]
    assert await kinds_of(job, after=seen[-1]) == []


async def test_a_reader_that_leaves_holds_nothing_up(executor):
    """It may leave in mid-wait."""
    job = executor.start(jobs.nap, [0.2])
    reader = asyncio.ensure_future(kinds_of(job))
    await until_running(job)
    reader.cancel()

    assert await job == [0.2]


async def test_a_run_that_cannot_begin_has_a_last_event(executor):
    """Its function could not be packed."""
    job = executor.start(lambda item, frame=(x for x in [1]): frame, [1])
    (last,) = [context async for context in job.events()]

    assert (last.event, last.status) == (HookEvent.POST_EXECUTE, "error")
    assert isinstance(last.error, UnpicklableError)
    assert (job.status, job.report) == ("error", None)


# ── closing ──────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_closing_waits_for_jobs_also_for_those_that_have_not_begun(start_method):
    """What was taken is done."""
    async with AsyncExecutor(2, start_method=start_method) as executor:
        job = executor.start(jobs.square, range(100))

    assert await job == [n * n for n in range(100)]


async def test_a_job_that_is_left_when_the_executor_closes_says_so():
    """It does not hold the close up."""
    executor = await AsyncExecutor(1).start()
    job = executor.start(jobs.nap, [60.0])
    await until_running(job)
    await executor.aclose(drain=0.0)

    with pytest.raises(ExecutorClosedError):
        await job
    assert executor.jobs == ()


async def test_an_executor_that_is_closing_takes_no_job():
    """Nor one that was never started."""
    executor = AsyncExecutor(1)
    with pytest.raises(ExecutorClosedError, match="was not started"):
        executor.start(jobs.square, [1])
    async with executor:
        pass
    with pytest.raises(ExecutorClosedError, match="is closed"):
        executor.start(jobs.square, [1])


async def test_a_job_without_a_loop_is_told_the_way_out(executor):
    """In a thread, say, or in a cell of a console that awaits nothing."""
    with pytest.raises(ExecutorClosedError, match=r"none runs here; .* or, where no loop runs, amorsize_async.execute"):
        await asyncio.to_thread(executor.start, jobs.square, [1])


@pytest.mark.parametrize(("arguments", "options"), [((jobs.square,), {}), ((), {"n_jobs": 1})], ids=["data", "both"])
async def test_half_a_job_is_refused(executor, arguments, options):
    """With what is missing."""
    with pytest.raises(TypeError, match=r"start\(\) takes fn and data, to start a run, or nothing at all"):
        executor.start(*arguments, **options)


# ── admission ────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_calls_of_every_kind_are_counted_and_refused():
    """At once, and let in again when one has left."""
    async with AsyncExecutor(1, max_pending=1) as executor:
        job = executor.start(jobs.nap, [60.0])
        assert (executor.statistics().pending, executor.statistics().max_pending) == (1, 1)
        with pytest.raises(ExecutorSaturatedError):
            executor.start(jobs.square, [1])
        with pytest.raises(ExecutorSaturatedError):
            await executor.execute(jobs.square, [1])
        with pytest.raises(ExecutorSaturatedError):
            await executor.submit(jobs.square, 1)
        with pytest.raises(ExecutorSaturatedError):
            await anext(executor.stream(jobs.square, [1]))
        job.cancel()
        await job.wait()

        assert await executor.submit(jobs.square, 3) == 9
        assert [value async for value in executor.stream(jobs.square, [4])] == [16]
        assert executor.statistics().pending == 0


async def test_a_call_that_is_cancelled_while_it_gives_memory_back_counts_no_more(monkeypatch):
    """Its function was large, and that takes a while: a call that counted for ever would keep another one out."""

    async def cancelled_meanwhile(work):
        if getattr(work, "__name__", "") == "close":
            call.cancel()
        return await in_thread(work)

    monkeypatch.setattr(_engine, "in_thread", cancelled_meanwhile)
    async with AsyncExecutor(1, max_pending=1) as executor:
        call = asyncio.ensure_future(executor.execute(partial(operator.concat, bytes(1 << 20)), [b"a"]))
        with pytest.raises(asyncio.CancelledError):
            await call

        assert executor.statistics().pending == 0
