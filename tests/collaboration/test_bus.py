"""The event bus with its lanes, without an execution: what every hook gets, and what no hook can do."""

from __future__ import annotations

import asyncio
import contextvars
import logging
import sys
import threading
import time

import anyio
import pytest

from amorsize_async._bus import EventBus
from amorsize_async.events import HookContext, HookEvent
from amorsize_async.hooks import HookManager
from lag import lag_of_the_loop

PRE, POST, CHUNK, PROGRESS = (
    HookEvent.PRE_EXECUTE,
    HookEvent.POST_EXECUTE,
    HookEvent.ON_CHUNK_COMPLETE,
    HookEvent.ON_PROGRESS,
)


@pytest.fixture
def hooks():
    """A manager without hooks."""
    return HookManager()


@pytest.fixture
def release():
    """An event that hanging plain hooks wait for; set in the end, so that their threads leave."""
    event = threading.Event()
    yield event
    event.set()


def numbered(event, sequence, **fields):
    """A context as a run builds it."""
    return HookContext(event, sequence=sequence, execution_id="run", **fields)


def stats_of(hooks, name):
    """The counters of the hook called ``name``."""
    return hooks.get_stats()["hooks"][name]


def lane_threads():
    """The living threads of lanes."""
    return [thread for thread in threading.enumerate() if thread.name.startswith("hook ")]


def other_tasks():
    """All tasks but the one that runs the test."""
    return asyncio.all_tasks() - {asyncio.current_task()}


async def until(condition):
    """Wait for a condition that nothing announces; the timeout of the test run bounds it."""
    while not condition():  # noqa: ASYNC110 - counters and threads set no event
        await asyncio.sleep(0.001)


async def worst_lag(stop):
    """Return the longest time that the loop took to come back, in seconds, until ``stop`` is set."""
    worst = 0.0
    while not stop.is_set():
        before = time.perf_counter()
        await asyncio.sleep(0.001)
        worst = max(worst, time.perf_counter() - before - 0.001)
    return worst


def recorder(calls, key):
    """A hook that may be entered once at a time, for each colour."""
    inside = []

    def enter(context):
        inside.append(context)
        assert len(inside) == 1
        calls[key].append(context.sequence)

    def plain(context):
        enter(context)
        time.sleep(0.001)
        inside.pop()

    async def awaited(context):
        enter(context)
        await asyncio.sleep(0)
        inside.pop()

    return awaited if key == "async" else plain


async def drive(bus, chunks):
    """Emit what a small run emits."""
    bus.emit(numbered(PRE, 0))
    await bus.barrier()
    for sequence in range(1, chunks + 1):
        bus.emit(numbered(CHUNK, sequence))
        await asyncio.sleep(0.001)
    bus.emit(numbered(POST, chunks + 1))
    await bus.aclose(bound=2.0)


# who listens


async def test_the_bus_tells_for_each_event_whether_anybody_listens(hooks):
    """One attribute for each event."""
    hooks.register({PRE, PROGRESS}, print)
    bus = EventBus([HookManager(), hooks], "run")
    assert [event for event in HookEvent if getattr(bus, event.value)] == [PRE, PROGRESS]
    silent = EventBus([HookManager()], "run")
    assert not any(getattr(silent, event.value) for event in HookEvent)
    await bus.aclose()
    await silent.aclose()


@pytest.mark.parametrize("listening", [True, False])
async def test_begin_and_end_are_counted_once_whoever_listens(hooks, listening):
    """Barrier and close count what was not emitted because nobody listens."""
    if listening:
        hooks.register({PRE, POST}, lambda context: None, mode="inline")
    bus = EventBus([hooks], "run")
    for event in (PRE, POST):
        if getattr(bus, event.value):
            bus.emit(numbered(event, 0))
        if event is PRE:
            await bus.barrier()
    await bus.aclose()
    await bus.aclose()
    assert [hooks.get_stats()["call_counts"][name] for name in ("pre_execute", "post_execute")] == [1, 1]


