"""Finds what moving a chunk takes whatever is in it, since its items refer to one large object; pure.

Seen one at a time, such items look as heavy as that object: the sizer would send each alone, and the object with each.
Two of them together take as much as one.
"""

from __future__ import annotations

import math

__all__ = ("Pairs",)

PAIR, PAIR_EVERY = 2, 8
# Items of a chunk that shows it, and of how many chunks of a single item one is a pair instead: two heavy items
# together cost next to nothing more than two chunks.

ALIKE = 1.1
# How much more than the smallest of the single items before it a pair may hold, and the largest of those, for its size
# to be that of what it refers to. Items that differ in size say nothing.

BELIEF_GROWTH = 2
# How many times as many items as the largest chunk that agreed are believed to have the same in common: a large item
# with an almost empty one looks like a pair that has.

MOST_BELIEVED = 64
# How many times as large as a chunk may be one can get, at worst, whose items have nothing in common any more.

BELIEF_SLACK = 1.5
# What is left of a chunk without what is common may be over the bound for a chunk by so much; beyond, nothing is.


class Pairs:
    """Compares chunks of two items with those of one, and says how far what they show is to be believed.

    max_bytes: of what a chunk may hold of its items' own.
    """

    def __init__(self, max_bytes: float) -> None:
        self._max_bytes = max_bytes
        self._agreed, self._refuted = PAIR, False
        self._forget()

    def _forget(self) -> None:
        self._alone, self._least, self._most = 0.0, math.inf, 0.0

    def __repr__(self) -> str:
        return f"<Pairs agreed={self._agreed} refuted={self._refuted}>"

    def most(self, common: float) -> int:
        """Items of a chunk that may be taken to have so many bytes in common, or that fit even if they have not."""
        fit = self._max_bytes / common
        return max(1, int(min(max(BELIEF_GROWTH * self._agreed, fit), MOST_BELIEVED * fit)))

    def size_of(self, chunk: int) -> int:
        """Items of the chunk of this number, from 0, where each item is to be alone: now and then a pair."""
        return PAIR if chunk % PAIR_EVERY == PAIR_EVERY - 1 and not self._refuted else 1

    def learn(self, items: int, size: float, common: float) -> float | None:
        """The bytes that a chunk of items like these has whatever is in it, if this one tells; None: no news.

        size: bytes of this one, both ways. common: what was believed so far. A chunk that is much too large without it
        refutes that, and all pairs to come.
        """
        found = self._compared(items, size)
        if found is not None:
            self._agreed = PAIR
        elif common > 0 and size - common > BELIEF_SLACK * self._max_bytes:
            self._refuted = True
            return 0.0
        else:
            self._agreed = max(self._agreed, items)
        return found

    def _compared(self, items: int, size: float) -> float | None:
        if items == 1:
            self._alone, self._least, self._most = size, min(self._least, size), max(self._most, size)
        if items != PAIR:
            return None
        alone, alike = self._alone, max(self._most, size) <= ALIKE * self._least < math.inf
        self._forget()
        return min(alone, 2 * alone - size) if alike else None
