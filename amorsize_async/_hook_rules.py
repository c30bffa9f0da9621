"""When a hook is called again: throttles, and the breaker of one that keeps failing. Decisions live here, no calls."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from .events import HookContext, HookEvent

__all__ = ("QUARANTINE_AFTER", "QUARANTINE_SECONDS", "Breaker", "Throttle", "is_final", "too_soon")

QUARANTINE_AFTER = 5
"""Failures in a row that pause a hook: enough to survive a restart of what it talks to, few enough to spare the log."""
QUARANTINE_SECONDS = 30.0
"""Pause before one event is tried again: the usual scrape and retry interval of what hooks talk to."""
THROTTLE_KEYS = 1024
"""Executions a throttle remembers: more concurrent ones than any process runs, and at most 100 KiB."""
COMPLETE = 100.0
"""Per cent."""
ONCE_PER_EXECUTION = frozenset({HookEvent.PRE_EXECUTE, HookEvent.POST_EXECUTE})
"""Events tried even in quarantine: two calls an execution; a hook that missed the end would show it running."""
MAY_BE_LAST = frozenset({HookEvent.POST_EXECUTE, HookEvent.ON_PROGRESS, HookEvent.ON_CHUNK_COMPLETE})
"""Events of which one can be the last word; many items fail, and workers come and go, when all is complete."""


def is_final(context: HookContext) -> bool:
    """Tell whether ``context`` is the last word of its execution: no throttle may hold it back."""
    if context.event not in MAY_BE_LAST:
        return False
    if context.event is HookEvent.POST_EXECUTE or context.status != "running" or context.percent_complete >= COMPLETE:
        return True
    return context.total_items is not None and context.items_completed >= context.total_items


def too_soon(context: HookContext, last: float | None, interval: float) -> bool:
    """Tell whether ``context`` comes within ``interval`` seconds of the moment ``last`` (``None``: there is none).

    A clock that was set back says nothing about how long ago that was.
    """
    return last is not None and 0 <= context.timestamp - last < interval


class Throttle:
    """Lets one event of a kind and execution pass per interval of its own timestamps.

    The first always passes, and so does what says that all is complete, which only an execution that succeeds and knows
    its total can tell of itself.
    """

    __slots__ = ("_interval", "_last", "_lock")

    def __init__(self, interval: float) -> None:
        self._interval = interval
        self._last: dict[tuple[str | None, HookEvent], float] = {}
        self._lock = threading.Lock()

    def __repr__(self) -> str:
        return f"<Throttle every {self._interval} s, {len(self._last)} remembered>"

    def passes(self, context: HookContext) -> bool:
        """Tell whether ``context`` may pass, and remember it if so."""
        key = (context.execution_id, context.event)
        with self._lock:
            last = self._last.get(key)
            if too_soon(context, last, self._interval) and not is_final(context):
                return False
            self._last.pop(key, None)
            self._last[key] = context.timestamp
            if len(self._last) > THROTTLE_KEYS:
                del self._last[next(iter(self._last))]
            return True


class Breaker:
    """Decides whether a hook that keeps failing is tried again. Not thread-safe: its hook holds the lock."""

    __slots__ = ("_clock", "_probing", "failures", "retry_at", "stuck")

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._probing = False
        self.failures = 0
        self.retry_at: float | None = None
        self.stuck = 0

    def __repr__(self) -> str:
        state = "stuck" if self.stuck else "closed" if self.retry_at is None else "open"
        return f"<Breaker {state}, {self.failures} failures in a row>"

    def refuses(self, event: HookEvent) -> bool:
        """Tell whether an event would be refused now."""
        if self.stuck:
            return True
        if self.retry_at is None or event in ONCE_PER_EXECUTION:
            return False
        return self._probing or self._clock() < self.retry_at

    def admit(self, event: HookEvent) -> bool:
        """Let a call begin, or refuse it. Half open, one event at a time passes."""
        if self.refuses(event):
            return False
        if self.retry_at is not None and event not in ONCE_PER_EXECUTION:
            self._probing = True
        return True

    def succeed(self) -> bool:
        """Record a success; tell whether it ended a quarantine."""
        recovered = self.retry_at is not None
        self.failures, self.retry_at, self._probing = 0, None, False
        return recovered

    def fail(self) -> int:
        """Record a failure; return how many there were in a row."""
        self.failures += 1
        self._probing = False
        if self.failures >= QUARANTINE_AFTER:
            self.retry_at = self._clock() + QUARANTINE_SECONDS
        return self.failures