async def test_a_manager_given_twice_is_one(hooks):
    """An executor's manager may be the call's too."""
    calls = []
    hooks.register(CHUNK, calls.append, mode="inline")
    bus = EventBus([hooks, hooks], "run")
    bus.emit(numbered(CHUNK, 1))
    await bus.aclose()
    assert len(calls) == hooks.get_stats()["call_counts"]["on_chunk_complete"] == 1


async def test_a_manager_counts_what_it_listens_to_whoever_else_does(hooks):
    """Nobody makes an event that nobody wants, so that its count would depend on others."""
    other = HookManager()
    other.register(HookEvent, lambda context: None, mode="inline")
    hooks.register(CHUNK, lambda context: None, mode="inline")
    await drive(EventBus([hooks, other], "run"), chunks=5)
    counts = hooks.get_stats()["call_counts"]

    assert [counts[event.value] for event in (PRE, CHUNK, PROGRESS, POST)] == [1, 5, 0, 1]


# order and isolation


async def test_every_hook_sees_its_events_in_order_and_never_two_at_once(hooks):
    """Whichever its colour and speed; the end comes last."""
    calls = {"async": [], "thread": [], "inline": []}
    for mode in calls:
        hooks.register(HookEvent, recorder(calls, mode), mode=mode)
    await drive(EventBus([hooks], "run"), chunks=50)
    assert list(calls.values()) == [list(range(52))] * 3
    assert hooks.get_stats()["error_counts"] == {}


async def test_two_hooks_that_hang_and_one_that_raises_disturb_nobody(hooks, release, caplog):
    """The loop stays free, the good hooks get everything, the close is bounded, and the log names the hung line."""

    async def hang(context):
        await asyncio.Event().wait()

    def hang_in_thread(context):
        release.wait()

    calls, stop, began = {"async": [], "thread": []}, asyncio.Event(), time.perf_counter()
    for mode in calls:
        hooks.register(HookEvent, recorder(calls, mode))
    for hook in (hang, hang_in_thread, lambda context: 1 / 0):
        hooks.register(HookEvent, hook, timeout=0.1)
    watching = asyncio.create_task(worst_lag(stop))
    await drive(EventBus([hooks], "run"), chunks=60)
    stop.set()
    assert time.perf_counter() - began < 3
    assert await watching < 0.5
    assert list(calls.values()) == [list(range(62))] * 2
    line = hang_in_thread.__code__.co_firstlineno + 1
    assert f"{__file__}:{line} (hang_in_thread)" in caplog.text


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit, asyncio.CancelledError])
@pytest.mark.parametrize("mode", ["async", "thread", "inline"])
async def test_whatever_a_hook_raises_is_its_own_failure(hooks, mode, error):
    """It is counted and logged, the next event is delivered, and the loop lives."""

    def broken(context):
        raise error("from a hook")

    async def broken_async(context):
        await asyncio.sleep(0)
        raise error("from a hook")

    hook = broken_async if mode == "async" else broken
    hooks.register(CHUNK, hook, mode=mode)
    bus = EventBus([hooks], "run")
    bus.emit(numbered(CHUNK, 1))
    bus.emit(numbered(CHUNK, 2))
    await bus.aclose()
    [stats] = hooks.get_stats()["hooks"].values()
    assert (stats["calls"], stats["errors"], stats["timeouts"]) == (2, 2, 0)


async def test_a_hook_that_cancels_its_own_task_loses_nothing_but_that_call(hooks):
    """The lane goes on with the next event."""
    seen = []

    @hooks.on(CHUNK)
    async def cancel_myself(context):
        seen.append(context.sequence)
        if context.sequence == 1:
            asyncio.current_task().cancel()
            await asyncio.sleep(0)

    bus = EventBus([hooks], "run")
    bus.emit(numbered(CHUNK, 1))
    bus.emit(numbered(CHUNK, 2))
    await bus.aclose()
    assert seen == [1, 2]
    assert stats_of(hooks, "cancel_myself")["errors"] == 1


# timeouts


