"""Hooks ready made: each turns a context into the few numbers its callback wants. Registers and delivers nothing."""

from __future__ import annotations

import threading
from collections.abc import Awaitable, Callable
from typing import cast

from ._callables import name_of
from ._coroutines import is_async_callable
from ._hook_rules import is_final, too_soon
from .events import HookCallback, HookContext, HookEvent

__all__ = ("create_error_hook", "create_progress_hook", "create_throughput_hook", "create_timing_hook")

FINISHED = float("inf")
"""In place of the last report's time: nothing of this execution is reported any more."""
EXECUTIONS_REMEMBERED = 1024
"""More than run at once in any process; about 100 KiB at most."""


def create_progress_hook(callback: Callable[[float, int, int], object], min_interval: float = 1.0) -> HookCallback:
    """Return a hook that calls ``callback(percent, completed, total)``, at most once in ``min_interval`` seconds.

    The interval holds for each execution by itself. The first and the final update always pass, the final one
    once, also where the hook listens to several events. ``total`` is 0 if unknown. The callback may be ``async def``.
    Raises ``TypeError`` for what cannot be called or is no number, ``ValueError`` for an interval below 0.
    """
    throttle = _Updates(callback, min_interval)

    def report(context: HookContext) -> object:
        if throttle.passes(context):
            return callback(context.percent_complete, context.items_completed, context.total_items or 0)
        return None

    return _in_colour_of(callback, report, "progress")


def create_timing_hook(callback: Callable[[str, float], object]) -> HookCallback:
    """Return a hook that calls ``callback(event_name, elapsed_seconds)``, of either colour, at each event."""
    _check_callback(callback)
    return _in_colour_of(callback, lambda context: callback(context.event.value, context.elapsed_time), "timing")


def create_throughput_hook(callback: Callable[[float], object], min_interval: float = 5.0) -> HookCallback:
    """Return a hook that calls ``callback(items_per_second)``; throttled as ``create_progress_hook``."""
    throttle = _Updates(callback, min_interval)

    def report(context: HookContext) -> object:
        return callback(context.throughput_items_per_sec) if throttle.passes(context) else None

    return _in_colour_of(callback, report, "throughput")


def create_error_hook(callback: Callable[[BaseException, str], object]) -> HookCallback:
    """Return a hook that calls ``callback(error, traceback_text)``, of either colour, where the event has an error."""
    _check_callback(callback)

    def report(context: HookContext) -> object:
        return None if context.error is None else callback(context.error, context.error_traceback or "")

    return _in_colour_of(callback, report, "error")


class _Updates:
    """Throttles by the contexts' own timestamps, for each execution by itself; the final update passes once."""

    def __init__(self, callback: object, min_interval: float) -> None:
        _check_callback(callback)
        if not isinstance(min_interval, int | float):
            raise TypeError(f"min_interval must be a number of seconds, not {min_interval!r}")
        if not min_interval >= 0:
            raise ValueError(f"min_interval must be 0 seconds or more, not {min_interval!r}")
        self._min_interval = min_interval
        self._last: dict[str | None, float] = {}
        self._lock = threading.Lock()

    def passes(self, context: HookContext) -> bool:
        """Tell whether to report ``context``, and remember it if so."""
        execution = context.execution_id
        with self._lock:
            last = None if context.event is HookEvent.PRE_EXECUTE else self._last.get(execution)
            final = is_final(context)
            if last == FINISHED or (not final and too_soon(context, last, self._min_interval)):
                return False
            self._remember(execution, FINISHED if final else context.timestamp)
            return True

    def _remember(self, execution: str | None, moment: float) -> None:
        """Keep the newest executions. Without an id nothing tells them apart: after a final update the next begins."""
        self._last.pop(execution, None)
        if execution is not None or moment != FINISHED:
            self._last[execution] = moment
        if len(self._last) > EXECUTIONS_REMEMBERED:
            del self._last[next(iter(self._last))]


def _check_callback(callback: object) -> None:
    if not callable(callback):
        raise TypeError(
            f"the callback must be callable, but {callback!r} is a {type(callback).__name__}; pass the function itself"
        )


def _in_colour_of(callback: object, report: Callable[[HookContext], object], kind: str) -> HookCallback:
    """Return ``report``, as an async hook if ``callback`` is async, so that it is awaited on the loop."""
    hook: HookCallback = report
    if is_async_callable(callback):

        async def report_async(context: HookContext) -> object:
            reported = report(context)
            return None if reported is None else await cast("Awaitable[object]", reported)

        hook = report_async
    hook.__qualname__ = f"create_{kind}_hook({name_of(callback)})"
    return hook
