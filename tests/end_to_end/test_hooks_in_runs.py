"""Whole runs as their hooks see them: when they are told, what the numbers are, and what no hook can do to a run."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import itertools
import json
import os
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pytest

import jobs
from amorsize_async import (
    AsyncExecutor,
    HookEvent,
    HookManager,
    RetryPolicy,
    create_progress_hook,
    execute,
    execute_async,
    stream_async,
)
from amorsize_async._run import FLUSH_SECONDS
from amorsize_async.backends.slot import Slot
from amorsize_async.errors import ExecutorClosedError, InputError, WorkerCrashedError

PRE, POST, CHUNK, PROGRESS, ERROR, START, END = (
    HookEvent.PRE_EXECUTE,
    HookEvent.POST_EXECUTE,
    HookEvent.ON_CHUNK_COMPLETE,
    HookEvent.ON_PROGRESS,
    HookEvent.ON_ERROR,
    HookEvent.ON_WORKER_START,
    HookEvent.ON_WORKER_END,
)
MODES = ["async", "thread", "inline"]


@pytest.fixture
def hooks():
    """A manager without hooks."""
    return HookManager()


class Story:
    """Everything that was told to one manager, in order."""

    def __init__(self, hooks):
        self.contexts = []
        self.told = dict.fromkeys(HookEvent, 0)
        self._news = asyncio.Event()
        hooks.register(HookEvent, self._note, mode="inline")

    def _note(self, context):
        self.contexts.append(context)
        self.told[context.event] += 1
        self._news.set()

    def of(self, event):
        """The contexts of one event."""
        return [context for context in self.contexts if context.event is event]

    async def reached(self, event, times=1):
        """Wait until an event was told so many times."""
        while self.told[event] < times:
            self._news.clear()
            await self._news.wait()


@pytest.fixture
async def story(hooks):
    """What is told to `hooks`; forgotten after the test, since errors hold on to frames, and these to all they see."""
    story = Story(hooks)
    yield story
    story.contexts.clear()


def in_mode(mode, work):
    """A hook of a colour around plain work."""

    async def awaited(context):
        await asyncio.sleep(0)
        return work(context)

    return awaited if mode == "async" else work


# the order of a run


async def test_a_run_is_told_from_its_beginning_to_its_end(executor, hooks, story):
    """PRE first, POST last, each once; numbers and clocks only rise, and all belong to one execution."""
    assert await executor.execute(jobs.square, range(300), hooks=hooks) == [n * n for n in range(300)]
    told = story.contexts

    assert (told[0].event, told[-1].event) == (PRE, POST)
    assert story.told[PRE] == story.told[POST] == 1
    assert [context.sequence for context in told] == list(range(len(told)))
    assert len({context.execution_id for context in told}) == 1
    for earlier, later in itertools.pairwise(told):
        assert earlier.timestamp <= later.timestamp
        assert earlier.elapsed_time <= later.elapsed_time
        assert earlier.items_completed <= later.items_completed
        assert earlier.results_size_bytes <= later.results_size_bytes
    assert [context.status for context in told] == ["running"] * (len(told) - 1) + ["ok"]


@pytest.mark.parametrize("mode", MODES)
async def test_no_item_runs_before_the_hooks_of_the_beginning_are_done(executor, hooks, tmp_path, mode):
    """However slow they are: a file that the function writes is not there when they end."""
    path, there = tmp_path / "calls", []

    async def awaited(context):
        await asyncio.sleep(0.05)
        there.append(path.exists())

    def plain(context):
        time.sleep(0.05)
        there.append(path.exists())

    hooks.register(PRE, awaited if mode == "async" else plain, mode=mode)
    await executor.execute(jobs.tally, [(str(path), n) for n in range(4)], hooks=hooks)

    assert there == [False]
    assert len(path.read_text().splitlines()) == 4


@pytest.mark.parametrize(("data", "total"), [(range(8), 8), (iter(range(8)), None)], ids=["a range", "an iterator"])
async def test_the_beginning_says_what_is_planned(executor, hooks, story, data, total):
    """The workers, the first chunk, the total if the input tells it, where it runs and what is expected."""
    await executor.execute(jobs.square, data, hooks=hooks)
    [pre] = story.of(PRE)

    assert (pre.n_jobs, pre.chunksize, pre.total_items, pre.items_completed) == (2, 1, total, 0)
    assert (pre.elapsed_time, pre.percent_complete) == (0.0, 0.0)
    assert set(pre.metadata) == {"executor_type", "estimated_speedup", "function"}
    assert pre.metadata["function"] == "square"
    assert pre.metadata["estimated_speedup"] == 2.0


async def test_the_end_says_what_was_reached(executor, hooks, story):
    """All counts agree, with each other and with the report; only now are there results."""
    results, report = await executor.execute(jobs.spin, [0.001] * 100, hooks=hooks, return_report=True)
    post = story.contexts[-1]

    assert post.items_completed == post.results_count == post.total_items == len(results) == 100
    assert (post.percent_complete, post.items_remaining, post.status, post.error) == (100.0, 0, "ok", None)
    assert post.throughput_items_per_sec == pytest.approx(100 / post.elapsed_time)
    assert post.elapsed_time >= report.elapsed > 0.04
    assert set(post.metadata) == {"executor_type", "estimated_speedup", "function", "report"}
    assert post.metadata["estimated_speedup"] == pytest.approx(report.speedup)
    assert {context.results_count for context in story.contexts[:-1]} == {0}


async def succeed(executor, hooks, story):
    """Nothing happens."""
    await executor.execute(jobs.square, range(10), hooks=hooks)


async def fail(executor, hooks, story):
    """An item raises."""
    with pytest.raises(ZeroDivisionError):
        await executor.execute(jobs.divide, [1, 2, 0], hooks=hooks)


async def be_cancelled(executor, hooks, story):
    """The caller loses patience."""
    task = asyncio.create_task(executor.execute(jobs.nap, [3600.0] * 3, hooks=hooks))
    await story.reached(START)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def take_too_long(executor, hooks, story):
    """A time limit of asyncio ends it."""
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.2):
            await executor.execute(jobs.nap, [3600.0], hooks=hooks)


async def break_off(executor, hooks, story):
    """The consumer has enough."""
    async with executor.stream(jobs.square, itertools.count(), hooks=hooks) as results:
        async for _ in results:
            break


async def read_broken_input(executor, hooks, story):
    """The input raises."""

    def broken():
        yield 1
        raise OSError("disk gone")

    with pytest.raises(InputError):
        await executor.execute(jobs.square, broken(), hooks=hooks)


async def lose_the_executor(executor, hooks, story):
    """Somebody closes the pool."""
    task = asyncio.create_task(executor.execute(jobs.nap, [3600.0] * 3, hooks=hooks))
    await story.reached(START)
    await executor.aclose(drain=0.0)
    with pytest.raises(ExecutorClosedError):
        await task


async def crash(executor, hooks, story):
    """An item kills its worker."""
    with pytest.raises(WorkerCrashedError):
        await executor.execute(jobs.die, [1], hooks=hooks)


async def be_refused(executor, hooks, story):
    """A critical hook says no."""

    @hooks.on(PRE, critical=True)
    async def gate(context):
        raise PermissionError("quota")

    with pytest.raises(PermissionError):
        await executor.execute(jobs.square, range(10), hooks=hooks)


ENDS = {
    succeed: ("ok", None),
    fail: ("error", ZeroDivisionError),
    be_cancelled: ("cancelled", None),
    take_too_long: ("cancelled", None),
    break_off: ("cancelled", None),
    read_broken_input: ("error", InputError),
    lose_the_executor: ("error", ExecutorClosedError),
    crash: ("error", WorkerCrashedError),
    be_refused: ("error", PermissionError),
}


@pytest.mark.parametrize("end", ENDS, ids=lambda end: end.__name__)
async def test_the_end_is_told_once_and_last_on_every_path(executor, hooks, story, end):
    """With the outcome, what the caller gets as an exception, and 100 percent for a success only."""
    async with asyncio.timeout(30):
        await end(executor, hooks, story)
    post, (status, error) = story.contexts[-1], ENDS[end]

    assert (post.event, post.status, story.told[PRE], story.told[POST]) == (POST, status, 1, 1)
    assert story.told[START] == story.told[END]
    assert (post.percent_complete == 100.0) is (status == "ok")
    assert [context.percent_complete for context in story.of(PROGRESS)].count(100.0) == (status == "ok")
    if error is None:
        assert (post.error, post.error_message, post.error_traceback) == (None, None, None)
    else:
        assert type(post.error) is error
        assert post.error_message == str(post.error)
        assert error.__name__ in post.error_traceback


# workers


async def test_every_worker_that_runs_items_is_told_of_before_its_first_chunk(executor, hooks, story):
    """By the pid that the function itself sees, and as gone in the end, with what it did."""
    pids = await executor.execute(jobs.spin, [0.002] * 100, hooks=hooks)
    starts, ends = story.of(START), story.of(END)

    assert {context.worker_id for context in starts} == set(pids) == set(executor.statistics().workers)
    assert os.getpid() not in set(pids)
    assert sorted(context.worker_id for context in starts) == sorted(context.worker_id for context in ends)
    for start in starts:
        chunks = [context for context in story.of(CHUNK) if context.worker_id == start.worker_id]
        assert start.sequence < chunks[0].sequence
    assert {context.metadata["reason"] for context in ends} == {"finished"}
    assert sum(context.metadata["items"] for context in ends) == 100
    assert [context.worker_count for context in ends] == [1, 0]


async def test_a_worker_that_was_killed_ends_with_its_exit_code(executor, hooks, story):
    """And the one in its place is told of, too."""
    items = [("ok", n) for n in range(20)]
    items[7] = ("exit", 3)
    await executor.execute(jobs.exit_on, items, hooks=hooks, return_exceptions=True)

    # Quick items run several at a stride; one that kills does so again when it is looked for among them.
    crashed = [context for context in story.of(END) if context.metadata["reason"] == "crashed"]
    assert {context.metadata["exitcode"] for context in crashed} == {3}
    assert not {context.worker_id for context in crashed} & set(executor.statistics().workers)
    assert story.told[START] == story.told[END] >= 2


async def test_a_worker_that_a_cancellation_killed_says_so(executor, hooks, story):
    """One that could end in its grace was not killed."""
    task = asyncio.create_task(executor.execute(jobs.nap, [3600.0, 0.01, 0.01], hooks=hooks, chunksize=1))
    await story.reached(CHUNK, 2)
    task.cancel()
    await asyncio.wait([task])

    reasons = {context.worker_id: context.metadata["reason"] for context in story.of(END)}
    assert sorted(reasons.values()) == ["cancelled", "killed"]
    assert {pid for pid, reason in reasons.items() if reason == "cancelled"} <= set(executor.statistics().workers)


# chunks


@pytest.mark.parametrize("chunksize", [None, 7])
async def test_chunks_add_up_to_the_input(executor, hooks, story, chunksize):
    """Each with a number of its own, from 0, in the order of their ends."""
    await executor.execute(jobs.square, range(1000), hooks=hooks, chunksize=chunksize)
    chunks = story.of(CHUNK)

    assert sum(context.chunk_size for context in chunks) == chunks[-1].items_completed == 1000
    assert [context.chunk_id for context in chunks] == list(range(len(chunks)))
    assert {context.worker_id for context in chunks} <= {context.worker_id for context in story.of(START)}
    covered = sorted((context.metadata["start"], context.chunk_size) for context in chunks)
    assert [start for start, _ in covered] == [0, *itertools.accumulate(size for _, size in covered)][:-1]


async def test_the_time_of_a_chunk_is_the_workers_own(executor, hooks, story):
    """A loop that was busy when the reply came adds nothing to it."""
    task = asyncio.create_task(executor.execute(jobs.nap, [0.05] * 2, hooks=hooks, chunksize=1))
    await story.reached(START)
    time.sleep(0.6)  # noqa: ASYNC251 - the loop is held on purpose
    await task

    assert all(0.045 <= context.chunk_time < 0.4 for context in story.of(CHUNK))
    assert story.contexts[-1].elapsed_time > 0.55
    assert 0.045 <= story.contexts[-1].avg_item_time < 0.4


async def test_a_slow_first_chunk_holds_no_other_event_back(executor, hooks, story):
    """Chunks are told of as they end; results come in input order all the same."""
    items = [(0, 0.5), *((n, 0.001) for n in range(1, 20))]
    assert await executor.execute(jobs.nap_index, items, hooks=hooks) == list(range(20))
    starts = [context.metadata["start"] for context in story.of(CHUNK)]

    assert starts[-1] == 0
    assert starts[:-1] == sorted(starts[:-1])


# errors


def line_of(function, text):
    """The number of the line of a function's source that has a text."""
    import inspect

    lines, first = inspect.getsourcelines(function)
    return first + next(number for number, line in enumerate(lines) if text in line)


