"""One registered hook: its callback, conditions and counters, and what is logged of it. Nothing here waits or calls."""

from __future__ import annotations

import logging
import sys
import threading
import traceback
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Literal, TypeAlias, TypedDict

from ._callables import name_of, steps_of
from ._hook_rules import QUARANTINE_AFTER, QUARANTINE_SECONDS, Breaker, Throttle
from ._texts import message_of
from .events import HookCallback, HookContext, HookEvent, HookPredicate

__all__ = ("Hook", "HookStats", "Mode", "ResolvedMode", "Subscription", "Tally", "Terms", "logger")

Mode: TypeAlias = Literal["auto", "async", "thread", "inline"]
ResolvedMode: TypeAlias = Literal["async", "thread", "inline"]

logger = logging.getLogger("amorsize_async.hooks")


class HookStats(TypedDict):
    """What one hook did so far."""

    calls: int
    """Times it was called."""
    errors: int
    """Calls that raised; a condition (``when``) that raised counts too."""
    timeouts: int
    """Calls that outlasted their timeout."""
    late: int
    """Calls that returned after all, though they had timed out."""
    dropped: int
    """Events it never got: its queue was full, or it was stuck or in quarantine."""
    coalesced: int
    """ON_PROGRESS events that a newer one replaced while it was busy."""
    filtered: int
    """Events that ``when``, ``every`` or ``once`` kept away."""
    seconds: float
    """Time spent in its calls that ended."""
    max_seconds: float
    """The longest of them."""
    quarantined: bool
    """Whether it is paused after failures in a row."""


def _new_stats() -> HookStats:
    return {
        "calls": 0, "errors": 0, "timeouts": 0, "late": 0, "dropped": 0, "coalesced": 0, "filtered": 0,
        "seconds": 0.0, "max_seconds": 0.0, "quarantined": False,
    }  # fmt: skip


@dataclass(slots=True, eq=False)
class Tally:
    """The counters of one manager, and the lock that guards them and those of its hooks."""

    verbose: bool = False
    lock: threading.Lock = field(default_factory=threading.Lock)
    calls: dict[HookEvent, int] = field(default_factory=lambda: dict.fromkeys(HookEvent, 0))
    """Triggers of each event."""
    errors: dict[HookEvent, int] = field(default_factory=dict)
    """Failures and timeouts of hooks at each event that had any."""

    def triggered(self, event: HookEvent) -> None:
        """Count one trigger of ``event``."""
        with self.lock:
            self.calls[event] += 1


