"""Cancels a call after every step of the event loop: whatever it was at, it ends as cancelled and leaves nothing.

A step is one callback of the loop. The reduced sweep takes every step of the central calls and every n-th of the
others; `SWEEPS=1` takes them all, on more start methods.
"""

from __future__ import annotations

import asyncio
import gc
import os
import time
from collections import Counter
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

import anyio
import pytest

import sweep_jobs
from amorsize_async import AsyncExecutor, HookEvent, HookManager, execute_async
from amorsize_async.errors import ExecutorClosedError, WorkerCrashedError

try:
    import uvloop
except ImportError:
    uvloop = None

SOAK = "SWEEPS" in os.environ
START_METHODS = ("forkserver", "spawn") if SOAK else ("forkserver",)
PROMISED = 0.2
"""Seconds from a cancellation to its end, 19 of 20 times."""
SLACK = 5
"""How many times longer a shared machine may take."""
PATIENCE = 5.0
"""Seconds in which the loop does nothing after which a call counts as waiting for something that lasts."""
IMPATIENCE = 0.15
"""The same for a call that does so on purpose."""
BACKGROUND = {"amorsize-bury", "amorsize-start", "amorsize-finish"}
"""Tasks of an open executor, which replaces killed workers after the call that killed them has ended."""

ITEMS = range(12)
ANSWER = [sweep_jobs.triple(item) for item in ITEMS]


# ── a loop that counts its steps ─────────────────────────────────────────────────────────────────────────────────────


class Stepping:
    """Counts the callbacks that a loop has run, and does what is planned for after one of them."""

    steps = 0
    plan = None

    def call_soon(self, callback, *args, context=None):
        return super().call_soon(self._step, callback, args, context=context)

    def call_soon_threadsafe(self, callback, *args, context=None):
        return super().call_soon_threadsafe(self._step, callback, args, context=context)

    def _step(self, callback, args):
        try:
            callback(*args)
        finally:
            self.steps += 1
            if self.plan and (act := self.plan.pop(self.steps, None)):
                act()


class AsyncioLoop(Stepping, asyncio.SelectorEventLoop):
    """The loop of asyncio, counted."""


LOOPS = {"asyncio": AsyncioLoop}
if uvloop is not None:

    class UvLoop(Stepping, uvloop.Loop):
        """The loop of uvloop, counted."""

    LOOPS["uvloop"] = UvLoop


@pytest.fixture(params=LOOPS)
def runner(request):
    """Run coroutines on a counting loop."""
    with asyncio.Runner(loop_factory=LOOPS[request.param]) as runner:
        yield runner


# ── one cancelled call ───────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(slots=True)
class Tale:
    """What a sweep has seen. steps: how many were swept. seconds: from each cancellation to its end.

    patience: seconds in which the loop does nothing after which a call is cancelled anyway.
    """

    patience: float = PATIENCE
    outcomes: Counter = field(default_factory=Counter)
    steps: int = 0
    seconds: list = field(default_factory=list)

    @property
    def p95(self):
        """The time that 19 of 20 cancellations stay within, in seconds."""
        return sorted(self.seconds)[int(0.95 * len(self.seconds))]


async def cancelled_at(call, steps, tale):
    """Run a call and cancel it after these steps, counted from its begin; false if it ended, or rested, before."""
    loop = asyncio.get_running_loop()
    task = loop.create_task(call)
    moments = []

    def cancel():
        if task.cancel():
            moments.append(time.perf_counter())

    loop.plan = {loop.steps + step: cancel for step in steps}
    reached = await ended_or_rested(loop, task, tale.patience)
    if not reached:
        task.cancel()
    await asyncio.wait([task])
    note(task, len(moments) + (not reached), tale)
    tale.seconds += [time.perf_counter() - moments[0]] if moments else []
    return reached and bool(moments)


async def ended_or_rested(loop, task, patience):
    """Wait for the end of a task; false if nothing has been going on in the loop for a while instead."""
    while not task.done():
        before = loop.steps
        await asyncio.wait([task], timeout=patience)
        if loop.steps - before < 5 and not task.done():  # the waiting takes some itself
            return False
    return True


def note(task, cancellations, tale):
    """Enter how a call ended: as cancelled, or as it would have ended anyway."""
    if task.cancelled():
        tale.outcomes["cancelled"] += 1
    elif cancellations:
        tale.outcomes[f"cancelled in vain: {task.exception() or task.result()!r}"] += 1
    else:
        assert task.exception() is None, task.exception()
        tale.outcomes["ended before"] += 1
    # Nobody but who cancelled it may take a cancellation back: a scope around the call counts them.
    assert task.cancelling() == cancellations


