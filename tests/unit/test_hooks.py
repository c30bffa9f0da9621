"""The registry of hooks, triggered without an execution."""

from __future__ import annotations

import asyncio
import contextvars
import functools
import io
import logging
import sys
import threading

import pytest

from amorsize_async._hook import Hook, Tally
from amorsize_async._hook_rules import QUARANTINE_SECONDS, Breaker
from amorsize_async.events import HookContext, HookEvent
from amorsize_async.hooks import (
    HookManager,
    chain,
    create_error_hook,
    create_progress_hook,
    create_throughput_hook,
    create_timing_hook,
    is_async_callable,
)

PRE, POST, ERROR, PROGRESS = HookEvent.PRE_EXECUTE, HookEvent.POST_EXECUTE, HookEvent.ON_ERROR, HookEvent.ON_PROGRESS
CHUNK = HookEvent.ON_CHUNK_COMPLETE


def ignore(context):
    """A hook that does nothing."""


def fail(context):
    """A hook that raises."""
    raise ValueError("broken hook")


class Listener:
    """An object whose methods are hooks."""

    def __init__(self):
        self.seen = []

    def hear(self, context):
        self.seen.append(context)

    async def hear_async(self, context):
        self.seen.append(context)


class AsyncCallable:
    """An object that is an async hook."""

    async def __call__(self, context):
        return "awaited"


# registration


@pytest.mark.parametrize("event", HookEvent)
def test_a_new_manager_is_empty(event):
    """No hook is there unless somebody registered it."""
    hooks = HookManager()
    assert hooks.get_hook_count(event) == 0
    assert not hooks.has_hooks(event)


def test_a_second_registration_for_the_same_event_is_the_first():
    """The callback counts once and keeps its options."""
    hooks, calls = HookManager(), []
    hooks.register(PRE, calls.append, once=True)
    hooks.register(PRE, calls.append)
    assert hooks.get_hook_count(PRE) == 1
    hooks.trigger(HookContext(PRE))
    hooks.trigger(HookContext(PRE))
    assert len(calls) == 1


def test_a_callback_may_listen_to_several_events():
    """It counts at each of them and stays one hook."""
    hooks = HookManager()
    hooks.register({PRE, POST}, ignore)
    hooks.register(PROGRESS, ignore)
    assert [hooks.get_hook_count(event) for event in (PRE, POST, PROGRESS, ERROR)] == [1, 1, 1, 0]
    assert list(hooks.get_stats()["hooks"]) == ["ignore"]


def test_a_bound_method_is_the_same_hook_at_each_access():
    """Two accesses give two objects; they mean one method of one object."""
    hooks, one, other = HookManager(), Listener(), Listener()
    hooks.register(PRE, one.hear)
    hooks.register(PRE, one.hear)
    hooks.register(PRE, other.hear)
    assert hooks.get_hook_count(PRE) == 2
    assert hooks.unregister(PRE, one.hear)
    assert hooks.get_hook_count(PRE) == 1


def test_the_decorator_registers_and_returns_the_function_unchanged():
    """``@hooks.on`` takes the options of ``register``."""
    hooks = HookManager()

    def function(context):
        return "called"

    assert hooks.on({PRE, POST}, timeout=1.0)(function) is function
    assert hooks.trigger(HookContext(POST)) == [(function, "called")]


def test_unregister_tells_whether_the_hook_was_there():
    """Removing twice, or at another event, removes nothing."""
    hooks = HookManager()
    hooks.register(PRE, ignore)
    assert not hooks.unregister(POST, ignore)
    assert hooks.unregister(PRE, ignore)
    assert not hooks.unregister(PRE, ignore)
    assert hooks.trigger(HookContext(PRE)) == []


def test_unregister_all_counts_over_one_event_or_all():
    """The number returned is that of the registrations that ended."""
    hooks = HookManager()
    hooks.register(HookEvent, ignore)
    hooks.register(PRE, fail)
    assert hooks.unregister_all(PRE) == 2
    assert hooks.unregister_all() == 6
    assert hooks.unregister_all() == 0


def test_a_handle_takes_back_its_own_registration_only():
    """A later registration of the same callback is not its."""
    hooks = HookManager()
    handle = hooks.register({PRE, POST}, ignore)
    assert handle.remove()
    hooks.register(PRE, ignore)
    assert not handle.remove()
    assert hooks.get_hook_count(PRE) == 1
    assert "nothing" in repr(handle)


