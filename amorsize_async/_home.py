"""The loop and the process that an executor belongs to from its first use on, with its pool there; no call is made."""

from __future__ import annotations

import asyncio
import os
from weakref import finalize, ref

from ._loop_end import close_with_the_loop, forgotten
from .backends import LocalPool
from .errors import ExecutorClosedError

__all__ = ("Home",)


class Home:
    """Where an executor is at home. pool, loop: None before `settle`."""

    def __init__(self) -> None:
        self.pool: LocalPool | None = None
        self.loop: asyncio.AbstractEventLoop | None = None
        self._process = 0

    def __repr__(self) -> str:
        return f"<Home {self.pool!r} process={self._process}>"

    async def settle(self, owner: object, pool: LocalPool) -> None:
        """Be at home on the running loop; `pool` is closed when that ends, or when nobody refers to `owner`."""
        loop = asyncio.get_running_loop()
        self.pool, self.loop, self._process = pool, loop, os.getpid()
        await close_with_the_loop(loop, pool)
        finalize(owner, forgotten, ref(pool)).atexit = False

    def pool_here(self) -> LocalPool:
        """The pool; raises ExecutorClosedError before `settle`, on any other loop, and in a fork of the application."""
        if self.pool is None:
            raise ExecutorClosedError("the executor was not started; use `async with executor:` or await its start()")
        if os.getpid() != self._process:
            raise ExecutorClosedError(
                "the executor belongs to the process that this one was forked from; make a new one here, on a new loop"
            )
        if (here := _running_loop()) is not self.loop:
            other = "an event loop, and none runs here" if here is None else "another event loop"
            raise ExecutorClosedError(
                f"the executor belongs to {other}; "
                "make one for this loop, use asyncio.run_coroutine_threadsafe(executor.execute(...), executor.loop), "
                "or, where no loop runs, amorsize_async.execute(fn, data)"
            )
        return self.pool


def _running_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None
