"""Gives the input, whatever its kind, a bounded piece ahead and never on the loop where it might block.

sequence                   sliced where it stands, nothing is read ahead
iterable, async iterable   read into a bounded buffer, see `_reading`

`fill(n, ahead)` waits until `n` items are there (or fewer, where the input is slow or ends), and lets `ahead` more be
read meanwhile; `take(n)` gives what is there.
"""

from __future__ import annotations

from collections.abc import AsyncIterable, Iterable, Sequence
from typing import Any, Protocol

from ._reading import AsyncSource, ThreadSource, length
from .errors import InputError

__all__ = ("SlicedSource", "Source", "open_source")

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


class SlicedSource:
    """A built-in sequence, sliced where it stands: what is changed in it while the run lasts may or may not be seen."""

    def __init__(self, data: Sequence[Any]) -> None:
        self._data = data
        self.error: InputError | None = None
        self.total = length(data)  # None for a range beyond what `len` can say
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