async def test_a_failed_item_is_told_of_before_its_exception_leaves(executor, hooks, story):
    """Once, with the exception that the caller gets, and the function and line in the worker."""
    with pytest.raises(ZeroDivisionError) as caught:
        await executor.execute(jobs.divide, [1, 2, 0, 4], hooks=hooks, chunksize=1)
    [error] = story.of(ERROR)

    assert error.error is caught.value is story.contexts[-1].error
    assert error.error_message == str(caught.value) == "division by zero"
    assert f'jobs.py", line {line_of(jobs.divide, "1 / number")}, in divide' in error.error_traceback
    assert (error.metadata["item_index"], error.chunk_size) == (2, 1)
    assert error.worker_id in {context.worker_id for context in story.of(START)}
    assert error.status == "running"
    assert "in divide" in story.contexts[-1].error_traceback


@pytest.mark.parametrize("chunksize", [1, 7, None])
async def test_each_failed_item_names_its_chunk(executor, hooks, story, chunksize):
    """The number is that of the chunk which the item was in."""
    numbers = [n % 3 for n in range(150)]
    await executor.execute(jobs.spin_and_divide, numbers, hooks=hooks, chunksize=chunksize, return_exceptions=True)
    chunks = {context.chunk_id: context for context in story.of(CHUNK)}

    assert sorted(context.metadata["item_index"] for context in story.of(ERROR)) == list(range(0, 150, 3))
    for context in story.of(ERROR):
        chunk = chunks[context.chunk_id]
        assert 0 <= context.metadata["item_index"] - chunk.metadata["start"] < chunk.chunk_size == context.chunk_size
        assert (context.worker_id, context.chunk_time) == (chunk.worker_id, chunk.chunk_time)
        assert context.sequence < chunk.sequence


