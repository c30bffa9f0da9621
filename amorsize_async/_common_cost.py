"""Finds what moving a chunk takes whatever is in it, since its items refer to one large object; pure.

Seen one at a time, such items look as heavy as that object: the sizer would send each alone, and the object with each.
Two of them together take as much as one.
"""

from __future__ import annotations

import math
from typing import NamedTuple

__all__ = ("PAIR", "PAIR_EVERY", "Moved", "Pairs")

PAIR, PAIR_EVERY = 2, 8
# Items of a chunk that shows it, and of how many chunks of a single item one is a pair instead: two heavy items
# together cost next to nothing more than two chunks.

ALIKE = 1.1
# How much more than the smallest of the single items before it a pair may hold, and the largest of those, for its size
# to be that of what it refers to. Items that differ in size say nothing.


class Moved(NamedTuple):
    """What was moved for a chunk: bytes each way, and the seconds of pickling and unpickling."""

    bytes_in: float = 0.0
    bytes_out: float = 0.0
    seconds: float = 0.0

    @property
    def size(self) -> float:
        """Bytes of both ways."""
        return self.bytes_in + self.bytes_out

    def less(self, other: Moved) -> Moved:
        """What is left without the other; not less than nothing."""
        return Moved(*(max(0.0, mine - its) for mine, its in zip(self, other, strict=True)))


class Pairs:
    """Compares chunks of two items with those of one."""

    def __init__(self) -> None:
        self._forget()

    def _forget(self) -> None:
        self._alone = Moved()
        self._least, self._most = math.inf, 0.0

    def __repr__(self) -> str:
        return f"<Pairs single items of {self._least} to {self._most} bytes>"

    def learn(self, items: int, moved: Moved) -> Moved | None:
        """What a chunk of items like these takes whatever is in it; None if this one does not tell."""
        if items == 1:
            self._alone = moved
            self._least, self._most = min(self._least, moved.size), max(self._most, moved.size)
        if items != PAIR:
            return None
        alone, alike = self._alone, max(self._most, moved.size) <= ALIKE * self._least < math.inf
        self._forget()
        return alone.less(moved.less(alone)) if alike else None
