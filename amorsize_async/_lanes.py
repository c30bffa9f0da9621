"""How one hook gets an execution's events on the loop: in order, one at a time. Who gets what is not decided here."""

from __future__ import annotations

import asyncio
import inspect
import math
import time
import traceback
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from contextvars import Context
from types import FrameType

from ._callables import call_steps
from ._hook import Hook
from ._mailbox import Delivery, Mailbox
from .events import HookCallback, HookContext

__all__ = ("AsyncLane", "InlineLane", "Lane", "place_in")

BREATH = 0.005
"""Seconds an async lane may run on the loop without letting others in: the loop lag that is promised."""
OURS = frozenset({"threading", *(f"amorsize_async.{module}" for module in ("_callables", "_lanes", "_thread_lane"))})
"""Modules between a thread's beginning and the hook: no news in a message about the hook."""
INLINE_LIMIT = 0.010
"""Seconds after which an inline hook is told to move to a thread."""


class Lane(ABC):
    """The way of one execution's events to one hook. All methods are called on the loop."""

    def __init__(self, hook: Hook, loop: asyncio.AbstractEventLoop, context: Context) -> None:
        self.hook = hook
        self.overdue = False
        """Its call outlasted the timeout and cannot be ended: the lane gets no events until it returns."""
        self._loop = loop
        self._context = context.copy()
        self._mailbox = Mailbox()
        self._current: Delivery | None = None
        self._since = 0.0
        self._expired = False
        self._closed = False
        self._patience = math.inf
        self._watchdog: asyncio.TimerHandle | None = None
        self._waiters: list[asyncio.Future[None]] = []

    def __repr__(self) -> str:
        state = "closed" if self._closed else "overdue" if self.overdue else "settled" if self.settled() else "busy"
        return f"<{type(self).__name__} {self.hook.name} {state}, {len(self._mailbox)} waiting>"

    @abstractmethod
    def put(self, delivery: Delivery) -> None:
        """Take a delivery; never wait and never raise."""

    @abstractmethod
    def settled(self) -> bool:
        """Tell whether nothing waits and nothing runs that could still be waited for."""

    @abstractmethod
    def close(self) -> asyncio.Future[None] | None:
        """Take nothing more and end what runs; return what is done when it has ended, ``None`` if it has."""

    @abstractmethod
    def end(self) -> None:
        """Give up what has not ended, and say so."""

    def when_settled(self) -> asyncio.Future[None] | None:
        """Return a future for the moment when the lane is settled, ``None`` if it is."""
        if self.settled():
            return None
        waiter = self._loop.create_future()
        self._waiters.append(waiter)
        self._wake()  # a thread that settled before it could see the waiter will not wake it
        return waiter

    def skip_to_end(self) -> None:
        """Drop what waits, but for the end of the execution and the newest progress."""
        self.hook.count("dropped", self._mailbox.skip_to_end())

    def _wake(self) -> None:
        if self._waiters and self.settled():
            waiters, self._waiters = self._waiters, []
            for waiter in waiters:
                if not waiter.done():
                    waiter.set_result(None)

    def _accepts(self, delivery: Delivery) -> bool:
        if self.overdue or self._closed:
            self.hook.count("dropped")
            return False
        timeout = delivery.subscription.terms.timeout
        if timeout is not None and timeout < self._patience:
            self._patience = timeout
        return True

    def _watch_in(self, seconds: float) -> None:
        """Look at the clock later: one timer for a busy lane, none for each event."""
        if self._watchdog is None and seconds < math.inf and not self._closed:
            self._watchdog = self._loop.call_later(seconds, self._watch)

    def _watch(self) -> None:
        self._watchdog = None
        current, since = self._current, self._since
        if current is None:
            if not self.settled():
                self._watch_in(self._patience)
            return
        timeout = current.subscription.terms.timeout
        remaining = math.inf if timeout is None else since + timeout - time.monotonic()
        if remaining > 0:
            self._watch_in(min(remaining, self._patience))
        else:
            self._expire(current)

    @abstractmethod
    def _expire(self, delivery: Delivery) -> None:
        """Deal with a call past its timeout."""

    def _stop_watching(self) -> None:
        if self._watchdog is not None:
            self._watchdog.cancel()
            self._watchdog = None


class InlineLane(Lane):
    """Calls the hook on the loop, at once."""

    def put(self, delivery: Delivery) -> None:
        if not self._accepts(delivery) or not self.hook.begin(delivery.event):
            return
        started = time.monotonic()
        try:
            delivery.outcome = self._context.run(call_steps, self.hook.steps, delivery.context)
        except BaseException as error:  # noqa: BLE001 - delivery: whatever a hook raises is its own failure, not the run's
            delivery.outcome = error
            self.hook.failed(delivery.event, error, time.monotonic() - started, answered=delivery.subscription.critical)
            return
        seconds = time.monotonic() - started
        self.hook.succeeded(seconds)
        if seconds > INLINE_LIMIT:
            self.hook.held_the_loop(seconds)

    def settled(self) -> bool:
        return True

    def close(self) -> None:
        self._closed = True

    def end(self) -> None:
        """Do nothing: what is called at once has ended."""

    def _expire(self, delivery: Delivery) -> None:
        """Never: the watchdog shares the thread with the call."""


