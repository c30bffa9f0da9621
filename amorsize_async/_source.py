"""Reads the input, whatever its kind, a bounded piece ahead and never on the loop where it might block.

sequence        sliced where it stands, nothing is read ahead
iterable        one helper thread pulls it into a bounded buffer; no other thread ever touches it
async iterable  one task awaits it into the same kind of buffer

`fill(n)` waits until `n` items are there (or fewer, where the input is slow or ends), `take(n)` gives what is there.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Generator, Iterable, Iterator, Sequence, Sized
from contextlib import suppress
from itertools import islice
from typing import Any, Protocol

from .errors import InputError

__all__ = ("AsyncSource", "SlicedSource", "Source", "ThreadSource", "open_source")

PATIENCE = 0.005
# Seconds to wait for a fuller chunk once one item is there: a slow input should not starve the workers, and a fast one
# should not be cut into chunks of one.

PULL_PIECE = 256
# Items that the helper thread pulls before it looks at the buffer again.

SLICED = (list, tuple, range, str, bytes, bytearray)
# Exactly these are sliced on the loop: their slices are quick and equal to what iteration gives. A subclass may
# override either, and any other sequence may run user code.


class Source(Protocol):
    """The input of one execution.

    total: items in all, None if unknown before the end. taken: items given out. error: what the input raised.
    """

    total: int | None
    taken: int
    error: InputError | None

    async def fill(self, count: int) -> bool:
        """Wait until items can be taken; False when there are no more."""

    def take(self, count: int) -> Sequence[Any]:
        """At most `count` of the items that are there."""

    async def aclose(self) -> None:
        """Stop reading and close the iterator."""


def open_source(data: Iterable[Any] | AsyncIterable[Any]) -> Source:
    """The source for `data`; raises TypeError if it cannot be iterated over."""
    if type(data) in SLICED:
        return SlicedSource(data)  # type: ignore[arg-type]
    if isinstance(data, AsyncIterable):
        return AsyncSource(data)
    try:
        return ThreadSource(iter(data), _length(data))
    except TypeError as exc:
        kind = type(data).__name__
        raise TypeError(
            f"data is a {kind}, which cannot be iterated over; pass a sequence, an iterable or an async iterable"
        ) from exc


def _length(data: object) -> int | None:
    """`len(data)` where the object has one and it works; some raise, and some lie (that is seen at the end)."""
    if not isinstance(data, Sized):
        return None
    try:
        return len(data)
    except Exception:  # noqa: BLE001 - user code; without a length there is just no percentage
        return None


class SlicedSource:
    """A built-in sequence, sliced where it stands: what is changed in it while the run lasts may or may not be seen."""

    def __init__(self, data: Sequence[Any]) -> None:
        self._data = data
        self.error: InputError | None = None
        self.total: int | None = len(data)
        self.taken = 0

    async def fill(self, count: int) -> bool:
        return self.taken < len(self._data)

    def take(self, count: int) -> Sequence[Any]:
        piece = self._data[self.taken : self.taken + count]
        self.taken += len(piece)
        return piece

    async def aclose(self) -> None:
        return None


_END = object()


class _Buffered:
    """A bounded buffer between a reader, which appends, and the run, which takes; the reader is woken when it has room.

    `_want` is how far the reader may be ahead: what the run asked for last, so at most about one chunk.
    """

    def __init__(self, total: int | None) -> None:
        self.total = total
        self.taken = 0
        self.error: InputError | None = None
        self._buffer: deque[Any] = deque()
        self._want = 1
        self._need = 1
        self._changed = asyncio.Event()

    async def fill(self, count: int) -> bool:
        self._want = max(1, count)
        await self._reach(1)
        if not self._enough(count):
            with suppress(TimeoutError):
                async with asyncio.timeout(PATIENCE):
                    await self._reach(count)
        return self._available() > 0

    async def _reach(self, need: int) -> None:
        self._need = need
        self._make_room()
        while not self._enough(need):
            self._changed.clear()
            if not self._enough(need):
                await self._changed.wait()

    def take(self, count: int) -> list[Any]:
        buffer = self._buffer
        piece = [buffer.popleft() for _ in range(min(count, self._available()))]
        self.taken += len(piece)
        if self._ended() and len(buffer) == 1:
            self.total = self.taken
        self._make_room()
        return piece

    def _ended(self) -> bool:
        return bool(self._buffer) and self._buffer[-1] is _END

    def _available(self) -> int:
        """Items that can be taken; the reader may append meanwhile, so the length is read once."""
        length = len(self._buffer)
        return length - 1 if length and self._buffer[length - 1] is _END else length

    def _enough(self, need: int) -> bool:
        return len(self._buffer) >= need or self._ended()

    def _fail(self, exc: BaseException) -> None:
        index = self.taken + len(self._buffer)
        self.error = InputError(f"the input raised {type(exc).__name__} after {index} items", index=index)
        self.error.__cause__ = exc

    def _make_room(self) -> None:
        raise NotImplementedError


class ThreadSource(_Buffered):
    """A plain iterable, pulled by a daemon thread of its own: it may block, and it is not safe to share."""

    def __init__(self, iterator: Iterator[Any], total: int | None = None) -> None:
        super().__init__(total)
        self._iterator = iterator
        self._loop = asyncio.get_running_loop()
        self._room = threading.Condition()
        self._closed = False
        self._done = asyncio.Event()
        self._thread: threading.Thread | None = None

    def _make_room(self) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._pull, name="amorsize-input", daemon=True)
            self._thread.start()
        with self._room:
            self._room.notify()

    def _pull(self) -> None:
        try:
            while self._wait_for_room() and not self._ended():
                self._pull_piece()
                if self._enough(self._need):
                    self._tell(self._changed)
        finally:
            self._close_iterator()
            self._tell(self._done)

    def _wait_for_room(self) -> bool:
        with self._room:
            while len(self._buffer) >= self._want and not self._closed:
                self._room.wait()
            return not self._closed

    def _pull_piece(self) -> None:
        """Pull some items, at least one; a single one while somebody waits for the first."""
        before = self._want - len(self._buffer)
        size = 1 if not self._buffer else max(1, min(PULL_PIECE, before))
        count = 0
        try:
            for item in islice(self._iterator, size):
                self._buffer.append(item)
                count += 1
        except BaseException as exc:  # noqa: BLE001 - user code in a thread of ours: it comes out as the InputError
            self._fail(exc)
            self._buffer.append(_END)
            return
        if count < size:
            self._buffer.append(_END)

    def _close_iterator(self) -> None:
        if isinstance(self._iterator, Generator):  # anything else, a file for example, is its owner's to close
            # Its own clean-up may raise; there is nobody left to tell.
            with suppress(Exception):
                self._iterator.close()

    def _tell(self, event: asyncio.Event) -> None:
        with suppress(RuntimeError):  # the loop is closed: nobody waits any more
            self._loop.call_soon_threadsafe(event.set)

    async def aclose(self) -> None:
        """Stop the thread. One that is stuck in the iterator is left behind: it ends when that returns."""
        with self._room:
            self._closed = True
            self._room.notify()
        if self._thread is not None:
            with suppress(TimeoutError):
                async with asyncio.timeout(PATIENCE * 20):
                    await self._done.wait()
                self._thread.join(1.0)


class AsyncSource(_Buffered):
    """An async iterable, awaited by one task, which also closes it."""

    def __init__(self, data: AsyncIterable[Any]) -> None:
        super().__init__(_length(data))
        self._iterator: AsyncIterator[Any] = aiter(data)
        self._room = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def _make_room(self) -> None:
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._pull(), name="amorsize-input")
        if len(self._buffer) < self._want:
            self._room.set()

    async def _pull(self) -> None:
        try:
            async for item in self._iterator:
                self._buffer.append(item)
                if self._enough(self._need):
                    self._changed.set()
                await self._wait_for_room()
        except Exception as exc:  # noqa: BLE001 - user code in a task of ours: it comes out as the InputError
            self._fail(exc)
        finally:
            self._buffer.append(_END)
            self._changed.set()
            await self._close_iterator()

    async def _wait_for_room(self) -> None:
        if len(self._buffer) % PULL_PIECE == 0:
            await asyncio.sleep(0)  # an iterable that never really waits must not hold the loop
        while len(self._buffer) >= self._want:
            self._room.clear()
            await self._room.wait()

    async def _close_iterator(self) -> None:
        if isinstance(self._iterator, AsyncGenerator):
            # As for a plain iterator: nobody is left to tell.
            with suppress(Exception):
                await self._iterator.aclose()

    async def aclose(self) -> None:
        """Cancel the reading task, wait until it has closed the iterator."""
        if self._task is None:
            await self._close_iterator()
        else:
            self._task.cancel()
            await asyncio.wait([self._task])
