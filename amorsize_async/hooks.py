"""The user's registry of hooks. Delivery on an event loop is not done here: it is the work of the bus and its lanes."""

from __future__ import annotations

import threading
import time
from collections.abc import Awaitable, Callable, Container, Iterable
from itertools import count
from typing import TypedDict, TypeVar, Unpack

from ._callables import Chain, call_steps, identity, steps_of
from ._coroutines import is_async_callable
from ._hook import Hook, HookStats, Mode, Subscription, Tally, Terms
from ._hook_arguments import (
    check_callback,
    check_seconds,
    check_when,
    context_of,
    events_of,
    listed,
    one_event,
    resolved_mode,
)
from ._hook_helpers import (
    create_error_hook,
    create_progress_hook,
    create_throughput_hook,
    create_timing_hook,
)
from ._hook_rules import Throttle
from .events import HookCallback, HookContext, HookEvent, HookPredicate

__all__ = (
    "HookHandle",
    "HookManager",
    "HookManagerStats",
    "HookOptions",
    "HookStats",
    "chain",
    "create_error_hook",
    "create_progress_hook",
    "create_throughput_hook",
    "create_timing_hook",
    "is_async_callable",
)

CallbackT = TypeVar("CallbackT", bound=HookCallback)
Outcomes = list[tuple[HookCallback, object]]


class HookOptions(TypedDict, total=False):
    """The options of ``HookManager.register``, where they are explained."""

    timeout: float | None
    mode: Mode
    when: HookPredicate | None
    every: float | None
    once: bool
    critical: bool


class HookManagerStats(TypedDict):
    """What a manager counted since it was made."""

    hook_counts: dict[str, int]
    """Hooks registered now, for each of the seven events."""
    call_counts: dict[str, int]
    """Triggers of each event (not calls of hooks). Of runs, those that it has hooks for, and the two ends of each."""
    error_counts: dict[str, int]
    """Failures and timeouts of hooks, for the events that had any."""
    hooks: dict[str, HookStats]
    """Each hook registered now, by name; ``name#2`` is the second of that name."""


class HookHandle:
    """One registration, to be taken back."""

    __slots__ = ("_manager", "_subscriptions")

    def __init__(self, manager: HookManager, subscriptions: tuple[Subscription, ...]) -> None:
        self._manager = manager
        self._subscriptions = subscriptions

    def __repr__(self) -> str:
        live = [subscription.event.value for subscription in self._subscriptions if subscription.live]
        return f"<HookHandle {self._subscriptions[0].hook.name} at {', '.join(live) or 'nothing'}>"

    def remove(self) -> bool:
        """Take the registration back; return whether anything was left of it."""
        return self._manager._remove(self._subscriptions) > 0  # noqa: SLF001 - the manager's other half