class AsyncLane(Lane):
    """Awaits the hook on the loop, in one task while there are events and none while there are not."""

    def __init__(self, hook: Hook, loop: asyncio.AbstractEventLoop, context: Context) -> None:
        super().__init__(hook, loop, context)
        self._busy = False
        self._task: asyncio.Task[None] | None = None

    def put(self, delivery: Delivery) -> None:
        if not self._accepts(delivery):
            return
        displaced = self._mailbox.put(delivery)
        if displaced is not None:
            self.hook.displaced(displaced.event)
        if not self._busy:
            self._start()
        if self._watchdog is None:
            self._watch_in(self._patience)

    def settled(self) -> bool:
        return self.overdue or not self._busy

    def close(self) -> asyncio.Future[None] | None:
        self._closed = True
        self._stop_watching()
        self.hook.count("dropped", self._mailbox.clear())
        if self._task is not None:
            self._task.cancel()
        return self._task

    def end(self) -> None:
        if self._task is not None:
            self.hook.abandoned("it swallows its cancellation")

    def _start(self) -> None:
        # The flag comes first: an eager task factory runs the hook, which may emit, before create_task returns.
        self._busy = True
        self._task = self._loop.create_task(self._drain(), name=f"hook {self.hook.name}", context=self._context)
        self._task.add_done_callback(self._drained)

    def _drained(self, _task: asyncio.Task[None]) -> None:
        """Begin again for what came after the last look, also if somebody cancelled the task, before it began even."""
        self._busy, self._task = False, None
        if self._mailbox and not self._closed:
            self._start()
        else:
            self._wake()

    async def _drain(self) -> None:
        breath = time.monotonic()
        while (delivery := self._mailbox.take()) is not None:
            if delivery.subscription.live and self.hook.begin(delivery.event):
                await self._deliver(delivery)
                if self._since - breath > BREATH:
                    await asyncio.sleep(0)
                    breath = time.monotonic()

    async def _deliver(self, delivery: Delivery) -> None:
        self._since, self._current = time.monotonic(), delivery
        error: BaseException | None = None
        try:
            delivery.outcome = await _await_steps(self.hook.steps, delivery.context)
        except GeneratorExit:
            raise
        except BaseException as raised:  # noqa: BLE001 - delivery: whatever a hook raises is its own failure, not the run's
            error = raised
        self._current = None
        seconds = time.monotonic() - self._since
        if self._expired:
            self._conclude_expired(delivery, error, seconds)
        elif error is None:
            self.hook.succeeded(seconds)
        else:
            self._conclude_failed(delivery, error, seconds)

    def _conclude_expired(self, delivery: Delivery, error: BaseException | None, seconds: float) -> None:
        self._expired = False
        task = asyncio.current_task()
        if task is not None:
            task.uncancel()
        if self.overdue:
            self.overdue = False
            self.hook.returned_late(seconds)
        else:
            place = "" if error is None else place_in(traceback.walk_tb(error.__traceback__))
            delivery.outcome = TimeoutError(f"hook {self.hook.name} was cancelled after {seconds:.1f} s")
            self.hook.timed_out(delivery.event, f"cancelled after {seconds:.1f} s{place}", seconds=seconds)

    def _conclude_failed(self, delivery: Delivery, error: BaseException, seconds: float) -> None:
        delivery.outcome = error
        task = asyncio.current_task()
        from_outside = isinstance(error, asyncio.CancelledError) and task is not None and task.cancelling() > 0
        if from_outside and self._closed:
            place = place_in(traceback.walk_tb(error.__traceback__))
            what = f"cancelled at the end of the execution after {seconds:.1f} s{place}"
            self.hook.timed_out(delivery.event, what, seconds=seconds)
        else:
            self.hook.failed(delivery.event, error, seconds, answered=delivery.subscription.critical)
        if from_outside:
            raise error

    def _expire(self, delivery: Delivery) -> None:
        if self._task is None:
            return
        if not self._expired:
            self._expired = True
            self._task.cancel()
            self._watch_in(self._patience)
            return
        self.overdue = True
        delivery.outcome = TimeoutError(f"hook {self.hook.name} swallowed its cancellation")
        self.hook.count("dropped", self._mailbox.clear())
        self.hook.timed_out(delivery.event, "it swallowed the cancellation at its timeout and still runs", stuck=True)
        self._wake()


async def _await_steps(steps: Sequence[HookCallback], context: HookContext) -> object:
    """As ``call_steps``, on the loop."""
    result: object = None
    for step in steps:
        result = step(context)
        if inspect.isawaitable(result):
            result = await result
        if isinstance(result, HookContext):
            context = result
    return result


def place_in(stack: Iterable[tuple[FrameType, int]]) -> str:
    """Return where a hook is: its own line, and the innermost one if that is another; "" for frames of ours alone."""
    calls = [
        f"{frame.f_code.co_filename}:{line} ({frame.f_code.co_name})"
        for frame, line in stack
        if frame.f_globals.get("__name__") not in OURS
    ]
    return f" in {', waiting in '.join(dict.fromkeys((calls[0], calls[-1])))}" if calls else ""
