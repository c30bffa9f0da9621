"""Somebody else's executor as a pool of one wide place, and our own threads, which are one such executor.

Such a pool cannot kill, and does not know its workers before they answer; the executor stays its owner's to close.
"""

from __future__ import annotations

import asyncio
import sys
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import suppress
from contextvars import Context, copy_context

from .. import _worker_start
from .._threads import in_thread
from .place import Place
from .pool import Pool

__all__ = ("ForeignPool", "open_threads", "width_of")

JOIN_SECONDS = 0.2
# How long the end of an execution waits for its threads: those that have nothing to do end at once.


def width_of(executor: Executor) -> int | None:
    """Calls that an executor runs at once; None if it does not say.

    There is no public way to ask. The standard library's, loky's and mpi4py's executors keep it under the same name.
    """
    width = getattr(executor, "_max_workers", None)
    return width if isinstance(width, int) and width > 0 else None


def _shares_memory(executor: Executor) -> bool:
    """Whether calls there see our objects: in threads they do, unless each has an interpreter of its own (3.14)."""
    interpreters = sys.modules.get("concurrent.futures.interpreter")  # not imported: nobody has one made by it
    if interpreters is not None and isinstance(executor, interpreters.InterpreterPoolExecutor):
        return False
    return isinstance(executor, ThreadPoolExecutor)


class ForeignPool(Pool):
    """Any `concurrent.futures.Executor`; `width`: chunks to keep running in it at once.

    Threads share our memory: nothing is pickled for them, and their cell reaches them.
    """

    def __init__(self, executor: Executor, width: int, *, name: str | None = None) -> None:
        pickles = not _shares_memory(executor)
        place = Place(width=width, pickled=pickles, executor=executor)
        super().__init__(name or type(executor).__name__, pickles=pickles, places=[place])
        self._executor = executor

    async def warm(self) -> None:
        """Let a process pool start its workers off the loop: `submit` starts them in the thread that calls it."""
        if isinstance(self._executor, ProcessPoolExecutor):
            await in_thread(self._submit_nothing)

    def _submit_nothing(self) -> None:
        with suppress(RuntimeError):  # broken or closed: the first chunk meets that too, and it is told of that
            for _ in range(self.capacity):
                self._executor.submit(_worker_start.begin)

    def _remove(self, place: Place) -> None:
        """A broken executor is its owner's to replace; calls in it fail, and say so."""


class _Threads(ForeignPool):
    """`executor="thread"`: threads of our own, which end with the execution."""

    async def aclose(self, drain: float = 0.0) -> None:
        await super().aclose(drain)
        self._executor.shutdown(wait=False, cancel_futures=True)
        # A thread that hangs in user code cannot be ended by anybody; it is left, and ends when that code returns.
        with suppress(TimeoutError, RuntimeError):  # or there is no thread left to wait in
            async with asyncio.timeout(JOIN_SECONDS):
                await in_thread(self._executor.shutdown, only_there=True)


def open_threads(n_jobs: int) -> ForeignPool:
    """A pool of `n_jobs` threads for one execution, which see the context variables of who opens it."""
    threads = ThreadPoolExecutor(n_jobs, "amorsize-thread", _set_variables, (copy_context(),))
    return _Threads(threads, n_jobs, name="thread")


def _set_variables(context: Context) -> None:
    """Set in this thread what is set in a context: threads cannot all be in the same one."""
    for variable, value in context.items():
        variable.set(value)
