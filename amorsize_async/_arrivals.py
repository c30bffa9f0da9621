"""Has payloads come home: unpickled on the loop, a slice at a turn, or in a thread beside it.

Decides where. What a thread unpickles lets the loop have its turns, see `_parts`; what it copies, it copies by system
calls.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Iterator, Sequence
from functools import partial, reduce
from itertools import takewhile
from operator import iadd
from typing import Any

from ._arena import Arena
from ._chunk import ChunkReply
from ._chunking import MAX_CHUNK_BYTES
from ._failures import Failure
from ._parcel import Sliced, copied_size, largest_pickle
from ._payload import Unpickling
from ._stopwatch import Stopwatch, busy
from ._stored import Stored, filled, pieces_of
from ._threads import in_thread
from ._turns import ONE_A_TURN, Turn, together
from ._wire import Batch, FailedItem, Job, Loaded, failed_items, load_slice, load_values

__all__ = ("Arrivals",)

UNPICKLED_ON_LOOP, COPIED_A_TURN = 1 << 17, 1 << 20
# The most bytes of one pickle that hold the loop: small objects are made from 100 bytes in each microsecond; and what
# is copied at a turn.

FAILURES_SECONDS = 0.0003
# What making exceptions may take at a turn: 5 to 20 microseconds each, however little they hold.


class Arrivals:
    """The replies of one execution. alone: what its payloads take turns by. n_jobs: its workers."""

    def __init__(self, alone: asyncio.Lock, n_jobs: int) -> None:
        self._alone = alone
        self._n_jobs = n_jobs
        self._loading = asyncio.Lock()
        self._to_load, self._one_loaded = 0, asyncio.Event()

    def __repr__(self) -> str:
        return f"<Arrivals {self._to_load} to be unpacked>"

    async def loaded(self, reply: ChunkReply, arena: Arena | None, watch: Stopwatch) -> Loaded | None:
        """See `load_values`."""
        if reply.bytes_out < ONE_A_TURN:
            return load_values(reply, arena)
        if _is_light(reply):
            return await self._loaded_in_turns(reply, arena, watch)
        began = time.perf_counter()
        loaded = await in_thread(partial(load_values, reply, arena, gently=True))
        watch.beside(began)
        return loaded

    async def failed(self, reply: ChunkReply, batch: Batch, job: Job, watch: Stopwatch) -> list[FailedItem]:
        """What failed of a batch in its worker, or was never sent, by rising index.

        Exceptions may hold anything, and there may be many: a few are made at a turn of the loop, a large one, or one
        that nobody knows yet why it could not be sent, in a thread.
        """
        found: list[FailedItem] = []
        left = deque(reply.failures)
        while left:
            heavy = list(takewhile(partial(_is_heavy, job), left))
            if heavy:
                began = time.perf_counter()
                found += await in_thread(partial(failed_items, heavy, batch, job.unsendable, gently=True))
                watch.beside(began)
                for _ in heavy:
                    left.popleft()
            elif not found:
                found += _some(left, batch, job)
            else:
                async with Turn(self._alone, watch):
                    found += _some(left, batch, job)
        return found

    async def caught_up(self) -> None:
        """Wait until no more replies are to be unpacked than there are workers: what waits holds memory."""
        while self._to_load > self._n_jobs:
            self._one_loaded.clear()
            await self._one_loaded.wait()

    async def _loaded_in_turns(self, reply: ChunkReply, arena: Arena | None, watch: Stopwatch) -> Loaded | None:
        self._to_load += 1
        try:
            async with self._loading:
                sliced = isinstance(reply.values, Sliced)
                return await (self._joined(reply, arena, watch) if sliced else self._read(reply, arena, watch))
        finally:
            self._to_load -= 1
            self._one_loaded.set()

    async def _joined(self, reply: ChunkReply, arena: Arena | None, watch: Stopwatch) -> Loaded | None:
        """See `load_values`: a slice at a turn of the loop."""
        parts: list[list[Any]] = []
        unpickling = Unpickling()
        for each in reply.values.slices:
            async with Turn(self._alone, watch):
                try:
                    parts.append(load_slice(each, arena, unpickling))
                except KeyboardInterrupt:  # the user's own, maybe
                    raise
                except BaseException:  # noqa: BLE001 - user code (`__setstate__`) may raise anything
                    break
        else:
            return reduce(iadd, parts), {}
        return load_values(reply, arena)  # which knows what to say of it

    async def _read(self, reply: ChunkReply, arena: Arena | None, watch: Stopwatch) -> Loaded | None:
        """See `load_values`: what is to be copied is copied at several turns of the loop."""
        memory: dict[int, Any] = {}
        turns: list[list[Stored]] = ([] if arena is None else list(_at_a_turn(pieces_of(reply.values)))) or [[]]
        for each in turns:
            async with Turn(self._alone, watch):
                try:
                    memory.update(_copied(each, arena))
                except (OSError, MemoryError):
                    break
                if each is turns[-1]:
                    return load_values(reply._replace(values=filled(reply.values, memory)), None)
        return load_values(reply, arena)  # as above


def _is_heavy(job: Job, failure: Failure) -> bool:
    """Whether an exception is large, or the item is to be looked through for why it was not sent."""
    pickled = failure.exception
    return failure.offset in job.unsendable or (isinstance(pickled, bytes) and len(pickled) > UNPICKLED_ON_LOOP)


def _some(left: deque[Failure], batch: Batch, job: Job) -> list[FailedItem]:
    """Make the next exceptions, as many as a turn has time for, and one at least: unpickling is user code."""
    until = busy() + FAILURES_SECONDS
    made: list[FailedItem] = []
    while left and not _is_heavy(job, left[0]) and (not made or busy() < until):
        made += failed_items([left.popleft()], batch, job.unsendable)
    return made


def _copied(pieces: Sequence[Stored], arena: Arena | None) -> dict[int, Any]:
    """What lies at some places of an arena, by its offset."""
    return {} if arena is None else {piece.offset: arena.read(piece) for piece in pieces}


def _at_a_turn(pieces: Sequence[Stored]) -> Iterator[list[Stored]]:
    return together(pieces, lambda piece: piece.nbytes, COPIED_A_TURN)


def _is_light(reply: ChunkReply) -> bool:
    """Whether the values of a reply can be had on the loop."""
    if not reply.packed:
        return True
    values = reply.values
    return copied_size(values) <= MAX_CHUNK_BYTES and largest_pickle(values) <= UNPICKLED_ON_LOOP
