"""Reads the input, whatever its kind, a bounded piece ahead and never on the loop where it might block.

sequence        sliced where it stands, nothing is read ahead
iterable        one helper thread pulls it into a bounded buffer; no other thread ever touches it
async iterable  one task awaits it into the same kind of buffer

`fill(n, ahead)` waits until `n` items are there (or fewer, where the input is slow or ends), and lets `ahead` more be
read meanwhile; `take(n)` gives what is there.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Generator, Iterable, Iterator, Sequence, Sized
from contextlib import suppress
from itertools import repeat
from typing import Any, Protocol

from .errors import InputError

__all__ = ("AsyncSource", "SlicedSource", "Source", "ThreadSource", "open_source")

PATIENCE = 0.005
# Seconds to wait for a fuller chunk once one item is there: a slow input should not starve the workers, and a fast one
# should not be cut into chunks of one.

CLOSE_SECONDS = 0.2
# How long closing waits for an iterator that is stuck in user code, before it is left behind.

YIELD_EACH = 256
# Items after which the task that reads an async iterable lets others have a turn.

_logger = logging.getLogger("amorsize_async")

SLICED = (list, tuple, range, str, bytes, bytearray)
# Exactly these are sliced on the loop: their slices are quick and equal to what iteration gives. A subclass may
# override either, and any other sequence may run user code.


class Source(Protocol):
    """The input of one execution.

    total: items in all, None if unknown before the end is read. taken: items given out. error: what the input raised.
    """

    total: int | None
    taken: int
    error: InputError | None

    async def open(self) -> None:
        """Begin to read, and learn the total if the input can tell."""

    async def fill(self, count: int, ahead: int = 0) -> bool:
        """Wait until items can be taken; False when there are no more. ahead: of how many more may be read."""

    def take(self, count: int) -> Sequence[Any]:
        """At most `count` of the items that are there."""

    def stop(self) -> None:
        """Have it stop reading, without waiting until it has."""

    async def aclose(self) -> None:
        """Stop reading and close the iterator."""


def open_source(data: Iterable[Any] | AsyncIterable[Any]) -> Source:
    """The source for `data`, which is one of the two; nothing of it is called yet."""
    if type(data) in SLICED:
        return SlicedSource(data)  # type: ignore[arg-type]
    if isinstance(data, AsyncIterable):
        return AsyncSource(data)
    return ThreadSource(data)


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
        self.total = _length(data)  # None for a range beyond what `len` can say
        self.taken = 0

    async def open(self) -> None:
        return None

    async def fill(self, count: int, ahead: int = 0) -> bool:
        return len(self._data[self.taken : self.taken + 1]) > 0

    def take(self, count: int) -> Sequence[Any]:
        piece = self._data[self.taken : self.taken + count]
        self.taken += len(piece)
        return piece

    def stop(self) -> None:
        return None

    async def aclose(self) -> None:
        return None


_END = object()


class _Buffered:
    """A bounded buffer between a reader, which appends, and the run, which takes; the reader is woken when it has room.

    `_want` is how far the reader may be ahead: as far as the run let it last.
    """

    def __init__(self, total: int | None) -> None:
        self.total = total
        self.taken = 0
        self.error: InputError | None = None
        self._buffer: deque[Any] = deque()
        self._want = 1
        self._need = 1
        self._read_count = 0
        self._changed = asyncio.Event()

    async def fill(self, count: int, ahead: int = 0) -> bool:
        self._want = max(1, count) + ahead
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
        if self._ended() and self.error is None:  # what raised might have gone on
            self.total = self.taken + self._available()

    def take(self, count: int) -> list[Any]:
        buffer = self._buffer
        piece = [buffer.popleft() for _ in range(min(count, self._available()))]
        self.taken += len(piece)
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
        index = self._read_count
        self.error = InputError(f"the input raised {type(exc).__name__} after {index} items", index=index)
        self.error.__cause__ = exc

    def _make_room(self) -> None:
        raise NotImplementedError


class ThreadSource(_Buffered):
    """A plain iterable, read by a daemon thread of its own: it may block, even to begin, and is not safe to share."""

    def __init__(self, data: Iterable[Any]) -> None:
        super().__init__(None)
        self._data = data
        self._loop = asyncio.get_running_loop()
        self._room = threading.Condition()
        self._closed = False
        self._opened = asyncio.Event()
        self._done = asyncio.Event()
        self._thread = threading.Thread(target=self._read, name="amorsize-input", daemon=True)

    async def open(self) -> None:
        self._thread.start()
        await self._opened.wait()

    def _make_room(self) -> None:
        with self._room:
            self._room.notify()

    def _read(self) -> None:
        """The thread's life: everything that touches the input happens here."""
        iterator: Iterator[Any] | None = None
        try:
            iterator = iter(self._data)
            self.total = _length(self._data)
            self._tell(self._opened)
            self._pull(iterator)
        except BaseException as exc:  # noqa: BLE001 - user code in a thread of ours: it comes out as the InputError
            self._fail(exc)
        finally:
            self._buffer.append(_END)
            for event in (self._opened, self._changed):
                self._tell(event)
            _close(iterator)
            self._tell(self._done)

    def _pull(self, iterator: Iterator[Any]) -> None:
        """Read items one by one while there is room, and wake the loop when it has what it waits for.

        With `next` alone: a `for` statement calls `iter` again, which begins anew with some iterators.
        """
        buffer = self._buffer
        if not self._wait_for_room():
            return
        for self._read_count, item in enumerate(map(next, repeat(iterator)), 1):
            buffer.append(item)
            if len(buffer) == self._need:
                self._tell(self._changed)
            if len(buffer) >= self._want and not self._wait_for_room():
                return

    def _wait_for_room(self) -> bool:
        with self._room:
            while len(self._buffer) >= self._want and not self._closed:
                self._room.wait()
            return not self._closed

    def _tell(self, event: asyncio.Event) -> None:
        with suppress(RuntimeError):  # the loop is closed: nobody waits any more
            self._loop.call_soon_threadsafe(event.set)

    def stop(self) -> None:
        """See `Source`."""
        with self._room:
            self._closed, self._want = True, 0
            self._room.notify()

    async def aclose(self) -> None:
        """Stop the thread. One that is stuck in the iterator is left behind: it ends when that returns."""
        self.stop()
        if self._thread.ident is not None:
            with suppress(TimeoutError):
                async with asyncio.timeout(CLOSE_SECONDS):
                    await self._done.wait()
                self._thread.join(1.0)


