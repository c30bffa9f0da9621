"""Lets a clean-up end although its caller is cancelled, by asyncio or by an anyio scope."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

import anyio

__all__ = ("finish",)

T = TypeVar("T")


async def finish(cleanup: Coroutine[Any, Any, T]) -> T:
    """Run `cleanup` to its end, in a task of its own; a cancellation meanwhile is raised when it has ended.

    The scope is for anyio, which would cancel again at every turn of the loop; the loop below is for asyncio, whose
    cancellation comes once and would otherwise break off the waiting. `cleanup` must bound itself.
    """
    task = asyncio.get_running_loop().create_task(cleanup, name="amorsize-finish")
    cancelled: asyncio.CancelledError | None = None
    with anyio.CancelScope(shield=True):
        while not task.done():
            try:
                await asyncio.wait((task,))
            except asyncio.CancelledError as exc:
                cancelled = exc
    if cancelled is not None:
        raise cancelled
    return task.result()
