"""When a worker will be done with what it was given, as far as that is known; pure."""

from __future__ import annotations

import math
from collections import deque

__all__ = ("Agenda",)

LEAD_SECONDS, LEAD_SHARE = 0.01, 0.2
# The next chunk is handed over so long before the one that runs is expected to be done, or this share of its time: what
# packing and the round trip take, and the loop may be late, and the guess wrong.


class Agenda:
    """The chunks of one worker, in the order in which it runs them, and the seconds that each is expected to take."""

    def __init__(self) -> None:
        self._expected: deque[float] = deque()
        self._began = 0.0

    def __repr__(self) -> str:
        return f"<Agenda {list(self._expected)} since {self._began}>"

    def add(self, seconds: float, now: float) -> None:
        """Note a chunk that was handed over; 0 seconds if nothing is known."""
        if not self._expected:
            self._began = now
        self._expected.append(seconds)

    def done(self, now: float) -> None:
        """Note that the first of them has ended."""
        if self._expected:
            self._expected.popleft()
        self._began = now

    def clear(self) -> None:
        """Note that it has nothing to do."""
        self._expected.clear()

    def next_at(self, load: int) -> float:
        """When to hand over one more, behind the `load` chunks that it has; infinity while one of them is not told."""
        if len(self._expected) < load:
            return math.inf
        first = self._expected[0]
        return self._began + first - max(LEAD_SECONDS, LEAD_SHARE * first)
