"""Coroutines for code without an event loop: on a loop of their own, in another thread, or on one that runs there."""

from __future__ import annotations

import asyncio
import concurrent.futures
import os
import signal
import threading
from collections.abc import Callable, Coroutine
from contextlib import suppress
from contextvars import copy_context
from typing import Any, TypeVar

from .errors import ExecutorClosedError

__all__ = ("anywhere", "on_running")

LOOK_AGAIN = 1.0
# Seconds between two looks at a loop that runs in another thread: nothing tells when it is closed under a call.

R = TypeVar("R")
Called = Callable[[], Coroutine[Any, Any, R]]


def anywhere(called: Called[R]) -> R:
    """Run in a new loop: here, or where this thread runs one already, in another thread while this one waits."""
    return _in_new_loop(called) if _running_loop() is None else _in_another_thread(called)


def on_running(loop: asyncio.AbstractEventLoop | None, called: Called[R]) -> R:
    """Run on the loop of an executor, which another thread must be running; raises ExecutorClosedError if none does."""
    if loop is None or not loop.is_running():
        raise ExecutorClosedError("the executor's event loop is not running; start it there, or leave out executor=")
    if loop is _running_loop():
        raise ExecutorClosedError(
            "execute() would block the loop that its executor runs on; await execute_async() instead"
        )
    outcome = asyncio.run_coroutine_threadsafe(called(), loop)
    try:
        while not concurrent.futures.wait((outcome,), LOOK_AGAIN).done:
            if loop.is_closed():
                raise ExecutorClosedError("the executor's event loop was closed while this call ran")
        return outcome.result()
    finally:
        if not loop.is_closed():  # a signal handler may have raised anything here
            outcome.cancel()


def _running_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


def _in_new_loop(called: Called[R]) -> R:
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        return runner.run(called())


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """uvloop's; None for asyncio's own where there is no uvloop, or it would do harm.

    libuv aborts the process when its own descriptors fall on the numbers of standard streams that are closed. And an
    exception that a signal handler raises, a time limit for example, would only be logged by uvloop.
    """
    if _signals_may_raise():
        return None
    try:
        import uvloop

        for stream in range(3):
            os.fstat(stream)
    except (ImportError, OSError):
        return None
    return uvloop.new_event_loop


def _signals_may_raise() -> bool:
    """Whether this thread is the one in which signals are handled, by functions of the program's own."""
    if threading.current_thread() is not threading.main_thread():
        return False
    handlers = map(signal.getsignal, signal.valid_signals())
    return any(callable(handler) and handler is not signal.default_int_handler for handler in handlers)


def _in_another_thread(called: Called[R]) -> R:
    """Run in a new loop in a new thread, and wait; Ctrl-C here, or another signal's exception, ends the call there."""
    outcome: concurrent.futures.Future[R] = concurrent.futures.Future()
    stop = _Stoppable(called)
    context = copy_context()

    def work() -> None:
        try:
            outcome.set_result(context.run(_in_new_loop, stop.run))
        except BaseException as exc:  # noqa: BLE001 - it goes to the thread that waits, which raises it
            outcome.set_exception(exc)

    thread = threading.Thread(target=work, name="amorsize-execute", daemon=True)
    try:
        thread.start()
        return outcome.result()
    finally:
        if not outcome.done():  # a signal handler raised something
            stop.cancel()
        if thread.is_alive():
            thread.join()


class _Stoppable:
    """A coroutine that another thread can cancel, also before it begins."""

    def __init__(self, called: Called[Any]) -> None:
        self._called = called
        self._task: asyncio.Task[Any] | None = None
        self._cancelled = False

    async def run(self) -> Any:
        self._task = asyncio.current_task()
        if self._cancelled:
            raise asyncio.CancelledError
        return await self._called()

    def cancel(self) -> None:
        self._cancelled = True
        if self._task is not None:
            with suppress(RuntimeError):  # it is over, and its loop closed
                self._task.get_loop().call_soon_threadsafe(self._task.cancel)