class Hook:
    """A callback and all that is known of it. One callback of a manager is one hook, whatever events it listens to."""

    __slots__ = ("_said", "_tally", "breaker", "callback", "mode", "name", "stats", "steps")

    def __init__(
        self, callback: HookCallback, mode: ResolvedMode, tally: Tally, breaker: Breaker | None = None
    ) -> None:
        self.callback = callback
        self.steps = steps_of(callback)
        self.mode = mode
        self.name = name_of(callback)
        self.stats = _new_stats()
        self.breaker = Breaker() if breaker is None else breaker
        self._tally = tally
        self._said: set[str] = set()

    def __repr__(self) -> str:
        return f"<Hook {self.name} mode={self.mode} calls={self.stats['calls']} errors={self.stats['errors']}>"

    def refuses(self, event: HookEvent) -> bool:
        """Tell whether the hook is stuck or in quarantine; the refused event counts as dropped."""
        breaker = self.breaker
        if not breaker.failures and not breaker.stuck:
            return False
        with self._tally.lock:
            refused = breaker.refuses(event)
            self.stats["dropped"] += refused
        return refused

    def begin(self, event: HookEvent) -> bool:
        """Count the start of a call, or refuse it."""
        with self._tally.lock:
            admitted = self.breaker.admit(event)
            self.stats["calls" if admitted else "dropped"] += 1
        return admitted

    def succeeded(self, seconds: float) -> None:
        """Record a call that returned in time."""
        with self._tally.lock:
            self._spent(seconds)
            recovered = self.breaker.succeed()
            self.stats["quarantined"] = False
        if recovered:
            _log(logging.INFO, "hook %s works again", self.name)

    def failed(self, event: HookEvent, error: BaseException, seconds: float = 0.0, *, answered: bool = False) -> None:
        """Record a call (or a condition) that raised ``error``; log it if it is the first of a streak.

        ``answered``: the caller of the execution gets it, from a critical hook: counted, but no fault of the hook's.
        """
        with self._tally.lock:
            self.stats["errors"] += 1
            self._spent(seconds)
            streak = self._count_failure(event, answered=answered)
        self._say(event, streak, f"{type(error).__name__}: {message_of(error)}", error)

    def timed_out(self, event: HookEvent, what: str, *, seconds: float = 0.0, stuck: bool = False) -> None:
        """Record a call past its timeout. ``stuck``: it still runs, and the hook is skipped until ``returned_late``."""
        with self._tally.lock:
            self.stats["timeouts"] += 1
            self.breaker.stuck += stuck
            self._spent(seconds)
            streak = self._count_failure(event)
        self._say(event, streak, what, None)

    def returned_late(self, seconds: float) -> None:
        """Record that a stuck call came back."""
        with self._tally.lock:
            self.stats["late"] += 1
            self.breaker.stuck -= 1
            self._spent(seconds)

    def abandoned(self, what: str) -> None:
        """Log that a call outlives its execution."""
        _log(logging.WARNING, "hook %s outlives its execution: %s", self.name, what)

    def displaced(self, event: HookEvent) -> None:
        """Record an event that gave way to a newer one; say it once when something was lost."""
        if event is HookEvent.ON_PROGRESS:
            self.count("coalesced")
            return
        self.count("dropped")
        self._say_once("hook %s is too slow and misses events (in get_stats(): dropped)", self.name)

    def held_the_loop(self, seconds: float) -> None:
        """Say once that an inline hook is no one-liner."""
        self._say_once("hook %s held the event loop for %.3f s; register it with mode='thread'", self.name, seconds)

    def count(self, what: Literal["dropped", "coalesced", "filtered"], number: int = 1) -> None:
        """Add to one counter."""
        with self._tally.lock:
            self.stats[what] += number

    def _say_once(self, message: str, *values: object) -> None:
        if message not in self._said:
            self._said.add(message)
            _log(logging.WARNING, message, *values)

    def _spent(self, seconds: float) -> None:
        self.stats["seconds"] += seconds
        self.stats["max_seconds"] = max(seconds, self.stats["max_seconds"])

    def _count_failure(self, event: HookEvent, *, answered: bool = False) -> int:
        self._tally.errors[event] = self._tally.errors.get(event, 0) + 1
        if answered:
            return 0
        streak = self.breaker.fail()
        self.stats["quarantined"] = self.breaker.retry_at is not None
        return streak

    def _say(self, event: HookEvent, streak: int, what: str, error: BaseException | None) -> None:
        """One line per streak and one at quarantine: a broken hook must not drown the log."""
        if streak == 1:
            _log(logging.WARNING, "hook %s failed at %s: %s", self.name, event.value, what, error=error)
        elif streak == QUARANTINE_AFTER:
            message = "hook %s failed %d times in a row and is paused for %.0f s: %s"
            _log(logging.ERROR, message, self.name, streak, QUARANTINE_SECONDS, what)
        if self._tally.verbose:
            _print(f"WARNING: Hook error in {event.value}: {what}", error)


def _log(level: int, message: str, *values: object, error: BaseException | None = None) -> None:
    """Log something. What a handler or a filter of the user's raises is no reason to end a run, or another hook."""
    with suppress(Exception):
        logger.log(level, message, *values, exc_info=error, stacklevel=3)


def _print(message: str, error: BaseException | None) -> None:
    with suppress(Exception):  # standard error may be closed
        print(message, file=sys.stderr)  # noqa: T201 - what verbose asks for
        if error is not None:
            traceback.print_exception(error)


@dataclass(slots=True, eq=False)
class Terms:
    """What one registration asks for; shared by its subscriptions, one for each event."""

    timeout: float | None
    """Seconds one call may take; ``None``: no limit."""
    when: HookPredicate | None
    every: Throttle | None
    once: bool
    retire: Callable[[], object] = lambda: None
    """Takes a spent ``once`` registration out of its manager."""
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _spent: bool = False

    def claim(self) -> bool:
        """Take the only turn of a ``once`` registration; true for one caller."""
        with self._lock:
            if self._spent:
                return False
            self._spent = True
        self.retire()
        return True


class Subscription:
    """One hook at one event."""

    __slots__ = ("_plain", "critical", "event", "hook", "live", "terms")

    def __init__(self, hook: Hook, event: HookEvent, terms: Terms, *, critical: bool) -> None:
        self.hook = hook
        self.event = event
        self.terms = terms
        self.critical = critical
        self.live = True
        self._plain = terms.when is None and terms.every is None and not terms.once

    def __repr__(self) -> str:
        return f"<Subscription {self.hook.name} at {self.event.value}{'' if self.live else ', removed'}>"

    def admits(self, context: HookContext) -> bool:
        """Tell whether the hook is to get ``context``: still registered, not refused, its conditions met."""
        if not self.live or self.hook.refuses(self.event):
            return False
        return self._plain or self._meets_terms(context)

    def _meets_terms(self, context: HookContext) -> bool:
        terms = self.terms
        try:
            met = terms.when is None or bool(terms.when(context))
        except BaseException as error:  # noqa: BLE001 - delivery: a condition is the hook's code, and so its failure
            self.hook.failed(self.event, error)
            return False
        met = met and (terms.every is None or terms.every.passes(context)) and (not terms.once or terms.claim())
        if not met:
            self.hook.count("filtered")
        return met
