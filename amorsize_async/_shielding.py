"""Waits that a cancellation does not pass on: for what runs anyway, and for a clean-up that is to end."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Coroutine
from contextlib import suppress
from functools import cache
from typing import Any, TypeVar

import anyio

__all__ = ("ended", "finish", "import_anyio")

T = TypeVar("T")


async def ended(future: asyncio.Future[Any]) -> None:
    """Wait until `future` is done, whatever comes of it; it goes on if the caller is cancelled.

    `asyncio.wait` for one: each chunk comes by here, and that makes a set, a list and three calls more of it.
    """
    if future.done():
        return
    waiter: asyncio.Future[None] = future.get_loop().create_future()

    def wake(_future: object) -> None:
        if not waiter.done():
            waiter.set_result(None)

    future.add_done_callback(wake)
    try:
        await waiter
    finally:
        future.remove_done_callback(wake)


@cache
def import_anyio() -> None:
    """Have the part of anyio imported that `finish` needs: blocking, for a thread, since it takes 25 ms the first time.

    anyio imports it when it is first used, which would hold the loop at the end of the first call. Not by the
    application's own kind of loop, which may be for its main thread only; and an error is nobody's who waits for this.
    """
    with suppress(Exception):  # of anyio or of its plugins: `finish` will meet it, and raise it
        anyio.run(anyio.sleep, 0, backend_options={"loop_factory": asyncio.SelectorEventLoop})


async def finish(cleanup: Coroutine[Any, Any, T]) -> T:
    """Run `cleanup` to its end, in a task of its own; a cancellation meanwhile is raised when it has ended.

    The scope is for anyio, which would cancel again at every turn of the loop; the loop below is for asyncio, whose
    cancellation comes once and would otherwise break off the waiting. `cleanup` must bound itself.
    """

    async def begun() -> T:
        return await cleanup

    task = asyncio.get_running_loop().create_task(begun(), name="amorsize-finish")
    cancelled: asyncio.CancelledError | None = None
    with anyio.CancelScope(shield=True):
        while not task.done():
            try:
                await ended(task)
            except asyncio.CancelledError as exc:
                cancelled = exc
            if task.done() and task.cancelled() and inspect.getcoroutinestate(cleanup) == inspect.CORO_CREATED:
                # Somebody cancelled the task before it began: nothing is cleared away yet.
                task = asyncio.get_running_loop().create_task(begun(), name="amorsize-finish")
    if cancelled is not None:
        if not task.cancelled():
            cancelled.__context__ = task.exception()  # seen: nobody else asks for it
        raise cancelled
    return task.result()
