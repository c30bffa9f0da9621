"""Carries payloads over the border: on the loop, a slice at a turn, or in a thread beside it.

Decides where, lends each chunk its arena, and has it back. What a thread pickles or unpickles lets the loop have its
turns, see `_parts`; what it copies, it copies by system calls.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial, reduce
from operator import iadd
from typing import Any

from ._arena import Arena
from ._chunk import ChunkReply
from ._chunking import MAX_CHUNK_BYTES, ChunkSizer
from ._parcel import Bundle, Sliced, copied_size, largest_pickle
from ._parts import Bound, TooLarge, Watch, give_way
from ._payload import LARGE_PICKLE, PackedFunction, Pickling, Unpickling, pack_function
from ._stopwatch import Stopwatch
from ._stored import Stored, Stowing, end_of, filled, pieces_of
from ._threads import in_thread
from ._wire import Batch, Job, Loaded, Terms, job_for, job_of, load_slice, load_values, slice_for
from .backends import Pool

__all__ = ("ONE_A_TURN", "Transport")

SLACK, ITEM_SECONDS = 1.5, 0.002
# How much more than a slice goes at one turn after all, and what a single item may take there; a thread has it beyond.

ON_LOOP_SECONDS = 0.001
PICKLED_ON_LOOP, UNPICKLED_ON_LOOP, COPIED_ON_LOOP = 1 << 20, 1 << 17, (2 << 20) + (64 << 10)
# The most that one turn may hold the loop: seconds of pickling, and bytes that are pickled, unpickled, and only copied.
# What is large shows when so much of it is pickled, and is begun anew beside the loop: a first item that is a list of
# millions costs the loop no more than this, either. Small objects are made from 100 bytes in each microsecond; copies
# take 0.2 ms a MiB, more into memory that is new; a hop to a thread and back takes 0.1 ms.

NEW_ON_LOOP = 1 << 19
# Bytes of one turn that are copied into memory that is new: 0.4 ms a MiB, ten times that where the host has to find it.

ONE_A_TURN, COPIED_A_TURN = 1 << 15, 1 << 20
# Bytes of a payload from which each has a turn of the loop to itself, since replies of many workers may come at once;
# bytes of one that are copied at a turn.


class Transport:
    """The payloads of one execution."""

    def __init__(self, function: PackedFunction, pool: Pool, sizer: ChunkSizer) -> None:
        self.function = function
        self._arenas = pool.arenas
        self._sizer = sizer
        self._alone = asyncio.Lock()
        self._packing, self._loading = asyncio.Lock(), asyncio.Lock()
        self._to_pack, self._one_packed = 0, asyncio.Event()
        self._to_load, self._one_loaded = 0, asyncio.Event()

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
                    async with _Turn(self._alone, watch):
                        items = batch.items[first : first + width]
                        packed = slice_for(items, pickling=pickling, stowing=stowing, large=large, watch=_bound())
                        slices.append(packed)
            except (asyncio.CancelledError, GeneratorExit):  # not of the items: we are to end
                self.take_back(arena)
                raise
            except BaseException:  # noqa: BLE001 - pickling is user code: a thread finds out whose, item by item
                self.take_back(arena)
                return None
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

    async def caught_up(self) -> None:
        """Wait until no more replies are to be unpacked than there are workers: what waits holds memory."""
        while self._to_load > self._sizer.n_jobs:
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
            async with _Turn(self._alone, watch):
                try:
                    parts.append(load_slice(each, arena, unpickling))
                except BaseException:  # noqa: BLE001 - user code (`__setstate__`) may raise anything
                    break
        else:
            return reduce(iadd, parts), {}
        return load_values(reply, arena)  # which knows what to say of it

    async def _read(self, reply: ChunkReply, arena: Arena | None, watch: Stopwatch) -> Loaded | None:
        """See `load_values`: what is to be copied is copied at several turns of the loop."""
        memory: dict[int, Any] = {}
        turns: list[list[Stored]] = ([] if arena is None else list(_turns(pieces_of(reply.values)))) or [[]]
        for each in turns:
            async with _Turn(self._alone, watch):
                try:
                    memory.update(_copied(each, arena))
                except (OSError, MemoryError):
                    break
                if each is turns[-1]:
                    return load_values(reply._replace(values=filled(reply.values, memory)), None)
        return load_values(reply, arena)  # as above


class _Turn:
    """A turn of the loop for one payload alone; what is done in it is what `watch` calls transfer.

    Packing and unpacking take turns, and one iteration of the loop in two is free of both: without that, others were
    served two milliseconds later, at worst, while a million small objects came and went, and it took as long.
    """

    def __init__(self, alone: asyncio.Lock, watch: Stopwatch) -> None:
        self._alone, self._watch = alone, watch

    async def __aenter__(self) -> None:
        await self._alone.acquire()
        try:
            await asyncio.sleep(0)
            await asyncio.sleep(0)  # the one before was the end of somebody else's turn
        except asyncio.CancelledError:
            self._alone.release()
            raise
        self._watch.go_on()

    async def __aexit__(self, *_exception: object) -> None:
        self._watch.transfer()
        self._alone.release()


def _copied(pieces: Sequence[Stored], arena: Arena | None) -> dict[int, Any]:
    """What lies at some places of an arena, by its offset."""
    return {} if arena is None else {piece.offset: arena.read(piece) for piece in pieces}


def _turns(pieces: Sequence[Stored]) -> Iterator[list[Stored]]:
    """Neighbouring pieces, so many together as can be copied at a turn."""
    together: list[Stored] = []
    for piece in pieces:
        if together and sum(each.nbytes for each in together) + piece.nbytes > COPIED_A_TURN:
            yield together
            together = []
        together.append(piece)
    if together:
        yield together


def _bound() -> Bound:
    return Bound(PICKLED_ON_LOOP, ON_LOOP_SECONDS, COPIED_ON_LOOP)


def _is_light(reply: ChunkReply) -> bool:
    """Whether the values of a reply can be had on the loop."""
    if not reply.packed:
        return True
    values = reply.values
    return copied_size(values) <= MAX_CHUNK_BYTES and largest_pickle(values) <= UNPICKLED_ON_LOOP
