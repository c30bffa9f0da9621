"""Where the pieces of a parcel lie in a file: written there, read from there, looked at where they lie.

Knows a descriptor or a map, not whose it is. What is written and read by system calls lets other threads run meanwhile,
and tells of want of memory instead of killing who meets it.
"""

from __future__ import annotations

import mmap
import os
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from ._parcel import Bundle, Parcel, bundles_of, changed, exchanged

__all__ = (
    "LONG",
    "Stored",
    "Stowing",
    "end_of",
    "filled",
    "pieces_of",
    "placed",
    "read",
    "stowed",
    "write",
)

ALIGNMENT = 64
# Bytes: a cache line, and more than any number type asks for.

ONE_CALL = 1 << 30
# Bytes for one system call: Linux moves at most 2 GiB at once.

LONG = 4 << 20
# Bytes that take a millisecond and more to fill.


class Stored(NamedTuple):
    """Where a piece of a parcel lies in its arena, in bytes, and whether it may be written to where it came from."""

    offset: int
    nbytes: int
    readonly: bool


class Stowing:
    """Writes one bundle behind the other into an arena, from `start` on.

    write: is called with bytes and where they are to be.
    """

    def __init__(self, write: Callable[[memoryview, int], None], start: int = 0) -> None:
        self._write = write
        self._end = start + -start % ALIGNMENT

    def stow(self, bundle: Bundle) -> Bundle:
        """Write a bundle; gives it with its places: the stream is one piece now. Raises OSError for want of memory."""
        start = end = self._end
        for part in bundle.stream:
            self._write(memoryview(part), end)
            end += len(part)
        stream, buffers = Stored(start, end - start, readonly=True), []
        for view in bundle.buffers:
            end += -end % ALIGNMENT
            self._write(view, end)
            buffers.append(Stored(end, view.nbytes, view.readonly))
            end += view.nbytes
        self._end = end + -end % ALIGNMENT
        return Bundle((stream,), tuple(buffers))


def stowed(parcel: Parcel, write: Callable[[memoryview, int], None], start: int = 0) -> Parcel:
    """Write the bundles of a parcel into an arena, see `Stowing`; gives the parcel with their places."""
    return exchanged(parcel, Stowing(write, start).stow)


def write(descriptor: int, data: memoryview, offset: int) -> None:
    """Write bytes into a file; other threads run meanwhile. Raises OSError if there is not enough memory."""
    written = 0
    while written < data.nbytes:
        written += os.pwrite(descriptor, data[written : written + ONE_CALL], offset + written)


def pieces_of(parcel: Parcel) -> list[Stored]:
    """What is stored of a parcel, in the order of its places."""
    return [piece for bundle in bundles_of(parcel) for piece in (*bundle.stream, *bundle.buffers)]


def filled(parcel: Parcel, memory: Mapping[int, Any]) -> Parcel:
    """The parcel with each piece as it was read, by its offset."""
    return changed(parcel, lambda piece: memory[piece.offset])


def read(descriptor: int, piece: Stored) -> Any:
    """The bytes of a piece; in memory that can be written to, if it could be where it came from."""
    if piece.readonly and piece.nbytes <= ONE_CALL:
        data = os.pread(descriptor, piece.nbytes, piece.offset)
        _complete(piece, len(data))
        return data
    view, done = memoryview(_memory(piece.nbytes)), 0
    while done < piece.nbytes:
        count = os.preadv(descriptor, [view[done : done + ONE_CALL]], piece.offset + done)
        _complete(piece, done + count if not count else piece.nbytes)
        done += count
    return view.toreadonly() if piece.readonly else view


def _complete(piece: Stored, read: int) -> None:
    if read < piece.nbytes:
        raise OSError(f"{piece.nbytes - read} bytes of shared memory are missing")


def _memory(length: int) -> Any:
    """Memory of our own. A bytearray is filled with zeros first, which holds the interpreter: not where it takes long.

    Not in huge pages: under a hypervisor these were up to five times as slow to get as small ones, where no memory that
    had been in use before was free.
    """
    if length < LONG:
        return bytearray(length)
    return mmap.mmap(-1, length, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)


def placed(parcel: Parcel, memory: mmap.mmap) -> Parcel:
    """The bundles as views of the mapped arena, without a copy; each holds the map."""
    whole = memoryview(memory)

    def look(piece: Stored) -> Any:
        view = whole[piece.offset : piece.offset + piece.nbytes]
        return view.toreadonly() if piece.readonly else view

    return changed(parcel, look)


def end_of(parcel: Parcel) -> int:
    """Where in an arena ends what is stored of a parcel."""
    return max((piece.offset + piece.nbytes for piece in pieces_of(parcel)), default=0)
