"""Decides how many items the next chunk gets, from what the chunks before it cost; pure, and the only place for it.

With t = smoothed seconds per item, h = parent seconds per chunk, P = workers and R = items left:

    n = max(1, min(byte cap, loop cap, max(ceil(max(P*h, 4 ms)/t), min(T/t, R/(1.5P)))))

P*h/t keeps the parent from being the bottleneck (4 ms: see LEAST_SECONDS), T bounds the latency of progress and of
cancellation, R/(1.5P) bounds the tail (guided self-scheduling, Polychronopoulos and Kuck 1987), the byte and loop caps
bound the memory that is in flight and the turns of the loop that one chunk takes. What would be left behind the chunk
and is worth less than a millisecond goes with it. The caps are for what is an item's own: what all items of a chunk
refer to is moved once, and two of them instead of one show that, see `_common_cost`.
"""

from __future__ import annotations

import math

from ._common_cost import Pairs
from ._costs import Costs, Observation, mixed, sample_of

__all__ = ("MAX_CHUNK_BYTES", "MAX_CHUNK_BYTES_IN_PIPES", "ChunkSizer")

TARGET_SECONDS = 0.05
# T: work per chunk. Longer chunks cost the parent less, shorter ones make progress, fairness and cancellation prompt.
# A chunk costs the parent 0.15 ms of CPU, 0.6 ms where others have the processors meanwhile and nothing of it is in
# their caches: 1 % of a core per worker at 50 ms.

LEAST_SECONDS = 0.004
# What a chunk of the tail is worth at least: smaller ones cost more than the evening out of the last chunks gains.

TAIL = 1.5
# The next chunk is what each worker has still to do, over this: 1 would have them all wait for the slowest, 2 made a
# sixth more chunks and no run shorter.

CRUMBS_SECONDS = 0.001
# The last items of a run go together when they are worth less than this: else the tail would be halved down to one.

BUDGET_SECONDS = 3 * TARGET_SECONDS
# When a chunk has taken this long, its worker sends back what is done and the rest unrun: the items turned out to be
# much heavier than those before, and others wait.

MAX_CHUNK_BYTES, MAX_CHUNK_BYTES_IN_PIPES = (8 << 20) + (64 << 10), 2 << 20
# Bytes of a chunk in both directions, which bounds what is in flight: two chunks a worker. A little over 8 MiB so that
# eight items of one fit in: handing over a chunk costs as much as copying 8 MiB into memory that was used before. Where
# payloads go through pipes, a reply is copied twice at one turn of the loop.

A_TURN_SECONDS, MOST_TURNS, FIRST_TURNS = 0.0003, 12, 3
# The most that pickling and unpickling may hold the loop at one of its turns, and the turns that one chunk may have: a
# chunk costs the parent half a millisecond whatever is in it. The first of each worker has fewer: that one waits.

SECONDS_A_BYTE = 1e-3 / (1 << 20)
# What memory that is new takes to get: 0.5 to 2.5 ms a MiB under a hypervisor, a tenth of that elsewhere.

MAX_GROWTH = 8
# A step from one chunk to the next: four steps from 1 item to 4,096, and a misleading first item costs little.

TINY_ITEM = 1e-3
# Items cheaper than this, in seconds, are run several at a time between two looks at the shared cell, as many as are
# worth this much work: a look costs 1.5 microseconds, and an item that goes alone 0.3 more than in a `map`.

MAX_STRIDE = 2048

FIRST_CONCURRENT, MAX_CONCURRENT = 32, 1000
# Coroutines of one chunk on a worker's loop at once: of the first, and of any. They wait together, so that a chunk
# takes about as long as its slowest item, however many there are.


