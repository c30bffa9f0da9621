"""How a peer is tuned: sizes are tried on the load itself, before anything is timed for a comparison."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from .loads import Load

__all__ = ("best_of", "chunk_sizes")

T = TypeVar("T")

FIRST = 1
"""Where the search begins: at four chunks per worker, which is also the rule of `multiprocessing.Pool`."""

WORSE = 1.1
"""A size that is this many times slower than the best so far ends the search in its direction."""

BUDGET, LEAST = 1.5, 3
"""Seconds of one peer's search for one load, after which no further size is begun, but for the first three."""

SHORT, HOPELESS = 0.2, 1.5
"""Seconds: a shorter try is done twice, and its better time counts; not one that took so many times the best so far."""


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

    descending: sizes from the largest down. The search walks from four chunks per worker to smaller ones while they are
    about as quick, and then to the larger ones. others: settings that are all tried.
    """
    ends = time.perf_counter() + BUDGET
    tried = [(await _seconds(run, candidate), candidate) for candidate in others]
    walked: list[tuple[float, T]] = []
    first = min(FIRST, max(0, len(descending) - 1))
    for direction in (descending[first:], descending[:first][::-1]):
        for candidate in direction:
            if time.perf_counter() > ends and len(walked) >= LEAST:
                break
            best = min((seconds for seconds, _ in walked), default=float("inf"))
            walked.append((await _seconds(run, candidate, best), candidate))
            if walked[-1][0] > WORSE * best:
                break
    tried += walked
    return min(tried, key=lambda pair: pair[0])[1], len(tried)


async def _seconds(run: Callable[[T], Awaitable[object]], candidate: T, best: float = float("inf")) -> float:
    seconds = await _timed(run, candidate)
    hopeless = seconds > HOPELESS * best
    return seconds if hopeless or seconds >= SHORT else min(seconds, await _timed(run, candidate))


async def _timed(run: Callable[[T], Awaitable[object]], candidate: T) -> float:
    began = time.perf_counter()
    await run(candidate)
    return time.perf_counter() - began