async def test_a_hanging_async_hook_is_cancelled_at_its_timeout(hooks, caplog):
    """It may clean up, gets the next event, and the log says where it was."""
    cleaned = []

    @hooks.on(CHUNK, timeout=0.05)
    async def hang(context):
        cancelled_before = asyncio.current_task().cancelling()
        try:
            await asyncio.Event().wait()
        finally:
            cleaned.append((context.sequence, cancelled_before))

    bus = EventBus([hooks], "run")
    bus.emit(numbered(CHUNK, 1))
    bus.emit(numbered(CHUNK, 2))
    await bus.aclose()
    assert cleaned == [(1, 0), (2, 0)]
    assert stats_of(hooks, "hang")["timeouts"] == 2
    assert "(hang)" in caplog.text
    assert not other_tasks()


async def test_a_stuck_thread_hook_is_skipped_until_it_returns(hooks, release, caplog):
    """Its lane is fed no longer, a new execution starts no second thread, and a late return makes it whole again."""
    seen = []

    @hooks.on({CHUNK, POST}, timeout=0.05)
    def stuck(context):
        seen.append(context.execution_id)
        release.wait()

    async def run(name):
        bus = EventBus([hooks], name)
        bus.emit(HookContext(CHUNK, execution_id=name))
        bus.emit(HookContext(POST, execution_id=name))
        await bus.aclose(bound=1.0)

    await run("first")
    await run("second")
    assert (seen, len(lane_threads())) == (["first"], 1)
    assert caplog.text.count("still running after") == 1
    release.set()
    await until(lambda: not lane_threads())
    await run("third")
    assert seen == ["first", "third", "third"]
    stats = stats_of(hooks, "stuck")
    assert (stats["calls"], stats["timeouts"], stats["late"], stats["dropped"]) == (3, 1, 1, 3)


async def test_an_overdue_call_that_returns_while_the_run_goes_on_resumes_its_lane(hooks, release):
    """What came meanwhile is lost and counted; what comes later is delivered."""
    seen = []

    @hooks.on(CHUNK, timeout=0.05)
    def slow(context):
        seen.append(context.sequence)
        if context.sequence == 1:
            release.wait()

    bus = EventBus([hooks], "run")
    bus.emit(numbered(CHUNK, 1))
    await until(lambda: stats_of(hooks, "slow")["timeouts"])
    bus.emit(numbered(CHUNK, 2))
    release.set()
    await until(lambda: stats_of(hooks, "slow")["late"])
    bus.emit(numbered(CHUNK, 3))
    await bus.aclose()
    assert seen == [1, 3]
    assert not lane_threads()


async def test_what_a_plain_hook_returns_is_awaited_within_its_timeout(hooks):
    """On the loop; past the timeout it is cancelled and nothing stays stuck."""
    loop, seen = asyncio.get_running_loop(), []

    async def work(context):
        seen.append(asyncio.get_running_loop() is loop)
        if context.sequence == 1:
            await asyncio.Event().wait()

    @hooks.on(CHUNK, timeout=0.05)
    def plain(context):
        return work(context)

    bus = EventBus([hooks], "run")
    bus.emit(numbered(CHUNK, 1))
    bus.emit(numbered(CHUNK, 2))
    await bus.aclose()
    stats = stats_of(hooks, "plain")
    assert seen == [True, True]
    assert (stats["calls"], stats["timeouts"], stats["errors"]) == (2, 1, 0)
    assert not lane_threads()
    assert not other_tasks()


async def test_a_hook_that_swallows_its_cancellation_holds_nobody_up(hooks, caplog):
    """It is given up after a second timeout, and named when it outlives the execution."""
    finish = asyncio.Event()

    @hooks.on(CHUNK, timeout=0.05)
    async def stubborn(context):
        while not finish.is_set():
            try:
                await finish.wait()
            except asyncio.CancelledError:
                continue

    bus = EventBus([hooks], "run")
    bus.emit(numbered(CHUNK, 1))
    began = time.perf_counter()
    await bus.aclose(bound=2.0)
    assert time.perf_counter() - began < 1
    assert "hook stubborn outlives its execution" in caplog.text
    finish.set()
    await asyncio.wait(other_tasks(), timeout=1)
    assert stats_of(hooks, "stubborn")["timeouts"] == 1


# pressure