def _close(iterator: object) -> None:
    """Close a generator; anything else, a file for example, is its owner's to close."""
    if isinstance(iterator, Generator):
        with suppress(Exception):  # its own clean-up may raise; there is nobody left to tell
            iterator.close()


class AsyncSource(_Buffered):
    """An async iterable, awaited by one task, which also closes it."""

    def __init__(self, data: AsyncIterable[Any]) -> None:
        super().__init__(_length(data))
        self._data = data
        self._room = asyncio.Event()
        self._closing = False
        self._task: asyncio.Task[None] | None = None

    async def open(self) -> None:
        self._task = asyncio.get_running_loop().create_task(self._read(), name="amorsize-input")

    def _make_room(self) -> None:
        if len(self._buffer) < self._want:
            self._room.set()

    async def _read(self) -> None:
        iterator: AsyncIterator[Any] | None = None
        try:
            iterator = aiter(self._data)
            await self._pull(iterator)
        except BaseException as exc:  # noqa: BLE001 - user code in a task of ours: it comes out as the InputError
            if not self._closing:
                self._fail(exc)
        finally:
            self._buffer.append(_END)
            self._changed.set()
            if isinstance(iterator, AsyncGenerator):
                with suppress(Exception):  # as for a plain iterator: nobody is left to tell
                    await iterator.aclose()

    async def _pull(self, iterator: AsyncIterator[Any]) -> None:
        buffer = self._buffer
        while True:
            try:
                item = await anext(iterator)
            except StopAsyncIteration:
                return
            buffer.append(item)
            self._read_count += 1
            if len(buffer) == self._need:
                self._changed.set()
            if len(buffer) % YIELD_EACH == 0:
                await asyncio.sleep(0)  # an iterable that never really waits must not hold the loop
            while len(buffer) >= self._want:
                self._room.clear()
                await self._room.wait()

    def stop(self) -> None:
        """See `Source`. Once: a second cancellation would break off the iterable's own clean-up."""
        if self._task is not None and not self._closing:
            self._task.cancel()
        self._closing = True

    async def aclose(self) -> None:
        """Cancel the reading task and wait until it has closed the iterator; one that does not obey is left behind."""
        self.stop()
        if self._task is not None:
            _, stuck = await asyncio.wait([self._task], timeout=CLOSE_SECONDS)
            if stuck:
                _logger.warning("an async iterable of input did not end within %s s of its cancellation", CLOSE_SECONDS)