def test_managers_share_nothing():
    """A hook of one manager never runs for another."""
    one, other, calls = HookManager(), HookManager(), []
    one.register(PRE, calls.append)
    other.trigger(HookContext(PRE))
    assert calls == []
    assert one.get_stats()["call_counts"]["pre_execute"] == 0


@pytest.mark.parametrize(
    ("arguments", "options", "error", "words"),
    [
        ((PRE, None), {}, TypeError, "callable"),
        (("pre_execute", ignore), {}, TypeError, "HookEvent.PRE_EXECUTE"),
        ((None, ignore), {}, TypeError, "HookEvent"),
        (([PRE, "x"], ignore), {}, TypeError, "'x'"),
        (([], ignore), {}, ValueError, "at least one"),
        ((PRE, ignore), {"timeout": 0}, ValueError, "timeout"),
        ((PRE, ignore), {"timeout": float("nan")}, ValueError, "timeout"),
        ((PRE, ignore), {"timeout": "5"}, TypeError, "'5'"),
        ((PRE, ignore), {"every": -1.0}, ValueError, "every"),
        ((PRE, ignore), {"mode": "process"}, ValueError, "process"),
        ((PRE, AsyncCallable()), {"mode": "thread"}, ValueError, "async"),
        ((PRE, AsyncCallable()), {"mode": "inline"}, ValueError, "async"),
        ((PRE, ignore), {"when": True}, TypeError, "when"),
        ((PRE, ignore), {"when": AsyncCallable()}, TypeError, "when"),
        ((POST, ignore), {"critical": True}, ValueError, "PRE_EXECUTE"),
    ],
)
def test_a_senseless_registration_is_refused(arguments, options, error, words):
    """The message names what is wrong, and nothing is registered."""
    hooks = HookManager()
    with pytest.raises(error, match=words):
        hooks.register(*arguments, **options)
    assert hooks.unregister_all() == 0


def test_a_callback_has_one_mode():
    """It is one hook with one lane, so a second registration cannot ask for another kind."""
    hooks = HookManager()
    hooks.register(PRE, ignore, mode="inline")
    hooks.register(POST, ignore)
    with pytest.raises(ValueError, match="inline"):
        hooks.register(ERROR, ignore, mode="thread")


@pytest.mark.parametrize(
    ("callback", "expected"),
    [
        (ignore, False),
        (AsyncCallable(), True),
        (AsyncCallable, False),
        (Listener().hear_async, True),
        (Listener().hear, False),
        (functools.partial(functools.partial(AsyncCallable())), True),
        (functools.partial(ignore), False),
        (lambda _: AsyncCallable()(None), False),
        (None, False),
    ],
)
def test_async_callables_are_recognised(callback, expected):
    """Also behind ``partial``, as methods and as objects with an async ``__call__``."""
    assert is_async_callable(callback) is expected


# triggering


def test_hooks_run_in_order_of_registration_and_all_of_them():
    """One that raises keeps no other from running, and nothing gets out."""
    hooks, order = HookManager(), []
    hooks.register(PRE, lambda _: order.append("first"))
    hooks.register(PRE, fail)
    hooks.register(PRE, lambda _: order.append("last"))
    outcomes = hooks.trigger(HookContext(PRE))
    assert order == ["first", "last"]
    assert [type(outcome) for _, outcome in outcomes] == [type(None), ValueError, type(None)]


def test_trigger_corrects_the_event_on_a_copy():
    """``trigger(event, context)`` leaves the context it was given as it was."""
    hooks, seen = HookManager(), []
    hooks.register(POST, seen.append)
    context = HookContext(PRE, n_jobs=3, metadata={"key": 1})
    hooks.trigger(POST, context)
    assert (seen[0].event, seen[0].n_jobs, seen[0].metadata) == (POST, 3, {"key": 1})
    assert seen[0].metadata is not context.metadata
    assert context.event is PRE


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ((HookContext(PRE), HookContext(PRE)), ValueError),
        ((PRE,), ValueError),
        (("pre",), TypeError),
        ((PRE, 1), TypeError),
    ],
)
async def test_trigger_refuses_other_arguments(arguments, error):
    """Both forms of it, in both colours."""
    hooks = HookManager()
    with pytest.raises(error):
        hooks.trigger(*arguments)
    with pytest.raises(error):
        await hooks.trigger_async(*arguments)


