"""How one plain hook gets an execution's events in a daemon thread of its own. Who gets what is not decided here."""

from __future__ import annotations

import asyncio
import concurrent.futures
import inspect
import sys
import threading
import time
import traceback
from collections.abc import Awaitable, Callable
from contextvars import Context

from ._callables import call_steps
from ._hook import Hook
from ._lanes import Lane, place_in
from ._mailbox import Delivery

__all__ = ("ThreadLane",)

Outcome = tuple[object, BaseException | None]

LOGGING_SECONDS = 0.02
# How long the loop waits for a thread that has still to log its last failure, to handlers of the user's.


class ThreadLane(Lane):
    """Calls the hook in a daemon thread of its own, which begins with the first event and ends with the lane."""

    def __init__(self, hook: Hook, loop: asyncio.AbstractEventLoop, context: Context) -> None:
        super().__init__(hook, loop, context)
        self._changed = threading.Condition(threading.Lock())
        self._busy = False
        self._thread: threading.Thread | None = None
        self._ended: asyncio.Future[None] | None = None
        self._awaited: asyncio.Task[None] | None = None

    def put(self, delivery: Delivery) -> None:
        if not self._accepts(delivery):
            return
        with self._changed:
            displaced = self._mailbox.put(delivery)
            if not self._busy:
                self._changed.notify()
        if displaced is not None:
            self.hook.displaced(displaced.event)
        if self._thread is None:
            self._start(delivery)
        if self._watchdog is None:
            self._watch_in(self._patience)

    def settled(self) -> bool:
        with self._changed:
            return self.overdue or not (self._busy or self._mailbox)

    def close(self) -> asyncio.Future[None] | None:
        self._stop_watching()
        with self._changed:
            self._closed = True
            lost = self._mailbox.clear()
            self._changed.notify()
        self.hook.count("dropped", lost)
        if self._awaited is not None:
            self._awaited.cancel()
        return None if self.overdue else self._ended

    def end(self) -> None:
        thread = self._thread
        if thread is None:
            return
        if (current := self._current) is None:
            # It is out of the hook and needs some microseconds to be gone; longer, if it logs to somebody slow.
            thread.join(LOGGING_SECONDS if self._busy else 1.0)
        elif self.overdue:
            self.hook.abandoned(f"its thread still runs{self._place()}")
        else:
            self._give_up(current, f"still running at the end of the execution{self._place()}; its thread is abandoned")

    def skip_to_end(self) -> None:
        with self._changed:
            super().skip_to_end()

    def _start(self, delivery: Delivery) -> None:
        thread = threading.Thread(
            target=self._context.run, args=(self._work,), name=f"hook {self.hook.name}", daemon=True
        )
        try:
            thread.start()
        except RuntimeError as error:
            # No more threads in this process, or it is ending: the hook's loss, not the run's.
            self._mailbox.clear()
            delivery.outcome = error
            self.hook.failed(delivery.event, error)
        else:
            self._thread, self._ended = thread, self._loop.create_future()

    def _expire(self, delivery: Delivery) -> None:
        if self._awaited is not None and not self._expired:
            self._expired = True
            self._awaited.cancel()
            self._watch_in(self._patience)
            return
        timeout = delivery.subscription.terms.timeout
        self._give_up(delivery, f"still running after {timeout:.1f} s{self._place()}")
        self._wake()

    def _give_up(self, delivery: Delivery, what: str) -> None:
        """Feed the lane no longer: its call cannot be ended. The thread finds out when the call returns."""
        with self._changed:
            if self._current is not delivery:
                return
            self.overdue = True
            lost = self._mailbox.clear()
        delivery.outcome = TimeoutError(f"hook {self.hook.name} is {what}")
        self.hook.count("dropped", lost)
        self.hook.timed_out(delivery.event, what, stuck=True)

    def _place(self) -> str:
        thread = self._thread
        if thread is None or thread.ident is None:
            return ""
        frame = sys._current_frames().get(thread.ident)  # noqa: SLF001 - nothing else shows another thread's line
        return "" if frame is None else place_in(reversed(list(traceback.walk_stack(frame))))

    # What follows runs in the lane's thread.

    def _work(self) -> None:
        try:
            while (delivery := self._next()) is not None:
                if delivery.subscription.live and self.hook.begin(delivery.event):
                    self._deliver(delivery)
        finally:
            self._tell_loop(self._finish)

    def _next(self) -> Delivery | None:
        with self._changed:
            self._busy, self._current = False, None
            while not self._mailbox:
                if self._closed:
                    return None
                if self._waiters:
                    self._tell_loop(self._wake)
                self._changed.wait()
            # Here and not at the call: a lane that closes in between must not take the thread for free and join it.
            self._busy, self._since, self._current = True, time.monotonic(), self._mailbox.take()
            return self._current

    def _deliver(self, delivery: Delivery) -> None:
        outcome: object = None
        error: BaseException | None = None
        try:
            outcome = call_steps(self.hook.steps, delivery.context, self._wait_on_loop)
        except BaseException as raised:  # noqa: BLE001 - delivery: whatever a hook raises is its own failure, not the run's
            error = raised
        with self._changed:
            self._current = None
            seconds = time.monotonic() - self._since
            overdue, self.overdue = self.overdue, False
            cut = self._closed and isinstance(error, asyncio.CancelledError)
            expired, self._expired = self._expired or cut, False
        if overdue:
            self.hook.returned_late(seconds)
        elif expired:
            delivery.outcome = TimeoutError(f"hook {self.hook.name} was cancelled after {seconds:.1f} s")
            self.hook.timed_out(delivery.event, f"cancelled after {seconds:.1f} s", seconds=seconds)
        elif error is None:
            delivery.outcome = outcome
            self.hook.succeeded(seconds)
        else:
            delivery.outcome = error
            self.hook.failed(delivery.event, error, seconds, answered=delivery.subscription.critical)

    def _wait_on_loop(self, awaitable: Awaitable[object]) -> object:
        """Wait in the thread for what a plain callback returned: it runs on the loop, where it can be cancelled."""
        reply: concurrent.futures.Future[Outcome] = concurrent.futures.Future()
        if not self._tell_loop(lambda: self._await(awaitable, reply)):
            _discard(awaitable)
            message = "the event loop ended before the hook did"
            raise RuntimeError(message)
        result, error = reply.result()
        if error is not None:
            raise error
        return result

    def _tell_loop(self, callback: Callable[[], object]) -> bool:
        """Have ``callback`` called on the loop; tell whether the loop still takes calls."""
        try:
            self._loop.call_soon_threadsafe(callback)
        except RuntimeError:
            return False
        return True

    # What follows runs on the loop again, sent by the thread.

    def _await(self, awaitable: Awaitable[object], reply: concurrent.futures.Future[Outcome]) -> None:
        if self._closed or self.overdue:
            _discard(awaitable)
            reply.set_result((None, asyncio.CancelledError()))
            return
        self._awaited = self._loop.create_task(_outcome_of(awaitable, reply), name=f"hook {self.hook.name}")
        self._awaited.add_done_callback(lambda _: self._replied(reply))

    def _replied(self, reply: concurrent.futures.Future[Outcome]) -> None:
        self._awaited = None
        if not reply.done():  # cancelled before it began
            reply.set_result((None, asyncio.CancelledError()))

    def _finish(self) -> None:
        if self._ended is not None and not self._ended.done():
            self._ended.set_result(None)


async def _outcome_of(awaitable: Awaitable[object], reply: concurrent.futures.Future[Outcome]) -> None:
    outcome: Outcome
    try:
        outcome = await awaitable, None
    except GeneratorExit:
        raise
    except BaseException as error:  # noqa: BLE001 - the other half of the delivery: it is raised again in the hook's thread
        outcome = None, error
    reply.set_result(outcome)


def _discard(awaitable: Awaitable[object]) -> None:
    if inspect.iscoroutine(awaitable):
        awaitable.close()
