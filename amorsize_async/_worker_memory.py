"""A worker's side of shared memory: it maps its items and what its function holds, and writes its results.

Standard library, `_arena`, `_chunk`, `_stored` and `_parcel` only, as all that a worker imports.
"""

from __future__ import annotations

import os
import sys
from collections import OrderedDict
from collections.abc import Callable
from contextlib import suppress
from functools import cache, partial
from typing import TYPE_CHECKING, Any, cast
from weakref import ref

from . import _arena, _stored
from ._arena import Address
from ._chunk import Chunk
from ._parcel import Bundle, Parcel, changed, has_bundles

if TYPE_CHECKING:
    import mmap

__all__ = ("fetched", "forget_maps", "mapped", "stowed")

MOST_MAPS, MOST_HELD = 8, 64
# So many arenas that are not large stay mapped for their next chunk, each with a descriptor. Items that a function has
# kept may hold so many more; those that come after are copied.

MALLOPT_TRIM_THRESHOLD, MALLOPT_MMAP_THRESHOLD, KEPT_HEAP = -1, -3, 8 << 20
# Parameters of mallopt, from malloc.h; bytes of a block that comes from the heap and stays there, see MAX_CHUNK_BYTES.


def fetched(chunk: Chunk) -> tuple[Parcel, Callable[[], bool]]:
    """The chunk's items, where they lie in the arena; and what tells, once, whether somebody holds one of them still.

    Raises OSError if the arena cannot be had.
    """
    arena = chunk.arena
    if arena is None or not has_bundles(chunk.items):
        return chunk.items, _nobody
    _keep_freed_memory()
    _count_forks()
    _held[:] = [each for each in _held if each() is not None]
    memory = _maps.pop(arena, None)
    if memory is None or len(memory) < _stored.end_of(chunk.items):
        with _arena.opened(arena) as descriptor:
            if len(_held) >= MOST_HELD:
                return changed(chunk.items, partial(_stored.read, descriptor)), _nobody
            memory = _arena.map_of(descriptor, private=False)
    forks, holders = _forks[0], sys.getrefcount(memory)

    def held() -> bool:
        # Each view holds the map, and CPython counts who does. A child may hold it, too, and use it for long.
        if sys.getrefcount(memory) > holders or _forks[0] > forks:
            _held.append(ref(memory))
            return True
        if len(memory) <= _arena.KEPT_BYTES:
            _maps[arena] = memory
            if len(_maps) > MOST_MAPS:
                _maps.popitem(last=False)
        return False

    return _stored.placed(chunk.items, memory), held


def forget_maps() -> None:
    """Let go of the arenas that are only kept mapped for the next chunk."""
    _maps.clear()


def _nobody() -> bool:
    """Stands for what tells who holds items that are no part of an arena."""
    return False


_maps: OrderedDict[Address, mmap.mmap] = OrderedDict()
_held: list[Callable[[], Any]] = []
_forks = [0]
# What is mapped of arenas that may come again, and of items that somebody held when their chunk had ended, for as long
# as it is; how often this process was forked.


@cache
def _count_forks() -> None:
    """Notice from now on when this process is forked."""

    def forked() -> None:
        _forks[0] += 1

    os.register_at_fork(before=forked)


def stowed(parcel: Parcel, chunk: Chunk) -> Parcel:
    """The parcel, written into the chunk's arena as far as it is large; raises OSError if that cannot be done."""
    if chunk.arena is None or not has_bundles(parcel):
        return parcel
    _keep_freed_memory()
    with _arena.opened(chunk.arena) as descriptor:
        # Behind the items: a result may be a view of one.
        return _stored.stowed(parcel, partial(_stored.write, descriptor), _stored.end_of(chunk.items))


def mapped(function: bytes | Bundle, home: Address | None) -> bytes | Bundle:
    """A pickled function, what is large in it being where it lies; raises OSError if the arena cannot be had."""
    if isinstance(function, bytes) or home is None:
        return function
    with _arena.opened(home) as descriptor:
        memory = _arena.map_of(descriptor, private=True)
    return cast(Bundle, _stored.placed(function, memory))


@cache
def _keep_freed_memory() -> None:
    """Have glibc keep some of the memory that large items and results leave behind, for the next ones.

    Giving it back and getting it again costs more than moving the data: 0.4 ms for each MiB, in pages that are new to
    the process. By itself, glibc keeps about the size of the largest block that was freed (mallopt(3)), and a chunk has
    several.
    """
    if not sys.platform.startswith("linux"):
        return
    import ctypes

    with suppress(AttributeError):  # another C library
        set_option = ctypes.CDLL(None).mallopt
        set_option(MALLOPT_MMAP_THRESHOLD, KEPT_HEAP)
        set_option(MALLOPT_TRIM_THRESHOLD, 2 * KEPT_HEAP)
