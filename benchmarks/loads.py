"""What contenders run: a load is a function and its items; and the functions that burn, importable by workers."""

from __future__ import annotations

import copy
import operator
import statistics
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

__all__ = ("Load", "burn", "burning", "next_number", "turns_per_second")

PROBE = 200_000
"""Turns of the calibration: about 10 ms each time."""


@dataclass(frozen=True, slots=True)
class Load:
    """A function and the items it runs over.

    lazy: contenders are given a generator of the items, not a sequence. plain: the same work for those who cannot run
    `fn`, which is then `async def`; None if `fn` is plain itself. same: whether two lists of results are equal.
    known: what an item gives, where that can be had without the wait; None: a plain loop finds out.
    fresh: each run gets copies of the items, because some contenders remember large ones.
    """

    name: str
    fn: Callable[[Any], Any]
    data: Sequence[Any]
    lazy: bool = False
    plain: Callable[[Any], Any] | None = None
    same: Callable[[list[Any], list[Any]], bool] = operator.eq
    known: Callable[[Any], Any] | None = None
    fresh: bool = False

    def sample(self, share: float) -> Sequence[Any]:
        """The first `share` of the items."""
        return self.data if share >= 1 else self.data[: max(1, int(share * len(self.data)))]

    def part(self, share: float) -> Load:
        """The same load with the first `share` of the items."""
        return replace(self, data=self.sample(share))

    def items(self) -> Iterable[Any]:
        """The items in the form that a contender is given them; what this costs is nobody's time."""
        if self.fresh:
            return [copy.copy(item) for item in self.data]
        return (item for item in self.data) if self.lazy else self.data

    def expected(self) -> list[Any]:
        """The results, in input order."""
        fn = self.known or self.function(coroutines=False)
        return [fn(item) for item in self.data]

    def function(self, *, coroutines: bool) -> Callable[[Any], Any]:
        """What to call: `fn`, or its plain form for who does not run coroutines."""
        return self.fn if coroutines or self.plain is None else self.plain


def next_number(number: int) -> int:
    """Do next to nothing: 50 ns, so that only what is around it counts."""
    return number + 1


def burn(turns: int, seed: int) -> int:
    """Compute for a number of turns, not until a time: who gets half a core then takes twice as long."""
    value = seed
    for _ in range(turns):
        value = (value * 1103515245 + 12345) & 0x7FFFFFFF
    return value


def burning(seconds: float) -> Callable[[int], int]:
    """A function that burns about so many seconds of an idle core of this machine."""
    return partial(burn, max(1, round(seconds * turns_per_second())))


def turns_per_second() -> float:
    """Turns of `burn` in a second of an idle core of this machine."""
    return PROBE / statistics.median(_probe() for _ in range(7))


def _probe() -> float:
    began = time.perf_counter()
    burn(PROBE, 1)
    return time.perf_counter() - began
