"""Takes the values of finished chunks, puts them in order, and holds dispatch back while the consumer is behind.

`Reorder` decides and knows no loop; `Collector` keeps everything for the list form; `ResultStream` is what the user
iterates over, and its `Outlet` is the end that the run writes to.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable, Coroutine
from contextvars import Context
from types import TracebackType
from typing import Any, Generic, Protocol, Self, TypeVar

from ._shielding import ended, finish
from .errors import ExecutorClosedError
from .report import Report

__all__ = ("Collector", "Outlet", "Reorder", "ResultStream", "Sink")

R = TypeVar("R")

HELD_BYTES = 64 << 20
# Bytes of results that wait for the consumer of a stream before dispatch waits for it, too: an item may hold megabytes.

Piece = tuple[int, list[Any]]
# Values of neighbouring items, with the index of the first.


class Reorder:
    """Pieces in any order become pieces in input order. `position`: index of the next item to come out."""

    def __init__(self) -> None:
        self.position = 0
        self._waiting: dict[int, list[Any]] = {}

    def put(self, start: int, values: list[Any]) -> list[Piece]:
        """Take a piece, give the pieces that are now in turn."""
        self._waiting[start] = values
        ready: list[Piece] = []
        while self.position in self._waiting:
            piece = self._waiting.pop(self.position)
            ready.append((self.position, piece))
            self.position += len(piece)
        return ready

    def __repr__(self) -> str:
        return f"<Reorder position={self.position} waiting={len(self._waiting)}>"


class Sink(Protocol):
    """Where a run puts its values."""

    def put(self, start: int, values: list[Any], size: int = 0) -> None:
        """Take the values of the items from `start` on, which came in so many bytes."""

    def delivered_up_to(self, index: int) -> bool:
        """Whether everything before `index` that is to be delivered first has been put."""

    def room(self) -> int | None:
        """How many more items may be dispatched now; None: any number."""

    async def wait_for_room(self) -> None:
        """Wait until `room()` is not 0."""

    def dispatched(self, items: int) -> None:
        """Note that `items` were sent to the workers."""

    def ended(self, report: Report) -> None:
        """Take the report: the run is over, however it went."""


class Collector:
    """Keeps all values, in input order, for the list form; there is always room, since all of them are kept anyway."""

    def __init__(self) -> None:
        self.values: list[Any] = []
        self._reorder = Reorder()

    def put(self, start: int, values: list[Any], size: int = 0) -> None:
        for _, piece in self._reorder.put(start, values):
            self.values += piece

    def delivered_up_to(self, index: int) -> bool:
        return True  # a list is delivered whole or not at all: the first failure need not wait for earlier items

    def room(self) -> int | None:
        return None

    async def wait_for_room(self) -> None:
        return None

    def dispatched(self, items: int) -> None:
        return None

    def ended(self, report: Report) -> None:
        return None


class Outlet:
    """A bounded buffer between a run and its consumer.

    buffersize: the most items dispatched and not yet consumed; chunks: the same in pieces, for when `buffersize` is
    None and the right number of items is not known. Then HELD_BYTES bound what waits for the consumer, too.
    """

    def __init__(self, *, ordered: bool, buffersize: int | None, chunks: int) -> None:
        self._reorder = Reorder() if ordered else None
        self.report: Report | None = None
        self._buffersize = buffersize
        self._chunks = chunks
        self._pieces: deque[Piece] = deque()
        self._open_items = 0
        self._open_chunks = 0
        self._sizes: dict[int, int] = {}
        self._held = 0
        self._changed = asyncio.Event()
        self._freed = asyncio.Event()

    def __repr__(self) -> str:
        out = f"open_items={self._open_items} open_chunks={self._open_chunks}"
        return f"<Outlet {out} ready={len(self._pieces)} held={self._held} bytes>"

    def allow(self, chunks: int) -> None:
        """Set the number of pieces, once the number of workers is known."""
        self._chunks = chunks

    def put(self, start: int, values: list[Any], size: int = 0) -> None:
        self._sizes[start] = size
        self._held += size
        self._pieces.extend(self._reorder.put(start, values) if self._reorder else [(start, values)])
        self._changed.set()

    def delivered_up_to(self, index: int) -> bool:
        return self._reorder is None or self._reorder.position >= index

    def room(self) -> int | None:
        if self._buffersize is not None:
            return max(0, self._buffersize - self._open_items)
        return None if self._open_chunks < self._chunks and self._held < HELD_BYTES else 0

    async def wait_for_room(self) -> None:
        while self.room() == 0:
            self._freed.clear()
            await self._freed.wait()

    def dispatched(self, items: int) -> None:
        self._open_items += items
        self._open_chunks += 1

    def ended(self, report: Report) -> None:
        self.report = report

    def take(self) -> Piece | None:
        """The next piece for the consumer, None if there is none now."""
        return self._pieces.popleft() if self._pieces else None

    def consumed(self, start: int, items: int) -> None:
        """Note that the consumer is done with the piece of `items` from `start` on."""
        self._held -= self._sizes.pop(start, 0)
        self._open_items -= items
        self._open_chunks -= 1
        self._freed.set()

    async def wait(self) -> None:
        """Wait until something changes: a piece has come, or `wake` was called."""
        await self._changed.wait()
        self._changed.clear()

    def wake(self) -> None:
        """Wake the consumer: there will be no more pieces."""
        self._changed.set()


class ResultStream(Generic[R]):
    """The results of one execution, as they come: `async with stream as results: async for value in results: ...`.

    A bare `async for` does too; leaving it early stops the work when the stream is garbage collected, which
    `async with` and `aclose` do not wait for. One consumer at a time. `report` is there when the stream has ended.

    The work runs in a task that the stream owns, so no task group is open while the consumer's code runs (PEP 789).
    """

    def __init__(self, outlet: Outlet, drive: Callable[[], Coroutine[Any, Any, None]], context: Context) -> None:
        self._outlet = outlet
        self._drive = drive
        self._context = context
        self._task: asyncio.Task[None] | None = None
        self._piece: list[Any] = []
        self._next = 0
        self._start = 0
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
        if self._next >= len(self._piece):
            await self._load()
        value: R = self._piece[self._next]
        self._piece[self._next] = None  # it is the consumer's now, and may be large
        self._next += 1
        return value

    def enumerate(self) -> AsyncIterator[tuple[int, R]]:
        """The same stream as (index in the input, value): what tells unordered results apart."""
        return _Enumerated(self)

    async def aclose(self) -> None:
        """Stop the work, if any is left, and wait until it has stopped; safe to call again."""
        self._closed = True
        self._piece, self._next = [], 0
        if self._task is not None:
            self._task.cancel()
            self._outlet.wake()
            await finish(ended(self._task))

    def __del__(self) -> None:
        if self._task is not None and not self._task.done():
            loop = self._task.get_loop()
            if not loop.is_closed():
                loop.call_soon_threadsafe(self._task.cancel)

    def _begin(self) -> None:
        if self._task is None and not self._closed:
            loop = asyncio.get_running_loop()
            self._task = loop.create_task(self._drive(), name="amorsize-stream", context=self._context)
            self._task.add_done_callback(_waking(self._outlet))

    async def _load(self) -> None:
        """Wait for the next piece that is not empty; raises what the run raised, or StopAsyncIteration at the end."""
        if self._waiting:
            raise RuntimeError("two tasks iterate over one ResultStream; give each consumer a stream of its own")
        if self._closed:
            raise StopAsyncIteration
        self._begin()
        self._waiting = True
        try:
            await self._exchange()
        finally:
            self._waiting = False

    async def _exchange(self) -> None:
        if self._piece:
            self._outlet.consumed(self._start, len(self._piece))
            self._piece, self._next = [], 0
        while (piece := self._outlet.take()) is None or self._closed:
            if self._closed:
                raise StopAsyncIteration
            if self._task is None or self._task.done():
                self._finish()
            await self._outlet.wait()
        self._start, self._piece = piece

    def _finish(self) -> None:
        if self._task is not None and not self._task.cancelled():
            self._task.result()
        else:
            raise ExecutorClosedError("the work of this stream was cancelled from outside before it was done")
        raise StopAsyncIteration


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
        return self._stream._start + self._stream._next - 1, value  # noqa: SLF001 - the two are one
