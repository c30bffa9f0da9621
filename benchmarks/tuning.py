"""How a peer is tuned: sizes are tried on the load itself, before anything is timed for a comparison."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from .loads import Load

__all__ = ("best_of", "chunk_sizes")

T = TypeVar("T")

WORSE = 1.25
"""A size that is this many times slower than a larger one ends the tuning: smaller ones only get worse."""

BUDGET, LEAST = 1.5, 3
"""Seconds of one peer's tuning for one load, after which no further size is begun, but for the first three."""

SHORT = 0.2
"""Seconds: a shorter try is done twice, and its better time counts."""


def chunk_sizes(load: Load, workers: int) -> list[int]:
    """Sizes to try, largest first: one chunk per worker, then each time four times as many chunks, down to one item."""
    sizes, chunks = list[int](), workers
    while not sizes or sizes[-1] > 1:
        sizes.append(max(1, -(-len(load.data) // chunks)))
        chunks *= 4
    return sizes


async def best_of(
    descending: Sequence[T], run: Callable[[T], Awaitable[object]], others: Sequence[T] = ()
) -> tuple[T, int]:
    """Run once or twice with each candidate. Gives the quickest one, and how many were tried.

    descending: sizes from the largest down, which end early; others: settings that are all tried.
    """
    tried = [(await _seconds(run, candidate), candidate) for candidate in others]
    downwards: list[tuple[float, T]] = []
    ends = time.perf_counter() + BUDGET
    for candidate in descending:
        downwards.append((await _seconds(run, candidate), candidate))
        late = time.perf_counter() > ends and len(downwards) >= LEAST
        if late or downwards[-1][0] > WORSE * min(it for it, _ in downwards):
            break
    tried += downwards
    return min(tried, key=lambda pair: pair[0])[1], len(tried)


async def _seconds(run: Callable[[T], Awaitable[object]], candidate: T) -> float:
    seconds = await _timed(run, candidate)
    return seconds if seconds >= SHORT else min(seconds, await _timed(run, candidate))


async def _timed(run: Callable[[T], Awaitable[object]], candidate: T) -> float:
    began = time.perf_counter()
    await run(candidate)
    return time.perf_counter() - began