@pytest.mark.parametrize("chunksize", [1, 5])
async def test_an_item_that_killed_its_worker_is_a_chunk_that_never_completed(executor, hooks, story, chunksize):
    """With a number that no other chunk has, so that chunks and killed items add up to the input."""
    items = [("ok", n) for n in range(20)]
    items[7] = ("exit", 3)
    await executor.execute(jobs.exit_on, items, hooks=hooks, chunksize=chunksize, return_exceptions=True)
    [error], chunks = story.of(ERROR), story.of(CHUNK)

    assert sorted([error.chunk_id, *(chunk.chunk_id for chunk in chunks)]) == list(range(len(chunks) + 1))
    assert error.chunk_size + sum(chunk.chunk_size for chunk in chunks) == 20
    assert isinstance(error.error, WorkerCrashedError)
    assert (error.metadata["item_index"], error.error.index, error.error.exitcode) == (7, 7, 3)
    assert "WorkerCrashedError" in error.error_traceback
    crashed = [context.worker_id for context in story.of(END) if context.metadata["reason"] == "crashed"]
    assert error.worker_id == crashed[-1] == error.error.pid


UNFIT = {
    "an item": (jobs.identity, [1, threading.Lock(), 3], 1),
    "a result": (jobs.make_lock, range(5), 3),
    "a result that does not load": (jobs.make_bomb, range(5), 3),
}