class HookManager:
    """Keeps hooks for the seven events; any number of executions and threads may share one manager.

    An execution takes a snapshot when it starts: a hook registered later gets the events of the next one, a hook
    removed later gets none from then on. Each hook sees the events of one execution in order and never two at once;
    different hooks run side by side (``chain`` makes dependent callbacks one hook). Whatever a hook raises,
    ``KeyboardInterrupt``, ``SystemExit`` and ``CancelledError`` included, is its own failure and never the execution's:
    counted, and logged once per streak to ``amorsize_async.hooks``. Five failures in a row pause a hook for 30 s. A
    hook that is to end an execution is ``critical``, or cancels the task that awaits the execution.
    """

    def __init__(self, *, verbose: bool = False) -> None:
        """``verbose``: also print each failure of a hook, with its traceback, to standard error."""
        self._tally = Tally(verbose)
        self._lock = threading.Lock()
        self._hooks: dict[tuple[int, object], Hook] = {}
        self._table: dict[HookEvent, tuple[Subscription, ...]] = dict.fromkeys(HookEvent, ())

    def __repr__(self) -> str:
        counts = [f"{event.value}={len(entries)}" for event, entries in self._table.items() if entries]
        return f"<HookManager {' '.join(counts) or 'empty'}>"

    def register(
        self,
        event: HookEvent | Iterable[HookEvent],
        callback: HookCallback,
        *,
        timeout: float | None = 5.0,
        mode: Mode = "auto",
        when: HookPredicate | None = None,
        every: float | None = None,
        once: bool = False,
        critical: bool = False,
    ) -> HookHandle:
        """Have ``callback(context)`` called at an event, or at several.

        A callback is one hook, whatever events it listens to; a second registration for the same event is the first.

        event: a ``HookEvent`` or several.
        callback: ``async def`` or plain, one argument.
        timeout: seconds one call may take; ``None``: no limit. An async hook is cancelled then. A plain one cannot be:
            it is reported with the line it hangs in, and gets no further event while it hangs.
        mode: ``"auto"``: async callbacks are awaited on the loop, plain ones run in a thread of their own.
            ``"async"``: called on the loop, what it returns is awaited. ``"thread"``: in a thread. ``"inline"``: called
            on the loop at once, for one-liners; no timeout can hold there.
        when: plain condition on the context, called on the loop; the event is skipped unless it is true. ``None``: no
            condition.
        every: at most one event of a kind in so many seconds of an execution; the first always passes, and so does what
            says that all is complete. ``None``: all of them.
        once: the first event that passes is the only one; the registration ends with it.
        critical: at PRE_EXECUTE, what the callback raises (or its timeout) ends the run before any item.

        Returns a handle with ``remove()``. Raises ``TypeError`` or ``ValueError`` for arguments that make no sense.
        """
        events = events_of(event)
        check_callback(callback)
        check_when(when)
        check_seconds("timeout", timeout)
        check_seconds("every", every)
        if critical and HookEvent.PRE_EXECUTE not in events:
            raise ValueError(
                f"critical=True stops a run at PRE_EXECUTE, but the hook is for {listed(events)}; "
                "add that event or leave critical out"
            )
        terms = Terms(timeout, when, Throttle(every) if every else None, once)
        terms.retire = lambda: self._withdraw(
            tuple(e for each in events for e in self._table[each] if e.terms is terms)
        )
        with self._lock:
            hook = self._hook_for(callback, mode)
            entries = tuple(self._subscribe(hook, each, terms, critical=critical) for each in events)
        return HookHandle(self, entries)

    def on(
        self, event: HookEvent | Iterable[HookEvent], **options: Unpack[HookOptions]
    ) -> Callable[[CallbackT], CallbackT]:
        """Decorate a callback to register it; options as for ``register``. The function is returned unchanged."""
        events = events_of(event)  # now: without its brackets, `@hooks.on` gets the function here, and nothing later

        def decorate(callback: CallbackT) -> CallbackT:
            self.register(events, callback, **options)
            return callback

        return decorate

    def unregister(self, event: HookEvent, callback: HookCallback) -> bool:
        """Remove ``callback`` from ``event``; return whether it was there."""
        key = identity(callback)
        found = tuple(entry for entry in self._table[one_event(event)] if identity(entry.hook.callback) == key)
        return self._remove(found) > 0

    def unregister_all(self, event: HookEvent | None = None) -> int:
        """Remove all hooks of ``event`` (``None``: of every event); return how many registrations that ended."""
        events = tuple(HookEvent) if event is None else (one_event(event),)
        return self._remove(tuple(entry for each in events for entry in self._table[each]))

    def has_hooks(self, event: HookEvent) -> bool:
        """Tell whether anything is registered for ``event``."""
        return bool(self._table[one_event(event)])

    def get_hook_count(self, event: HookEvent) -> int:
        """Return how many hooks are registered for ``event``."""
        return len(self._table[one_event(event)])

    def get_stats(self) -> HookManagerStats:
        """Return a copy of all counters."""
        with self._lock, self._tally.lock:
            hooks: dict[str, HookStats] = {}
            for hook in self._hooks.values():
                hooks[_unused(hook.name, hooks)] = hook.stats.copy()
            return {
                "hook_counts": {event.value: len(entries) for event, entries in self._table.items()},
                "call_counts": {event.value: count for event, count in self._tally.calls.items()},
                "error_counts": {event.value: count for event, count in self._tally.errors.items()},
                "hooks": hooks,
            }

    def trigger(self, event_or_context: HookEvent | HookContext, context: HookContext | None = None) -> Outcomes:
        """Call the hooks of an event here and now, in order of registration: for code without an event loop.

        ``trigger(context)``, or ``trigger(event, context)`` for a copy with that event. Returns ``[(callback, result or
        exception)]`` of the hooks that were called; nothing a hook raises gets out, but for ``KeyboardInterrupt``: here
        it may be the user's own Ctrl-C. Plain callbacks run in the calling thread, so no timeout holds for them; async
        ones run on a loop of their own, within their timeout.
        """
        told = context_of(event_or_context, context)
        self.count(told.event)
        outcomes: Outcomes = []
        for entry in self._table[told.event]:
            if entry.admits(told) and entry.hook.begin(told.event):
                outcomes.append((entry.hook.callback, _call_here(entry, told)))
        return outcomes

    async def trigger_async(
        self, event_or_context: HookEvent | HookContext, context: HookContext | None = None
    ) -> Outcomes:
        """Deliver an event as a run does, side by side, and wait until every hook returned or reached its timeout.

        Arguments and result as for ``trigger``; a timeout shows as ``TimeoutError``.
        """
        from ._delivery import deliver  # late: a registry needs no asyncio

        told = context_of(event_or_context, context)
        self.count(told.event)
        return await deliver(self._table[told.event], told)

    def subscriptions(self, event: HookEvent) -> tuple[Subscription, ...]:
        """Return the snapshot of ``event`` that an execution delivers to."""
        return self._table[event]

    def count(self, event: HookEvent) -> None:
        """Count a trigger of ``event`` that something else delivers."""
        self._tally.triggered(event)

    def _hook_for(self, callback: HookCallback, mode: Mode) -> Hook:
        key = identity(callback)
        known = self._hooks.get(key)
        if known is None:
            known = self._hooks[key] = Hook(callback, resolved_mode(mode, callback), self._tally)
        elif mode not in {"auto", known.mode}:
            raise ValueError(
                f"{known.name} has mode={known.mode!r} already, and a callback has one; "
                f"leave mode={mode!r} out or wrap the callback"
            )
        return known

    def _subscribe(self, hook: Hook, event: HookEvent, terms: Terms, *, critical: bool) -> Subscription:
        for entry in self._table[event]:
            if entry.hook is hook:
                return entry
        entry = Subscription(hook, event, terms, critical=critical and event is HookEvent.PRE_EXECUTE)
        self._table[event] = (*self._table[event], entry)
        return entry

    def _withdraw(self, entries: tuple[Subscription, ...]) -> tuple[Subscription, ...]:
        """Take entries out of the table, where the next execution looks; return those that were in it."""
        with self._lock:
            found = tuple(entry for entry in entries if entry in self._table[entry.event])
            for entry in found:
                self._table[entry.event] = tuple(each for each in self._table[entry.event] if each is not entry)
            used = {id(entry.hook) for kept in self._table.values() for entry in kept}
            for entry in found:
                if id(entry.hook) not in used:
                    self._hooks.pop(identity(entry.hook.callback), None)
        return found

    def _remove(self, entries: tuple[Subscription, ...]) -> int:
        found = self._withdraw(entries)
        for entry in found:
            entry.live = False  # running executions look here: what they still hold for the hook is dropped
        return len(found)


