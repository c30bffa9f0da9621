"""How a peer is tuned: sizes are tried on the load itself, before anything is timed for a comparison."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Iterable
from typing import TypeVar

from .loads import Load

__all__ = ("best_of", "chunk_sizes")

T = TypeVar("T")

WORSE = 2.0
"""Who is this many times slower than the best so far ends the tuning: the next ones only get worse."""

SHORT = 0.3
"""Seconds: a shorter try is done twice, and its better time counts."""


def chunk_sizes(load: Load, workers: int) -> list[int]:
    """Sizes to try, largest first: one chunk per worker, then each time four times as many chunks, down to one item."""
    sizes, chunks = list[int](), workers
    while not sizes or sizes[-1] > 1:
        sizes.append(max(1, -(-len(load.data) // chunks)))
        chunks *= 4
    return sizes


async def best_of(candidates: Iterable[T], run: Callable[[T], Awaitable[object]]) -> tuple[T, int]:
    """Run once or twice with each candidate. Gives the quickest one, and how many were tried."""
    tried: list[tuple[float, T]] = []
    for candidate in candidates:
        seconds = await _timed(run, candidate)
        if seconds < SHORT:
            seconds = min(seconds, await _timed(run, candidate))
        tried.append((seconds, candidate))
        if seconds > WORSE * min(seconds for seconds, _ in tried):
            break
    return min(tried, key=lambda pair: pair[0])[1], len(tried)


async def _timed(run: Callable[[T], Awaitable[object]], candidate: T) -> float:
    began = time.perf_counter()
    await run(candidate)
    return time.perf_counter() - began