async def sweep(make_call, after, stride=1, *, then=(), end=cancelled_at, background=BACKGROUND, patience=PATIENCE):
    """Cancel a call after each `stride`-th step until it ends before; `then`: further cancellations, steps later.

    `make_call` gives the call; `after` is awaited after each and holds what must be true then. `end`: how it is
    cancelled. `background`: names of tasks that may be there after it. `patience`: see `Tale`.
    """
    tale, before = Tale(patience), asyncio.all_tasks()
    late = 0
    while late < 3:  # its length varies a little
        step = tale.steps * stride + 1
        reached = await end(make_call(), [step, *(step + more for more in then)], tale)
        late = 0 if reached else late + 1
        tale.steps += 1
        await after()
        assert not {task for task in asyncio.all_tasks() - before if task.get_name() not in background}
    return tale


def told(tale, record_property, name):
    """Report a sweep, and hold it to the promise."""
    record_property(name, {"steps": tale.steps, "p95": tale.p95, **tale.outcomes})
    print(f"\n{name}: {tale.steps} cancellations, p95 {1000 * tale.p95:.1f} ms, {dict(tale.outcomes)}")  # noqa: T201
    assert set(tale.outcomes) <= {"cancelled", "ended before"}
    assert tale.p95 < SLACK * PROMISED


# ── what is there while calls are cancelled ──────────────────────────────────────────────────────────────────────────


class Told:
    """Hooks of all colours, and whether what began for them has ended."""

    def __init__(self):
        self.hooks = HookManager()
        self.begun, self.ended = Counter(), Counter()
        self.hooks.register(HookEvent.PRE_EXECUTE, self._pre, mode="inline")
        self.hooks.register(HookEvent.POST_EXECUTE, self._post, mode="inline")
        self.hooks.register((HookEvent.PRE_EXECUTE, HookEvent.ON_CHUNK_COMPLETE), self._waits)
        self.hooks.register((HookEvent.PRE_EXECUTE, HookEvent.ON_PROGRESS), self._blocks)

    def _pre(self, context):
        self.begun[context.execution_id] += 1

    def _post(self, context):
        self.ended[context.execution_id] += 1

    async def _waits(self, context):
        await asyncio.sleep(0)

    def _blocks(self, context):
        pass

    def check(self):
        """PRE and POST come once each; POST alone where the call ended before it began."""
        assert set(self.begun) <= set(self.ended)
        assert set((self.begun + self.ended).values()) <= {1, 2}
        self.begun.clear()
        self.ended.clear()


async def settled(executor):
    """Wait until a stream that was forgotten has stopped its work: that begins when it is collected."""
    gc.collect()
    async with asyncio.timeout(10):
        while executor.statistics().chunks or any(task.get_name() == "amorsize-stream" for task in asyncio.all_tasks()):  # noqa: ASYNC110
            await asyncio.sleep(0.001)  # nobody tells when the last chunk of a forgotten stream is back


@asynccontextmanager
async def warm(start_method="forkserver", *, forgetful=False, **options):
    """Give an executor with hooks, and what must be true of it after each cancelled call.

    `forgetful`: the call leaves a stream to be collected.
    """
    told = Told()
    async with AsyncExecutor(2, start_method=start_method, hooks=told.hooks, **options) as executor:

        async def after():
            if forgetful:
                await settled(executor)
            stats = executor.statistics()
            assert (stats.chunks, stats.queued, stats.closed) == (0, 0, False)
            told.check()
            assert await executor.execute(sweep_jobs.triple, [3], n_jobs=1) == [9]
            told.check()

        yield executor, after


# ── the calls ────────────────────────────────────────────────────────────────────────────────────────────────────────


async def listed(executor):
    """All results at once."""
    assert await executor.execute(sweep_jobs.triple, ITEMS) == ANSWER


async def listed_from_an_iterator(executor):
    """Of an input that a thread reads."""
    assert await executor.execute(sweep_jobs.triple, iter(ITEMS)) == ANSWER


async def listed_from_an_async_generator(executor):
    """Of an input that a task reads."""

    async def items():
        for item in ITEMS:
            await asyncio.sleep(0)
            yield item

    assert await executor.execute(sweep_jobs.triple_soon, items()) == ANSWER


async def streamed(executor):
    """One by one, in `async with`."""
    async with executor.stream(sweep_jobs.triple, ITEMS, buffersize=4) as results:
        assert [value async for value in results] == ANSWER


