"""Random histories of an executor and its calls, with kills, stops, hooks and closings in any order, against a model.

The model of a call is what must come of each of its items. `SWEEPS=50` takes fifty times as many histories.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
import sys
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings, strategies
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

import sweep_jobs
from amorsize_async import AsyncExecutor, HookEvent, HookManager, execute_async, stream_async
from amorsize_async.errors import ExecutorClosedError, UnpicklableError, WorkerCrashedError

try:
    import uvloop
except ImportError:
    uvloop = None

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")

SOAK = int(os.environ.get("SWEEPS", "0"))
"""Asks for so many times as many histories."""
N_JOBS = 2
MAX_KILLS = 4
"""Kills from outside in one history: fewer than `max_item_deaths`, so that no innocent item is given up."""
MAX_POISON = 2
"""Items of a call that kill their worker: each does so until it is given up."""
HANG = 30.0
"""Seconds after which a step counts as hung."""
LOOPS = {"asyncio": asyncio.new_event_loop} | ({} if uvloop is None else {"uvloop": uvloop.new_event_loop})
FAILURES = {
    "raise": LookupError,
    "exit": WorkerCrashedError,
    "kill": WorkerCrashedError,
    "unpicklable": UnpicklableError,
}
MILD = ("ok", "ok", "ok", "slow", "raise")
KINDS = strategies.sampled_from((*MILD, "unpicklable", "exit", "kill"))


@dataclass(slots=True)
class Call:
    """A call that runs, and what has come of it so far. items: what each is to do; work: its task or its stream."""

    items: list[tuple[str, int]]
    ordered: bool
    tolerant: bool
    work: Any = None
    results: Any = None
    seen: dict = field(default_factory=dict)

    @property
    def failing(self):
        """Indices of the items that fail."""
        return [index for index, (what, _) in enumerate(self.items) if what in FAILURES]

    def check(self, index, outcome):
        """Hold that this is what had to come of an item."""
        what, value = self.items[index]
        if what not in FAILURES:
            assert outcome == value
        else:
            assert isinstance(outcome, FAILURES[what])
            assert not isinstance(outcome, WorkerCrashedError) or outcome.index == index

    def deliver(self, index, outcome):
        """Take one result of a stream: once only, and in order where that was asked for."""
        assert index not in self.seen
        assert not self.ordered or index == len(self.seen)
        self.check(index, outcome)
        self.seen[index] = outcome

    def check_failure(self, error):
        """Hold that a call which fails at the first failure did so with one of its own."""
        assert not self.tolerant
        assert isinstance(error, tuple({FAILURES[self.items[index][0]] for index in self.failing})), error
        if self.ordered and self.results is not None:
            assert len(self.seen) == self.failing[0]

    def check_end(self):
        """Hold that nothing is missing."""
        assert self.tolerant or not self.failing
        assert len(self.seen) == len(self.items)


class Story:
    """What the hooks of an executor were told."""

    def __init__(self):
        self.hooks = HookManager()
        self.told = {}
        self.hooks.register(list(HookEvent), self._hear, mode="inline")

    def _hear(self, context):
        self.told.setdefault(context.execution_id, []).append(context)

    def check(self):
        """Each execution began and ended once, its workers too, and its events were numbered as they came."""
        for contexts in self.told.values():
            events = [context.event for context in contexts]
            assert Counter(events)[HookEvent.POST_EXECUTE] == 1
            assert Counter(events)[HookEvent.PRE_EXECUTE] <= 1
            assert events[-1] is HookEvent.POST_EXECUTE
            assert all(one.sequence < other.sequence for one, other in pairwise(contexts))
            present = Counter()
            for context in contexts:
                present[context.worker_id] += context.event is HookEvent.ON_WORKER_START
                present[context.worker_id] -= context.event is HookEvent.ON_WORKER_END
            assert not +present
            assert not -present


class InThreads(RuleBasedStateMachine):
    """Calls in threads of their own: nothing can be killed there, and everything is quick."""

    new_loop = staticmethod(asyncio.new_event_loop)
    kinds = strategies.sampled_from(MILD)
    calls = Bundle("calls")
    callbacks = Bundle("callbacks")

    @initialize()
    def begin(self):
        """Open a loop, and on it what calls run on."""
        self.loop = self.new_loop()
        self.story = Story()
        self.running, self.all_calls = [], []
        self.open()

    def open(self):
        """Open what calls run on."""

    def execute(self, items, **options):
        """Begin a call for a list."""
        return execute_async(sweep_jobs.behave, items, executor="thread", n_jobs=N_JOBS, **options)

    def stream(self, items, **options):
        """Begin a call for a stream."""
        return stream_async(sweep_jobs.behave, items, executor="thread", n_jobs=N_JOBS, **options)

    def run(self, work):
        """Run the loop until `work` has ended."""

        async def bounded():
            async with asyncio.timeout(HANG):
                return await work

        return self.loop.run_until_complete(bounded())

    # ── calls ────────────────────────────────────────────────────────────────────────────────────────────────────────

    @rule(
        target=calls,
        data=strategies.data(),
        form=strategies.sampled_from(["list", "ordered", "unordered"]),
        tolerant=strategies.booleans(),
        chunksize=strategies.sampled_from([None, None, 1, 3]),
    )
    def call(self, data, form, tolerant, chunksize):
        """Begin a call over items of which some misbehave."""
        kinds = data.draw(strategies.lists(self.kinds, max_size=12))
        poison = [index for index, kind in enumerate(kinds) if kind in {"exit", "kill"}]
        items = [("ok" if index in poison[MAX_POISON:] else kind, index) for index, kind in enumerate(kinds)]
        call = Call(items, form != "unordered", tolerant)
        options = {"return_exceptions": tolerant, "chunksize": chunksize, "hooks": self.story.hooks}
        if form == "list":
            call.work = self.loop.create_task(self.execute(items, **options))
        else:
            call.work = self.stream(items, ordered=call.ordered, **options)
            call.results = call.work.enumerate()
        self.running.append(call)
        self.all_calls.append(call)
        return call

    @rule(call=calls, count=strategies.integers(1, 5))
    def read(self, call, count):
        """Read some results of a stream."""
        if call.results is not None and call in self.running:
            self.run(self.read_some(call, count))

    async def read_some(self, call, count):
        """Read results until there are no more, or so many."""
        for _ in range(count):
            try:
                call.deliver(*await anext(call.results))
            except StopAsyncIteration:
                call.check_end()
                self.running.remove(call)
                return
            except (LookupError, WorkerCrashedError, UnpicklableError) as error:
                call.check_failure(error)
                self.running.remove(call)
                return

    @rule(call=consumes(calls))
    def end(self, call):
        """Wait for all that a call gives."""
        if call not in self.running:
            return
        if call.results is not None:
            self.run(self.read_some(call, len(call.items) + 1))
            self.run(call.work.aclose())
        else:
            self.running.remove(call)
            self.run(self.listed(call))

    async def listed(self, call):
        """Wait for the list of a call, or its failure."""
        try:
            results = await call.work
        except (LookupError, WorkerCrashedError, UnpicklableError) as error:
            call.check_failure(error)
        else:
            assert len(results) == len(call.items)
            for index, outcome in enumerate(results):
                call.deliver(index, outcome)
            call.check_end()

    @rule(call=consumes(calls))
    def cancel(self, call):
        """Give a call up."""
        if call not in self.running:
            return
        self.running.remove(call)
        if call.results is not None:
            self.run(call.work.aclose())
        else:
            call.work.cancel()
            self.run(asyncio.wait([call.work]))
            if not call.work.cancelled() and call.work.exception() is None:
                assert len(call.work.result()) == len(call.items)

    @rule(milliseconds=strategies.integers(0, 10))
    def pass_time(self, milliseconds):
        """Let the loop run on."""
        self.run(asyncio.sleep(milliseconds / 1000))

    # ── hooks ────────────────────────────────────────────────────────────────────────────────────────────────────────

    @rule(
        target=callbacks,
        event=strategies.sampled_from(HookEvent),
        colour=strategies.sampled_from(["sync", "async", "inline", "failing"]),
    )
    def register(self, event, colour):
        """Add a hook, in the middle of whatever runs."""

        async def waits(_):
            await asyncio.sleep(0)

        def fails(_):
            raise ArithmeticError("on purpose")

        callback = {"async": waits, "failing": fails}.get(colour, lambda _: None)
        self.story.hooks.register(event, callback, mode="inline" if colour == "inline" else "auto")
        return event, callback

    @rule(registered=consumes(callbacks))
    def unregister(self, registered):
        """Take a hook away again."""
        assert self.story.hooks.unregister(*registered)

    # ── the end ──────────────────────────────────────────────────────────────────────────────────────────────────────

    def teardown(self):
        """Bring all that runs to its end, and hold what must be true of the whole history."""
        if not hasattr(self, "loop"):
            return
        for call in list(self.running):
            self.end(call)
        self.close_all()
        self.run(self.loop.shutdown_asyncgens())
        tasks = asyncio.all_tasks(self.loop)
        self.loop.close()
        assert not tasks
        self.story.check()
        self.let_go()

    def let_go(self):
        """Forget what calls gave: hypothesis keeps the machine, and a traceback would keep what ran in its frames."""
        for call in self.all_calls:
            call.work = call.results = None
            call.seen.clear()
        self.story.told.clear()

    def close_all(self):
        """Close what calls ran on."""


class InProcesses(InThreads):
    """Calls in the processes of one executor after the other: any of them may be killed or stopped at any time."""

    kinds = KINDS
    calls = InThreads.calls

    def open(self):
        self.kills = 0
        self.stopped = set()
        self.executor = AsyncExecutor(N_JOBS, max_item_deaths=MAX_KILLS + 2, cancel_grace=0.02)
        self.run(self.executor.start())

    def execute(self, items, **options):
        return self.executor.execute(sweep_jobs.behave, items, **options)

    def stream(self, items, **options):
        return self.executor.stream(sweep_jobs.behave, items, **options)

    @invariant()
    def never_too_many_workers(self):
        """Nor a chunk that nobody sent."""
        if hasattr(self, "executor"):
            statistics = self.executor.statistics()
            assert len(statistics.workers) <= N_JOBS
            assert 0 <= statistics.busy <= statistics.chunks

    def signal(self, pid, number):
        """Send a signal to a worker, unless it has ended meanwhile."""
        with suppress(ProcessLookupError):
            os.kill(pid, number)

    @precondition(lambda self: self.kills < MAX_KILLS)
    @rule(everybody=strategies.booleans(), seed=strategies.integers(0, 9))
    def kill(self, everybody, seed):
        """Kill a worker, or all of them, from outside."""
        workers = self.executor.statistics().workers
        self.kills += 1
        for pid in workers if everybody else random.Random(seed).sample(workers, min(1, len(workers))):
            self.signal(pid, signal.SIGKILL)

    @rule(seed=strategies.integers(0, 9))
    def stop(self, seed):
        """Stop a worker for a while."""
        for pid in random.Random(seed).sample(workers := self.executor.statistics().workers, min(1, len(workers))):
            self.signal(pid, signal.SIGSTOP)
            self.stopped.add(pid)

    @rule()
    def go_on(self):
        """Let the stopped workers go on."""
        for pid in self.stopped:
            self.signal(pid, signal.SIGCONT)
        self.stopped.clear()

    def run(self, work):
        """As before; what waits for the loop to do something would wait for stopped workers."""
        self.go_on()
        return super().run(work)

    @rule(number=strategies.integers())
    def submit(self, number):
        """Run one call, beside whatever runs."""
        assert self.run(self.executor.submit(sweep_jobs.triple, number)) == 3 * number

    @rule(drain=strategies.sampled_from([0.0, 10.0]))
    def close_and_open(self, drain):
        """Close the executor under its calls, which end then, and open another."""
        self.close(drain)
        self.open()

    def close(self, drain):
        """Close the executor; a call that was left says so."""
        self.run(self.executor.aclose(drain if all(call.results is None for call in self.running) else 0.0))
        for call in self.running:
            self.run(self.ended_or_closed(call))
        self.running.clear()

    async def ended_or_closed(self, call):
        """Wait for the end of a call whose executor was closed."""
        with suppress(ExecutorClosedError):
            if call.results is None:
                await self.listed(call)
            else:
                with suppress(LookupError, WorkerCrashedError, UnpicklableError, StopAsyncIteration):
                    while True:
                        call.deliver(*await anext(call.results))

    def close_all(self):
        self.close(10.0)
        del self.executor


def histories(machine, loop, examples, steps, phases=tuple(Phase)):
    """Let hypothesis invent histories for a machine on this kind of loop."""

    class OnThisLoop(machine):
        new_loop = staticmethod(LOOPS[loop])

    run_state_machine_as_test(
        OnThisLoop,
        settings=settings(
            max_examples=examples * max(1, SOAK),
            stateful_step_count=steps,
            phases=phases,
            suppress_health_check=list(HealthCheck),
        ),
    )


@pytest.mark.parametrize("loop", LOOPS)
def test_any_history_of_calls_in_threads_is_told_and_ends_right(loop):
    """Each result once, in order where that was asked for, hooks balanced, nothing left."""
    histories(InThreads, loop, examples=60, steps=15)


@pytest.mark.parametrize("loop", LOOPS)
def test_any_history_of_an_executor_fails_no_innocent_item(loop):
    """However its workers are killed and stopped, and whenever it is closed."""
    # Not shrunk: processes do not die at the same moment twice, and a smaller history would take minutes to find.
    histories(InProcesses, loop, examples=15, steps=20, phases=(Phase.generate,))
