"""Memory that two processes share for a moment: files without a name, which both write and read.

    the parent: memfd_create ── Address ──► a worker: opens the parent's descriptor by its number
        stowed(parcel) ─► bytes at places in the file ─► fetched(parcel)

An arena carries one chunk there and its results back, then the next. Nothing of it can leak: there is no name, and the
kernel keeps it for as long as a descriptor of a living process does. Reading and writing by system calls, not by
mapping: they let other threads run, and tell of want of memory instead of killing the process that meets it.

Only what a function holds is mapped, copy on write, so that all workers share one copy of it.
"""

from __future__ import annotations

import logging
import mmap
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from io import BytesIO
from pickle import PickleBuffer
from typing import Any

from . import _system
from ._payload import Bundle, Parcel

__all__ = ("Address", "Arena", "Arenas", "Stored", "fetched", "mapped", "opened", "stowed")

_logger = logging.getLogger("amorsize_async")

ALIGNMENT = 64
# Bytes: a cache line, and more than any number type asks for.

KEPT_BYTES = 16 << 20
# What an arena may hold while it waits for its next chunk; a larger one is cut back.

ONE_READ = 1 << 30
# Linux moves at most 2 GiB in one call.


@dataclass(frozen=True, slots=True)
class Address:
    """Where an arena is found: the process that holds it, its descriptor there, and what tells it from other files."""

    pid: int
    descriptor: int
    device: int
    inode: int


@dataclass(frozen=True, slots=True)
class Stored:
    """Where a piece of a parcel lies in its arena, in bytes, and whether it may be written to where it came from."""

    offset: int
    length: int
    readonly: bool

    def __len__(self) -> int:
        return self.length


@dataclass(slots=True, eq=False)
class Arena:
    """One nameless file, ours. Raises OSError where the system has no such files or no memory."""

    descriptor: int = field(default_factory=_system.nameless_file)
    address: Address = field(init=False)

    def __post_init__(self) -> None:
        told = os.fstat(self.descriptor)
        self.address = Address(os.getpid(), self.descriptor, told.st_dev, told.st_ino)

    @contextmanager
    def second(self) -> Iterator[int]:
        """A descriptor of its own for a thread, which the thread may use whatever becomes of this one."""
        descriptor = os.dup(self.descriptor)
        try:
            yield descriptor
        finally:
            os.close(descriptor)

    def shrink(self) -> None:
        """Give back memory beyond what is worth keeping."""
        if os.fstat(self.descriptor).st_size > KEPT_BYTES:
            os.ftruncate(self.descriptor, KEPT_BYTES)

    def __del__(self) -> None:
        # A thread that was left to itself may be the last to hold it.
        self.close()

    def close(self) -> None:
        """Let go of it; safe to call again."""
        descriptor, self.descriptor = self.descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)


@dataclass(slots=True)
class Arenas:
    """The arenas of a pool: lent to one chunk at a time, used again, gone when nothing runs.

    refused: why there are none (any more), "" while there are.
    """

    refused: str = ""
    _free: list[Arena] = field(default_factory=list)

    def lend(self) -> Arena | None:
        """An arena for one chunk; None if the system refuses."""
        if self.refused:
            return None
        try:
            return self._free.pop() if self._free else Arena()
        except OSError as exc:
            self.refuse(str(exc))
            return None

    def take_back(self, arena: Arena) -> None:
        """Have an arena again that nobody reads or writes any more."""
        arena.shrink()
        self._free.append(arena)

    def refuse(self, reason: str) -> None:
        """Lend no more: the system refused one, to us or to a worker. Said once."""
        if not self.refused:
            self.refused = f"large payloads travel through pipes: shared memory was refused ({reason})"
            _logger.warning("%s", self.refused)

    def close(self) -> None:
        """Let go of all that are not lent."""
        while self._free:
            self._free.pop().close()


@contextmanager
def opened(address: Address) -> Iterator[int]:
    """A descriptor of somebody else's arena, for a while; raises OSError if it cannot be had.

    The number may stand for another file by now, if its owner has given the arena up: that one is not touched.
    """
    descriptor = _system.open_descriptor(address.pid, address.descriptor)
    try:
        told = os.fstat(descriptor)
        if (told.st_dev, told.st_ino) != (address.device, address.inode):
            raise FileNotFoundError("the memory that was to be shared is gone")
        yield descriptor
    finally:
        os.close(descriptor)


def stowed(parcel: Parcel, descriptor: int) -> Parcel:
    """Write the bundles of a parcel into an arena, from its beginning on; gives the parcel with their places.

    Raises OSError if there is not enough memory.
    """
    end = 0

    def store(piece: Any) -> Stored:
        nonlocal end
        stored = _stored(piece, descriptor, end)
        end = -(-(stored.offset + stored.length) // ALIGNMENT) * ALIGNMENT
        return stored

    return _with_pieces(parcel, store)


def _stored(piece: Any, descriptor: int, start: int) -> Stored:
    view = piece.raw() if isinstance(piece, PickleBuffer) else memoryview(piece)
    written = 0
    while written < view.nbytes:
        written += os.pwrite(descriptor, view[written : written + ONE_READ], start + written)
    return Stored(start, view.nbytes, view.readonly)


def fetched(parcel: Parcel, descriptor: int) -> Parcel:
    """Read the bundles of a parcel into memory of our own."""
    return _with_pieces(parcel, lambda piece: _read(descriptor, piece))


def mapped(bundle: Bundle, descriptor: int) -> Bundle:
    """The bundle as views of the arena itself: one copy for all who do this, and what one of them writes is its own."""
    memory = memoryview(mmap.mmap(descriptor, 0, access=mmap.ACCESS_COPY))

    def look(piece: Stored) -> Any:
        view = memory[piece.offset : piece.offset + piece.length]
        return view.toreadonly() if piece.readonly else view

    return _with_their_pieces(bundle, look)


def _with_pieces(parcel: Parcel, change: Callable[[Any], Any]) -> Parcel:
    if isinstance(parcel, list):
        return [_with_their_pieces(each, change) if isinstance(each, Bundle) else each for each in parcel]
    return _with_their_pieces(parcel, change) if isinstance(parcel, Bundle) else parcel


def _with_their_pieces(bundle: Bundle, change: Callable[[Any], Any]) -> Bundle:
    return Bundle(tuple(map(change, bundle.stream)), tuple(map(change, bundle.buffers)))


def _read(descriptor: int, piece: Stored) -> Any:
    """The bytes of a piece; in memory that can be written to, if it could be where it came from."""
    if piece.length > ONE_READ:
        return _read_long(descriptor, piece)
    data = os.pread(descriptor, piece.length, piece.offset)
    if len(data) < piece.length:
        raise OSError(f"{piece.length - len(data)} bytes of shared memory are missing")
    # A writable view of the bytes just read: a bytearray would be filled with zeros first, and copied into.
    return data if piece.readonly else BytesIO(data).getbuffer()


def _read_long(descriptor: int, piece: Stored) -> Any:
    data = bytearray(piece.length)
    view, done = memoryview(data), 0
    while done < piece.length:
        count = os.preadv(descriptor, [view[done : done + ONE_READ]], piece.offset + done)
        if not count:
            raise OSError(f"{piece.length - done} bytes of shared memory are missing")
        done += count
    return view.toreadonly() if piece.readonly else view