async def streamed_bare(executor):
    """One by one, without it."""
    assert [value async for value in executor.stream(sweep_jobs.triple, ITEMS, buffersize=4)] == ANSWER


async def streamed_as_completed(executor):
    """One by one, as they come, from chunks of one."""
    async with executor.stream(sweep_jobs.triple, ITEMS, ordered=False, chunksize=1) as results:
        assert sorted([value async for value in results]) == ANSWER


async def closed_early(executor):
    """A stream that its consumer closes after two values."""
    results = executor.stream(sweep_jobs.triple, range(1000), buffersize=8)
    try:
        assert [await anext(results), await anext(results)] == ANSWER[:2]
    finally:
        await results.aclose()


async def submitted(executor):
    """A single call."""
    assert await executor.submit(sweep_jobs.triple, 4) == 12


async def with_a_death(executor):
    """Two workers die of an item."""
    results = await executor.execute(sweep_jobs.die_on_two, range(6), return_exceptions=True)
    assert isinstance(results.pop(2), WorkerCrashedError)
    assert results == [0, 3, 9, 12, 15]


async def without_an_end(executor):
    """An item that never comes back."""
    await executor.execute(sweep_jobs.sleep_on_two, range(6))


async def in_threads(executor):
    """Threads of the call's own."""
    assert await execute_async(sweep_jobs.triple, ITEMS, executor="thread", n_jobs=2) == ANSWER


CALLS = {
    listed: 1,
    listed_from_an_iterator: 5,
    listed_from_an_async_generator: 7,
    streamed: 2,
    streamed_bare: 5,
    streamed_as_completed: 7,
    closed_early: 5,
    submitted: 3,
    with_a_death: 13,
    without_an_end: 11,
    in_threads: 5,
}
"""Each call, with the stride of its reduced sweep: mostly primes, so that the two loops fall on different steps."""


def patience_with(call):
    """Give the seconds in which a call may do nothing."""
    return IMPATIENCE if call is without_an_end else PATIENCE


@pytest.mark.parametrize("start_method", START_METHODS)
@pytest.mark.parametrize("call", CALLS, ids=lambda call: call.__name__)
def test_a_call_can_be_cancelled_at_every_step(runner, record_property, start_method, call):
    """It ends as cancelled, the next call on the same executor is right, and nothing is left."""

    async def main():
        async with warm(start_method, cancel_grace=0.05, forgetful=call is streamed_bare) as (executor, after):
            return await sweep(lambda: call(executor), after, 1 if SOAK else CALLS[call], patience=patience_with(call))

    told(runner.run(main()), record_property, call.__name__)


@pytest.mark.parametrize("more", [(1,), (2,), (5,), (13, 14)] if SOAK else [(2,), (13, 14)], ids=str)
@pytest.mark.parametrize("call", [listed, streamed, without_an_end], ids=lambda call: call.__name__)
def test_a_call_can_be_cancelled_again_while_it_ends(runner, record_property, call, more):
    """The clean-up goes on, and all cancellations stay counted."""

    async def main():
        async with warm(cancel_grace=0.05) as (executor, after):
            stride = 1 if SOAK else 7 + 6 * CALLS[call] // 5
            return await sweep(lambda: call(executor), after, stride, then=more, patience=patience_with(call))

    told(runner.run(main()), record_property, f"{call.__name__} {more}")


# ── scopes around a call ─────────────────────────────────────────────────────────────────────────────────────────────


async def in_a_time_limit(call, limits):
    """Run a call in asyncio's scope."""
    with suppress(TimeoutError):
        async with asyncio.timeout(None) as limit:
            limits.append(limit)
            await call
    return limit.expired()


async def in_an_anyio_scope(call, limits):
    """Run a call in anyio's scope."""
    with anyio.CancelScope() as scope:
        limits.append(scope)
        await call
    return scope.cancelled_caught


def limiting(scope):
    """Give a way to end a call by a scope around it: what comes out is the scope's to catch, and nobody else's."""

    async def ended_at(call, steps, tale):
        loop, limits = asyncio.get_running_loop(), []
        task = loop.create_task(scope(call, limits))
        moments = []

        def end():
            with suppress(RuntimeError):  # it is over already
                limits[0].cancel() if scope is in_an_anyio_scope else limits[0].reschedule(loop.time())
                moments.append(time.perf_counter())

        loop.plan = {loop.steps + steps[0] + 1: end}  # after the one that opens the scope
        caught = await task
        tale.outcomes["cancelled" if caught else "ended before"] += 1
        tale.seconds += [time.perf_counter() - moments[0]] if moments else []
        assert task.cancelling() == 0
        loop.plan = None
        return bool(moments)

    return ended_at