@pytest.mark.parametrize("what", UNFIT)
async def test_what_cannot_travel_is_told_like_any_failed_item(executor, hooks, story, what):
    """With a text in place of the traceback that a worker never had."""
    fn, items, index = UNFIT[what]
    await executor.execute(fn, items, hooks=hooks, return_exceptions=True)
    [error] = story.of(ERROR)

    assert (type(error.error).__name__, error.metadata["item_index"]) == ("UnpicklableError", index)
    assert error.error_message
    assert error.error_message in error.error_traceback


async def test_a_broken_input_or_hook_is_no_failed_item(executor, hooks, story):
    """ON_ERROR tells of items only; a hook that fails while it is told of one causes no other."""
    hooks.register(HookEvent, lambda context: 1 / 0)
    await read_broken_input(executor, hooks, story)
    assert story.told[ERROR] == 0

    await executor.execute(jobs.divide, [1, 0], hooks=hooks, return_exceptions=True)
    assert story.told[ERROR] == 1


async def test_exceptions_without_words_disturb_nothing(executor, hooks, story, caplog):
    """Neither those of items nor those of hooks need a text that can be made."""

    def hook(context):
        raise jobs.SpeechlessError

    hooks.register(CHUNK, hook)
    hooks.register(CHUNK, partial(hook), mode="inline")
    results = await executor.execute(jobs.raise_speechless, range(6), hooks=hooks, return_exceptions=True)
    with pytest.raises(jobs.SpeechlessError):
        await executor.execute(jobs.raise_speechless, [3], hooks=hooks)

    assert [result for result in results if isinstance(result, int)] == [0, 1, 2, 4, 5]
    assert [context.error_message for context in story.of(ERROR)] == ["<its text cannot be made: RuntimeError>"] * 2
    assert story.contexts[-1].error_message == "<its text cannot be made: RuntimeError>"
    assert "SpeechlessError: <its text cannot be made" in caplog.text
    caplog.clear()  # records hold tracebacks


# progress


async def test_progress_rises_to_a_hundred_and_says_that_once(executor, hooks, story):
    """As the last event before the workers leave; what remains is never negative."""
    await executor.execute(jobs.spin, [0.001] * 100, hooks=hooks)
    progress = story.of(PROGRESS)
    percents = [context.percent_complete for context in progress]

    assert len(percents) >= 2
    assert percents == sorted(percents)
    assert (percents.count(100.0), percents[-1]) == (1, 100.0)
    assert all(context.percent_complete == context.items_completed for context in progress)
    assert all(context.items_remaining == 100 - context.items_completed for context in progress)
    assert all(context.estimated_time_remaining > 0 for context in progress[:-1])
    assert progress[-1].estimated_time_remaining == 0
    assert [context.event for context in story.contexts if context.sequence > progress[-1].sequence] == [END, END, POST]


@pytest.mark.parametrize("data", [[], iter([]), iter(range(5))], ids=["empty", "empty iterator", "iterator"])
async def test_a_hundred_percent_comes_also_of_nothing_and_of_unknown_lengths(executor, hooks, story, data):
    """An empty run is complete at its end, and not at its beginning."""
    reported = []
    hooks.register({PRE, PROGRESS}, create_progress_hook(lambda *numbers: reported.append(numbers)), mode="inline")
    results = await executor.execute(jobs.square, data, hooks=hooks)

    assert [context.percent_complete for context in story.of(PROGRESS)].count(100.0) == 1
    assert (story.contexts[0].percent_complete, story.contexts[-1].percent_complete) == (0.0, 100.0)
    assert reported[-1] == (100.0, len(results), len(results))


async def test_the_progress_helper_always_reports_the_end(executor, hooks):
    """In the second run too, though its interval lasts longer than both."""
    reported = []
    hooks.register(PROGRESS, create_progress_hook(lambda *numbers: reported.append(numbers), min_interval=60))
    for _ in range(2):
        await executor.execute(jobs.spin, [0.001] * 50, hooks=hooks)

    assert reported.count((100.0, 50, 50)) == 2
    assert len(reported) == 4