async def test_progress_gives_way_to_newer_progress_and_the_last_arrives(hooks, release):
    """While a hook is busy the newest waits; other events keep their places in order."""
    seen = []

    @hooks.on({CHUNK, PROGRESS})
    def slow(context):
        seen.append(context.sequence)
        release.wait()

    bus = EventBus([hooks], "run")
    for sequence in range(100):
        bus.emit(numbered(CHUNK if sequence in {0, 50} else PROGRESS, sequence))
        if sequence == 0:
            await until(lambda: seen)
    release.set()
    await bus.aclose()
    assert seen == [0, 50, 99]
    assert stats_of(hooks, "slow")["coalesced"] == 97


async def test_a_full_lane_drops_the_oldest_and_counts_them(hooks, caplog):
    """Neither the newest progress nor the end is among them, and it is said once."""
    seen = []

    @hooks.on({CHUNK, PROGRESS, POST})
    async def slow(context):
        seen.append(context.sequence)

    bus = EventBus([hooks], "run")
    bus.emit(numbered(PROGRESS, 0))
    for sequence in range(1, 2001):
        bus.emit(numbered(CHUNK, sequence))
    bus.emit(numbered(POST, 2001))
    await bus.aclose()
    assert seen == [0, *range(2001 - 1022, 2002)]
    assert stats_of(hooks, "slow")["dropped"] == 2002 - 1024
    assert caplog.text.count("too slow") == 1


async def test_a_hook_that_is_behind_still_gets_the_end(hooks):
    """At half of the bound the close drops what lies before it."""
    seen = []

    @hooks.on({CHUNK, POST})
    async def slow(context):
        seen.append(context.event)
        await asyncio.sleep(0.02)

    bus = EventBus([hooks], "run")
    for sequence in range(1000):
        bus.emit(numbered(CHUNK, sequence))
    bus.emit(numbered(POST, 1000))
    began = time.perf_counter()
    await bus.aclose(bound=0.4)
    assert seen[-1] is POST
    assert time.perf_counter() - began < 0.4
    assert stats_of(hooks, "slow")["dropped"] == 1001 - len(seen)


async def test_five_failures_in_a_row_pause_a_hook(hooks, caplog):
    """Two lines are logged for hundreds of events; the end is tried all the same."""
    events = []

    @hooks.on({CHUNK, POST})
    def broken(context):
        events.append(context.event)
        raise ConnectionError("exporter is down")

    bus = EventBus([hooks], "run")
    for sequence in range(300):
        bus.emit(numbered(CHUNK, sequence))
    bus.emit(numbered(POST, 300))
    await bus.aclose()
    assert events == [CHUNK] * 5 + [POST]
    levels = [record.levelno for record in caplog.records if record.name == "amorsize_async.hooks"]
    assert levels == [logging.WARNING, logging.ERROR]
    assert stats_of(hooks, "broken")["dropped"] == 295


# conditions and changes


async def test_conditions_hold_on_the_bus(hooks):
    """``when`` is asked before queueing; ``once`` is one event, over concurrent executions too."""
    some, one = [], []
    hooks.register(CHUNK, lambda context: some.append(context.sequence), when=lambda context: context.sequence % 2)
    hooks.register(CHUNK, lambda context: one.append(context.sequence), once=True)
    first, second = EventBus([hooks], "a"), EventBus([hooks], "b")
    for sequence in range(4):
        first.emit(numbered(CHUNK, sequence))
        second.emit(numbered(CHUNK, sequence))
    await first.aclose()
    await second.aclose()
    assert sorted(some) == [1, 1, 3, 3]
    assert one == [0]


async def test_a_removed_hook_gets_no_more_and_a_new_one_waits_for_the_next_execution(hooks):
    """The bus has a snapshot; what still waits for a removed hook is dropped."""
    early, late = [], []
    handle = hooks.register(CHUNK, lambda context: early.append(context.sequence))
    bus = EventBus([hooks], "run")
    bus.emit(numbered(CHUNK, 1))
    await until(lambda: early)
    handle.remove()
    hooks.register(CHUNK, lambda context: late.append(context.sequence))
    bus.emit(numbered(CHUNK, 2))
    await bus.aclose()
    assert (early, late) == ([1], [])
    following = EventBus([hooks], "run")
    following.emit(numbered(CHUNK, 3))
    await following.aclose()
    assert (early, late) == ([1], [3])


