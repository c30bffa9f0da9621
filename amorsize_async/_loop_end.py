"""Pools end with their event loop, and a loop has one owner of a pool that its calls share; nothing runs here."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncGenerator, Callable
from contextlib import suppress
from typing import Any, Protocol, TypeVar, cast
from weakref import ref

from .backends import LocalPool

__all__ = ("Owner", "close", "close_with_the_loop", "forgotten", "shared_on")


class Owner(Protocol):
    """Whoever opens a pool on first use."""

    def owns(self, pool: LocalPool) -> bool:
        """Whether this is its pool."""


OwnerT = TypeVar("OwnerT", bound=Owner)

_held: dict[LocalPool, tuple[asyncio.AbstractEventLoop, AsyncGenerator[None, None]]] = {}
# Every pool that is open. Held, so that an executor that is merely forgotten is closed in order by its loop: left to
# the garbage collector, its threads may end while the interpreter exits, and Python 3.11 and 3.12 print errors then.

_shared: dict[asyncio.AbstractEventLoop, Owner] = {}


def shared_on(loop: asyncio.AbstractEventLoop, make: Callable[[], OwnerT]) -> OwnerT:
    """The owner that all calls on `loop` share; `make` makes it on first use. It goes when its pool is closed."""
    if loop not in _shared:
        # In place before the first wait, so that calls that begin meanwhile find it.
        _shared[loop] = make()
    return cast(OwnerT, _shared[loop])


async def close_with_the_loop(loop: asyncio.AbstractEventLoop, pool: LocalPool) -> None:
    """Have `pool` closed when `loop` ends, if it is still open then.

    A loop has no hook for its end but `shutdown_asyncgens()`, which `asyncio.run` and every server call: an async
    generator that is left half-way through is closed there.
    """

    async def until_the_end() -> AsyncGenerator[None, None]:
        try:
            yield
        finally:
            _forget(pool)
            await pool.aclose()

    _bury_closed_loops()
    end = until_the_end()
    _held[pool] = (loop, end)
    await anext(end)


async def close(pool: LocalPool, drain: float = 0.0) -> None:
    """Close `pool` before its loop ends; its calls get `drain` seconds to end by themselves."""
    await pool.aclose(drain)
    end = _forget(pool)
    if end is not None:
        await end.aclose()


def forgotten(known: ref[LocalPool]) -> None:
    """Close the pool of an owner that nobody refers to any more; its loop may be running, in any thread.

    A weak reference, since a pool may refer to its owner: by a call that its loop was closed under.
    """
    pool = known()
    if pool is None or pool not in _held:
        return
    loop, _ = _held[pool]
    with suppress(RuntimeError):  # the loop is closed: see _bury_closed_loops
        loop.call_soon_threadsafe(lambda: loop.create_task(close(pool), name="amorsize-close"))


def _forget(pool: LocalPool) -> AsyncGenerator[None, None] | None:
    loop, end = _held.pop(pool, (None, None))
    if loop in _shared and _shared[loop].owns(pool):
        _shared.pop(loop, None)
    return end


def _bury_closed_loops() -> None:
    """Kill the workers of loops that were closed without `shutdown_asyncgens()`: nobody can use them any more."""
    # Lists, and no surprise at what is gone: other threads, with loops of their own, come by here at the same time.
    for pool, (loop, _) in list(_held.items()):
        if loop.is_closed() and _held.pop(pool, None) is not None:
            _shared.pop(loop, None)
            for place in pool.places:
                place.kill()
    for loop in list(_shared):
        if loop.is_closed():  # one that could not even be opened
            _shared.pop(loop, None)


def _forked() -> None:
    """In a fork of this application: what is open is the parent's. Kept, since closing it would reach over there."""
    _parents.append((dict(_held), dict(_shared)))
    _held.clear()
    _shared.clear()


_parents: list[Any] = []
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forked)