@pytest.mark.asyncio(loop_factories=["asyncio"])  # the clock is the same on each
async def test_at_half_time_the_rest_is_known(executor, hooks, story):
    """Of a steady load, even where replies come in bursts; a slow hook at the beginning is no part of it."""

    @hooks.on(PRE)
    async def slow(context):
        await asyncio.sleep(0.3)

    await executor.execute(jobs.nap, [0.15] * 16, hooks=hooks)
    [half] = [context for context in story.of(PROGRESS) if context.items_completed == 8]
    left = story.contexts[-1].elapsed_time - half.elapsed_time

    assert 0.7 * left < half.estimated_time_remaining < 1.3 * left
    assert 0.7 * 13.3 < half.throughput_items_per_sec < 1.3 * 13.3


async def test_no_number_is_zero_that_has_a_meaning(executor, hooks, story):
    """Every event has what is known of the run; those of a chunk what is known of that."""
    _, report = await executor.execute(jobs.nap, [0.005] * 60, hooks=hooks, return_report=True)

    for context in story.contexts[1:]:
        assert (context.n_jobs, context.total_items, context.elapsed_time > 0) == (2, 60, True)
        assert context.chunksize >= 1
    for context in story.of(CHUNK):
        assert 1 <= context.worker_count <= 2
        assert context.throughput_items_per_sec > 0
        assert context.avg_item_time >= 0.0045
        assert context.results_size_bytes > 0
        assert context.chunk_time >= 0.0045 * context.chunk_size
        assert context.metadata["bytes_in"] > 0
        assert context.metadata["bytes_out"] > 0
        assert context.items_remaining == 0 or context.estimated_time_remaining > 0
    assert story.contexts[-1].avg_item_time == pytest.approx(report.work_seconds / 60)
    assert story.contexts[-1].results_size_bytes == report.bytes_out


# what no hook can do

FIVE_HOOKS = """
import asyncio, json, threading, time
from amorsize_async import AsyncExecutor, HookEvent, HookManager, _run

_run.FLUSH_SECONDS = 1.0
hooks, seen, worst = HookManager(), {"awaited": [], "plain": []}, 0.0

@hooks.on(HookEvent.ON_CHUNK_COMPLETE)
async def awaited(context):
    seen["awaited"].append(context.chunk_id)

@hooks.on(HookEvent.ON_CHUNK_COMPLETE)
def plain(context):
    time.sleep(0.003)
    seen["plain"].append(context.chunk_id)

@hooks.on(HookEvent.ON_CHUNK_COMPLETE, timeout=60)
async def hangs_on_the_loop(context):
    await asyncio.Event().wait()

@hooks.on(HookEvent.ON_CHUNK_COMPLETE, timeout=60)
def hangs_in_a_thread(context):
    threading.Event().wait()  # the hung line

@hooks.on(HookEvent)
def raises(context):
    raise ConnectionError("exporter is down")

async def main():
    async with AsyncExecutor(2) as executor:
        began = time.perf_counter()
        results, report = await executor.execute(abs, range(60), chunksize=1, hooks=hooks, return_report=True)
        took = time.perf_counter() - began
    print(json.dumps({"right": results == list(range(60)), "seen": seen, "late": took - report.elapsed}))

asyncio.run(main())
"""


def test_two_hung_hooks_and_a_broken_one_cost_a_run_one_flush():
    """Its results are right, good hooks saw every chunk in order, the program ends, and the log names the hung line.

    The flush takes five seconds at most, here one.
    """
    began = time.monotonic()
    done = subprocess.run([sys.executable, "-c", FIVE_HOOKS], capture_output=True, text=True, timeout=60, check=False)
    elapsed, told = time.monotonic() - began, json.loads(done.stdout)
    line = FIVE_HOOKS.splitlines().index("    threading.Event().wait()  # the hung line") + 1

    assert (done.returncode, told["right"], FLUSH_SECONDS) == (0, True, 5.0)
    assert told["seen"] == {"awaited": list(range(60)), "plain": list(range(60))}
    assert 0.9 < told["late"] < 4
    assert elapsed < told["late"] + 8
    assert f"<string>:{line} (hangs_in_a_thread)" in done.stderr
    assert "(hangs_on_the_loop)" in done.stderr
    assert done.stderr.count("hook raises failed") == 2


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit, asyncio.CancelledError])
@pytest.mark.parametrize("mode", MODES)
async def test_whatever_hooks_raise_a_run_is_right(executor, hooks, mode, error):
    """At each event of it, and the loop lives."""

    def raises(context):
        raise error("from a hook")

    hooks.register(HookEvent, in_mode(mode, raises), mode=mode)
    results, report = await executor.execute(jobs.square, range(20), hooks=hooks, return_report=True)
    [counted] = hooks.get_stats()["hooks"].values()

    assert (results, report.status) == ([n * n for n in range(20)], "ok")
    assert counted["errors"] == counted["calls"] >= 5
    assert hooks.get_stats()["error_counts"]["pre_execute"] == hooks.get_stats()["error_counts"]["post_execute"] == 1


