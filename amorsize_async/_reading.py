"""Reads an iterable or an async iterable into a bounded buffer, from which the run takes items.

iterable        one helper thread pulls it; no other thread ever touches it
async iterable  one task awaits it
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Callable, Generator, Iterable, Iterator, Sized
from contextlib import suppress
from contextvars import copy_context
from itertools import chain, repeat
from typing import Any, cast

from .errors import InputError

__all__ = ("AsyncSource", "ThreadSource", "length")

PATIENCE = 0.005
# Seconds to wait for a fuller chunk once one item is there: a slow input should not starve the workers, and a fast one
# should not be cut into chunks of one.

CLOSE_SECONDS = 0.2
# How long closing waits for an iterator that is stuck in user code, before it is left behind.

AT_A_TIME = 256
# Items after which a reader lets others have a turn: the task that awaits an async iterable, and the thread whose
# iterable is written in C.

_logger = logging.getLogger("amorsize_async")

_END = object()

_item_of = cast(Callable[[None, Any], Any], {}.get)
# Called with a token and an item: an empty dictionary gives the default, and so the item, whatever it is asked for.


def length(data: object) -> int | None:
    """`len(data)` where the object has one and it works; some raise, and some lie (that is seen at the end)."""
    if not isinstance(data, Sized):
        return None
    try:
        return len(data)
    except Exception:  # noqa: BLE001 - user code; without a length there is just no percentage
        return None


class _Buffered:
    """A bounded buffer between a reader, which appends, and the run, which takes; the reader is woken when it has room.

    `_need` is what the run waits for, 0 if it does not. `_want` is how far the reader may be ahead: as far as the run
    let it last.
    """

    def __init__(self, total: int | None) -> None:
        self.total = total
        self.taken = 0
        self.error: InputError | None = None
        self._raised: BaseException | None = None
        self._buffer: deque[Any] = deque()
        self._want = 1
        self._need = 0
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
        self._ask_for_more()
        try:
            while not self._enough(need):
                self._changed.clear()
                if not self._enough(need):
                    await self._changed.wait()
        finally:
            self._need = 0
        if self._ended() and self.error is None:
            self._conclude(self.taken + self._available())

    def _conclude(self, count: int) -> None:
        """Note that all that was read of the input are `count` items."""
        if self._raised is None:
            self.total = count
            return
        # What raised might have gone on: its total is as unknown as before.
        self.error = InputError(f"the input raised {type(self._raised).__name__} after {count} items", index=count)
        self.error.__cause__ = self._raised

    def take(self, count: int) -> list[Any]:
        buffer = self._buffer
        piece = [buffer.popleft() for _ in range(min(count, self._available()))]
        self.taken += len(piece)
        if self.total is not None and self.taken > self.total:
            self.total = None  # its length was a lie
        self._ask_for_more()
        return piece

    def _ended(self) -> bool:
        return bool(self._buffer) and self._buffer[-1] is _END

    def _available(self) -> int:
        """Items that can be taken; the reader may append meanwhile, so the length is read once."""
        there = len(self._buffer)
        return there - 1 if there and self._buffer[there - 1] is _END else there

    def _enough(self, need: int) -> bool:
        return len(self._buffer) >= need or self._ended()

    def _ask_for_more(self) -> None:
        """Have the reader look again at what is needed and wanted."""
        raise NotImplementedError


class ThreadSource(_Buffered):
    """A plain iterable, read by a daemon thread of its own: it may block, even to begin, and is not safe to share.

    It sees the context variables of the call, as it would on the loop.
    """

    def __init__(self, data: Iterable[Any]) -> None:
        super().__init__(None)
        self._data = data
        self._loop = asyncio.get_running_loop()
        self._asked = threading.Condition()
        self._tokens: list[None] = []
        self._closed = self._over = False
        self._opened = asyncio.Event()
        self._done = asyncio.Event()
        self._thread = threading.Thread(
            target=copy_context().run, args=(self._read,), name="amorsize-input", daemon=True
        )

    async def open(self) -> None:
        self._thread.start()
        await self._opened.wait()

    def _ask_for_more(self) -> None:
        with self._asked:
            self._tokens.clear()
            self._asked.notify()

    def _read(self) -> None:
        """The thread's life: everything that touches the input happens here."""
        iterator: Iterator[Any] | None = None
        try:
            iterator = iter(self._data)
            self.total = length(self._data)
            self._tell(self._opened)
            self._pull(iterator)
        except BaseException as exc:  # noqa: BLE001 - user code in a thread of ours: it comes out as the InputError
            self._raised = exc
        finally:
            self._buffer.extend(() if self._over else self._end())
            for event in (self._opened, self._changed):
                self._tell(event)
            _close(iterator)
            self._tell(self._done)

    def _pull(self, iterator: Iterator[Any]) -> None:
        """Read items while there is room, and wake the loop when it has what it waits for.

        No Python runs for an item but the input's own: `map` asks for a token before each, and when there are none it
        ends, without reading one more. So what is needed can change while an item is read: the loop takes the tokens
        away. With `next` alone: a `for` statement, or `map` over the iterator, would call `iter` again, which begins
        anew with some.
        """
        reads = chain(map(next, repeat(iterator)), self._end())
        while (tokens := self._allowed()) is not None:
            self._buffer.extend(map(_item_of, tokens, reads))
            if self._over:
                return
            if 0 < self._need <= len(self._buffer):
                self._tell(self._changed)

    def _end(self) -> Iterator[Any]:
        """What stands at the end of the buffer when no more comes."""
        self._over = True
        yield _END

    def _allowed(self) -> list[None] | None:
        """Wait until there is room; a token for each item to be read before looking again, None if no more is."""
        with self._asked:
            while (more := self._to_read()) <= 0 and not self._closed:
                self._asked.wait()
            self._tokens = [None] * min(more, AT_A_TIME)
            return None if self._closed else self._tokens

    def _to_read(self) -> int:
        """Items that the loop waits for, and when it has them, those that may be read ahead."""
        there = len(self._buffer)
        return max(self._need - there, 0) or self._want - there

    def _tell(self, event: asyncio.Event) -> None:
        with suppress(RuntimeError):  # the loop is closed: nobody waits any more
            self._loop.call_soon_threadsafe(event.set)

    def stop(self) -> None:
        """See `Source`."""
        self._closed, self._want = True, 0
        self._ask_for_more()

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
        with suppress(BaseException):  # its own clean-up may raise; there is nobody left to tell
            iterator.close()


class AsyncSource(_Buffered):
    """An async iterable, awaited by one task, which also closes it."""

    def __init__(self, data: AsyncIterable[Any]) -> None:
        super().__init__(length(data))
        self._data = data
        self._room = asyncio.Event()
        self._closing = False
        self._task: asyncio.Task[None] | None = None

    async def open(self) -> None:
        self._task = asyncio.get_running_loop().create_task(self._read(), name="amorsize-input")
        self._task.add_done_callback(self._left)

    def _left(self, _task: object) -> None:
        """Say that it has ended for a task that was cancelled before it began: the run would wait for it for ever."""
        if not self._ended():
            self._raised = asyncio.CancelledError()
            self._buffer.append(_END)
            self._changed.set()

    def _ask_for_more(self) -> None:
        if len(self._buffer) < self._want:
            self._room.set()

    async def _read(self) -> None:
        iterator: AsyncIterator[Any] | None = None
        try:
            iterator = aiter(self._data)
            await self._pull(iterator)
        except BaseException as exc:  # noqa: BLE001 - user code in a task of ours: it comes out as the InputError
            if not self._closing:
                self._raised = exc
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
            if len(buffer) == self._need:
                self._changed.set()
            if len(buffer) % AT_A_TIME == 0:
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
