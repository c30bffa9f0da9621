"""Carries payloads over the border: on the loop while that takes no time, in a thread beside it otherwise.

Decides where, lends each chunk its arena, and has it back. What a thread pickles or unpickles lets the loop have its
turns, see `_parts`; what it copies, it copies by system calls.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from functools import partial
from typing import Any

from ._arena import Arena, end_of, filled, pieces_of, read
from ._chunk import ChunkReply
from ._chunking import ChunkSizer
from ._parts import Bound, TooLarge, Watch, give_way
from ._payload import PackedFunction, copied_size, has_bundles, pack_function, parcel_size
from ._stopwatch import Stopwatch
from ._threads import in_thread
from ._wire import Batch, Job, Loaded, Terms, job_for, load_values
from .backends import Pool

__all__ = ("ONE_A_TURN", "Transport")

ON_LOOP_SECONDS = 0.001
PICKLED_ON_LOOP, UNPICKLED_ON_LOOP, COPIED_ON_LOOP = 1 << 20, 1 << 17, (2 << 20) + (64 << 10)
# The most that the payload of one chunk may hold the loop: seconds of pickling, and bytes that are pickled, unpickled,
# and only copied. What is large shows when so much of it is pickled, and is begun anew beside the loop: a first item
# that is a list of millions costs the loop no more than this, either. Small objects are made from 100 bytes in each
# microsecond; copies take 0.2 ms a MiB, more into memory that is new; a hop to a thread and back takes 0.1 ms.

ONE_A_TURN, COPIED_A_TURN = 1 << 15, 1 << 20
# Bytes of a payload from which each has a turn of the loop to itself, since replies of many workers may come at once;
# bytes of one that are copied at a turn.


class Transport:
    """The payloads of one execution."""

    def __init__(self, function: PackedFunction, pool: Pool, sizer: ChunkSizer) -> None:
        self.function = function
        self._arenas = pool.arenas
        self._sizer = sizer
        self._turn = asyncio.Lock()

    def packed_now(self, batch: Batch, terms: Terms) -> Job | None:
        """The job for a batch; None if making it would hold the loop for too long."""
        if terms.pickled and self._seems_large(batch):
            return None
        try:
            return self._packed(batch, terms, Bound(PICKLED_ON_LOOP, ON_LOOP_SECONDS, COPIED_ON_LOOP))
        except TooLarge:
            return None

    async def packed_beside(self, batch: Batch, terms: Terms, watch: Stopwatch) -> Job:
        """The job for a batch, made in a thread."""
        watch.transfer()
        job = await in_thread(partial(self._packed, batch, terms, give_way))
        watch.beside()
        return job

    def _seems_large(self, batch: Batch) -> bool:
        """Whether items like those before would hold the loop; the first ones of a run are tried."""
        costs, items = self._sizer.costs, len(batch.items)
        if costs is None:
            return False
        return costs.item_bytes * items > 1.2 * COPIED_ON_LOOP or costs.item_transfer * items > 4 * ON_LOOP_SECONDS

    def _packed(self, batch: Batch, terms: Terms, watch: Watch) -> Job:
        arena = self._lend() if terms.pickled else None
        try:
            return job_for(batch, self.function, terms, arena=arena, watch=watch)
        except OSError as exc:
            self._refused(str(exc))
        except BaseException:
            self.take_back(arena)
            raise
        if arena is not None:
            arena.close()
        return job_for(batch, self.function, terms, watch=watch)

    def _lend(self) -> Arena | None:
        return None if self._arenas is None else self._arenas.lend()

    def _refused(self, reason: str) -> None:
        if self._arenas is not None and reason:
            self._arenas.refuse(reason)

    async def function_in_band(self) -> PackedFunction:
        """Send the function whole from now on, since a worker cannot have the memory that it lies in."""
        if not isinstance(self.function.pickled, bytes):
            again = await in_thread(partial(pack_function, self.function.function, watch=give_way))
            self.function = replace(self.function, pickled=again.pickled)
        return self.function

    def take_back(self, arena: Arena | None) -> None:
        """Have an arena again that nobody uses any more."""
        if arena is not None and self._arenas is not None:
            self._arenas.take_back(arena)

    async def take_back_from(self, reply: ChunkReply, job: Job) -> None:
        """Have the arena of a reply again, unless the worker still holds what lies there, or could not use it."""
        if reply.no_memory:
            self._refused(reply.no_memory)
        arena = job.arena
        if arena is None:
            return
        settle = partial(arena.cut, end_of(job.args[0].items)) if reply.held else arena.rest
        if arena.is_large:  # giving memory back takes 0.1 s a GiB
            await in_thread(settle)
        else:
            settle()
        if reply.held or reply.no_memory:
            arena.close()
        else:
            self.take_back(arena)

    async def loaded(self, reply: ChunkReply, arena: Arena | None, watch: Stopwatch) -> Loaded | None:
        """See `load_values`."""
        if reply.bytes_out < ONE_A_TURN:
            return load_values(reply, arena)
        if _is_light(reply):
            async with self._turn:
                await asyncio.sleep(0)
                watch.go_on()
                return await self._loaded_in_turns(reply, arena, watch)
        loaded = await in_thread(partial(load_values, reply, arena, gently=True))
        watch.beside()
        return loaded

    async def _loaded_in_turns(self, reply: ChunkReply, arena: Arena | None, watch: Stopwatch) -> Loaded | None:
        """See `load_values`: what is to be copied is copied at several turns of the loop."""
        if arena is None or not has_bundles(reply.values):
            return load_values(reply, arena)
        memory: dict[int, Any] = {}
        copied = 0
        arena.used = True
        for piece in pieces_of(reply.values):
            if copied + piece.length > COPIED_A_TURN:
                watch.transfer()
                await asyncio.sleep(0)
                watch.go_on()
                copied = 0
            try:
                memory[piece.offset] = read(arena.descriptor, piece)
            except (OSError, MemoryError):
                return load_values(reply, arena)  # which knows what to say of it
            copied += piece.length
        return load_values(replace(reply, values=filled(reply.values, memory)), None)


def _is_light(reply: ChunkReply) -> bool:
    """Whether the values of a reply can be had on the loop."""
    if not reply.packed:
        return True
    copied = copied_size(reply.values)
    return copied <= COPIED_ON_LOOP and parcel_size(reply.values) - copied <= UNPICKLED_ON_LOOP
