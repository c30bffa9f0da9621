"""The work that contenders do, importable by their workers; a load is a function and its items."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

__all__ = ("Load", "burn", "burning", "next_number")

PROBE = 200_000
"""Turns of the calibration: about 10 ms each time."""


@dataclass(frozen=True, slots=True)
class Load:
    """A function and the items it runs over."""

    name: str
    fn: Callable[[Any], Any]
    data: Sequence[Any]

    def sample(self, share: float) -> Sequence[Any]:
        """The first `share` of the items."""
        return self.data if share >= 1 else self.data[: max(1, int(share * len(self.data)))]


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
    per_turn = statistics.median(_probe() for _ in range(7)) / PROBE
    return partial(burn, max(1, round(seconds / per_turn)))


def _probe() -> float:
    began = time.perf_counter()
    burn(PROBE, 1)
    return time.perf_counter() - began