@pytest.mark.parametrize("mode", ["async", "thread"])
async def test_what_waits_for_a_hook_is_dropped_with_its_registration(hooks, release, mode):
    """A hook that was removed is not called any more, though events were on their way."""
    seen = []

    def plain(context):
        seen.append(context.sequence)
        release.wait()

    async def awaited(context):
        seen.append(context.sequence)
        await asyncio.to_thread(release.wait)

    handle = hooks.register(CHUNK, plain if mode == "thread" else awaited)
    bus = EventBus([hooks], "run")
    bus.emit(numbered(CHUNK, 1))
    bus.emit(numbered(CHUNK, 2))
    await until(lambda: seen)
    handle.remove()
    release.set()
    await bus.aclose()
    assert seen == [1]


# the barrier


async def test_the_barrier_waits_until_every_hook_has_handled_the_beginning(hooks):
    """So nothing runs before they have."""
    done = []

    @hooks.on(PRE)
    async def awaited(context):
        await asyncio.sleep(0.02)
        done.append("awaited")

    @hooks.on(PRE)
    def plain(context):
        time.sleep(0.03)
        done.append("plain")

    bus = EventBus([hooks], "run")
    bus.emit(numbered(PRE, 0))
    await bus.barrier()
    assert done == ["awaited", "plain"]
    await bus.aclose()


@pytest.mark.parametrize("mode", ["auto", "inline"])
async def test_a_critical_hook_ends_the_run_with_its_own_exception(hooks, mode):
    """The barrier raises it as itself; other hooks' failures do not count."""
    refusal = PermissionError("quota")

    @hooks.on({PRE, CHUNK}, critical=True, mode=mode)
    def gate(context):
        raise refusal

    hooks.register(PRE, lambda context: 1 / 0)
    bus = EventBus([hooks], "run")
    bus.emit(numbered(PRE, 0))
    with pytest.raises(PermissionError) as caught:
        await bus.barrier()
    assert caught.value is refusal
    await bus.aclose()


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, asyncio.CancelledError])
async def test_a_critical_hook_cannot_end_more_than_the_run(hooks, error):
    """What would end the loop, or look like a cancellation, comes as the cause of a RuntimeError."""

    @hooks.on(PRE, critical=True)
    async def gate(context):
        raise error

    bus = EventBus([hooks], "run")
    bus.emit(numbered(PRE, 0))
    with pytest.raises(RuntimeError, match="gate") as caught:
        await bus.barrier()
    assert isinstance(caught.value.__cause__, error)
    await bus.aclose()


async def test_a_critical_hook_that_does_not_answer_is_a_shut_gate(hooks, release):
    """Neither in time, nor because an earlier call still hangs."""

    @hooks.on(PRE, critical=True, timeout=0.05)
    def gate(context):
        release.wait()

    for _ in range(2):
        bus = EventBus([hooks], "run")
        bus.emit(numbered(PRE, 0))
        with pytest.raises(TimeoutError, match="gate"):
            await bus.barrier()
        await bus.aclose()
    assert stats_of(hooks, "gate")["calls"] == 1


@pytest.mark.skipif(sys.version_info < (3, 12), reason="task factories are eager from Python 3.12 on")
def test_an_eager_loop_keeps_the_order(hooks):
    """There a hook begins inside of ``emit``; an event that it causes there waits for its turn."""
    seen, buses = [], []

    @hooks.on(CHUNK)
    async def awaited(context):
        seen.append(context.sequence)
        if context.sequence == 1:
            buses[0].emit(numbered(CHUNK, 2))
        await asyncio.sleep(0)
        seen.append(-context.sequence)

    async def main():
        asyncio.get_running_loop().set_task_factory(asyncio.eager_task_factory)
        buses.append(EventBus([hooks], "run"))
        buses[0].emit(numbered(CHUNK, 1))
        await buses[0].aclose()

    asyncio.run(main())
    assert seen == [1, -1, 2, -2]


# where hooks run


