"""Carries payloads to the workers: packed on the loop, a slice at a turn, or in a thread beside it.

Decides where, lends each chunk its arena, and has it back. What a thread pickles lets the loop have its turns, see
`_parts`; what it copies, it copies by system calls. How they come home is in `_arrivals`.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace
from functools import partial

from ._arena import Arena
from ._chunk import ChunkReply
from ._chunking import ChunkSizer
from ._parcel import Bundle, Sliced
from ._parts import Bound, TooLarge, Watch, give_way
from ._payload import LARGE_PICKLE, PackedFunction, Pickling, pack_function
from ._stopwatch import Stopwatch
from ._stored import Stowing, end_of
from ._threads import in_thread
from ._turns import Turn
from ._wire import Batch, Job, Terms, job_for, job_of, slice_for
from .backends import Pool

__all__ = ("Transport",)

SLACK, ITEM_SECONDS = 1.5, 0.002
# How much more than a slice goes at one turn after all, and what a single item may take there; a thread has it beyond.

ON_LOOP_SECONDS = 0.001
PICKLED_ON_LOOP, COPIED_ON_LOOP = 1 << 20, (2 << 20) + (64 << 10)
# The most that one turn may hold the loop: seconds of pickling, and bytes that are pickled, and only copied. What is
# large shows when so much of it is pickled, and is begun anew beside the loop: a first item that is a list of millions
# costs the loop no more than this, either. Copies take 0.2 ms a MiB, more into memory that is new; a hop to a thread
# and back takes 0.1 ms.

NEW_ON_LOOP = 1 << 19
# Bytes of one turn that are copied into memory that is new: 0.4 ms a MiB, ten times that where the host has to find it.


class Transport:
    """The payloads of one execution on their way out. alone: what all of its payloads take turns by."""

    def __init__(self, function: PackedFunction, pool: Pool, sizer: ChunkSizer, alone: asyncio.Lock) -> None:
        self.function = function
        self._arenas = pool.arenas
        self._sizer = sizer
        self._alone = alone
        self._packing = asyncio.Lock()
        self._to_pack, self._one_packed = 0, asyncio.Event()

    def __repr__(self) -> str:
        return f"<Transport of {self.function.name}, {self._to_pack} to be packed>"

    def packed_now(self, batch: Batch, terms: Terms) -> Job | None:
        """The job for a batch; None if making it at one turn of the loop would hold that for too long."""
        if terms.pickled and self._width(batch) < len(batch.items):
            return None
        try:
            return self._packed(batch, terms, _bound())
        except TooLarge:
            return None

    async def packed_later(self, batch: Batch, terms: Terms, watch: Stopwatch) -> Job:
        """The job for a batch, made at several turns of the loop, or in a thread."""
        self._to_pack += 1
        try:
            width = self._width(batch)
            job = await self._packed_in_turns(batch, terms, width, watch) if 0 < width < len(batch.items) else None
            return await self._packed_beside(batch, terms, watch) if job is None else job
        finally:
            self._to_pack -= 1
            self._one_packed.set()

    async def all_packed(self) -> None:
        """Wait until no batch is to be packed."""
        while self._to_pack:
            self._one_packed.clear()
            await self._one_packed.wait()

    def _width(self, batch: Batch) -> int:
        """How many items of a batch can be packed at a turn: none, where a single one would hold the loop for long.

        All, where nothing is known: the first ones of a run are tried. And all where each needs a pickle of its own,
        since a slice does not unpickle: what that is too much for is a thread's.
        """
        costs, width, items = self._sizer.costs, self._sizer.slice_size(), len(batch.items)
        if costs is None or width is None or batch.singly:
            return items
        copied = COPIED_ON_LOOP if self._has_room(costs.item_bytes_in * items) else NEW_ON_LOOP
        if costs.item_transfer > ITEM_SECONDS or costs.item_bytes_in > 1.2 * copied:
            return 0
        width = max(1, min(width, int(copied / max(costs.item_bytes_in, 1e-9))))
        return min(items, width) if items > SLACK * width else items

    def _has_room(self, size: float) -> bool:
        """Whether so many bytes go where others went before, so that nobody has to find memory for them."""
        return self._arenas is None or bool(self._arenas.refused) or size <= 1.2 * self._arenas.room

    async def _packed_in_turns(self, batch: Batch, terms: Terms, width: int, watch: Stopwatch) -> Job | None:
        """The job for a batch, `width` items at a turn; None if something is large, or cannot be pickled."""
        slices: list[bytes | Bundle] = []
        costs = self._sizer.costs
        large = costs is None or costs.item_bytes_in * len(batch.items) >= LARGE_PICKLE
        async with self._packing:
            arena = self._lend()
            stowing = None if arena is None else Stowing(arena.write)
            pickling = Pickling(out_of_band=arena is not None)
            try:
                for first in range(0, len(batch.items), width):
                    async with Turn(self._alone, watch):
                        items = batch.items[first : first + width]
                        try:
                            packed = slice_for(items, pickling=pickling, stowing=stowing, large=large, watch=_bound())
                        except KeyboardInterrupt:  # the user's own, maybe
                            raise
                        except BaseException:  # noqa: BLE001 - user code: a thread finds out whose, item by item
                            self.take_back(arena)
                            return None
                        slices.append(packed)
            except BaseException:  # we are to end; what is raised by pickling, a cancellation even, is not about us
                self.take_back(arena)
                raise
        return job_of(batch, self.function, terms, Sliced(tuple(slices)), {}, arena=arena)

    async def _packed_beside(self, batch: Batch, terms: Terms, watch: Stopwatch) -> Job:
        """The job for a batch, made in a thread."""
        began = time.perf_counter()
        job = await in_thread(partial(self._packed, batch, terms, give_way))
        watch.beside(began)
        return job

    def _packed(self, batch: Batch, terms: Terms, watch: Watch) -> Job:
        arena = self._lend() if terms.pickled else None
        try:
            return job_for(batch, self.function, terms, arena=arena, watch=watch)
        except OSError as exc:
            self._refused(str(exc))
        except BaseException:  # only passed on: nobody else knows of the arena
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

    async def dropped(self, reply: ChunkReply | None, job: Job) -> None:
        """Let go of the arena of a chunk that nobody wants any more; `reply`: None if its worker may be writing still.

        A worker that lives keeps its map of it: what is only closed here would hold its memory, however much that is.
        """
        if job.arena is None:
            return
        if reply is None:
            job.arena.close()
        else:
            job.arena.used = True  # by results that nobody reads
            await self.take_back_from(reply, job)


def _bound() -> Bound:
    return Bound(PICKLED_ON_LOOP, ON_LOOP_SECONDS, COPIED_ON_LOOP)