def test_triggers_are_counted_and_not_the_calls_of_hooks():
    """Also where nobody listens; errors show only for events that had any."""
    hooks = HookManager()
    hooks.register({PRE, PROGRESS}, ignore)
    hooks.register(PRE, fail)
    for event in (PRE, PROGRESS, PROGRESS, ERROR):
        hooks.trigger(HookContext(event))
    stats = hooks.get_stats()
    assert list(stats["hook_counts"]) == list(stats["call_counts"]) == [event.value for event in HookEvent]
    assert (stats["hook_counts"]["pre_execute"], stats["hook_counts"]["on_progress"]) == (2, 1)
    assert [stats["call_counts"][name] for name in ("pre_execute", "on_progress", "on_error")] == [1, 2, 1]
    assert stats["error_counts"] == {"pre_execute": 1}
    assert (stats["hooks"]["ignore"]["calls"], stats["hooks"]["fail"]["errors"]) == (3, 1)


def test_hooks_of_the_same_name_are_told_apart():
    """Statistics lose none of them."""
    hooks = HookManager()
    for listener in (Listener(), Listener(), Listener()):
        hooks.register(PRE, listener.hear)
    assert list(hooks.get_stats()["hooks"]) == ["Listener.hear", "Listener.hear#2", "Listener.hear#3"]


def test_the_first_failure_of_a_streak_is_logged(caplog):
    """With its traceback, and the next ones not, up to the pause after the fifth."""
    hooks = HookManager()
    hooks.register(PROGRESS, fail)
    for _ in range(8):
        hooks.trigger(HookContext(PROGRESS))
    levels = [record.levelno for record in caplog.records if record.name == "amorsize_async.hooks"]
    assert levels == [logging.WARNING, logging.ERROR]
    assert caplog.records[0].exc_info is not None
    assert "broken hook" in caplog.text
    stats = hooks.get_stats()["hooks"]["fail"]
    assert (stats["calls"], stats["errors"], stats["dropped"], stats["quarantined"]) == (5, 5, 3, True)


def test_a_registration_for_once_takes_no_other_with_it():
    """Neither when the callback listens to one of its events already, nor when that comes first."""
    hooks, heard = HookManager(), []
    hooks.register(ERROR, heard.append)
    hooks.register([ERROR, POST], heard.append, once=True)
    for event in (POST, ERROR, POST, ERROR):
        hooks.trigger(HookContext(event))

    assert [context.event for context in heard] == [POST, ERROR, ERROR]
    assert (hooks.get_hook_count(ERROR), hooks.get_hook_count(POST)) == (1, 0)


def test_a_verbose_manager_prints_each_failure(capsys):
    """To standard error, in the words of the contract, with a traceback."""
    hooks = HookManager(verbose=True)
    hooks.register(PRE, fail)
    hooks.trigger(HookContext(PRE))
    printed = capsys.readouterr().err
    assert "WARNING: Hook error in pre_execute: ValueError: broken hook" in printed
    assert "in fail" in printed


@pytest.mark.parametrize("verbose", [True, False])
def test_a_log_that_cannot_be_written_is_no_reason_to_end_anything(monkeypatch, verbose):
    """Neither a handler of the user's that raises, nor a standard error that is closed."""

    class Broken(logging.Handler):
        def emit(self, record):
            raise BrokenPipeError

    class Closed(io.StringIO):
        def write(self, text):
            raise BrokenPipeError

    hooks, heard, log, handler = HookManager(verbose=verbose), [], logging.getLogger("amorsize_async.hooks"), Broken()
    hooks.register(PROGRESS, fail)
    hooks.register(PROGRESS, heard.append)
    monkeypatch.setattr(sys, "stderr", Closed())
    log.addHandler(handler)
    try:
        for _ in range(8):
            hooks.trigger(HookContext(PROGRESS))
    finally:
        log.removeHandler(handler)

    assert len(heard) == 8
    assert hooks.get_stats()["error_counts"] == {"on_progress": 5}


