"""A worker's side of shared memory: it maps its items and what its function holds, and writes its results.

Standard library, `_arena` and `_payload` only, as all that a worker imports.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from contextlib import suppress
from functools import cache, partial
from typing import Any, cast

from . import _arena
from ._arena import Address
from ._chunk import Chunk
from ._parcel import Bundle, Parcel, has_bundles

__all__ = ("fetched", "mapped", "stowed")

MOST_MAPS = 64
# Items that a function has kept may hold so many maps, each with a descriptor; those that come after are copied.

MALLOPT_TRIM_THRESHOLD, MALLOPT_MMAP_THRESHOLD, KEPT_HEAP = -1, -3, 8 << 20
# Parameters of mallopt, from malloc.h; bytes of a block that comes from the heap and stays there, see MAX_CHUNK_BYTES.


def fetched(chunk: Chunk) -> tuple[Parcel, Callable[[], Any]]:
    """The chunk's items, where they lie in the arena; and what gives None once nobody holds one of these any more.

    Raises OSError if the arena cannot be had.
    """
    if chunk.arena is None or not has_bundles(chunk.items):
        return chunk.items, _nothing
    _keep_freed_memory()
    _count_forks()
    _maps[:] = [each for each in _maps if each() is not None]
    with _arena.opened(chunk.arena) as descriptor:
        if len(_maps) >= MOST_MAPS:
            return _arena.fetched(chunk.items, descriptor), _nothing
        parcel, memory = _arena.mapped(chunk.items, descriptor, private=False)
    _maps.append(memory)
    forks = _forks[0]
    return parcel, lambda: memory() if _forks[0] == forks else _forks  # a child may hold the map, and use it for long


def _nothing() -> None:
    """Stands for a reference to what is gone."""


_maps: list[Callable[[], Any]] = []
_forks = [0]
# What is mapped of items, as far as somebody holds it; how often this process was forked.


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
        return _arena.stowed(parcel, partial(_arena.write, descriptor), _arena.end_of(chunk.items))


def mapped(function: bytes | Bundle, home: Address | None) -> bytes | Bundle:
    """A pickled function, what is large in it being where it lies; raises OSError if the arena cannot be had."""
    if isinstance(function, bytes) or home is None:
        return function
    with _arena.opened(home) as descriptor:
        bundle, _ = _arena.mapped(function, descriptor, private=True)
    return cast(Bundle, bundle)


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
