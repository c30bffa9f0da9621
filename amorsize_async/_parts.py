"""What watches a pickler and what an unpickler reads, where large payloads must not hold the interpreter for long.

C code pickles and unpickles without ever letting another thread run. It does call `write` and `read` for each frame of
about 64 KiB (PEP 3154), and when these are Python functions, others get their turn there.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from io import BytesIO
from typing import Any

from ._stopwatch import busy

__all__ = ("Bound", "GentleReader", "Reader", "TooLarge", "Watch", "give_way")

STEP = 1 << 20
# Bytes that are copied before others get their turn: a tenth of a millisecond, ten times that into memory that is new.

Watch = Callable[[int, int], None]
# Told the bytes pickled so far, after each part, and the bytes that are only to be copied, once these are known; what
# it raises ends the work.


class TooLarge(BaseException):
    """Says that pickling would take longer than it may here."""


class Bound:
    """A watch that gives up when something turns out to be large: so many bytes of either kind, or seconds of work."""

    def __init__(self, pickled: int, seconds: float, copied: int) -> None:
        self._pickled, self._copied = pickled, copied
        self._until, self._not_before = busy() + seconds, time.perf_counter() + seconds

    def __call__(self, pickled: int, copied: int) -> None:
        """Raise TooLarge if it is."""
        if pickled > self._pickled or copied > self._copied or self._took_too_long():
            raise TooLarge

    def _took_too_long(self) -> bool:
        # No more can have been worked than time has passed, and the clock of a thread takes ten times as long to read.
        return time.perf_counter() > self._not_before and busy() > self._until


def give_way(_pickled: int = 0, _copied: int = 0) -> None:
    """Let other threads run: for whoever works beside the loop."""
    time.sleep(0)


class Reader(BytesIO):
    """A file over one pickle, and then over the next; all of it in C, which a slice is too short to hold up."""

    def refill(self, data: Any) -> None:
        """Begin with the next pickle."""
        self.seek(0)
        self.write(data)
        self.truncate()
        self.seek(0)


class GentleReader:
    """The same, which lets other threads run at each read, and at each step of a large one."""

    def __init__(self) -> None:
        self._data = memoryview(b"")
        self._at = 0

    def refill(self, data: Any) -> None:
        """Begin with the next pickle, which is not copied."""
        self._data, self._at = memoryview(data), 0

    def read(self, size: int) -> bytes:
        """The next bytes; called by an unpickler for each frame and each large object."""
        give_way()
        start, self._at = self._at, self._at + size
        return bytes(self._data[start : self._at])

    def readinto(self, out: Any) -> int:
        """Fill a buffer with the next bytes; called by an unpickler for a large object."""
        target = memoryview(out).cast("B")
        count = min(len(target), len(self._data) - self._at)
        for done in range(0, count, STEP):
            give_way()
            step = target[done : min(done + STEP, count)]
            step[:] = self._data[self._at + done : self._at + done + len(step)]
        self._at += count
        return count

    def readline(self) -> bytes:
        """Only asked for by protocols that nobody writes here; an unpickler wants to see it."""
        raise NotImplementedError