@pytest.mark.parametrize("scope", [in_a_time_limit, in_an_anyio_scope], ids=lambda scope: scope.__name__)
@pytest.mark.parametrize("call", [listed, streamed], ids=lambda call: call.__name__)
def test_a_scope_can_end_a_call_at_every_step(runner, record_property, scope, call):
    """It catches what it cancelled, and the task's count of cancellations is level again."""

    async def main():
        async with warm(cancel_grace=0.05) as (executor, after):
            stride = 1 if SOAK else 5
            return await sweep(lambda: call(executor), after, stride, end=limiting(scope))

    told(runner.run(main()), record_property, f"{call.__name__} {scope.__name__}")


# ── an executor's own life ───────────────────────────────────────────────────────────────────────────────────────────


async def lived():
    """An executor from its start to its end, with a call between."""
    async with AsyncExecutor(2) as executor:
        assert await executor.execute(sweep_jobs.triple, ITEMS) == ANSWER


async def nothing():
    """Hold that there is nothing to hold: tasks, processes and files are looked at anyway."""


def test_the_life_of_an_executor_can_be_cancelled_at_every_step(runner, record_property):
    """While its workers start, while it works, while it closes: nothing of it is left when the cancellation is out."""
    tale = runner.run(sweep(lived, nothing, 1 if SOAK else 5, background=()))

    told(tale, record_property, "async with")


@pytest.mark.parametrize("start_method", START_METHODS)
def test_a_start_can_be_cancelled_at_every_step(runner, record_property, start_method):
    """The executor is closed then, if it had been opened at all, and has no workers."""
    started = []

    def start():
        started.append(AsyncExecutor(2, start_method=start_method))
        return started[-1].start()

    async def after():
        await started[-1].aclose(drain=0.0)
        assert started[-1].statistics().workers == ()

    tale = runner.run(sweep(start, after, 1 if SOAK else 3, background=()))

    told(tale, record_property, f"start {start_method}")


def test_closing_can_be_cancelled_at_every_step(runner, record_property):
    """While it drains, while it ends workers: closing again finishes it, and the call that ran ends either way."""
    running = []

    async def closing():
        executor = await AsyncExecutor(2).start()
        call = asyncio.create_task(executor.execute(sweep_jobs.triple, range(300)))
        running.append((executor, call))
        await asyncio.sleep(0)
        await executor.aclose(drain=5.0)

    async def after():
        for executor, call in running:
            await executor.aclose(drain=0.0)
            (outcome,) = await asyncio.gather(call, return_exceptions=True)
            assert isinstance(outcome, ExecutorClosedError) or outcome == [3 * n for n in range(300)]
        running.clear()

    tale = runner.run(sweep(closing, after, 1 if SOAK else 7, background=()))

    told(tale, record_property, "aclose")


# ── who else may end a call ──────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("mode", ["inline", "async"])
@pytest.mark.parametrize("event", HookEvent, ids=lambda event: event.value)
def test_a_hook_can_cancel_the_call_that_it_is_told_of(runner, event, mode):
    """At any event: the call ends as cancelled, and is told of to its end."""

    async def main():
        async with warm(cancel_grace=0.05) as (executor, after):
            tasks, hooks = [], HookManager()

            async def cancels_soon(_):
                tasks[0].cancel()

            callback = cancels_soon if mode == "async" else lambda _: tasks[0].cancel()
            hooks.register(event, callback, mode=mode, once=True)
            call = executor.execute(sweep_jobs.die_on_two, range(6), hooks=hooks, return_exceptions=True)
            tasks.append(asyncio.create_task(call))
            await asyncio.wait(tasks)
            assert tasks[0].cancelled()
            assert tasks[0].cancelling() == 1
            await after()

    runner.run(main())


@pytest.mark.parametrize("managed", [True, False], ids=["async with", "bare"])
def test_a_consumer_can_leave_after_any_value(runner, managed):
    """With a `break`: at once where it said so, and else when the stream is collected."""

    async def leave(stream, at):
        async for value in stream:
            if value == ANSWER[at]:
                break

    async def main():
        async with warm(cancel_grace=0.05, forgetful=not managed) as (executor, after):
            for at in ITEMS:
                stream = executor.stream(sweep_jobs.triple, ITEMS, buffersize=4)
                if managed:
                    async with stream:
                        await leave(stream, at)
                else:
                    await leave(stream, at)
                del stream
                await after()

    runner.run(main())
