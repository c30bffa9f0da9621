"""A model of one parent that feeds many workers, by discrete events; pure: no clock, no chance.

The parent does one thing at a time, in the order in which it is asked: it takes a reply and sends the next chunk to
the worker that gave it. Each worker has up to `ahead` chunks, so that it need not wait for the parent's answer.
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass

__all__ = ("Costs", "Projection", "simulated")

AHEAD = 2
"""Chunks a worker has at most: one that runs and one that waits, as in the library."""


@dataclass(frozen=True, slots=True)
class Costs:
    """Seconds. send, collect: of the parent, for each chunk. latency: from parent to worker, and as much back."""

    send: float
    collect: float
    latency: float = 0.0


@dataclass(frozen=True, slots=True)
class Projection:
    """What the model says. seconds: from the first send to the last reply. efficiency: work over workers' wall time.

    parent: the share of the time in which the parent is busy.
    """

    workers: int
    seconds: float
    efficiency: float
    parent: float


def simulated(workers: int, chunks: int, chunk_seconds: float, costs: Costs, ahead: int = AHEAD) -> Projection:
    """Run `chunks` chunks of `chunk_seconds` each through the model."""
    asked = [(0.0, turn * workers + worker, worker, False) for turn in range(ahead) for worker in range(workers)]
    heapq.heapify(asked)
    busy_until, order, left = 0.0, len(asked), chunks
    idle_from = [0.0] * workers
    while asked:
        now, _, worker, replies = heapq.heappop(asked)
        busy_until = max(now, busy_until) + (costs.collect if replies else 0.0)
        if not left:
            continue
        left -= 1
        busy_until += costs.send
        idle_from[worker] = max(busy_until + costs.latency, idle_from[worker]) + chunk_seconds
        heapq.heappush(asked, (idle_from[worker] + costs.latency, order, worker, True))
        order += 1
    busy = chunks * (costs.send + costs.collect)
    return Projection(workers, busy_until, chunks * chunk_seconds / (workers * busy_until), busy / busy_until)
