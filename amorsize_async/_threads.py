"""Runs a blocking call beside the loop, in a daemon thread of its own.

Not in asyncio's or anyio's pool: their threads are counted, so that an application which blocks them all (sync
endpoints that wait for us) would wait for itself; and they are no daemons, so that a stuck call would hold the exit.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import TypeVar

__all__ = ("in_thread",)

R = TypeVar("R")


async def in_thread(call: Callable[[], R], *, only_there: bool = False) -> R:
    """Run `call` in a new thread and wait for it; a cancelled caller leaves it to end by itself, unheard.

    Where the system has no thread left, it runs here, while the loop waits: a loop that is late is better than memory
    that is kept, a worker that lives on, or a result that is lost. only_there: not that, RuntimeError is raised: the
    call may take for ever.
    """
    loop = asyncio.get_running_loop()
    outcome: asyncio.Future[R] = loop.create_future()
    thread = threading.Thread(target=_run, args=(call, loop, outcome), name="amorsize-helper", daemon=True)
    try:
        thread.start()
    except RuntimeError:
        if only_there:
            raise
        _run(call, loop, outcome)
        return await outcome
    try:
        return await outcome
    finally:
        if outcome.done() and not outcome.cancelled():
            thread.join()  # it has nothing left to do


def _run(call: Callable[[], R], loop: asyncio.AbstractEventLoop, outcome: asyncio.Future[R]) -> None:
    """The thread's life: run `call`, and tell the loop what came of it."""

    def tell(report: Callable[..., None], what: object) -> None:
        with suppress(RuntimeError):  # the loop is closed: nobody waits any more
            loop.call_soon_threadsafe(lambda: None if outcome.done() else report(what))

    try:
        result = call()
    except (StopIteration, asyncio.CancelledError) as exc:
        # No future takes the one, and who waits would wait for ever; the other would look like a cancellation.
        stopped = RuntimeError(f"what ran beside the loop raised {type(exc).__name__}")
        stopped.__cause__ = exc
        tell(outcome.set_exception, stopped)
    except BaseException as exc:  # noqa: BLE001 - it goes to whoever waits
        tell(outcome.set_exception, exc)
    else:
        tell(outcome.set_result, result)