@pytest.mark.parametrize("mode", MODES)
async def test_hooks_may_come_and_go_during_a_run(executor, hooks, mode):
    """A new one begins with the next run; a removed one gets nothing more."""
    late, once = [], []

    def change(context):
        hooks.register(CHUNK, late.append, mode="inline")
        once.append(context)
        handle.remove()

    handle = hooks.register(CHUNK, in_mode(mode, change), mode=mode)
    await executor.execute(jobs.square, range(20), hooks=hooks, chunksize=1)
    assert (len(once), len(late)) == (1, 0)
    await executor.execute(jobs.square, range(20), hooks=hooks, chunksize=1)
    assert (len(once), len(late)) == (1, 20)


@pytest.mark.parametrize("event", [PRE, START, CHUNK, PROGRESS, POST], ids=lambda event: event.value)
@pytest.mark.parametrize("mode", ["async", "thread"])
async def test_hooks_may_run_work_themselves(hooks, mode, event):
    """Three deep, on the one worker that the outermost run uses too: nobody waits for itself."""
    inner, answers = HookManager(), []
    async with AsyncExecutor(1) as executor:

        async def awaited(context):
            answers.append(await executor.execute(jobs.square, [2], hooks=inner))

        def plain(context):
            answers.append(execute(jobs.square, [2], executor=executor, hooks=inner))

        async def innermost(context):
            answers.append(await executor.submit(jobs.square, 3))

        hooks.register(event, awaited if mode == "async" else plain, once=True)
        inner.register(CHUNK, innermost)
        async with asyncio.timeout(30):
            assert await executor.execute(jobs.square, range(10), hooks=hooks) == [n * n for n in range(10)]

    assert answers == [9, [4]]


@pytest.mark.parametrize("event", [PRE, START, CHUNK], ids=lambda event: event.value)
@pytest.mark.parametrize("mode", MODES)
async def test_a_hook_may_cancel_the_task_of_its_run(executor, hooks, story, mode, event):
    """That is a cancellation like any other: work stops, the end is told."""
    loop = asyncio.get_running_loop()
    hooks.register(event, in_mode(mode, lambda _: loop.call_soon_threadsafe(task.cancel)), mode=mode, once=True)
    task = asyncio.create_task(executor.execute(jobs.nap, [0.01, *[3600.0] * 5], hooks=hooks))
    async with asyncio.timeout(20):
        await asyncio.wait([task])

    assert task.cancelled()
    assert story.contexts[-1].status == "cancelled"
    assert executor.statistics().chunks == 0
    assert await executor.execute(jobs.square, [3]) == [9]


@pytest.mark.parametrize("event", [PRE, START, CHUNK, PROGRESS], ids=lambda event: event.value)
@pytest.mark.parametrize("form", ["a list", "a stream"])
async def test_a_hook_that_cancels_the_task_it_is_called_in_cancels_the_run(executor, hooks, story, form, event):
    """An inline hook is called in tasks of ours: rather no results than results with some of them missing."""
    # The items become slow all at once, so that chunks come back half done: their tasks have something left to do.
    items = [0.0005] * 200 + [0.05] * 40

    def hit(context):
        return event in {PRE, START} or context.items_completed > 200

    hooks.register(event, lambda context: asyncio.current_task().cancel(), mode="inline", once=True, when=hit)

    async def run():
        if form == "a list":
            return await executor.execute(jobs.nap, items, hooks=hooks)
        return [value async for value in executor.stream(jobs.nap, items, hooks=hooks)]

    async with asyncio.timeout(20):
        [outcome] = await asyncio.gather(asyncio.create_task(run()), return_exceptions=True)
    if story.contexts[-1].status == "ok":  # the task had nothing left to do: it was cancelled too late
        assert outcome == items
    else:
        assert story.contexts[-1].status == "cancelled"
        assert isinstance(outcome, asyncio.CancelledError | ExecutorClosedError)


@pytest.mark.parametrize("mode", MODES)
async def test_a_gate_may_refuse_for_ever(executor, hooks, mode, caplog):
    """Its exception is an answer to the caller: counted, but neither logged nor a reason to pause it."""

    def gate(context):
        raise PermissionError("quota")

    hooks.register(PRE, in_mode(mode, gate), mode=mode, critical=True)
    for _ in range(7):
        with pytest.raises(PermissionError):
            await executor.execute(jobs.square, [3], hooks=hooks)

    [counted] = hooks.get_stats()["hooks"].values()
    assert (counted["calls"], counted["errors"], counted["quarantined"]) == (7, 7, False)
    assert caplog.text == ""


