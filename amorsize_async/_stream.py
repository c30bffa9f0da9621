"""What the user iterates over: `async for value in stream`. It reads what a run puts into an `Outlet`.

Nothing is put in order or held back here. A consumer that never waits still lets others have the loop.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import suppress
from contextvars import Context
from types import TracebackType
from typing import Generic, Self, TypeVar

from ._results import Outlet
from ._shielding import ended, finish
from .errors import ExecutorClosedError
from .report import Report

__all__ = ("Pace", "ResultStream")

R = TypeVar("R")

BREATH = 0.002
"""Seconds a consumer that never waits may have the loop for itself: less than half of the loop lag that is promised."""
HANDFUL_SECONDS, MOST_AT_ONCE, GROWTH = 0.0005, 200, 8
# What a consumer takes over a handful of values, between two looks at the clock: seconds, and values at most, since a
# look costs as much as ten of them, but a consumer may turn slow within a handful; and how many times as many as the
# one before it may be.


class ResultStream(Generic[R]):
    """The results of one execution, as they come: `async with stream as results: async for value in results: ...`.

    A bare `async for` does too; leaving it early stops the work when the stream is garbage collected, which
    `async with` and `aclose` do not wait for. One consumer at a time: a second one raises RuntimeError. `report` is
    there when the stream has ended. Raises what `execute_async` does, and ExecutorClosedError if its work was cancelled
    from outside.

    The work runs in a task that the stream owns, so no task group is open while the consumer's code runs (PEP 789).
    """

    def __init__(self, outlet: Outlet, drive: Callable[[], Coroutine[None, None, None]], context: Context) -> None:
        self._outlet = outlet
        self._drive = drive
        self._context = context
        self._task: asyncio.Task[None] | None = None
        self._pace = Pace()
        self._start = self._size = 0
        self._rest: list[R] = []
        self._ready: list[R] = []
        # Of the piece that is consumed: its first index and its size, what is left of it, and of that what is ready.
        # The next value is the last of its list: so each is the consumer's alone when it has it, and may be large.
        self._closed = False
        self._waiting = False

    def __repr__(self) -> str:
        state = "closed" if self._closed else "ended" if self._task and self._task.done() else "open"
        return f"<ResultStream {state} {self._outlet!r}>"

    @property
    def report(self) -> Report | None:
        """What happened; None before the stream has ended. After a `break` it is there when the stream is closed."""
        return self._outlet.report

    async def __aenter__(self) -> Self:
        self._begin()
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.aclose()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> R:
        if not self._ready and not self._refilled():
            await self._load()
        return self._ready.pop()

    def enumerate(self) -> AsyncIterator[tuple[int, R]]:
        """The same stream as (index in the input, value): what tells unordered results apart."""
        return _Enumerated(self)

    async def aclose(self) -> None:
        """Stop the work, if any is left, and wait until it has stopped; safe to call again."""
        self._closed = True
        self._rest, self._ready = [], []
        if self._task is not None:
            self._task.cancel()
            self._outlet.wake()
            await finish(ended(self._task))

    def __del__(self) -> None:
        if self._task is not None and not self._task.done():
            with suppress(RuntimeError):  # the loop is closed
                self._task.get_loop().call_soon_threadsafe(self._task.cancel)

    @property
    def _position(self) -> int:
        """The index of the value that was given last."""
        return self._start + self._size - len(self._rest) - len(self._ready) - 1

    def _begin(self) -> None:
        if self._task is None and not self._closed:
            loop = asyncio.get_running_loop()
            self._task = loop.create_task(self._drive(), name="amorsize-stream", context=self._context)
            self._task.add_done_callback(_waking(self._outlet))

    def _refilled(self) -> bool:
        """Have the next handful ready, if there is one, and nobody else is to have the loop first."""
        count = self._pace.give(time.monotonic(), len(self._rest)) if self._rest else 0
        if count:
            self._ready = self._rest[-count:]
            del self._rest[-count:]
        return count > 0

    async def _load(self) -> None:
        """Have values ready, and wait for them; raises what the run raised, or StopAsyncIteration at the end."""
        if self._waiting:
            raise RuntimeError("two tasks iterate over one ResultStream; give each consumer a stream of its own")
        self._begin()
        self._waiting = True
        try:
            while not self._refilled():
                await (self._let_others(asyncio.sleep(0)) if self._rest else self._exchange())
        finally:
            self._waiting = False

    async def _let_others(self, wait: Coroutine[None, None, None]) -> None:
        await wait
        self._pace.others_had_the_loop(time.monotonic())

    async def _exchange(self) -> None:
        """Give the piece back that is consumed, and take the next one."""
        if self._size:
            self._outlet.consumed(self._start, self._size)
            self._size = 0
        while self._closed or (piece := self._outlet.take()) is None:
            if self._closed:
                raise StopAsyncIteration
            if self._task is None or self._task.done():
                self._finish()
            await self._let_others(self._outlet.wait())
        self._start, self._rest = piece
        self._size = len(self._rest)
        self._rest.reverse()

    def _finish(self) -> None:
        if self._task is None or self._task.cancelled():
            raise ExecutorClosedError("the work of this stream was cancelled from outside before it was done")
        try:
            self._task.result()
        except StopAsyncIteration as exc:  # of a hook, say: it would look like the end of the results (PEP 479)
            raise RuntimeError("the work of this stream raised StopAsyncIteration") from exc
        raise StopAsyncIteration


class Pace:
    """How many values a consumer gets before the next look at the clock, and when others are to have the loop first.

    All times are seconds of one clock.
    """

    def __init__(self) -> None:
        self._handful = 1
        self._given = 0
        self._gave = self._turn = -math.inf

    def __repr__(self) -> str:
        return f"<Pace handful={self._handful}>"

    def give(self, now: float, left: int) -> int:
        """How many of the values that are left the consumer gets; 0: others have waited for long enough.

        It has used up what it got last, and the time that it took over that is learnt from.
        """
        if self._given:
            took = max(now - self._gave, 1e-9)
            self._handful = max(1, min(int(self._given * min(GROWTH, HANDFUL_SECONDS / took)), MOST_AT_ONCE))
        self._given = 0 if now - self._turn > BREATH else min(self._handful, left)
        self._gave = now
        return self._given

    def others_had_the_loop(self, now: float) -> None:
        """Note that the consumer has waited."""
        self._turn = now


def _waking(outlet: Outlet) -> Callable[[asyncio.Task[None]], None]:
    """A callback that holds the outlet and not the stream, so that a forgotten stream can be collected."""

    def wake(task: asyncio.Task[None]) -> None:
        outlet.wake()
        if not task.cancelled():
            task.exception()  # seen: the consumer gets it if it is still there, and nobody else misses it

    return wake


class _Enumerated(Generic[R]):
    """What `ResultStream.enumerate` gives: it keeps the stream alive, and reads its position."""

    def __init__(self, stream: ResultStream[R]) -> None:
        self._stream = stream

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> tuple[int, R]:
        value = await anext(self._stream)
        return self._stream._position, value  # noqa: SLF001 - the two are one