@pytest.mark.parametrize("mode", ["async", "thread", "inline"])
async def test_context_variables_of_the_run_reach_every_hook(hooks, mode):
    """And what a hook sets stays in its own lane, where its next event finds it."""
    variable, seen = contextvars.ContextVar("variable", default="unset"), []

    def hook(context):
        seen.append(variable.get())
        variable.set("set by the hook")

    variable.set("request 7")
    hooks.register(CHUNK, hook, mode=mode)
    bus = EventBus([hooks], "run")
    bus.emit(numbered(CHUNK, 1))
    bus.emit(numbered(CHUNK, 2))
    await bus.aclose()
    assert seen == ["request 7", "set by the hook"]
    assert variable.get() == "request 7"


async def test_inline_hooks_run_at_once_and_slow_ones_are_named(hooks, caplog):
    """Emitting calls them; more than ten milliseconds is said once."""
    seen = []

    @hooks.on(CHUNK, mode="inline")
    def inline(context):
        seen.append(threading.get_ident())
        time.sleep(0.02)

    bus = EventBus([hooks], "run")
    bus.emit(numbered(CHUNK, 1))
    bus.emit(numbered(CHUNK, 2))
    assert seen == [threading.get_ident()] * 2
    assert caplog.text.count("held the event loop") == 1
    await bus.aclose()


async def test_an_event_from_another_thread_comes_over_to_the_loop(hooks):
    """Inline and async hooks never run elsewhere."""
    seen = []
    hooks.register(CHUNK, lambda context: seen.append(threading.get_ident()), mode="inline")
    bus = EventBus([hooks], "run")
    await asyncio.to_thread(bus.emit, numbered(CHUNK, 1))
    await asyncio.sleep(0)
    assert seen == [threading.get_ident()]
    await bus.aclose()


async def test_a_hook_may_be_registered_from_another_thread(hooks):
    """It is delivered on the loop of the execution."""
    seen = []

    async def awaited(context):
        seen.append(asyncio.get_running_loop())

    await asyncio.to_thread(hooks.register, CHUNK, awaited)
    bus = EventBus([hooks], "run")
    bus.emit(numbered(CHUNK, 1))
    await bus.aclose()
    assert seen == [asyncio.get_running_loop()]


async def test_fifty_executions_share_a_manager_and_mix_nothing_up(hooks):
    """Every hook call has its own execution's numbers, and the counters are exact."""
    seen = {}

    @hooks.on(HookEvent)
    async def awaited(context):
        await asyncio.sleep(0)
        seen.setdefault(context.execution_id, []).append(context.sequence)

    async def run(name):
        bus = EventBus([hooks], name)
        for sequence, event in enumerate([PRE, *[CHUNK] * 10, POST]):
            bus.emit(HookContext(event, execution_id=name, sequence=sequence))
            await asyncio.sleep(0)
        await bus.aclose()

    await asyncio.gather(*(run(f"run {number}") for number in range(50)))
    assert seen == {f"run {number}": list(range(12)) for number in range(50)}
    assert hooks.get_stats()["call_counts"]["on_chunk_complete"] == 500
    assert stats_of(hooks, "awaited")["calls"] == 600


# the end


async def test_nothing_is_left_after_the_close(hooks):
    """No task and no thread, and nothing is delivered any more."""
    seen = []

    @hooks.on(CHUNK)
    def plain(context):
        seen.append(1)

    @hooks.on(CHUNK)
    async def awaited(context):
        seen.append(2)

    bus = EventBus([hooks], "run")
    bus.emit(numbered(CHUNK, 1))
    await bus.aclose()
    assert sorted(seen) == [1, 2]
    assert not lane_threads()
    assert not other_tasks()
    bus.emit(numbered(CHUNK, 2))
    assert sorted(seen) == [1, 2]
    assert "closed" in repr(bus)


async def test_the_close_is_bounded_and_names_what_it_cuts(hooks, release, caplog):
    """Timeouts longer than the bound do not lengthen it."""

    @hooks.on(CHUNK, timeout=60)
    def plain(context):
        release.wait()

    @hooks.on(CHUNK, timeout=60)
    async def awaited(context):
        await asyncio.Event().wait()

    bus = EventBus([hooks], "run")
    bus.emit(numbered(CHUNK, 1))
    began = time.perf_counter()
    await bus.aclose(bound=0.1)
    assert time.perf_counter() - began < 0.6
    assert not other_tasks()
    assert "(plain); its thread is abandoned" in caplog.text
    assert "cancelled at the end of the execution" in caplog.text