@pytest.mark.parametrize("mode", MODES)
async def test_a_critical_hook_ends_a_run_before_any_item(executor, hooks, story, tmp_path, mode):
    """The caller gets its exception itself; the end is told, and the executor is as it was."""
    path, refusal = tmp_path / "calls", PermissionError("quota")

    def gate(context):
        raise refusal

    hooks.register(PRE, in_mode(mode, gate), mode=mode, critical=True)
    with pytest.raises(PermissionError) as caught:
        await executor.execute(jobs.tally, [(str(path), 1)], hooks=hooks)

    assert caught.value is refusal is story.contexts[-1].error
    assert not path.exists()
    assert [context.event for context in story.contexts] == [PRE, POST]
    assert await executor.execute(jobs.square, [3]) == [9]


# many runs, and every kind of run


@pytest.mark.parametrize("mode", MODES)
async def test_fifty_runs_at_once_share_a_manager_and_mix_nothing_up(executor, hooks, mode):
    """Each event has its own run's identity and numbers, and the counters are exact."""
    seen, lock = {}, threading.Lock()

    def note(context):
        with lock:
            seen.setdefault(context.execution_id, []).append(context)

    hooks.register(HookEvent, in_mode(mode, note), mode=mode)
    sizes = range(1, 51)
    await asyncio.gather(*(executor.execute(jobs.square, range(size), hooks=hooks) for size in sizes))

    assert sorted(run[-1].items_completed for run in seen.values()) == list(sizes)
    for run in seen.values():
        assert (run[0].event, run[-1].event) == (PRE, POST)
        assert {context.total_items for context in run} == {run[-1].items_completed}
        assert sum(context.chunk_size for context in run if context.event is CHUNK) == run[-1].items_completed
        assert [context.sequence for context in run] == sorted(context.sequence for context in run)
    counted = hooks.get_stats()
    assert (counted["call_counts"]["pre_execute"], counted["call_counts"]["post_execute"]) == (50, 50)
    [stats] = counted["hooks"].values()
    assert stats["calls"] + stats["coalesced"] == sum(counted["call_counts"].values())
    assert stats["calls"] == sum(map(len, seen.values()))
    assert stats["dropped"] == stats["errors"] == 0


async def test_chunks_count_each_item_once_however_often_it_is_tried(executor, hooks, story, tmp_path):
    """In the chunk that it came home with."""
    items = [(str(tmp_path / str(n)), n % 3) for n in range(30)]
    await executor.execute(jobs.fail_until, items, hooks=hooks, retry=RetryPolicy(attempts=3, wait_initial=0.001))

    assert sum(context.chunk_size for context in story.of(CHUNK)) == 30
    assert sum(context.metadata["items"] for context in story.of(END)) == 60


@pytest.mark.parametrize("where", ["thread", None])
async def test_an_exception_that_cannot_be_printed_is_told_of_all_the_same(hooks, story, where):
    """With its frames and its type, to the end of the run."""
    with pytest.raises(jobs.UnprintableError, match="no text"):
        await execute_async(jobs.raise_unprintable, [1], hooks=hooks, executor=where)

    [failed], end = story.of(ERROR), story.contexts[-1]
    assert end.event is POST
    assert "in raise_unprintable" in failed.error_traceback
    for context in (failed, end):
        assert isinstance(context.error, jobs.UnprintableError)
        assert context.error_traceback.splitlines()[-1] == "UnprintableError"


async def test_workers_that_are_replaced_under_another_run_are_gone_for_this_one_too(hooks, story):
    """It hears of their ends as they come, counts those that are there, and keeps none of the others."""
    gc.collect()
    before = sum(type(each) is Slot for each in gc.get_objects())
    async with (
        AsyncExecutor(2, max_items_per_worker=5) as executor,
        executor.stream(jobs.square, itertools.count(), hooks=hooks, chunksize=1) as values,
    ):
        for _ in range(20):
            await anext(values)
            await executor.execute(jobs.square, range(10), chunksize=5)
        slots = sum(type(each) is Slot for each in gc.get_objects()) - before

    counts = [context.worker_count for context in story.contexts]
    reasons = [context.metadata["reason"] for context in story.of(END)]
    assert max(counts) <= 3  # one more while its end is on its way
    assert reasons.count("recycled") >= 20
    assert slots <= 6  # those at work, and those that are being buried


async def test_a_worker_that_dies_under_another_run_is_gone_for_this_one_too(executor, hooks, story):
    """Told once, as crashed."""
    async with executor.stream(jobs.square, itertools.count(), hooks=hooks, chunksize=1, buffersize=2) as values:
        for _ in range(20):
            await anext(values)
        before = set(executor.statistics().workers)
        await executor.execute(jobs.die, [1, 2], return_exceptions=True)
        for _ in range(20):
            await anext(values)

    ends = [(context.worker_id, context.metadata["reason"]) for context in story.of(END)]
    assert len(ends) == len(set(ends)) == len({pid for pid, _ in ends})
    assert {reason for pid, reason in ends if pid in before} <= {"crashed", "killed", "cancelled", "finished"}
    assert "crashed" in {reason for pid, reason in ends if pid in before}
    assert max(context.worker_count for context in story.contexts) <= 3


