"""Memory that two processes share for a moment: files without a name, which both write and read.

    the parent: memfd_create ── Address ──► a worker: opens the parent's descriptor by its number
        stowed(parcel) ─► bytes at places in the file ─► read, or mapped and placed(parcel)

An arena carries one chunk there and its results back, then the next. Nothing of it can leak: there is no name, and the
kernel keeps it for as long as a living process holds it open or mapped.

What a worker gets, it maps, and keeps the map for the next chunk: most of the time goes into pages that are new to a
process, not into copying. Its function may keep an item, though; such an arena is not used again. All else is written
and read by system calls: they let other threads run, and tell of want of memory instead of killing who meets it.
"""

from __future__ import annotations

import errno
import logging
import mmap
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from . import _system
from ._parcel import Bundle, Parcel, bundles_of, changed, exchanged

__all__ = (
    "Address",
    "Arena",
    "Arenas",
    "Stored",
    "Stowing",
    "end_of",
    "filled",
    "map_of",
    "opened",
    "pieces_of",
    "placed",
    "read",
    "stowed",
    "write",
)

_logger = logging.getLogger("amorsize_async")

ALIGNMENT = 64
# Bytes: a cache line, and more than any number type asks for.

KEPT_BYTES = 16 << 20
# What an arena may hold while it waits for its next chunk; a larger one is cut back.

AT_ONCE = getattr(mmap, "MAP_POPULATE", 0)
# Have all pages of a map at once: a third of what it takes when each is met for the first time.

ONE_CALL = 1 << 30
# Bytes for one system call: Linux moves at most 2 GiB at once.

OUT_OF_DESCRIPTORS = frozenset({errno.EMFILE, errno.ENFILE})
# Not a refusal: there are some again as soon as somebody closes one.

LONG = 4 << 20
# Bytes that take a millisecond and more to fill.


class Address(NamedTuple):
    """Where an arena is found: the process that holds it, its descriptor there, and what tells it from other files."""

    pid: int
    descriptor: int
    device: int
    inode: int


class Stored(NamedTuple):
    """Where a piece of a parcel lies in its arena, in bytes, and whether it may be written to where it came from."""

    offset: int
    nbytes: int
    readonly: bool


class Arena:
    """One nameless file, ours. Raises OSError where the system has no such files or no memory.

    used: whether anybody has written to it since it was lent. room: bytes that were written to before, and are kept.
    """

    def __init__(self) -> None:
        self.descriptor: int = -1
        self.descriptor = _system.nameless_file()
        told = os.fstat(self.descriptor)
        self.address: Address = Address(os.getpid(), self.descriptor, told.st_dev, told.st_ino)
        self._map: mmap.mmap | None = None
        self.room: int = 0
        self.used: bool = False

    def __repr__(self) -> str:
        return f"<Arena {'closed' if self.descriptor < 0 else os.fstat(self.descriptor).st_size}>"

    def __del__(self) -> None:
        # A thread that was left to itself may be the last to hold it.
        self.close()

    def write(self, data: Any, offset: int) -> None:
        """Write bytes: by copying where the file was written to before, by the system beyond.

        The system takes half as long as a first touch for pages that are new to the file, and three times as long as a
        copy for those that are not; but while it does so, others run, who should not wait for what is large.
        """
        self.used = True
        if self._map is not None and offset + data.nbytes <= self.room and data.nbytes < LONG:
            self._map[offset : offset + data.nbytes] = data
        else:
            write(self.descriptor, data, offset)

    def read(self, piece: Stored) -> Any:
        """The bytes of a piece, in memory that can be written to if it could be where it came from.

        By copying, as `write`, what is not so large that others should run meanwhile.
        """
        self.used = True
        end = piece.offset + piece.nbytes
        if self._map is None or end > self.room or piece.nbytes >= LONG:
            return read(self.descriptor, piece)
        view = memoryview(self._map)[piece.offset : end]
        return bytes(view) if piece.readonly else memoryview(bytearray(view))

    def rest(self) -> None:
        """Get ready for the next chunk: give back memory beyond what is worth keeping, map the rest."""
        if not self.used:
            return
        self.used = False
        size = os.fstat(self.descriptor).st_size
        kept = min(size, KEPT_BYTES)
        if kept < size:
            os.ftruncate(self.descriptor, kept)
        if kept > self.room:
            with suppress(OSError):  # no descriptor or no address space is left: it does without
                self._map, self.room = mmap.mmap(self.descriptor, kept, flags=mmap.MAP_SHARED | AT_ONCE), kept

    @property
    def is_large(self) -> bool:
        """Whether much memory is to be given back."""
        return self.used and self.descriptor >= 0 and os.fstat(self.descriptor).st_size > KEPT_BYTES

    def cut(self, size: int) -> None:
        """Give back what lies behind `size`: somebody holds what lies before it, maybe for long."""
        if 0 < size < os.fstat(self.descriptor).st_size:
            os.ftruncate(self.descriptor, size)

    def give_up(self) -> None:
        """Give all its memory back, whoever has it mapped, and close it: nobody uses what is there any more."""
        if self.descriptor >= 0:
            os.ftruncate(self.descriptor, 0)
        self.close()

    def close(self) -> None:
        """Let go of it, and leave the memory to who has it mapped; safe to call again."""
        descriptor, self.descriptor, self._map, self.room = self.descriptor, -1, None, 0
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
        """An arena for one chunk; None if there is none to be had."""
        if self.refused:
            return None
        try:
            return self._free.pop()
        except IndexError:
            return self.another()

    def another(self) -> Arena | None:
        """A new arena; None if the system refuses, which it is not asked again, or is out of descriptors for now."""
        try:
            return Arena()
        except OSError as exc:
            if exc.errno not in OUT_OF_DESCRIPTORS:
                self.refuse(str(exc))
            return None

    def take_back(self, arena: Arena) -> None:
        """Have an arena again that nobody reads or writes any more."""
        arena.rest()
        self._free.append(arena)

    def refuse(self, reason: str) -> None:
        """Lend no more: the system refused one, to us or to a worker. Said once."""
        if not self.refused:
            self.refused = f"large payloads travel through pipes: shared memory was refused ({reason})"
            _logger.warning("%s", self.refused)

    @property
    def room(self) -> int:
        """Bytes that the next one has had written to before: there, writing is only copying."""
        return self._free[-1].room if self._free else 0

    def given_up(self) -> list[Arena]:
        """All that are not lent, and are not lent again: to be closed, which takes 0.1 s a GiB."""
        free, self._free = self._free, []
        return free


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


def map_of(descriptor: int, *, private: bool) -> mmap.mmap:
    """The whole of an arena as memory.

    private: what is written there is the writer's own, so that all who map it share the rest (copy on write); else the
    arena itself is written to.
    """
    return mmap.mmap(descriptor, 0, access=mmap.ACCESS_COPY if private else mmap.ACCESS_WRITE)


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