def test_a_throttle_holds_for_failures_when_all_is_complete():
    """Only what says that all is complete passes it then: in one chunk hundreds may fail."""
    hooks, errors, progress = HookManager(), [], []
    hooks.register(ERROR, errors.append, every=60)
    hooks.register(PROGRESS, progress.append, every=60)
    for event in (ERROR, PROGRESS):
        for completed in (1, 2, 3, 3, 3):
            hooks.trigger(HookContext(event, items_completed=completed, total_items=3))

    assert len(errors) == 1
    assert [context.items_completed for context in progress] == [1, 3, 3, 3]


def test_a_clock_that_is_set_back_does_not_silence_a_throttled_hook():
    """An event that seems to be older than the last one passes."""
    hooks, heard, told = HookManager(), [], []
    hooks.register(PROGRESS, heard.append, every=60)
    hooks.register(PROGRESS, create_progress_hook(lambda percent, done, total: told.append(done), min_interval=60))
    for done, timestamp in enumerate((10_000.0, 10_030.0, 5_000.0, 5_030.0, 5_061.0)):
        hooks.trigger(HookContext(PROGRESS, timestamp=timestamp, items_completed=done))

    assert [context.timestamp for context in heard] == [10_000.0, 5_000.0, 5_061.0]
    assert told == [0, 2, 4]


@pytest.mark.parametrize("raised", [SystemExit(3), asyncio.CancelledError(), GeneratorExit()])
def test_a_hook_cannot_end_the_caller(raised):
    """Whatever it raises is its own failure."""

    def leave(context):
        raise raised

    hooks = HookManager()
    hooks.register(PRE, leave)
    assert hooks.trigger(HookContext(PRE)) == [(leave, raised)]
    assert hooks.get_stats()["error_counts"] == {"pre_execute": 1}


def test_ctrl_c_in_a_plain_trigger_is_the_users():
    """In the calling thread a KeyboardInterrupt may be the real one: it is counted and passed on."""

    def interrupt(context):
        raise KeyboardInterrupt

    hooks = HookManager()
    hooks.register(PRE, interrupt)
    with pytest.raises(KeyboardInterrupt):
        hooks.trigger(HookContext(PRE))
    assert hooks.get_stats()["hooks"]["interrupt"]["errors"] == 1


def test_async_hooks_are_awaited_without_a_loop():
    """A plain trigger awaits them on a loop of its own, within their timeout."""

    async def hang(context):
        await asyncio.Event().wait()

    hooks, answer = HookManager(), AsyncCallable()
    hooks.register(PRE, answer)
    hooks.register(PRE, hang, timeout=0.05)
    outcomes = dict(hooks.trigger(HookContext(PRE)))
    assert outcomes[answer] == "awaited"
    assert isinstance(outcomes[hang], TimeoutError)
    numbers = next(stats for name, stats in hooks.get_stats()["hooks"].items() if name.endswith("hang"))
    assert numbers["timeouts"] == 1
    assert numbers["seconds"] >= 0.05


async def test_a_plain_trigger_on_a_loop_says_what_to_do():
    """It cannot await an async hook there; the failure names the way out."""
    hooks = HookManager()
    hooks.register(PRE, AsyncCallable())
    [(_, outcome)] = hooks.trigger(HookContext(PRE))
    assert isinstance(outcome, RuntimeError)
    assert "trigger_async" in str(outcome)


async def test_trigger_async_runs_hooks_of_both_colours_side_by_side():
    """Each waits for the other, so one after the other would never end."""
    hooks, loop = HookManager(), asyncio.get_running_loop()
    plain_began, async_began = asyncio.Event(), threading.Event()

    def plain(context):
        loop.call_soon_threadsafe(plain_began.set)
        return async_began.wait(5)

    async def waiting(context):
        async_began.set()
        return await plain_began.wait()

    hooks.register(PRE, plain)
    hooks.register(PRE, waiting)
    hooks.register(PRE, fail)
    outcomes = dict(await hooks.trigger_async(PRE, HookContext(POST)))
    assert outcomes[plain] is outcomes[waiting] is True
    assert isinstance(outcomes[fail], ValueError)