def chain(*callbacks: HookCallback) -> Chain:
    """Make one hook of callbacks that depend on each other: called in order, up to the first that fails.

    They may be of both colours. A step that returns a ``HookContext`` decides what the next one gets.
    """
    if not callbacks:
        raise ValueError("chain() needs at least one callback: chain(first, second)")
    for callback in callbacks:
        check_callback(callback)
    return Chain(tuple(step for callback in callbacks for step in steps_of(callback)))


def _call_here(entry: Subscription, context: HookContext) -> object:
    """Call a hook in this thread; return its result or what it raised."""
    hook, timeout = entry.hook, entry.terms.timeout
    started = time.perf_counter()
    try:
        result = call_steps(hook.steps, context, lambda awaitable: _wait_apart(awaitable, timeout))
    except BaseException as error:  # delivery: whatever a hook raises is its own failure
        seconds = time.perf_counter() - started
        if isinstance(error, TimeoutError) and timeout is not None and seconds >= timeout:
            hook.timed_out(context.event, f"it was cancelled after {seconds:.1f} s", seconds=seconds)
        else:
            hook.failed(context.event, error, seconds)
        if isinstance(error, KeyboardInterrupt):
            raise
        return error
    hook.succeeded(time.perf_counter() - started)
    return result


def _wait_apart(awaitable: Awaitable[object], timeout: float | None) -> object:
    from ._delivery import wait_apart  # late, as in trigger_async

    return wait_apart(awaitable, timeout)


def _unused(name: str, taken: Container[str]) -> str:
    if name not in taken:
        return name
    return next(candidate for number in count(2) if (candidate := f"{name}#{number}") not in taken)