async def test_the_close_cancels_what_a_plain_hook_is_waiting_for(hooks, caplog):
    """Its thread ends, so nothing is abandoned."""

    async def wait_for_ever(context):
        await asyncio.Event().wait()

    def plain(context):
        return wait_for_ever(context)

    hooks.register(CHUNK, plain, timeout=60)
    bus = EventBus([hooks], "run")
    bus.emit(numbered(CHUNK, 1))
    await bus.aclose(bound=0.1)
    assert not lane_threads()
    assert not other_tasks()
    assert "abandoned" not in caplog.text
    assert stats_of(hooks, "plain")["timeouts"] == 1


def kinds_of_cancellation():
    """How the task that closes may have been cancelled."""

    async def natively(run):
        task = asyncio.create_task(run())
        await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    async def by_a_timeout(run):
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                await run()

    async def by_an_anyio_scope(run):
        with anyio.move_on_after(0.01) as scope:
            await run()
        assert scope.cancelled_caught

    return [natively, by_a_timeout, by_an_anyio_scope]


@pytest.mark.parametrize("cancelled", kinds_of_cancellation(), ids=lambda kind: kind.__name__)
async def test_a_cancelled_run_delivers_its_end(hooks, cancelled):
    """The close in its ``finally`` is shielded, and the cancellation goes on after it."""
    statuses = []

    @hooks.on(POST)
    async def awaited(context):
        await asyncio.sleep(0.05)
        statuses.append(context.status)

    @hooks.on(POST)
    def plain(context):
        time.sleep(0.05)
        statuses.append(context.status)

    async def run():
        bus = EventBus([hooks], "run")
        try:
            await asyncio.sleep(10)
        finally:
            bus.emit(numbered(POST, 1, status="cancelled"))
            await bus.aclose(bound=1.0)

    await cancelled(run)
    assert statuses == ["cancelled"] * 2
    assert not lane_threads()


async def test_a_second_cancellation_cuts_the_close_short(hooks):
    """It goes on to the caller, and nothing is left."""

    @hooks.on(POST)
    async def hang(context):
        await asyncio.Event().wait()

    async def run():
        bus = EventBus([hooks], "run")
        bus.emit(numbered(POST, 1))
        await bus.aclose(bound=5.0)

    task = asyncio.create_task(run())
    await asyncio.sleep(0.01)
    began = time.perf_counter()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert time.perf_counter() - began < 1
    assert not other_tasks()


async def test_a_handler_of_logs_that_is_slow_does_not_hold_the_loop(hooks, release):
    """The thread of a plain hook logs its failure there; the loop does not wait for that thread to be gone."""

    class Slow(logging.Handler):
        def emit(self, record):
            release.wait(10)

    handler, logger = Slow(), logging.getLogger("amorsize_async.hooks")
    logger.addHandler(handler)
    try:
        hooks.register(POST, lambda context: 1 / 0)
        bus = EventBus([hooks], "run")
        async with lag_of_the_loop() as lags:
            bus.emit(numbered(POST, 1))
            await bus.aclose(bound=0.2)
            await asyncio.sleep(0.01)
    finally:
        release.set()
        await until(lambda: not lane_threads())
        logger.removeHandler(handler)

    assert max(lags) < 0.5


def test_a_hung_thread_hook_does_not_hold_the_loop_open(hooks, release):
    """``asyncio.run`` returns while the thread still hangs; it is a daemon, so the process may end too."""

    @hooks.on(CHUNK, timeout=0.05)
    def stuck(context):
        release.wait()

    async def main():
        bus = EventBus([hooks], "run")
        bus.emit(numbered(CHUNK, 1))
        await bus.aclose(bound=0.2)

    began = time.perf_counter()
    asyncio.run(main())
    assert time.perf_counter() - began < 1
    assert [thread.daemon for thread in lane_threads()] == [True]
