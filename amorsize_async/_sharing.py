"""Decides which execution gets the next free place, where several share workers: pure, knows no loop and no worker.

Start-time fair queueing (Goyal, Vin and Cheng 1996) with equal weights: each execution has an account of the worker
seconds it has been given; the smallest account goes first; who comes in late starts level with the smallest one in
use, so that a small call beside a huge one waits for about one chunk, and nobody can save up.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from dataclasses import dataclass, field
from itertools import count

__all__ = ("Share", "level", "most_deserving")

_arrivals = count()


@dataclass(slots=True, eq=False)
class Share:
    """One execution's account.

    limit: the most places it may hold at once. seconds: worker seconds charged to it. held: chunks per place. steady:
    whether the cost of its items is known, so that a chunk may wait behind another.
    """

    limit: int
    seconds: float = 0.0
    steady: bool = False
    held: dict[Hashable, int] = field(default_factory=dict)
    arrival: int = field(default_factory=lambda: next(_arrivals))

    def may_use(self, place: Hashable) -> bool:
        """Whether one more chunk on `place` stays within the limit."""
        return place in self.held or len(self.held) < self.limit

    def take(self, place: Hashable) -> None:
        """Note a chunk on `place`."""
        self.held[place] = self.held.get(place, 0) + 1

    def give_back(self, place: Hashable, seconds: float) -> None:
        """Note that a chunk on `place` ended after `seconds` of work."""
        self.seconds += seconds
        self.held[place] -= 1
        if not self.held[place]:
            del self.held[place]


def most_deserving(shares: Iterable[Share]) -> list[Share]:
    """Who should be served first: the least charged; of equals, who came first."""
    return sorted(shares, key=lambda share: (share.seconds, share.arrival))


def level(shares: Iterable[Share]) -> float:
    """Where a newcomer's account starts: level with the least charged of those at work."""
    return min((share.seconds for share in shares), default=0.0)