class ChunkSizer:
    """The sizes of one execution's chunks.

    n_jobs: workers that share the input. chunksize: a fixed size, None to decide. most: the largest size to decide on,
    None for any. costs: of the function's last run. is_async: items of a chunk run at once, so that only their CPU time
    adds up. max_bytes: of a chunk in both directions.
    """

    def __init__(
        self,
        n_jobs: int,
        *,
        chunksize: int | None = None,
        most: int | None = None,
        costs: Costs | None = None,
        is_async: bool = False,
        max_bytes: int = MAX_CHUNK_BYTES_IN_PIPES,
    ) -> None:
        self.max_bytes = max_bytes
        self.n_jobs = n_jobs
        self.chunksize = chunksize
        self.most = most
        self.costs = costs
        self.is_async = is_async
        self._total = 0
        self._taken = 0
        self._pairs = Pairs(max_bytes)
        self._largest = 0 if costs is None else self._ideal(costs, None)

    def __repr__(self) -> str:
        return f"<ChunkSizer n_jobs={self.n_jobs} chunksize={self.chunksize} costs={self.costs}>"

    def next_size(self, remaining: int | None) -> int:
        """Items of the next chunk, at least 1; `remaining`: items not yet taken, None if unknown."""
        if self.chunksize is not None:
            return self.chunksize
        self._total = max(self._total, remaining or 0)
        if self.costs is None:
            return self._first(remaining)
        size = max(1, min(self._ideal(self.costs, remaining), self._most_next(self.costs)))
        return self._pairs.size_of(self._taken) if size == 1 and self._may_be_two(self.costs, remaining) else size

    def _most_next(self, costs: Costs) -> int:
        most = MAX_GROWTH * max(1, self._largest)
        return min(most, self._pairs.most(costs.common)) if costs.common else most

    def _may_be_two(self, costs: Costs, remaining: int | None) -> bool:
        """Whether a single item goes alone because of what it takes to move, and two would do no harm."""
        return (
            (remaining is None or remaining > 2 * self.n_jobs)
            and (self.most is None or self.most > 1)
            and 2 * costs.item_seconds < TARGET_SECONDS
            and costs.item_bytes_in + costs.item_bytes_out <= self.max_bytes  # what is larger by itself stays alone
            and self._capped(costs, 2) == 1
        )

    def taken(self) -> None:
        """Note that a chunk was taken from the input."""
        self._taken += 1

    def _first(self, remaining: int | None) -> int:
        """The size while nothing is known: one item, which costs little if it is heavy; coroutines wait together."""
        if not self.is_async:
            return 1
        most = FIRST_CONCURRENT if remaining is None else math.ceil(remaining / self.n_jobs)
        return max(1, min(FIRST_CONCURRENT, most, self.most or FIRST_CONCURRENT))

    @property
    def budget(self) -> float:
        """Seconds a chunk may take before its worker sends back the rest: none for a size that the user chose."""
        return BUDGET_SECONDS if self.chunksize is None else math.inf

    @property
    def steady(self) -> bool:
        """Whether a chunk may wait behind another at its worker: not while nothing is known of what that one takes.

        Neither where getting the memory that it waits in takes longer than the work that it would be late for: arrays
        that are only summed up, say.
        """
        return self.costs is not None and self.costs.item_seconds > SECONDS_A_BYTE * self.costs.item_copied

    def seconds_of(self, items: int) -> float:
        """Seconds that a chunk of so many items should take a worker; 0 if that is not known, as with coroutines."""
        return 0.0 if self.costs is None or self.is_async else min(self.budget, self.costs.item_seconds * items)

    def stride(self) -> int:
        """Items the worker runs between two looks at its cell: 1 unless they are known to be tiny."""
        if self.costs is None or self.is_async:
            return 1
        return max(1, min(MAX_STRIDE, int(TINY_ITEM / max(self.costs.item_seconds, 1e-9))))

    def slice_size(self) -> int | None:
        """Items that can be pickled at one turn of the loop, at least 1; None if nothing is known."""
        if self.costs is None:
            return None
        return max(1, int(A_TURN_SECONDS / max(self.costs.item_transfer, 1e-12)))

    def observe(self, seen: Observation) -> None:
        """Learn from a finished chunk."""
        if seen.items < 1:
            return
        self._largest = max(self._largest, seen.items)
        common = self._pairs.learn(seen.items, seen.size, 0.0 if self.costs is None else self.costs.common)
        if common is None:
            self.costs = mixed(self.costs, seen, is_async=self.is_async)
        else:
            self.costs = sample_of(seen, common, is_async=self.is_async)

    def _ideal(self, costs: Costs, remaining: int | None) -> int:
        item = max(costs.item_seconds, 1e-9)
        floor: float = math.ceil(max(self.n_jobs * costs.chunk_overhead, LEAST_SECONDS) / item)
        wanted = TARGET_SECONDS / item
        if remaining is not None:
            floor, wanted = self._shared(item, floor, wanted, remaining)
        size = self._capped(costs, max(floor, wanted))
        if remaining is not None and not self.is_async and (remaining - size) * item < CRUMBS_SECONDS:
            return self._capped(costs, remaining)
        return size

    def _capped(self, costs: Costs, size: float) -> int:
        turns = MOST_TURNS if self._taken >= self.n_jobs else FIRST_TURNS
        caps = [
            self.max_bytes / max(costs.item_bytes_in + costs.item_bytes_out, 1e-9),
            turns * A_TURN_SECONDS / max(costs.item_transfer, 1e-12),
            MAX_CONCURRENT if self.is_async else math.inf,
            self.most or math.inf,
        ]
        return max(1, int(min(*caps, size)))

    def _shared(self, item: float, floor: float, wanted: float, remaining: int) -> tuple[float, float]:
        """The least and the wanted size, when so many items are left for all."""
        if self.is_async:
            # A tail of ever smaller chunks evens out plain items. Coroutines that wait together gain nothing from it,
            # and each chunk that comes after another waits anew.
            share = math.ceil(self._total / self.n_jobs)
            return min(floor, share), min(wanted, share)
        # Whatever a chunk costs, nobody should stay idle; unless all that is left is worth no more than it costs.
        floor = max(CRUMBS_SECONDS / item, min(floor, math.ceil(remaining / self.n_jobs)))
        return min(floor, remaining), min(wanted, remaining / (TAIL * self.n_jobs))
