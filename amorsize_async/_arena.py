"""Memory that two processes share for a moment: files without a name, which both write and read.

    the parent: memfd_create ── Address ──► a worker: opens the parent's descriptor by its number
        stowed(parcel) ─► bytes at places in the file, see `_stored` ─► read, or mapped and placed(parcel)

An arena carries one chunk there and its results back, then the next. Nothing of it can leak: there is no name, and the
kernel keeps it for as long as a living process holds it open or mapped.

What a worker gets, it maps, and keeps the map for the next chunk: most of the time goes into pages that are new to a
process, not into copying. Its function may keep an item, though; such an arena is not used again.
"""

from __future__ import annotations

import errno
import logging
import mmap
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, NamedTuple
from weakref import WeakSet

from . import _stored, _system
from ._stored import LONG, Stored

__all__ = ("Address", "Arena", "Arenas", "map_of", "opened")

_logger = logging.getLogger("amorsize_async")

KEPT_BYTES = 16 << 20
# What an arena may hold while it waits for its next chunk; a larger one is cut back.

AT_ONCE = getattr(mmap, "MAP_POPULATE", 0)
# Have all pages of a map at once: a third of what it takes when each is met for the first time.

OUT_OF_DESCRIPTORS = frozenset({errno.EMFILE, errno.ENFILE})
# Not a refusal here: there are some again as soon as somebody closes one. A worker's want of them is one, as is that of
# memory: nobody knows what its function keeps.


class Address(NamedTuple):
    """Where an arena is found: the process that holds it, its descriptor there, and what tells it from other files."""

    pid: int
    descriptor: int
    device: int
    inode: int


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
        self._worth_a_map = 0
        self.used: bool = False
        _all.add(self)

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
        memory = self._memory(offset, data.nbytes)
        if memory is None:
            _stored.write(self.descriptor, data, offset)
        else:
            memory[offset : offset + data.nbytes] = data

    def read(self, piece: Stored) -> Any:
        """The bytes of a piece, in memory that can be written to if it could be where it came from.

        By copying, as `write`, what is not so large that others should run meanwhile.
        """
        self.used = True
        memory = self._memory(piece.offset, piece.nbytes)
        if memory is None:
            return _stored.read(self.descriptor, piece)
        view = memoryview(memory)[piece.offset : piece.offset + piece.nbytes]
        return bytes(view) if piece.readonly else memoryview(bytearray(view))

    def _memory(self, offset: int, nbytes: int) -> mmap.mmap | None:
        """The map, if so many bytes there are to be copied; made now if it is worth it.

        Of what was used twice before, and when it is used again: a map takes as long as half of the copies that it
        makes quicker by two thirds, and in a short run an arena carries two chunks.
        """
        end = offset + nbytes
        if nbytes >= LONG or end > max(self._worth_a_map, self._mapped):
            return None
        if end > self._mapped:
            try:
                self._map = mmap.mmap(self.descriptor, self.room, flags=mmap.MAP_SHARED | AT_ONCE)
            except OSError:  # no descriptor or no address space is left: it does without
                self._worth_a_map = 0
                return None
        return self._map

    @property
    def _mapped(self) -> int:
        return 0 if self._map is None else len(self._map)

    def rest(self) -> None:
        """Get ready for the next chunk: give back memory beyond what is worth keeping."""
        if not self.used:
            return
        self.used = False
        size = os.fstat(self.descriptor).st_size
        kept = min(size, KEPT_BYTES)
        if kept < size:
            os.ftruncate(self.descriptor, kept)
        self._worth_a_map, self.room = self.room, max(self.room, kept)

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
        descriptor, self.descriptor, self._map, self.room, self._worth_a_map = self.descriptor, -1, None, 0, 0
        if descriptor >= 0:
            os.close(descriptor)


_all: WeakSet[Arena] = WeakSet()


def _forked() -> None:
    """In a fork of this process: let go of what is its parent's, or the memory would be held until both have ended."""
    for arena in list(_all):
        arena.close()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forked)


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


def map_of(descriptor: int, *, private: bool) -> mmap.mmap:
    """The whole of an arena as memory.

    private: what is written there is the writer's own, so that all who map it share the rest (copy on write); else the
    arena itself is written to.
    """
    return mmap.mmap(descriptor, 0, access=mmap.ACCESS_COPY if private else mmap.ACCESS_WRITE)