async def test_context_variables_of_the_caller_reach_its_hooks(executor, hooks):
    """Of each colour, in a list and in a stream; those of another call do not."""
    variable, seen = contextvars.ContextVar("request"), []
    for mode in MODES:
        hooks.register({PRE, CHUNK, POST}, in_mode(mode, lambda context: seen.append(variable.get())), mode=mode)

    async def request(name):
        variable.set(name)
        await executor.execute(jobs.square, [1], hooks=hooks)
        _ = [value async for value in executor.stream(jobs.square, [1], hooks=hooks)]

    await asyncio.gather(request("one"), request("two"))
    assert sorted(seen) == ["one"] * 18 + ["two"] * 18


async def test_an_executors_own_hooks_get_every_run_of_it(hooks, story):
    """Lists, streams and single calls; a manager that the call names too is told once."""
    mine = HookManager()
    told = Story(mine)
    async with AsyncExecutor(1, hooks=hooks) as executor:
        await executor.execute(jobs.square, [1, 2], hooks=[mine, hooks])
        _ = [value async for value in executor.stream(jobs.square, [1, 2, 3])]
        assert await executor.submit(pow, 2, exp=5) == 32

    assert [context.total_items for context in story.of(POST)] == [2, 3, 1]
    assert [context.metadata["function"] for context in story.of(PRE)] == ["square", "square", "pow"]
    assert told.told[PRE] == told.told[POST] == 1


@pytest.mark.parametrize("kind", ["shared", "thread", "thread pool"])
async def test_hooks_of_both_colours_serve_every_kind_of_executor(hooks, kind):
    """Wherever the work runs, async ones are awaited on our loop, and plain ones leave it alone."""
    seen, here = [], threading.get_ident()

    @hooks.on({PRE, CHUNK, POST})
    async def awaited(context):
        seen.append(("awaited", context.event, threading.get_ident() == here))

    @hooks.on({PRE, CHUNK, POST})
    def plain(context):
        seen.append(("plain", context.event, threading.get_ident() == here))

    with ThreadPoolExecutor(2) as pool:
        where = {"shared": None, "thread": "thread", "thread pool": pool}[kind]
        assert await execute_async(jobs.square, [3], executor=where, hooks=hooks) == [9]
        assert [value async for value in stream_async(jobs.square, [3], executor=where, hooks=hooks)] == [9]

    for event in (PRE, CHUNK, POST):
        assert seen.count(("awaited", event, True)) == seen.count(("plain", event, False)) == 2
    assert len(seen) == 12


@pytest.mark.parametrize("within", ["no loop", "a loop"])
def test_hooks_serve_execute_too(within):
    """Of both colours, though its caller has no loop, or one that is blocked meanwhile."""
    hooks, seen = HookManager(), []
    hooks.register({PRE, POST}, in_mode("async", lambda context: seen.append(context.event)))
    hooks.register({PRE, POST}, lambda context: seen.append(context.event))

    async def inside():
        return execute(jobs.square, range(5), hooks=hooks)

    results = execute(jobs.square, range(5), hooks=hooks) if within == "no loop" else asyncio.run(inside())

    assert results == [n * n for n in range(5)]
    assert sorted(seen, key=lambda event: event.value) == [POST, POST, PRE, PRE]


async def test_coroutine_functions_are_told_of_as_plain_ones_are(executor, hooks, story):
    """Chunks that add up, workers that exist, a failure that is named."""
    await executor.execute(jobs.fail_soon, [1, 2, 0, 4] * 5, hooks=hooks, return_exceptions=True)

    assert sum(context.chunk_size for context in story.of(CHUNK)) == 20
    assert sorted(context.metadata["item_index"] for context in story.of(ERROR)) == [2, 6, 10, 14, 18]
    assert "in fail_soon" in story.of(ERROR)[0].error_traceback
    assert story.told[START] == story.told[END]


async def test_hooks_change_nothing_but_that_they_are_told(executor, hooks):
    """Results are those of a run without any; a failing hook is no reason to miss the next."""
    ends = []
    hooks.register({PRE, POST}, lambda context: 1 / 0)
    hooks.register(POST, lambda context: ends.append("first"))
    hooks.register(POST, lambda context: ends.append("second"))
    bare = await executor.execute(jobs.square, range(50))

    assert await executor.execute(jobs.square, range(50), hooks=HookManager()) == bare
    results, report = await executor.execute(jobs.square, range(50), hooks=hooks, return_report=True)
    assert (results, report.items, sorted(ends)) == (bare, 50, ["first", "second"])
    counted = hooks.get_stats()
    assert (counted["call_counts"]["pre_execute"], counted["call_counts"]["post_execute"]) == (1, 1)
    assert counted["error_counts"] == {"pre_execute": 1, "post_execute": 1}


async def test_nothing_is_told_where_nobody_listens(executor, monkeypatch):
    """Not one context is made, with an empty manager or none."""

    def made(*args, **fields):
        raise AssertionError("a context was made")

    monkeypatch.setattr("amorsize_async._narrator.HookContext", made)
    for nobody in (None, HookManager(), []):
        assert await executor.execute(jobs.square, range(50), hooks=nobody) == [n * n for n in range(50)]