async def test_trigger_async_waits_for_no_hook_longer_than_its_timeout():
    """A hanging hook of either colour gives a TimeoutError; what hangs in a thread is skipped until it returns."""
    hooks, release = HookManager(), threading.Event()

    @hooks.on(PRE, timeout=0.05)
    def stuck(context):
        release.wait()

    @hooks.on(PRE, timeout=0.05)
    async def hang(context):
        await asyncio.Event().wait()

    outcomes = dict(await hooks.trigger_async(HookContext(PRE)))
    assert [type(outcomes[hook]) for hook in (stuck, hang)] == [TimeoutError, TimeoutError]
    assert list(dict(await hooks.trigger_async(HookContext(PRE)))) == [hang]
    release.set()
    assert hooks.get_stats()["hooks"]["stuck"]["dropped"] == 1


async def test_context_variables_reach_hooks_of_both_colours():
    """They see what the code that triggers them sees."""
    variable = contextvars.ContextVar("variable", default="unset")
    hooks = HookManager()

    def plain(context):
        return variable.get()

    async def awaited(context):
        return variable.get()

    hooks.register(PRE, plain)
    hooks.register(PRE, awaited)
    variable.set("request 7")
    assert await hooks.trigger_async(HookContext(PRE)) == [(plain, "request 7"), (awaited, "request 7")]


