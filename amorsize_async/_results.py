"""Takes the values of finished chunks, puts them in order, and holds dispatch back while the consumer is behind.

`Reorder` decides and knows no loop; `Collector` keeps everything for the list form; `Outlet` is the end of a stream
that the run writes to. Who reads at the other end is in `_stream`.
"""

from __future__ import annotations

import asyncio
import gc
from collections import deque
from typing import Any, Protocol

from .report import Report

__all__ = ("Collector", "Outlet", "Reorder", "Sink")

HELD_BYTES = 64 << 20
# Bytes of results that wait for the consumer of a stream before dispatch waits for it, too: an item may hold megabytes.

LONG_LIST = 1 << 13
# Values that the garbage collector looks through in 0.1 ms.

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

    @property
    def received(self) -> int:
        """Values that were put, and that the consumer has or can have."""

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
        self._is_old = False

    @property
    def received(self) -> int:
        return len(self.values)

    def put(self, start: int, values: list[Any], size: int = 0) -> None:
        for _, piece in self._reorder.put(start, values):
            self.values += piece
        if not self._is_old and len(self.values) >= LONG_LIST:
            self._grow_old()

    def _grow_old(self) -> None:
        """Have the list count as an old object while it is still short.

        Python looks through all young ones after each 700 that were made: a list of a million values held the loop for
        10 ms, in every run.
        """
        self._is_old = True
        if gc.isenabled():  # somebody else decided so otherwise
            gc.collect(0)

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

    buffersize: the most items dispatched and not yet consumed; None: as many pieces as
    `allow` says, and HELD_BYTES bound what waits for the consumer, too.
    """

    def __init__(self, *, ordered: bool, buffersize: int | None) -> None:
        self._reorder = Reorder() if ordered else None
        self.report: Report | None = None
        self.received: int = 0
        self._buffersize = buffersize
        self._chunks = 0
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
        """Set the number of pieces that may be dispatched and not yet consumed, where no number of items is set."""
        self._chunks = chunks

    def put(self, start: int, values: list[Any], size: int = 0) -> None:
        self._sizes[start] = size
        self._held += size
        pieces = self._reorder.put(start, values) if self._reorder else [(start, values)]
        self.received += sum([len(piece) for _, piece in pieces])
        self._pieces.extend(pieces)
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