def test_registering_and_triggering_from_many_threads_loses_nothing():
    """Five threads with ten registrations each, then five with ten triggers each."""
    hooks, calls = HookManager(), []

    def in_threads(action):
        threads = [threading.Thread(target=lambda: [action() for _ in range(10)]) for _ in range(5)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    in_threads(lambda: hooks.register(PRE, lambda _: calls.append(1)))
    assert hooks.get_hook_count(PRE) == 50
    in_threads(lambda: hooks.trigger(HookContext(PRE)))
    assert len(calls) == 50 * 50
    assert hooks.get_stats()["call_counts"]["pre_execute"] == 50


def test_a_hook_may_register_and_unregister_hooks():
    """The event that is being delivered keeps the hooks it had; a removed one is not called any more."""
    hooks, calls = HookManager(), []

    def rearrange(context):
        hooks.unregister(PRE, calls.append)
        hooks.register(PRE, ignore)

    hooks.register(PRE, rearrange)
    hooks.register(PRE, calls.append)
    assert [hook for hook, _ in hooks.trigger(HookContext(PRE))] == [rearrange]
    assert [hook for hook, _ in hooks.trigger(HookContext(PRE))] == [rearrange, ignore]


# conditions


def test_a_condition_that_is_false_keeps_the_event_away():
    """It is counted as filtered, not as a call."""
    hooks, percents = HookManager(), []
    hooks.register(
        PROGRESS, lambda context: percents.append(context.percent_complete), when=lambda c: c.percent_complete > 50
    )
    for percent in (10.0, 60.0, 50.0, 70.0):
        hooks.trigger(HookContext(PROGRESS, percent_complete=percent))
    assert percents == [60.0, 70.0]
    [stats] = hooks.get_stats()["hooks"].values()
    assert (stats["calls"], stats["filtered"]) == (2, 2)


def test_a_condition_that_raises_is_the_hooks_failure():
    """The event is skipped, and the failure counted."""
    hooks = HookManager()
    hooks.register(PRE, ignore, when=fail)
    assert hooks.trigger(HookContext(PRE)) == []
    assert hooks.get_stats()["error_counts"] == {"pre_execute": 1}


def test_once_is_the_first_event_that_passes():
    """Of all the events of the registration; it ends there."""
    hooks, seen = HookManager(), []
    hooks.register({PRE, POST}, lambda context: seen.append(context.event), once=True, when=lambda c: c.n_jobs == 2)
    hooks.trigger(HookContext(PRE))
    hooks.trigger(HookContext(POST, n_jobs=2))
    hooks.trigger(HookContext(PRE, n_jobs=2))
    assert seen == [POST]
    assert not hooks.has_hooks(PRE)


def test_every_spaces_the_events_of_a_kind_and_execution():
    """By their own timestamps; first and last always pass."""
    hooks, seen = HookManager(), []
    hooks.register({PROGRESS, CHUNK}, lambda c: seen.append((c.execution_id, c.event, c.timestamp)), every=1.0)
    for at in (5.0, 5.9, 6.0, 6.5):
        hooks.trigger(HookContext(PROGRESS, timestamp=at, execution_id="a"))
    hooks.trigger(HookContext(CHUNK, timestamp=6.5, execution_id="a"))
    hooks.trigger(HookContext(PROGRESS, timestamp=6.5, execution_id="b"))
    hooks.trigger(HookContext(PROGRESS, timestamp=6.6, execution_id="a", total_items=9, items_completed=9))
    expected = [
        ("a", PROGRESS, 5.0),
        ("a", PROGRESS, 6.0),
        ("a", CHUNK, 6.5),
        ("b", PROGRESS, 6.5),
        ("a", PROGRESS, 6.6),
    ]
    assert seen == expected


# chains


def test_a_chain_is_one_hook_that_stops_at_the_first_failure():
    """Later steps depend on earlier ones."""
    hooks, calls = HookManager(), []
    hooks.register(PRE, chain(lambda _: calls.append(1), chain(fail, lambda _: calls.append(2))))
    [(_, outcome)] = hooks.trigger(HookContext(PRE))
    assert calls == [1]
    assert isinstance(outcome, ValueError)
    assert list(hooks.get_stats()["hooks"]) == ["chain(<lambda>, fail, <lambda>)"]


async def test_a_chain_passes_a_returned_context_on_through_both_colours():
    """The plain step runs in a thread, the async one on the loop, in this order."""
    hooks, loop_thread, seen = HookManager(), threading.get_ident(), []

    def plain(context):
        seen.append(threading.get_ident() == loop_thread)
        return HookContext(context.event, n_jobs=5)

    async def awaited(context):
        seen.append(threading.get_ident() == loop_thread)
        return context

    def last(context):
        seen.append(threading.get_ident() == loop_thread)
        return context.n_jobs

    hooks.register(PRE, chain(plain, awaited, last))
    [(_, outcome)] = await hooks.trigger_async(HookContext(PRE))
    assert outcome == 5
    assert seen == [False, True, False]


def test_an_empty_chain_is_refused():
    """And one with something that cannot be called."""
    with pytest.raises(ValueError, match="at least one"):
        chain()
    with pytest.raises(TypeError, match="callable"):
        chain(ignore, "not a function")


# quarantine


def test_a_quarantined_hook_is_tried_again_with_one_event():
    """After the pause one call at a time; a success ends the quarantine, a failure renews it."""
    now = [0.0]
    hook = Hook(ignore, "inline", Tally(), Breaker(lambda: now[0]))
    for _ in range(5):
        assert hook.begin(PROGRESS)
        hook.failed(PROGRESS, ValueError())
    assert not hook.begin(PROGRESS)
    now[0] += QUARANTINE_SECONDS
    assert (hook.begin(PROGRESS), hook.begin(PROGRESS)) == (True, False)
    hook.failed(PROGRESS, ValueError())
    assert not hook.begin(PROGRESS)
    now[0] += QUARANTINE_SECONDS
    assert hook.begin(PROGRESS)
    hook.succeeded(0.1)
    assert (hook.begin(PROGRESS), hook.begin(PROGRESS), hook.stats["quarantined"]) == (True, True, False)


def test_beginning_and_end_of_an_execution_are_tried_in_quarantine():
    """A hook that works again is not lost for the end of the run."""
    hooks, broken = HookManager(), [True]

    @hooks.on(HookEvent)
    def recovering(context):
        if broken[0]:
            raise ConnectionError

    for _ in range(6):
        hooks.trigger(HookContext(PROGRESS))
    broken[0] = False
    assert hooks.trigger(HookContext(PROGRESS)) == []
    assert hooks.trigger(HookContext(POST)) == [(recovering, None)]
    assert hooks.trigger(HookContext(PROGRESS)) == [(recovering, None)]


# helpers


def progress(timestamp, completed, **fields):
    """One update of a run over 1000 items."""
    percent = completed / 10
    numbers = {"items_completed": completed, "total_items": 1000, "percent_complete": percent}
    return HookContext(PROGRESS, timestamp=timestamp, **numbers, **fields)


def test_the_progress_hook_is_throttled_by_timestamps():
    """An interval that is just reached passes."""
    hook = create_progress_hook(lambda *numbers: calls.append(numbers), min_interval=0.5)
    calls = []
    for timestamp, completed in ((1.0, 100), (1.3, 300), (1.5, 500), (1.6, 600)):
        hook(progress(timestamp, completed))
    assert calls == [(10.0, 100, 1000), (50.0, 500, 1000)]


def test_the_progress_hook_always_reports_the_first_and_the_final_update():
    """Also for a clock that begins at 0, and the final one once, whatever it listens to."""
    percents = []
    hook = create_progress_hook(lambda percent, *_: percents.append(percent), min_interval=1.0)
    hook(progress(0.1, 100, execution_id="a"))
    hook(progress(0.2, 1000, execution_id="a"))
    hook(HookContext(POST, timestamp=0.3, percent_complete=100.0, execution_id="a"))
    assert percents == [10.0, 100.0]


@pytest.mark.parametrize("execution_ids", [("a", "b"), (None, None)])
def test_the_progress_hook_begins_anew_with_each_execution(execution_ids):
    """Two runs a tenth of a second apart both report, with ids or without."""
    percents = []
    hook = create_progress_hook(lambda percent, *_: percents.append(percent))
    for start, execution_id in zip((1.0, 1.1), execution_ids, strict=True):
        hook(progress(start, 100, execution_id=execution_id))
        hook(progress(start + 0.05, 1000, execution_id=execution_id))
    assert percents == [10.0, 100.0, 10.0, 100.0]


def test_the_progress_hook_says_zero_for_an_unknown_total():
    """A generator tells no total."""
    totals = []
    create_progress_hook(lambda _percent, _completed, total: totals.append(total))(HookContext(PROGRESS))
    assert totals == [0]


def test_the_throughput_hook_is_throttled_alike():
    """Five seconds unless told otherwise."""
    rates = []
    hook = create_throughput_hook(rates.append, min_interval=2.0)
    for timestamp, rate in ((3.0, 10.0), (4.5, 20.0), (5.5, 30.0)):
        hook(HookContext(PROGRESS, timestamp=timestamp, throughput_items_per_sec=rate))
    assert rates == [10.0, 30.0]


def test_the_timing_hook_gives_the_events_name_and_the_elapsed_seconds():
    """Without any throttle."""
    calls = []
    hook = create_timing_hook(lambda *arguments: calls.append(arguments))
    hook(HookContext(POST, elapsed_time=12.5))
    hook(HookContext(POST, elapsed_time=12.5))
    assert calls == [("post_execute", 12.5)] * 2


def test_the_error_hook_passes_errors_only():
    """A missing traceback is an empty text."""
    calls, error = [], ValueError("item")
    hook = create_error_hook(lambda *arguments: calls.append(arguments))
    hook(HookContext(ERROR))
    hook(HookContext(ERROR, error=error))
    hook(HookContext(ERROR, error=error, error_traceback="Traceback ..."))
    assert calls == [(error, ""), (error, "Traceback ...")]


async def test_a_helper_has_the_colour_of_its_callback():
    """An async callback makes an async hook, which is awaited."""
    seen = []

    async def record(*arguments):
        await asyncio.sleep(0)
        seen.append(arguments)

    makers = (create_progress_hook, create_timing_hook, create_throughput_hook, create_error_hook)
    helpers = [make(record) for make in makers]
    hooks = HookManager()
    for helper in helpers:
        assert is_async_callable(helper)
        hooks.register(ERROR, helper)
    await hooks.trigger_async(HookContext(ERROR, error=KeyError("k")))
    assert len(seen) == 4
    assert "create_timing_hook(record)" in hooks.get_stats()["hooks"]


def test_helpers_refuse_what_makes_no_sense():
    """No callback, or an interval below zero."""
    with pytest.raises(TypeError, match="callable"):
        create_timing_hook("print")
    with pytest.raises(ValueError, match="min_interval"):
        create_progress_hook(print, min_interval=-1)
    with pytest.raises(TypeError, match="min_interval must be a number of seconds"):
        create_progress_hook(print, min_interval="1")


def test_a_decorator_without_its_brackets_is_refused():
    """Where it stands: else the function would never be called, and nobody told."""
    hooks = HookManager()
    with pytest.raises(TypeError, match=r"is no HookEvent; use one of HookEvent\.PRE_EXECUTE"):

        @hooks.on
        def note(context):
            pass
